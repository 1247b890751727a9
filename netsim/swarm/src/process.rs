//! Processes: starting children that talk in lines, and what the system says a process uses.

use crate::Fail;
use serde::de::DeserializeOwned;
use std::{fs, process::Stdio};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child as Process, ChildStdin, ChildStdout, Command},
};

/// Clock ticks a second in `/proc/PID/stat`: the same on every Linux.
const TICKS: f64 = 100.0;

/// Lets this process (and those it starts) open as many files as it may.
pub fn open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    if let Err(e) = setrlimit(Resource::Nofile, limit) {
        eprintln!("swarmlab: the limit of open files stays as it is: {e}");
    }
}

/// A child of this program. It ends when its input does, that is with this value.
pub struct Child {
    process: Process,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts this program with these arguments.
    pub fn start(args: &[String]) -> Result<Self, Fail> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = process.stdin.take().ok_or("no input")?;
        let output = process.stdout.take().ok_or("no output")?;
        Ok(Self {
            process,
            input,
            output: BufReader::new(output).lines(),
        })
    }

    /// Its next line.
    pub async fn hear<T: DeserializeOwned>(&mut self) -> Result<T, Fail> {
        let line = self.output.next_line().await?.ok_or("the child has ended")?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Says a word.
    pub async fn say(&mut self, word: &str) -> Result<(), Fail> {
        self.input.write_all(format!("{word}\n").as_bytes()).await?;
        Ok(self.input.flush().await?)
    }

    /// Says a word and hears the answer.
    pub async fn ask<T: DeserializeOwned>(&mut self, word: &str) -> Result<T, Fail> {
        self.say(word).await?;
        self.hear().await
    }

    pub fn pid(&self) -> u32 {
        self.process.id().unwrap_or(0)
    }

    /// Ends it.
    pub async fn end(mut self) -> Result<(), Fail> {
        drop(self.input);
        self.process.start_kill()?;
        self.process.wait().await?;
        Ok(())
    }
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Processor time in milliseconds, all threads, user and system.
    pub cpu_ms: f64,
    /// Resident memory in KiB.
    pub rss_kb: f64,
}

/// Reads what a process has used.
pub fn usage(pid: u32) -> Result<Usage, Fail> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the name in brackets, which may contain anything.
    let (_, rest) = stat.rsplit_once(')').ok_or("no such process")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let rss = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .and_then(|l| l.split_whitespace().next())
        .and_then(|kb| kb.parse().ok())
        .ok_or("no memory figure")?;
    Ok(Usage {
        cpu_ms: (ticks(11) + ticks(12)) * 1000.0 / TICKS,
        rss_kb: rss,
    })
}
