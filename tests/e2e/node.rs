//! One daemon: its folder, its process, the ways to ask it.

use crate::{
    command::{Going, LONGEST, Out, bare, bare_inside},
    http,
    wait::{SOON, until, until_else},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    cell::RefCell,
    ffi::OsStr,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Stdio},
    time::Duration,
};

/// A node.
pub struct Node {
    /// Its name in the mesh.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
    settings: Vec<(String, String)>,
    /// The namespace its daemon runs in, if not this process's. Commands reach it by its socket from anywhere.
    space: Option<String>,
    child: Option<Child>,
    /// The daemon stops by itself when this closes: it cannot outlive the test, however that ends.
    leash: Option<ChildStdin>,
}

impl Node {
    /// A node that does not run yet.
    pub fn new(home: &Path, name: &str) -> Self {
        let node = Self {
            name: name.to_owned(),
            dir: home.join(name),
            settings: Vec::new(),
            space: None,
            child: None,
            leash: None,
        };
        node.with("name", name)
            .with("listen", "/ip4/127.0.0.1/udp/0/quic-v1,/ip4/127.0.0.1/tcp/0")
            .with("cpus", "2")
            .with("mem", "2G")
            .with("disk", "2G")
            .with("log", "warn,hive=info")
    }

    /// The same with a setting; as environment, so that flags could still win.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// A setting from the next start on.
    pub fn set(&mut self, name: &str, value: &str) {
        let name = format!("HIVENODE_{}", name.to_uppercase());
        self.settings.retain(|(n, _)| *n != name);
        self.settings.push((name, value.to_owned()));
    }

    /// The same, its daemon in this namespace from the next start on.
    pub fn inside(mut self, space: &str) -> Self {
        self.space = Some(space.to_owned());
        self
    }

    fn command(&self) -> std::process::Command {
        self.prepared(bare())
    }

    fn prepared(&self, mut command: std::process::Command) -> std::process::Command {
        command
            .arg("--data")
            .arg(&self.dir)
            .envs(self.settings.iter().cloned());
        command
    }

    /// Starts the daemon and does not wait for it.
    pub fn begin(&mut self) {
        std::fs::create_dir_all(&self.dir).expect("a folder");
        let program = self.space.as_deref().map_or_else(bare, bare_inside);
        let mut command = self.prepared(program);
        command
            .args(["serve", "--attached", "--log-file"])
            .arg(self.log_path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(self.dir.join("stderr")).expect("a file"));
        let mut child = command.spawn().expect("the program starts");
        self.leash = child.stdin.take();
        self.child = Some(child);
    }

    /// Waits until the daemon that was begun says that it serves; its failure document otherwise.
    pub fn served(&mut self) -> Result<(), Value> {
        let child = self.child.as_mut().expect("begun");
        let mut line = String::new();
        // Blocks until the daemon speaks or ends; the deadline is the test runner's.
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("a pipe can be read");
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
        if said["ready"].is_object() {
            return Ok(());
        }
        self.leash = None;
        let status = child.wait().expect("it ends");
        assert!(!status.success());
        self.child = None;
        Err(said["failed"]["error"].clone())
    }

    /// Starts the daemon and waits until it serves.
    #[track_caller]
    pub fn start(&mut self) {
        self.begin();
        if let Err(e) = self.served() {
            panic!("{} did not start: {e}", self.name);
        }
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("it runs"))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
    }

    /// Kills it without a word, as a power cut does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.leash = None;
    }

    /// Stops it as `down` does.
    pub fn stop(&mut self) {
        self.leash = None;
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    /// Processes it started: its executors.
    pub fn children(&self) -> Vec<Pid> {
        let pid = self.pid().as_raw_nonzero().to_string();
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
        let lists = tasks
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|t| std::fs::read_to_string(t.path().join("children")).ok());
        lists
            .flat_map(|l| {
                l.split_whitespace()
                    .filter_map(|p| p.parse().ok())
                    .collect::<Vec<i32>>()
            })
            .filter_map(Pid::from_raw)
            .collect()
    }

    /// Its log's path.
    pub fn log_path(&self) -> PathBuf {
        self.dir.join("hivenode.log")
    }

    /// Its log.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Runs a command of it to its end.
    #[track_caller]
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Out {
        self.spawn(args).end(LONGEST)
    }

    /// Starts a command of it.
    #[track_caller]
    pub fn spawn<S: AsRef<OsStr>>(&self, args: &[S]) -> Going {
        let mut command = self.command();
        command.args(args);
        Going::start(command)
    }

    /// Runs a command with `--json`, which must end well; the document's part of this name.
    #[track_caller]
    pub fn json(&self, name: &str, args: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend_from_slice(args);
        self.run(&all).ok().document(name)
    }

    /// What `status` says once nothing is wrong: it ends with 1 while something is, and an authority may fall silent for
    /// a moment on a starved machine.
    #[track_caller]
    pub fn status(&self) -> Value {
        let last = RefCell::new(String::new());
        let look = || {
            let out = self.run(&["--json", "status"]);
            last.replace(out.text());
            (out.code == 0).then(|| out.document("status"))
        };
        until_else(SOON, look, || format!("{} is well: {}", self.name, last.borrow()))
    }

    /// Its API's socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("api.sock")
    }

    /// Asks the API for a document's part; `None` while it does not answer, or refuses.
    pub fn get(&self, path: &str, name: &str) -> Option<Value> {
        let answer = http::ask(&self.socket(), "GET", path, None)?;
        (answer.status == 200).then(|| answer.json()[name].clone())
    }

    /// Tells the API something; it must agree.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Value {
        let answer = http::ask(&self.socket(), "POST", path, Some(body)).expect("an answer");
        assert!(answer.status < 300, "{path}: {}", answer.json());
        answer.json()
    }

    /// A job by id, as the API shows it.
    pub fn job(&self, id: &str) -> Option<Value> {
        self.get(&format!("/v1/jobs/{id}"), "job")
    }

    /// Waits until a job satisfies this.
    #[track_caller]
    pub fn job_until(&self, id: &str, what: &str, within: Duration, test: impl Fn(&Value) -> bool) -> Value {
        let last = RefCell::new(Value::Null);
        let look = || {
            let job = self.job(id)?;
            last.replace(job.clone());
            test(&job).then_some(job)
        };
        until_else(within, look, || {
            format!("{what} on {}: {}", self.name, last.borrow())
        })
    }

    /// Waits until a job has ended.
    #[track_caller]
    pub fn job_ended(&self, id: &str, within: Duration) -> Value {
        self.job_until(id, "ended", within, |j| j["ended"].as_u64() > Some(0))
    }

    /// The tasks of a job.
    pub fn tasks(&self, job: &str) -> Vec<Value> {
        let rows = self.get(&format!("/v1/jobs/{job}/tasks?limit=1000"), "tasks");
        rows.and_then(|r| r.as_array().cloned()).unwrap_or_default()
    }

    /// A wallet: free and held.
    #[track_caller]
    pub fn wallet(&self) -> Value {
        until("a wallet", SOON, || self.get("/v1/wallet", "wallet"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- log of {} (its end)", self.name);
            lines[lines.len().saturating_sub(60)..]
                .iter()
                .for_each(|l| eprintln!("{l}"));
        }
        self.kill();
    }
}
