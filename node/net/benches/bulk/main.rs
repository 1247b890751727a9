//! What a gigabyte costs on each way two nodes could take, side by side in one run.
//!
//! `cargo bench -p hivenode -p hive-net --bench bulk -- [ROUNDS] [MIB] [WAY…]`: every sender and every receiver is a
//! process of its own with two worker threads, like a daemon; memory to discard, loopback; the ways take turns, and
//! medians are printed. CPU is the whole process's from the first byte to the last, handshakes not included.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod mesh;
mod meter;
mod quic;
mod tcp;

use meter::Cost;
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

/// The size of each write and of the buffer each read is offered.
pub const PIECE: usize = 256 << 10;

/// Name on the command line, and what it is.
const WAYS: &[(&str, &str)] = &[
    ("tcp", "TCP alone: the limit"),
    ("bulk", "open_bulk: TLS 1.3 AES-128-GCM over TCP"),
    ("tls", "tokio-rustls as it comes, AES-128-GCM"),
    ("chacha", "tokio-rustls as it comes, ChaCha20-Poly1305"),
    ("mesh-tcp", "open, mesh over TCP+TLS+Yamux"),
    ("quinn", "quinn as it comes"),
    ("mesh-quic", "open, mesh over QUIC"),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["receive", way, mib] => run(way, None, mib),
        ["send", way, mib, to] => run(way, Some(to), mib),
        ref rest => compare(rest),
    }
}

/// One side of one transfer.
fn run(way: &str, to: Option<&str>, mib: &str) {
    let total = mib.parse::<u64>().unwrap() << 20;
    hive_net::init_crypto().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (way, to) = (way.to_owned(), to.map(str::to_owned));
    // A task among others, as in a daemon: the runtime's own thread would be woken across threads each time.
    let running = runtime.spawn(async move {
        let to = to.as_deref();
        match way.as_str() {
            "tcp" => tcp::plain(to, total).await,
            "tls" => tcp::tls(to, total, tcp::Cipher::Aes).await,
            "chacha" => tcp::tls(to, total, tcp::Cipher::ChaCha).await,
            "quinn" => quic::run(to, total).await,
            "bulk" => mesh::run(to, total, mesh::Way::Bulk).await,
            "mesh-tcp" => mesh::run(to, total, mesh::Way::Tcp).await,
            "mesh-quic" => mesh::run(to, total, mesh::Way::Quic).await,
            other => panic!("no such way: {other}"),
        }
    });
    runtime.block_on(running).unwrap();
}

fn compare(args: &[&str]) {
    let rounds: usize = args.first().map_or(5, |a| a.parse().unwrap());
    let mib = args.get(1).copied().unwrap_or("1024");
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
    println!("{rounds} rounds of {mib} MiB, medians (range of MB/s)");
    println!("| way | MB/s | range | CPU s/GB sender | receiver | both | peak MB sender | receiver |");
    println!("|---|---|---|---|---|---|---|---|");
    for ((_, what), costs) in ways.iter().zip(&costs) {
        let median = |of: fn(&(Cost, Cost)) -> f64| {
            let mut all: Vec<f64> = costs.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            (all[all.len() / 2], all[0], all[all.len() - 1])
        };
        let (speed, low, high) = median(|(s, _)| s.megabytes() / s.wall);
        println!(
            "| {what} | {speed:.0} | {low:.0}-{high:.0} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0} |",
            median(|(s, _)| s.per_gigabyte()).0,
            median(|(_, r)| r.per_gigabyte()).0,
            median(|(s, r)| s.per_gigabyte() + r.per_gigabyte()).0,
            median(|(s, _)| s.peak).0,
            median(|(_, r)| r.peak).0,
        );
    }
}

/// One transfer between two fresh processes.
fn transfer(way: &str, mib: &str) -> (Cost, Cost) {
    let (mut receiver, mut said) = start(&["receive", way, mib]);
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let (mut sender, told) = start(&["send", way, mib, line.trim()]);
    let sent = Cost::read(told);
    let received = Cost::read(said);
    assert!(sender.wait().unwrap().success() && receiver.wait().unwrap().success());
    (sent, received)
}

fn start(args: &[&str]) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}
