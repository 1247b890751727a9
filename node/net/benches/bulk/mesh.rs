//! Two nodes of ours: mesh streams and bulk streams.

use crate::meter::{receive, send};
use hive_net::{BulkPath, Config, Gate, ListenAddrs, NetHandle, ProtocolPolicy, spawn};
use hive_protocol::{
    ids::{NetworkId, NodeId},
    keys::SecretKey,
    member::{Hello, Verdict},
    time::Timestamp,
};
use std::sync::Arc;
use tokio::io::split;

const PROTOCOL: &str = "/bench/1";
const MESH: NetworkId = NetworkId([1; 32]);

/// Which way the bytes take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Bulk,
    Tcp,
    Quic,
}

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

async fn node(seed: u8) -> NetHandle {
    let config = Config {
        secret: SecretKey::from_seed(&[seed; 32]),
        network: MESH,
        listen: ListenAddrs::Loopback(0),
        bulk: Default::default(),
        transports: hive_net::Transports::default(),
        ipv6: true,
        upnp: false,
        direct: true,
        kad_server: true,
        limits: Default::default(),
        version: "bench".into(),
        gate: Arc::new(Open),
    };
    let (net, mut events) = spawn(config).await.unwrap();
    tokio::spawn(async move { while events.next().await.is_some() {} });
    net
}

pub async fn run(to: Option<&str>, total: u64, way: Way) {
    let Some(to) = to else {
        return serve(total, way).await;
    };
    let net = node(2).await;
    let server = NodeId(SecretKey::from_seed(&[1; 32]).public());
    net.dial(server, vec![to.to_owned()]).await.unwrap();
    if way == Way::Bulk {
        let stream = net.open_bulk(server, PROTOCOL).await.unwrap();
        assert_eq!(stream.path(), BulkPath::Direct);
        let (mut back, mut out) = stream.split();
        send(&mut out, &mut back, total).await;
    } else {
        let (mut back, mut out) = split(net.open(server, PROTOCOL).await.unwrap());
        send(&mut out, &mut back, total).await;
    }
    net.shutdown().await;
}

async fn serve(total: u64, way: Way) {
    let net = node(1).await;
    let part = if way == Way::Tcp { "/tcp/" } else { "/quic-v1" };
    let addrs = net.listen_addrs();
    let policy = ProtocolPolicy::default();
    if way == Way::Bulk {
        let mut inbound = net.serve_bulk(PROTOCOL, policy).unwrap();
        println!("{}", addrs.iter().find(|a| a.contains(part)).unwrap());
        let (mut inn, mut back) = inbound.accept().await.unwrap().1.split();
        receive(&mut inn, &mut back, total).await;
    } else {
        let mut inbound = net.serve(PROTOCOL, policy).unwrap();
        println!("{}", addrs.iter().find(|a| a.contains(part)).unwrap());
        let (mut inn, mut back) = inbound.accept().await.unwrap().1.split();
        receive(&mut inn, &mut back, total).await;
    }
}
