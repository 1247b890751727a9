//! A line of 100 Mbit/s between sender, relay and receiver: how much of it a transfer gets, and how long control waits
//! meanwhile. Needs root: each node has a network namespace of its own, shaped by tbf with a queue of 50 ms.

use crate::{
    Part,
    ours::{self, id},
    told,
};
use hive_net::{BulkListen, ListenAddrs, NetHandle, ProtocolPolicy, RelayLimits};
use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const BULK: &str = "/bench/bulk/1";
const CONTROL: &str = "/bench/control/1";
/// Mbit/s of each line.
const LINE: u64 = 100;
/// Bytes moved in each case.
const SIZE: u64 = 48 << 20;
/// The largest piece of the plain echo beside it, which shows what the line's own queue costs.
const ECHO_PORT: u16 = 4999;
/// Between two control messages.
const PAUSE: Duration = Duration::from_millis(5);

/// Name, what it is, through the relay, TCP, with bulk connections.
const CASES: &[(&str, &str, bool, bool, bool)] = &[
    ("direct-tcp-bulk", "direct, TCP, `open_bulk`", false, true, true),
    (
        "direct-quic-bulk",
        "direct, QUIC, `open_bulk`",
        false,
        false,
        true,
    ),
    (
        "direct-tcp-mesh",
        "direct, bulk on the mesh's TCP connection",
        false,
        true,
        false,
    ),
    (
        "direct-quic-mesh",
        "direct, bulk on the mesh's QUIC connection",
        false,
        false,
        false,
    ),
    (
        "relay-tcp-bulk",
        "relayed, TCP hops, `open_bulk`",
        true,
        true,
        true,
    ),
    (
        "relay-quic-bulk",
        "relayed, QUIC hops, `open_bulk`",
        true,
        false,
        true,
    ),
    (
        "relay-tcp-mesh",
        "relayed, bulk on the circuit, TCP hops",
        true,
        true,
        false,
    ),
    (
        "relay-quic-mesh",
        "relayed, bulk on the circuit, QUIC hops",
        true,
        false,
        false,
    ),
];

fn case(name: &str) -> (bool, bool, bool) {
    let found = CASES.iter().find(|c| c.0 == name).unwrap();
    (found.2, found.3, found.4)
}

/// The namespaces, taken away at the end.
struct Lines(String);

impl Lines {
    fn make() -> Self {
        let lines = Self(format!("hn-F-{}", std::process::id()));
        let p = &lines.0;
        for name in ["s", "r", "d"] {
            sh(&format!(
                "ip netns add {p}-{name} && ip -n {p}-{name} link set lo up"
            ));
        }
        for (n, name) in [(1, "s"), (2, "d")] {
            sh(&format!(
                "ip -n {p}-r link add v{name} type veth peer name up netns {p}-{name}"
            ));
            for (space, link, host) in [("r", format!("v{name}"), 1), (name, "up".to_owned(), 2)] {
                sh(&format!(
                    "ip -n {p}-{space} addr add 10.99.{n}.{host}/24 dev {link}"
                ));
                sh(&format!("ip -n {p}-{space} link set dev {link} up"));
                sh(&format!(
                    "tc -n {p}-{space} qdisc add dev {link} root tbf rate {LINE}mbit burst 32kb latency 50ms"
                ));
            }
        }
        lines
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        for name in ["s", "r", "d"] {
            let _ = Command::new("ip")
                .args(["netns", "del", &format!("{}-{name}", self.0)])
                .status();
        }
    }
}

fn sh(line: &str) {
    assert!(
        Command::new("sh").args(["-c", line]).status().unwrap().success(),
        "{line}"
    );
}

