//! One run of the command line.

use serde_json::Value;
use std::{
    io::{Read, Write},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// What no single command of a test may exceed.
pub const LONGEST: Duration = Duration::from_secs(150);

/// The program under test.
pub fn program() -> PathBuf {
    std::env::var_os("HIVENODE_TEST_BIN")
        .map(PathBuf::from)
        .or_else(|| option_env!("CARGO_BIN_EXE_hivenode").map(PathBuf::from))
        .expect("built by cargo, or named by HIVENODE_TEST_BIN")
}

/// The program with nothing of this process's settings.
pub fn bare() -> Command {
    stripped(Command::new(program()))
}

/// The same inside a network of the laboratory.
pub fn bare_inside(space: &str) -> Command {
    let mut command = Command::new("ip");
    // `ip` becomes the program: the process id is the program's.
    command.args(["netns", "exec", space]).arg(program());
    stripped(command)
}

fn stripped(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("HIVENODE_") || name.starts_with("XDG_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// How a command ended.
#[derive(Debug)]
pub struct Out {
    /// Exit code; -1 after a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Out {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
    /// Standard error as text.
    pub fn talk(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
    /// Must have ended with this code.
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            code,
            "\nstdout: {}\nstderr: {}",
            self.text(),
            self.talk()
        );
        self
    }
    /// Must have ended well.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.ends(0)
    }
    /// The error named on standard error must be this one, and the exit code too.
    #[track_caller]
    pub fn fails(self, exit: i32, code: &str) -> Self {
        let out = self.ends(exit);
        assert!(
            out.talk().contains(&format!("error[{code}]")),
            "expected error[{code}]\nstdout: {}\nstderr: {}",
            out.text(),
            out.talk()
        );
        out
    }
    /// The one JSON document on standard output: its part of this name.
    #[track_caller]
    pub fn document(&self, name: &str) -> Value {
        let value: Value = serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|e| panic!("{e}\nstdout: {}\nstderr: {}", self.text(), self.talk()));
        assert_eq!(value["v"], 1, "{value}");
        assert!(!value[name].is_null(), "no `{name}` in {value}");
        value[name].clone()
    }
    /// The error document on standard error; standard output must be empty.
    #[track_caller]
    pub fn error(&self) -> Value {
        assert!(self.stdout.is_empty(), "stdout is not empty: {}", self.text());
        let line = self.talk().lines().last().unwrap_or_default().to_owned();
        let value: Value =
            serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}\nstderr: {}", self.talk()));
        assert_eq!(value["v"], 1, "{value}");
        value["error"].clone()
    }
}

/// A command that goes on while the test does other things.
pub struct Going {
    pid: rustix::process::Pid,
    ended: mpsc::Receiver<Out>,
    lines: mpsc::Receiver<String>,
}

impl Going {
    /// Starts it.
    pub fn start(mut command: Command) -> Self {
        let shown = format!("{command:?}");
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{shown}: {e}"));
        let pid = rustix::process::Pid::from_child(&child);
        let (say, ended) = mpsc::channel();
        let (tell, lines) = mpsc::channel();
        thread::spawn(move || drop(say.send(collect(child, &tell))));
        Self { pid, ended, lines }
    }
    /// The next line it writes to standard output, without its end.
    #[track_caller]
    pub fn line(&self, within: Duration) -> String {
        self.line_if_any(within).expect("a line in time")
    }
    /// The next line, if one comes in time.
    pub fn line_if_any(&self, within: Duration) -> Option<String> {
        self.lines.recv_timeout(within).ok()
    }
    /// Its end.
    #[track_caller]
    pub fn end(self, within: Duration) -> Out {
        match self.ended.recv_timeout(within) {
            Ok(out) => out,
            Err(_) => {
                let _ = rustix::process::kill_process(self.pid, rustix::process::Signal::KILL);
                let out = self.ended.recv().expect("a killed command ends");
                panic!(
                    "no end within {within:?}\nstdout: {}\nstderr: {}",
                    out.text(),
                    out.talk()
                );
            }
        }
    }
    /// As Ctrl-C does.
    pub fn interrupt(&self) {
        rustix::process::kill_process(self.pid, rustix::process::Signal::INT).expect("it runs");
    }
}

fn collect(mut child: Child, lines: &mpsc::Sender<String>) -> Out {
    let mut err = child.stderr.take().expect("piped");
    let stderr = thread::spawn(move || {
        let mut bytes = Vec::new();
        err.read_to_end(&mut bytes).map(|_| bytes)
    });
    let mut out = child.stdout.take().expect("piped");
    let (mut stdout, mut told, mut part) = (Vec::new(), 0, [0_u8; 65536]);
    while let Ok(n @ 1..) = out.read(&mut part) {
        stdout.extend_from_slice(&part[..n]);
        while let Some(end) = stdout[told..].iter().position(|b| *b == b'\n') {
            // Nobody may be listening.
            let _ = lines.send(String::from_utf8_lossy(&stdout[told..told + end]).into_owned());
            told += end + 1;
        }
    }
    let status: ExitStatus = child.wait().expect("a child can be waited for");
    Out {
        code: status.code().unwrap_or(-1),
        stdout,
        stderr: stderr.join().ok().and_then(Result::ok).unwrap_or_default(),
    }
}

/// Runs another program with this standard input.
#[track_caller]
pub fn other(name: &str, args: &[&str], input: &[u8]) -> String {
    let mut child = Command::new(name)
        .args(args)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = thread::spawn(move || stdin.write_all(&input));
    let out = child.wait_with_output().expect("it ends");
    let _ = writer.join();
    assert!(out.status.success(), "{name}: {}", out.status);
    String::from_utf8_lossy(&out.stdout).into_owned()
}
