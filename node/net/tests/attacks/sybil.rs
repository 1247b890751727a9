//! One owner with many nodes around one victim: the victim keeps its authority and others it has chosen.

use crate::{
    honest::{self, Pulse, echoing},
    mesh::{TestNode, member, member_with},
};
use hive_net::{Admission, ListenAddrs};

/// Connections the victim has room for: small, so that few Sybils are many.
const ROOM: u32 = 40;
/// Honest nodes: an authority and three others.
const HONEST: u8 = 4;

/// A member that only dials, as many as one owner likes.
async fn sybil(seed: u8) -> TestNode {
    member_with(seed, |c| c.listen = ListenAddrs::Exactly(vec![])).await
}

/// Sybils that make this share of all nodes, before the honest ones come or after.
async fn surround(first: u8, sybils: u8, before: bool) {
    let victim = member_with(first, |c| c.limits.connections = ROOM).await;
    let mut honest = Vec::new();
    for n in 1..=HONEST {
        let node = member(first + n).await;
        echoing(&node);
        honest.push(node);
    }
    let mut around = Vec::new();
    if !before {
        for node in &honest {
            assert_eq!(victim.dial(node).await, Admission::Member);
        }
    }
    for n in 0..sybils {
        let sybil = sybil(first + 1 + HONEST + n).await;
        // Refused or let in: what matters is who stays.
        let _ = sybil.net.dial(victim.id(), victim.net.listen_addrs()).await;
        around.push(sybil);
    }
    if before {
        for node in &honest {
            assert_eq!(victim.dial(node).await, Admission::Member, "kept out by Sybils");
        }
    }
    victim.net.protect(vec![honest[0].id()]).await;
    let peers = victim.net.peers().await;
    let kept = honest
        .iter()
        .filter(|h| peers.iter().any(|p| p.node == h.id() && p.member));
    assert_eq!(kept.count(), usize::from(HONEST), "{sybils} Sybils");
    let theirs = peers.len() - usize::from(HONEST);
    assert!(
        theirs < usize::try_from(ROOM).unwrap() * 7 / 8,
        "{theirs} Sybils were let in"
    );
    // The way to the authority works.
    Pulse::to(&victim, honest[0].id()).await.p99(10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_all_are_sybils() {
    let _beside = honest::beside_others().await;
    surround(10, 4, true).await;
    surround(30, 4, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nine_of_ten_are_sybils() {
    let _beside = honest::beside_others().await;
    surround(50, 40, true).await;
    surround(110, 40, false).await;
}
