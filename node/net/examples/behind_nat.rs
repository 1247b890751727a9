//! A relay, or a node that may stand behind a NAT: for laboratories. Says on standard output what happens, a JSON
//! object a line, with milliseconds since its start.
//!
//! ```text
//! behind_nat relay PORT
//! behind_nat node SEED PORT quic|tcp|both RELAY_ADDRESS          # reserves at the relay and echoes
//! behind_nat node SEED PORT quic|tcp|both RELAY_ADDRESS PEER     # asks the node with seed PEER
//! ```
//! The relay has seed 1. A node writes the word `go` is waited for on standard input before it asks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use hive_net::{
    Config, Gate, Limits, ListenAddrs, NetEvent, NetEvents, NetHandle, ProtocolPolicy, RelayLimits,
    Transports, spawn,
};
use hive_protocol::{
    ids::{NetworkId, NodeId},
    keys::SecretKey,
    member::{Hello, Verdict},
    time::Timestamp,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

const ECHO: &str = "/lab/echo/1";
const MESH: NetworkId = NetworkId([9; 32]);

struct Open;

impl Gate for Open {
    fn hello(&self, listen: Vec<String>) -> Hello {
        Hello {
            network: MESH,
            credential: None,
            listen,
            version: "lab".into(),
            now: Timestamp(0),
        }
    }
    fn judge(&self, _: NodeId, _: &Hello) -> Verdict {
        Verdict::Welcome
    }
}

struct Said(Instant);

impl Said {
    fn say(&self, what: &str, rest: &str) {
        println!(
            "{{\"ms\":{},\"what\":\"{what}\",\"of\":{rest:?}}}",
            self.0.elapsed().as_millis()
        );
    }
}

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn id(seed: u8) -> NodeId {
    NodeId(secret(seed).public())
}

async fn start(seed: u8, port: u16, transports: &str) -> (NetHandle, NetEvents) {
    let config = Config {
        secret: secret(seed),
        network: MESH,
        listen: ListenAddrs::Port(port),
        bulk: hive_net::BulkListen::Off,
        transports: Transports {
            quic: transports != "tcp",
            tcp: transports != "quic",
        },
        ipv6: false,
        upnp: false,
        direct: true,
        kad_server: seed == 1,
        limits: Limits::default(),
        version: "lab".into(),
        gate: Arc::new(Open),
    };
    spawn(config).await.unwrap()
}

fn serve_echo(net: &NetHandle) {
    let mut inbound = net.serve(ECHO, ProtocolPolicy::default()).unwrap();
    tokio::spawn(async move {
        while let Some((_, stream)) = inbound.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
}

async fn echo(net: &NetHandle, to: NodeId) -> Result<(), String> {
    let mut stream = net.open(to, ECHO).await.map_err(|e| e.to_string())?;
    let mut back = [0; 5];
    let talk = async {
        stream.write_all(b"hello").await?;
        stream.flush().await?;
        stream.read_exact(&mut back).await
    };
    match tokio::time::timeout(Duration::from_secs(5), talk).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(e)) => Err(e.to_string()),
        Err(_) => Err("no echo within 5 s".into()),
    }
}

/// Watches the events of a node, for as long as it lives.
fn watch(mut events: NetEvents, epoch: Instant) {
    tokio::spawn(async move {
        let said = Said(epoch);
        while let Some(event) = events.next().await {
            match event {
                NetEvent::Path { path, addr, .. } => {
                    said.say(&format!("path {}", path.name()), &addr.unwrap_or_default());
                }
                NetEvent::Disconnected { cause, .. } => said.say("disconnected", &cause),
                NetEvent::DialFailed { reasons, .. } => said.say("dial failed", &reasons.join("; ")),
                NetEvent::Observed { addr, .. } => said.say("observed", &addr),
                _ => {}
            }
        }
    });
}

async fn ask(net: &NetHandle, said: &Said, peer: NodeId, circuit: String) {
    net.learn(peer, vec![circuit]).await;
    said.say("asking", "");
    match echo(net, peer).await {
        Ok(()) => said.say("first echo", ""),
        Err(e) => said.say("no echo", &e),
    }
    // paced: one line a second on standard input ends it, or the laboratory's kill
    for _ in 0..240 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        if let Err(e) = echo(net, peer).await {
            said.say("echo failed", &e);
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let arg = |n: usize| args.get(n).cloned().unwrap_or_default();
    if let Ok(filter) = std::env::var("LAB_LOG") {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .init();
    }
    let said = Said(Instant::now());
    let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    if arg(1) == "relay" {
        let (net, events) = start(1, arg(2).parse().unwrap(), "both").await;
        watch(events, said.0);
        net.serve_relay(RelayLimits::default()).unwrap();
        said.say("ready", "");
        let _ = lines.next_line().await;
        return;
    }
    let seed: u8 = arg(2).parse().unwrap();
    let (net, events) = start(seed, arg(3).parse().unwrap(), &arg(4)).await;
    watch(events, said.0);
    serve_echo(&net);
    net.dial(id(1), arg(5).split(',').map(str::to_owned).collect())
        .await
        .expect("the relay");
    let circuit = net.reserve(id(1)).await.expect("a reservation");
    said.say("ready", &circuit);
    while let Ok(Some(line)) = lines.next_line().await {
        let Some((peer, circuit)) = line.split_once(' ') else {
            break;
        };
        let peer: NodeId = id(peer.parse().unwrap());
        ask(&net, &said, peer, circuit.to_owned()).await;
        for attempt in net.attempts(peer).await.unwrap_or_default() {
            let why = attempt.outcome.reason().unwrap_or_default().to_owned();
            let what = format!("{} {}", attempt.kind.name(), attempt.outcome.name());
            let took = attempt.took.as_millis();
            said.say(
                &what,
                &format!("{} {took} ms {why}", attempt.addr.unwrap_or_default()),
            );
        }
    }
}
