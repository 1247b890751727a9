//! Progress: a bar that moves on a terminal, plain lines in a pipe, nothing where nobody wants it.

use crate::{
    command::{Going, LONGEST, Out, program},
    guests,
    mesh::Mesh,
};
use std::process::Command;

/// Files of the job: enough for several steps of five percent.
const FILES: usize = 40;
/// How long a task takes, in milliseconds: longer each time that a job was over before its progress was seen.
const NAPS: [u64; 3] = [100, 400, 1600];

struct Job {
    mesh: Mesh,
    module: String,
    runs: usize,
}

impl Job {
    fn new() -> Self {
        let mesh = Mesh::of(1);
        for n in 0..FILES {
            mesh.file(&format!("in/{n:02}"), format!("file {n}"));
        }
        let mut job = Self {
            mesh,
            module: String::new(),
            runs: 0,
        };
        job.takes(NAPS[0]);
        job
    }

    /// From now on its tasks take this long.
    fn takes(&mut self, ms: u64) {
        self.module = self.mesh.module(&format!("cat{ms}"), &guests::nap_cat(ms));
    }

    /// What a run tells that shows some progress, and its shares: of a longer job where there was none to see.
    fn seen(&mut self, run: impl Fn(&mut Self) -> String) -> (String, Vec<u64>) {
        let mut last = None;
        for ms in NAPS {
            self.takes(ms);
            let told = run(self);
            let shares = percents(&told);
            let enough = shares.len() >= 3;
            last = Some((told, shares));
            if enough {
                break;
            }
        }
        last.expect("some run")
    }

    /// The arguments of one more run, into a folder of its own.
    fn args(&mut self) -> Vec<String> {
        self.runs += 1;
        let out = self.mesh.path(&format!("out{}", self.runs));
        let folder = self.mesh.path("in");
        [
            "job",
            "map",
            &self.module,
            folder.to_str().unwrap(),
            "-o",
            out.to_str().unwrap(),
        ]
        .map(str::to_owned)
        .to_vec()
    }

    fn in_a_pipe(&mut self, more: &[&str]) -> Out {
        let mut args = self.args();
        args.extend(more.iter().map(|s| (*s).to_owned()));
        self.mesh.client.run(&args).ok()
    }

    /// Runs it on a terminal of 100 columns; what the terminal was told.
    fn on_a_terminal(&mut self, more: &[&str]) -> String {
        let mut words = vec![program().to_str().unwrap().to_owned(), "--data".to_owned()];
        words.push(self.mesh.client.dir.to_str().unwrap().to_owned());
        words.extend(self.args());
        words.extend(more.iter().map(|s| (*s).to_owned()));
        assert!(words.iter().all(|w| !w.contains(['\'', ' '])), "{words:?}");
        let line = format!("stty cols 100 rows 30; exec {}", words.join(" "));
        let mut command = Command::new("script");
        command
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .env_remove("NO_COLOR")
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm");
        Going::start(command).end(LONGEST).ok().text()
    }
}

/// The shares named in a text, in order.
fn percents(text: &str) -> Vec<u64> {
    let before = text.split('%').map(|part| {
        let digits = part.len() - part.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        &part[part.len() - digits..]
    });
    before.filter_map(|number| number.parse().ok()).collect()
}

fn rises(shares: &[u64]) -> bool {
    shares.windows(2).all(|w| w[0] <= w[1])
}

#[test]
fn a_bar_on_a_terminal_and_plain_lines_in_a_pipe() {
    let mut job = Job::new();
    let (seen, shares) = job.seen(|job| job.on_a_terminal(&[]));
    assert!(seen.contains('━'), "no bar: {seen:?}");
    assert!(seen.contains("\u{1b}["), "it is drawn over itself: {seen:?}");
    assert!(shares.len() >= 3 && rises(&shares), "{shares:?} in {seen:?}");

    let (lines, shares) = job.seen(|job| {
        let out = job.in_a_pipe(&[]);
        assert!(!out.text().contains('%'), "{}", out.text());
        out.talk()
    });
    assert!(
        !lines.contains(['━', '\u{1b}', '\r']),
        "for terminals only: {lines:?}"
    );
    assert!(shares.len() >= 3 && rises(&shares), "{shares:?} in {lines}");
    // A line for each step, and not for each task; and where nothing has moved for long, one that says so.
    let mut told = shares.clone();
    told.dedup();
    assert!(told.len() <= FILES * 3 / 4, "{shares:?}");
    assert_eq!(shares.last(), Some(&100), "{lines}");
}

#[test]
fn no_progress_where_nobody_wants_it() {
    let mut job = Job::new();
    let seen = job.on_a_terminal(&["--no-progress"]);
    assert!(!seen.contains('━') && percents(&seen).is_empty(), "{seen:?}");
    for flag in ["--no-progress", "-q"] {
        let lines = job.in_a_pipe(&[flag]).talk();
        assert!(percents(&lines).is_empty(), "{flag}: {lines}");
    }
    let seen = job.on_a_terminal(&["--json"]);
    assert!(!seen.contains('━'), "no bar around a document: {seen:?}");
}
