//! A receiver that is killed, and goes on in another process.

use crate::{
    node::{TestNode, noise, start},
    pulls::share,
};
use hive_files::{Direction, Hint, LimitsConfig, PullRequest, Schedule, Target};
use hive_protocol::ids::{BlobHash, NodeId};
use std::{
    io::{BufRead, BufReader, Lines},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

const DIR: &str = "HIVE_FILES_TEST_DIR";
const WHAT: &str = "HIVE_FILES_TEST_WHAT";

/// The receiving process: run by the test below only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the process that started it: cargo test -p hive-files --test files killed"]
async fn receiver() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let what = std::env::var(WHAT).unwrap();
    let words: Vec<&str> = what.split(' ').collect();
    let dir = Path::new(&dir);
    let node = start(201, dir).await;
    let restored = node.files.restore().await.unwrap();
    if restored == 0 {
        let root: BlobHash = words[0].parse().unwrap();
        let mut request = PullRequest::new(root, words[1] == "folder", Target::Path(dir.join("got")));
        request.lookup = false;
        request.hints = vec![Hint {
            node: words[2].parse::<NodeId>().unwrap(),
            addrs: words[3..].iter().map(|a| (*a).to_owned()).collect(),
            whole: true,
        }];
        node.files.pull(request).await.unwrap();
    }
    let view = node.files.transfers().remove(0);
    let transfer = node.files.transfer(view.id).unwrap();
    let mut seen = transfer.watch();
    loop {
        let view = seen.borrow_and_update().clone();
        println!(
            "\nprogress {} {} {} {:?}",
            view.done, view.fetched, view.reused, view.stage
        );
        if view.stage.ended() {
            break;
        }
        seen.changed().await.unwrap();
    }
    let pulled = transfer.done().await.unwrap();
    println!("\nend {} {}", pulled.fetched, pulled.reused);
}

struct Receiver {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Receiver {
    fn start(dir: &Path, root: BlobHash, kind: &str, of: &TestNode) -> Self {
        let what = format!("{root} {kind} {} {}", of.id(), of.net.listen_addrs().join(" "));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::receiver", "--ignored", "--nocapture"])
            .env(DIR, dir)
            .env(WHAT, what)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The numbers of the next line that begins with this word.
    fn next(&mut self, word: &str) -> Option<Vec<u64>> {
        for line in &mut self.lines {
            let line = line.unwrap();
            if let Some(rest) = line.strip_prefix(word) {
                return Some(rest.split_whitespace().filter_map(|w| w.parse().ok()).collect());
            }
        }
        None
    }

    /// Kills it when it has so many bytes; says how many it had at least. It must begin with those of the time
    /// before.
    fn kill_at(mut self, bytes: u64, before: u64) -> u64 {
        loop {
            let numbers = self.next("progress ").expect("it ended too early");
            let [done, fetched, ..] = numbers[..] else {
                panic!("{numbers:?}");
            };
            assert!(
                done == 0 || fetched == 0 || done >= before,
                "{numbers:?} after {before}"
            );
            if done >= bytes {
                self.child.kill().unwrap();
                self.child.wait().unwrap();
                return done;
            }
        }
    }
}

async fn killed_at(seed: u8, kind: &'static str, parts: &[u64]) {
    let dir = tempfile::tempdir().unwrap();
    let a = start(seed, &dir.path().join("a")).await;
    let rate = LimitsConfig {
        node: Schedule::always(Some(8_000_000)),
        ..LimitsConfig::default()
    };
    a.files.limits().set(Direction::Out, rate);
    let from = a.path("from");
    let size: u64 = 40 << 20;
    if kind == "folder" {
        std::fs::create_dir_all(&from).unwrap();
        for n in 0..640 {
            std::fs::write(from.join(format!("f{n}")), noise(n, 32 << 10)).unwrap();
        }
        std::fs::write(from.join("big"), noise(9999, 20 << 20)).unwrap();
    } else {
        std::fs::write(&from, noise(1, size as usize)).unwrap();
    }
    let root = share(&a, &from).await;
    let there = dir.path().join("b");
    std::fs::create_dir_all(&there).unwrap();
    let mut had = 0;
    for part in parts {
        let receiver = Receiver::start(&there, root, kind, &a);
        let at = size * part / 100;
        let killing = tokio::task::spawn_blocking(move || receiver.kill_at(at, had));
        had = killing.await.unwrap();
    }
    a.files.limits().set(Direction::Out, LimitsConfig::default());
    let mut last = Receiver::start(&there, root, kind, &a);
    let numbers = tokio::task::spawn_blocking(move || {
        let numbers = last.next("end ").expect("no end");
        assert!(last.child.wait().unwrap().success());
        numbers
    });
    let numbers = numbers.await.unwrap();
    let (fetched, reused) = (numbers[0], numbers[1]);
    println!("{kind}: killed at {had} of {size}; then {reused} were there, {fetched} were fetched");
    assert!(reused >= had, "verified bytes were fetched twice");
    assert!(fetched + reused <= size + (64 << 10) * 16, "{fetched} + {reused}");
    let same = Command::new("diff")
        .arg("-r")
        .arg(&from)
        .arg(there.join("got"))
        .status()
        .unwrap();
    assert!(same.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_receiver_of_a_file_fetches_nothing_twice() {
    killed_at(200, "file", &[1, 10, 50, 90]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_receiver_of_a_folder_fetches_nothing_twice() {
    killed_at(202, "folder", &[10, 60]).await;
}