/// Runs the cases one after the other and prints the table.
pub fn compare(chosen: &[&str]) {
    let lines = Lines::make();
    println!("lines of {LINE} Mbit/s with a queue of 50 ms, {} MiB", SIZE >> 20);
    println!(
        "| case | Mbit/s | of the line | control at rest p50 / p99 ms | during the transfer p50 / p99 | a TCP connection of its own p50 / p99 |"
    );
    println!("|---|---|---|---|---|---|");
    for (name, what, ..) in CASES {
        if !chosen.is_empty() && !chosen.contains(name) {
            continue;
        }
        let exec = |space: &str, args: &[&str]| {
            let mut all = vec!["ip", "netns", "exec"];
            let space = format!("{}-{space}", lines.0);
            all.push(&space);
            let me = std::env::current_exe().unwrap();
            all.push(me.to_str().unwrap());
            all.extend_from_slice(args);
            crate::Process::of(&all)
        };
        let (relayed, tcp, _) = case(name);
        let mut relay = exec("r", &["line", name, "relay"]);
        assert_eq!(relay.line(), "ready");
        let place = if relayed { "d" } else { "r" };
        let mut receiver = exec(place, &["line", name, "receive"]);
        let to = receiver.line();
        let mut sender = exec("s", &["line", name, "send", &to]);
        let told = sender.line();
        let parts: Vec<f64> = told.split(' ').map(|p| p.parse().unwrap()).collect();
        let mbit = parts[0];
        println!(
            "| {what} | {mbit:.1} | {:.0} % | {:.1} / {:.1} | {:.1} / {:.1} | {:.1} / {:.1} |",
            mbit / LINE as f64 * 100.0,
            parts[1],
            parts[2],
            parts[3],
            parts[4],
            parts[5],
            parts[6],
        );
        let _ = tcp;
        for mut process in [sender, receiver, relay] {
            drop(process.to);
            process.child.wait().unwrap();
        }
    }
}

fn at(tcp: bool, ip: &str, port: u16) -> String {
    if tcp {
        format!("/ip4/{ip}/tcp/{port}")
    } else {
        format!("/ip4/{ip}/udp/{port}/quic-v1")
    }
}

/// One process of a case.
pub async fn run(name: &str, part: Part) {
    let (relayed, tcp, bulk) = case(name);
    let bulk = if bulk {
        BulkListen::default()
    } else {
        BulkListen::Off
    };
    match part {
        Part::Relay => {
            let listen = ["10.99.1.1", "10.99.2.1"].map(|ip| at(tcp, ip, 4001));
            let net = ours::node_with(ours::RELAY, ListenAddrs::Exactly(listen.to_vec()), bulk).await;
            let relay = net.serve_relay(RelayLimits::default()).unwrap();
            println!("ready");
            while told().await {}
            assert!(!relayed || relay.counts().bytes > SIZE);
        }
        Part::Receiver => {
            let (net, told_to) = if relayed {
                let net = ours::node_with(ours::RECEIVER, ListenAddrs::Exactly(Vec::new()), bulk).await;
                net.dial(id(ours::RELAY), vec![at(tcp, "10.99.2.1", 4001)])
                    .await
                    .unwrap();
                let circuits = net.reserve(id(ours::RELAY)).await.unwrap();
                assert!(circuits.ends_with("/p2p-circuit"), "{circuits}");
                let key = circuits.split("/p2p/").nth(1).unwrap().to_owned();
                let circuit = format!("{}/p2p/{key}", at(tcp, "10.99.1.1", 4001));
                (net, circuit)
            } else {
                let here = at(tcp, "10.99.1.1", 4002);
                let listen = ListenAddrs::Exactly(vec![here.clone()]);
                (ours::node_with(ours::RECEIVER, listen, bulk).await, here)
            };
            tokio::spawn(take(net.clone()));
            tokio::spawn(echo(net.clone()));
            tokio::spawn(plain_echo());
            println!("{told_to}");
            while told().await {}
        }
        Part::Sender(to) => {
            let net = ours::node_with(ours::SENDER, ListenAddrs::Exactly(Vec::new()), bulk).await;
            if relayed {
                net.dial(id(ours::RELAY), vec![at(tcp, "10.99.1.1", 4001)])
                    .await
                    .unwrap();
                net.learn(id(ours::RECEIVER), vec![to]).await;
            } else {
                net.dial(id(ours::RECEIVER), vec![to]).await.unwrap();
            }
            send(net, relayed).await;
            while told().await {}
        }
    }
}

