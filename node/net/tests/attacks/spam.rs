//! Identify, said again and again, always something else.

use crate::{
    honest::{self, Pulse, echoing, rss},
    mesh::{MESH, member, start, until},
    raw::{self, Identify, PUSH, key},
};
use hive_net::NetEvent;
use libp2p::Multiaddr;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Pushes sent.
const PUSHES: u16 = 2000;
/// What the victim may grow by: what is remembered of one peer is a few addresses.
const MOST_KB: u64 = 24_000;

/// A push with as many addresses as fit, all different from those before.
fn words(seed: u8, n: u16) -> Identify {
    let addr = |m: u16| -> Multiaddr {
        let [a, b] = n.to_be_bytes();
        format!("/ip4/10.{a}.{b}.1/tcp/{}", m + 1).parse().unwrap()
    };
    Identify {
        key: Some(key(seed).public().encode_protobuf()),
        listen: (0..40).map(|m| addr(m).to_vec()).collect(),
        protocols: (0..20).map(|m| format!("/spam/{n}/{m}")).collect(),
        version: Some("/hive/1".into()),
        agent: Some("x".repeat(500)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_spams_identify_neither_fills_nor_stops_its_peer() {
    let _alone = honest::alone().await;
    let mut victim = member(80).await;
    echoing(&victim);
    let attacker = member(81).await;
    attacker.dial(&victim).await;
    let friend = member(82).await;
    friend.dial(&victim).await;
    victim.wait_connected(friend.id()).await;
    let mut pulse = Pulse::to(&friend, victim.id()).await;
    let (id, net) = (victim.id(), victim.net.clone());
    let told = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&told);
    tokio::spawn(async move {
        while let Some(event) = victim.events.next().await {
            let spammed = |a: &String| a.starts_with("/ip4/10.");
            if matches!(&event, NetEvent::PeerAddrs { addrs, .. } if addrs.iter().any(spammed)) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let before = rss();
    let spam = tokio::spawn(async move {
        for n in 0..PUSHES {
            // One stream each, as the protocol has it; refused ones are spam too.
            if let Ok(mut stream) = attacker.net.open(id, PUSH).await {
                let _ = raw::say(&mut stream, &words(81, n)).await;
            }
        }
        attacker
    });
    let trips = pulse.p99(300).await;
    let attacker = tokio::time::timeout(Duration::from_secs(60), spam)
        .await
        .unwrap()
        .unwrap();
    let grown = rss().saturating_sub(before);
    // The last word is heard, late.
    until("what was said is believed", async || {
        told.load(Ordering::Relaxed) > 0
    })
    .await;
    let told = told.load(Ordering::Relaxed);
    net.shutdown().await;
    drop(attacker);
    println!("identify spam: round trip p99 {trips:?}, {grown} KiB grown, told {told} times");
    assert!(trips < Duration::from_millis(500), "{trips:?}");
    assert!(grown < MOST_KB, "{grown} KiB");
    assert!(told < 100, "the owner was told {told} times where its peer is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stranger_says_of_itself_is_not_remembered() {
    let _beside = honest::beside_others().await;
    let mut victim = member(85).await;
    let stranger = start(86, MESH, None, |_| {}).await;
    stranger.dial(&victim).await;
    victim
        .wait(|e| matches!(e, NetEvent::JoinOnly { .. }).then_some(()))
        .await;
    // It goes on as if it had been let in.
    stranger.net.set_member(victim.id(), true).await;
    for n in 0..20 {
        if let Ok(mut stream) = stranger.net.open(victim.id(), PUSH).await {
            let _ = raw::say(&mut stream, &words(86, n)).await;
        }
    }
    stranger.net.shutdown().await;
    victim
        .wait(|e| match e {
            NetEvent::PeerAddrs { node, .. } => panic!("{node:?} was believed"),
            NetEvent::Disconnected { .. } => Some(()),
            _ => None,
        })
        .await;
    until("it cannot be dialed", async || {
        victim
            .net
            .dial(stranger.id(), vec![])
            .await
            .is_err_and(|e| matches!(e.code(), "net.no_address" | "net.unreachable"))
    })
    .await;
}
