//! Three nodes of ours: two that nobody can dial, and a relay between them.

use crate::{
    Part,
    meter::{receive, send},
    meter_relay, told,
};
use hive_net::{
    BulkListen, BulkPath, Config, Gate, ListenAddrs, NetHandle, ProtocolPolicy, RelayLimits, spawn,
};
use hive_protocol::{
    ids::{NetworkId, NodeId},
    keys::SecretKey,
    member::{Hello, Verdict},
    time::Timestamp,
};
use std::{sync::Arc, time::Duration};

const PROTOCOL: &str = "/bench/1";
const MESH: NetworkId = NetworkId([1; 32]);
pub const RELAY: u8 = 1;
pub const RECEIVER: u8 = 2;
pub const SENDER: u8 = 3;

struct Open;

impl Gate for Open {
    fn hello(&self, listen: Vec<String>) -> Hello {
        Hello {
            network: MESH,
            credential: None,
            listen,
            version: "bench".into(),
            now: Timestamp(0),
        }
    }

    fn judge(&self, _: NodeId, _: &Hello) -> Verdict {
        Verdict::Welcome
    }
}

pub fn id(seed: u8) -> NodeId {
    NodeId(SecretKey::from_seed(&[seed; 32]).public())
}

async fn node(seed: u8, listen: ListenAddrs) -> NetHandle {
    node_with(seed, listen, BulkListen::default()).await
}

pub async fn node_with(seed: u8, listen: ListenAddrs, bulk: BulkListen) -> NetHandle {
    let config = Config {
        secret: SecretKey::from_seed(&[seed; 32]),
        network: MESH,
        listen,
        bulk,
        transports: hive_net::Transports::default(),
        ipv6: true,
        upnp: false,
        direct: true,
        kad_server: false,
        limits: Default::default(),
        version: "bench".into(),
        gate: Arc::new(Open),
    };
    let (net, mut events) = spawn(config).await.unwrap();
    tokio::spawn(async move { while events.next().await.is_some() {} });
    net
}

async fn hidden(seed: u8, relay: &str) -> NetHandle {
    let net = node(seed, ListenAddrs::Exactly(Vec::new())).await;
    net.dial(id(RELAY), vec![relay.to_owned()]).await.unwrap();
    net
}

pub async fn run(part: Part, tcp: bool, relay: Option<&str>, total: u64, kind: &str) {
    match part {
        Part::Relay => serve(tcp, kind == "capped").await,
        Part::Receiver => receiver(relay.unwrap(), total, kind == "bulk").await,
        Part::Sender(to) => sender(relay.unwrap(), to, total, kind == "bulk").await,
    }
}

async fn serve(tcp: bool, capped: bool) {
    let net = node(RELAY, ListenAddrs::Loopback(0)).await;
    let far = 1 << 50;
    let limits = if capped {
        RelayLimits {
            circuit_bytes: far,
            peer_day: far,
            block_day: far,
            total_day: far,
            ..RelayLimits::default()
        }
    } else {
        RelayLimits::default()
    };
    let relay = net.serve_relay(limits).unwrap();
    let part = if tcp { "/tcp/" } else { "/quic-v1" };
    let addrs = net.listen_addrs();
    println!("{}", addrs.iter().find(|a| a.contains(part)).unwrap());
    meter_relay().await;
    assert!(
        relay.counts().bytes > 1 << 20,
        "it went past the relay: {relay:?}"
    );
}

async fn receiver(relay: &str, total: u64, bulk: bool) {
    let net = hidden(RECEIVER, relay).await;
    let address = net.reserve(id(RELAY)).await.unwrap();
    let policy = ProtocolPolicy::default();
    if bulk {
        let mut inbound = net.serve_bulk(PROTOCOL, policy).unwrap();
        println!("{address}");
        let (mut inn, mut back) = inbound.accept().await.unwrap().1.split();
        receive(&mut inn, &mut back, total).await;
    } else {
        let mut inbound = net.serve(PROTOCOL, policy).unwrap();
        println!("{address}");
        let (mut inn, mut back) = inbound.accept().await.unwrap().1.split();
        receive(&mut inn, &mut back, total).await;
    }
    tokio::time::timeout(Duration::from_secs(5), told()).await.ok();
}

async fn sender(relay: &str, to: String, total: u64, bulk: bool) {
    let net = hidden(SENDER, relay).await;
    net.learn(id(RECEIVER), vec![to]).await;
    if bulk {
        let stream = net.open_bulk(id(RECEIVER), PROTOCOL).await.unwrap();
        assert!(!matches!(stream.path(), BulkPath::Mesh { .. }), "{stream:?}");
        let (mut back, mut out) = stream.split();
        println!("ready");
        told().await;
        send(&mut out, &mut back, total).await;
    } else {
        let (mut back, mut out) = net.open(id(RECEIVER), PROTOCOL).await.unwrap().split();
        println!("ready");
        told().await;
        send(&mut out, &mut back, total).await;
    }
}