async fn take(net: NetHandle) {
    let mut inbound = net.serve_bulk(BULK, ProtocolPolicy::default()).unwrap();
    while let Some((_, stream)) = inbound.accept().await {
        tokio::spawn(async move {
            let (mut inn, mut back) = stream.split();
            let mut buf = vec![0; 256 << 10];
            let mut rest = SIZE;
            while rest > 0 {
                let got = inn.read(&mut buf).await.unwrap();
                assert_ne!(got, 0);
                rest -= got as u64;
            }
            back.write_all(&[1]).await.unwrap();
            back.flush().await.unwrap();
            let _ = inn.read(&mut buf).await;
        });
    }
}

async fn echo(net: NetHandle) {
    let mut inbound = net.serve(CONTROL, ProtocolPolicy::default()).unwrap();
    while let Some((_, mut stream)) = inbound.accept().await {
        tokio::spawn(async move {
            let mut buf = [0; 64];
            while stream.read_exact(&mut buf).await.is_ok() {
                stream.write_all(&buf).await.unwrap();
                stream.flush().await.unwrap();
            }
        });
    }
}

async fn plain_echo() {
    let listener = TcpListener::bind(("0.0.0.0", ECHO_PORT)).await.unwrap();
    while let Ok((mut tcp, _)) = listener.accept().await {
        tcp.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            let mut buf = [0; 64];
            while tcp.read_exact(&mut buf).await.is_ok() {
                tcp.write_all(&buf).await.unwrap();
            }
        });
    }
}

/// Round trips one after the other until it is told to stop; in milliseconds, sorted.
async fn ask<S: AsyncReadExt + AsyncWriteExt + Unpin>(mut stream: S, stop: Arc<AtomicBool>) -> (S, Vec<f64>) {
    let mut times = Vec::new();
    let mut buf = [1; 64];
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        stream.write_all(&buf).await.unwrap();
        stream.flush().await.unwrap();
        stream.read_exact(&mut buf).await.unwrap();
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        // paced: control comes now and then, it does not fill the line itself.
        tokio::time::sleep(PAUSE).await;
    }
    times.sort_by(f64::total_cmp);
    (stream, times)
}

fn shares(times: &[f64]) -> (f64, f64) {
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

async fn send(net: NetHandle, relayed: bool) {
    let control = net.open(id(ours::RECEIVER), CONTROL).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let at_rest = tokio::spawn(ask(control, Arc::clone(&stop)));
    // paced: the measure is of this second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.store(true, Ordering::Relaxed);
    let (control, quiet) = at_rest.await.unwrap();
    // Through the relay there is no plain way: the relay's own line is what can be compared.
    let plain = if relayed {
        None
    } else {
        Some(TcpStream::connect(("10.99.1.1", ECHO_PORT)).await.unwrap())
    };
    let stream = net.open_bulk(id(ours::RECEIVER), BULK).await.unwrap();
    let (mut back, mut out) = stream.split();
    let stop = Arc::new(AtomicBool::new(false));
    let asking = tokio::spawn(ask(control, Arc::clone(&stop)));
    let beside = plain.map(|tcp| {
        tcp.set_nodelay(true).unwrap();
        tokio::spawn(ask(tcp, Arc::clone(&stop)))
    });
    let piece = vec![7; 256 << 10];
    let begun = Instant::now();
    for _ in 0..SIZE / piece.len() as u64 {
        out.write_all(&piece).await.unwrap();
    }
    out.flush().await.unwrap();
    back.read_exact(&mut [0; 1]).await.unwrap();
    let took = begun.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    let loaded = shares(&asking.await.unwrap().1);
    let beside = match beside {
        Some(asking) => shares(&asking.await.unwrap().1),
        None => (f64::NAN, f64::NAN),
    };
    let quiet = shares(&quiet);
    println!(
        "{} {} {} {} {} {} {}",
        SIZE as f64 * 8.0 / 1e6 / took,
        quiet.0,
        quiet.1,
        loaded.0,
        loaded.1,
        beside.0,
        beside.1
    );
}
