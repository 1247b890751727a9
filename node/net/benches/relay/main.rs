//! What a relayed gigabyte costs: our relay beside the one libp2p comes with, in one run.
//!
//! `cargo bench -p hivenode -p hive-net --bench relay -- [ROUNDS] [MIB] [WAY…]`: relay, sender and receiver are processes
//! of their own with two worker threads each; memory to discard, loopback; the ways take turns, and medians are
//! printed. CPU is the whole process's from the first byte to the last, handshakes left out. Both relays are without
//! limits, `capped` is ours with limits that are far away, so that every piece is counted against them.
//!
//! `… --bench relay -- shaped [CASE…]` (root) does transfers over lines of 100 Mbit/s instead, see `shaped.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

#[path = "../bulk/meter.rs"]
mod meter;
mod ours;
mod plain;
mod raw;
mod shaped;

use meter::Cost;
use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// The size of each write and of the buffer each read is offered.
pub const PIECE: usize = 256 << 10;

/// Name on the command line, and what it is.
const WAYS: &[(&str, &str)] = &[
    ("plain-tcp", "libp2p's relay, TCP hops"),
    ("plain-quic", "libp2p's relay, QUIC hops"),
    ("ours-tcp", "our relay, circuit over TCP hops"),
    ("ours-quic", "our relay, circuit over QUIC hops"),
    ("capped-tcp", "the same with limits, TCP hops"),
    ("bulk-tcp", "our relay, `open_bulk`, mesh over TCP"),
    ("bulk-quic", "our relay, `open_bulk`, mesh over QUIC"),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["relay", way] => run(way, Part::Relay, None, "0"),
        ["receive", way, mib, relay] => run(way, Part::Receiver, Some(relay), mib),
        ["send", way, mib, relay, to] => run(way, Part::Sender(to.to_owned()), Some(relay), mib),
        ["line", case, "relay"] => line(case, Part::Relay),
        ["line", case, "receive"] => line(case, Part::Receiver),
        ["line", case, "send", to] => line(case, Part::Sender(to.to_owned())),
        ["shaped", ref chosen @ ..] => shaped::compare(chosen),
        ref rest => compare(rest),
    }
}

fn line(case: &str, part: Part) {
    let case = case.to_owned();
    runtime(async move { shaped::run(&case, part).await });
}

/// Runs this as a task among others, as in a daemon: the runtime's own thread would be woken across threads each time.
fn runtime(task: impl Future<Output = ()> + Send + 'static) {
    hive_net::init_crypto().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let running = runtime.spawn(task);
    runtime.block_on(running).unwrap();
}

/// What a process is.
pub enum Part {
    /// It carries.
    Relay,
    /// It is reached through the relay.
    Receiver,
    /// The receiver's address is all it needs.
    Sender(String),
}

fn run(way: &str, part: Part, relay: Option<&str>, mib: &str) {
    let total = mib.parse::<u64>().unwrap() << 20;
    let (way, relay) = (way.to_owned(), relay.map(str::to_owned));
    runtime(async move {
        let relay = relay.as_deref();
        let (kind, hops) = way.split_once('-').unwrap();
        let (kind, tcp) = (kind.to_owned(), hops == "tcp");
        if kind == "plain" {
            plain::run(part, tcp, relay, total).await;
        } else {
            ours::run(part, tcp, relay, total, &kind).await;
        }
    });
}

/// Waits for a line from the process that compares; false at its end.
pub async fn told() -> bool {
    let reading = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()).unwrap());
    reading.await.unwrap() > 0
}

/// Prints a relay's CPU time and peak memory each time it is asked, until nobody asks any more.
pub async fn meter_relay() {
    while told().await {
        println!("{} {}", meter::cpu(), meter::peak());
    }
}

/// What one transfer cost.
#[derive(Clone, Copy)]
struct Costs {
    sender: Cost,
    receiver: Cost,
    /// CPU seconds of the relay, and the most memory it ever had in MB.
    relay: (f64, f64),
}

fn compare(args: &[&str]) {
    let rounds: usize = args.first().map_or(3, |a| a.parse().unwrap());
    let mib = args.get(1).copied().unwrap_or("512");
    let chosen = args.get(2..).unwrap_or_default();
    let ways: Vec<_> = WAYS
        .iter()
        .filter(|(name, _)| chosen.is_empty() || chosen.contains(name))
        .collect();
    let mut costs = vec![Vec::new(); ways.len()];
    for _ in 0..rounds {
        for ((name, _), costs) in ways.iter().zip(&mut costs) {
            costs.push(transfer(name, mib));
        }
    }
    println!("{rounds} rounds of {mib} MiB, medians (range)");
    println!(
        "| way | relay CPU s/GB (range) | MB/s (range) | CPU s/GB sender | receiver | peak MB relay | sender | receiver |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for ((_, what), costs) in ways.iter().zip(&costs) {
        let median = |of: fn(&Costs) -> f64| {
            let mut all: Vec<f64> = costs.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            (all[all.len() / 2], all[0], all[all.len() - 1])
        };
        let cpu = median(|c| c.relay.0 / (c.sender.bytes as f64 / 1e9));
        let speed = median(|c| c.sender.megabytes() / c.sender.wall);
        println!(
            "| {what} | {:.2} ({:.2}-{:.2}) | {:.0} ({:.0}-{:.0}) | {:.2} | {:.2} | {:.0} | {:.0} | {:.0} |",
            cpu.0,
            cpu.1,
            cpu.2,
            speed.0,
            speed.1,
            speed.2,
            median(|c| c.sender.per_gigabyte()).0,
            median(|c| c.receiver.per_gigabyte()).0,
            median(|c| c.relay.1).0,
            median(|c| c.sender.peak).0,
            median(|c| c.receiver.peak).0,
        );
    }
}

/// A process of this program.
struct Process {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Process {
    fn start(args: &[&str]) -> Self {
        let me = std::env::current_exe().unwrap();
        Self::of(&[&[me.to_str().unwrap()], args].concat())
    }

    fn of(line: &[&str]) -> Self {
        let mut child = Command::new(line[0])
            .args(&line[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = child.stdin.take().unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        Self { child, to, from }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn tell(&mut self) {
        self.to.write_all(b"\n").unwrap();
    }

    fn ask(&mut self) -> (f64, f64) {
        self.tell();
        let line = self.line();
        let (cpu, peak) = line.split_once(' ').unwrap();
        (cpu.parse().unwrap(), peak.parse().unwrap())
    }
}

/// One transfer between fresh processes.
fn transfer(way: &str, mib: &str) -> Costs {
    let mut relay = Process::start(&["relay", way]);
    let at = relay.line();
    let mut receiver = Process::start(&["receive", way, mib, &at]);
    let to = receiver.line();
    let mut sender = Process::start(&["send", way, mib, &at, &to]);
    assert_eq!(sender.line(), "ready", "{way}");
    let before = relay.ask();
    sender.tell();
    let sent = Cost::read(sender.from);
    let after = relay.ask();
    drop(receiver.to);
    let received = Cost::read(receiver.from);
    drop(relay.to);
    assert!(sender.child.wait().unwrap().success() && receiver.child.wait().unwrap().success());
    assert!(relay.child.wait().unwrap().success());
    Costs {
        sender: sent,
        receiver: received,
        relay: (after.0 - before.0, after.1),
    }
}
