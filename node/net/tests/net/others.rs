//! Peers that are made otherwise: with Noise and no TLS, with more connections than one may have; and a node that has
//! no memory left for any.

use crate::mesh::{DEADLINE, TestNode, member, member_with, secret, soon, until};
use futures::StreamExt;
use hive_net::{Admission, Limits};
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder,
    core::ConnectedPoint,
    identity::Keypair,
    noise, ping,
    swarm::{
        SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
    tcp, yamux,
};

fn key(seed: u8) -> Keypair {
    Keypair::ed25519_from_bytes(secret(seed).seed()).unwrap()
}

fn peer(seed: u8) -> PeerId {
    key(seed).public().to_peer_id()
}

/// A peer that knows TCP with Noise and Yamux, pings, and nothing else.
fn without_tls(seed: u8) -> Swarm<ping::Behaviour> {
    SwarmBuilder::with_existing_identity(key(seed))
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| ping::Behaviour::default())
        .unwrap()
        .with_swarm_config(|c| c.with_idle_connection_timeout(DEADLINE))
        .build()
}

fn to(node: &TestNode, seed: u8) -> DialOpts {
    let addr: Multiaddr = node.tcp()[0].parse().unwrap();
    DialOpts::peer_id(peer(seed))
        .condition(PeerCondition::Always)
        .addresses(vec![addr])
        .build()
}

/// The next connection that stands, after which the other end has answered a ping.
async fn connected(swarm: &mut Swarm<ping::Behaviour>) -> (PeerId, ConnectedPoint) {
    let connecting = async {
        let mut found = None;
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished {
                    peer_id, endpoint, ..
                } => found = Some((peer_id, endpoint)),
                SwarmEvent::Behaviour(ping) => {
                    ping.result.unwrap();
                    if let Some(found) = found.take() {
                        return found;
                    }
                }
                SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
                SwarmEvent::IncomingConnectionError { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
    };
    soon("a connection over Noise", connecting).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_tls_connects_over_noise() {
    let node = member(150).await;
    let mut other = without_tls(151);
    other.dial(to(&node, 150)).unwrap();
    let (who, how) = connected(&mut other).await;
    assert_eq!(who, peer(150), "proven by its key");
    assert!(how.is_dialer());
    // Pings are answered by the connection itself: the node may hear of it a moment later.
    until("it is counted", async || {
        node.net.counters().connections_opened == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_tls_is_dialed_over_noise() {
    let node = member(152).await;
    let mut other = without_tls(153);
    other.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let addr = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = soon("an address", other.select_next_some()).await
        {
            break address;
        }
    };
    let net = node.net.clone();
    let dialing = tokio::spawn(async move { net.dial(crate::mesh::id(153), vec![addr.to_string()]).await });
    let (who, how) = connected(&mut other).await;
    assert_eq!(who, peer(152), "proven by its key");
    assert!(how.is_listener());
    // Pings are answered by the connection itself: the node may hear of it a moment later.
    until("it is counted", async || {
        node.net.counters().connections_opened == 1
    })
    .await;
    dialing.abort();
}

/// Connects three times; says how many of them the node has taken, and how many it has refused.
async fn three_times(seed: u8, per_peer: u32) -> (u64, u64) {
    let node = member_with(seed, |c| c.limits.per_peer = per_peer).await;
    let mut other = without_tls(seed + 1);
    for _ in 0..3 {
        other.dial(to(&node, seed)).unwrap();
    }
    let driving = tokio::spawn(async move {
        loop {
            other.select_next_some().await;
        }
    });
    let count = || {
        let counters = node.net.counters();
        (counters.connections_opened, counters.inbound_failed)
    };
    until("all three have been taken or refused", async || {
        count().0 + count().1 == 3
    })
    .await;
    driving.abort();
    count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_peer_has_at_most_so_many_connections() {
    assert_eq!(three_times(154, 2).await, (2, 1));
    assert_eq!(three_times(156, Limits::default().per_peer).await, (3, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_memory_no_connection_is_taken_or_made() {
    // This process holds more than that.
    let full = member_with(158, |c| c.limits.memory_bytes = 1 << 20).await;
    let other = member(159).await;
    let refused = soon("an answer", other.net.dial(full.id(), full.net.listen_addrs())).await;
    assert_ne!(refused.ok(), Some(Admission::Member));
    until("the refusal is counted", async || {
        full.net.counters().inbound_failed > 0
    })
    .await;
    let made = soon("an answer", full.net.dial(other.id(), other.net.listen_addrs()))
        .await
        .unwrap_err();
    assert_eq!(made.code(), "net.unreachable", "{made}");
    assert!(made.to_string().contains("memory"), "{made}");
    assert!(full.net.peers().await.is_empty());
    assert_eq!(full.net.counters().connections_opened, 0);
}
