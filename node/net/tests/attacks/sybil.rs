//! One owner with many nodes around one victim: the victim keeps its authority and others it has chosen.

use crate::{
    honest::{self, Pulse, echoing},
    mesh::{TestNode, member, member_with, until},
};
use hive_net::{Admission, ListenAddrs, PeerView};
use std::collections::BTreeSet;

/// Where Sybils come from.
#[derive(Clone, Copy, PartialEq)]
enum From {
    /// All from one address block: one machine, or one rented network.
    OneBlock,
    /// Each from an address block of its own.
    ManyBlocks,
}

/// Sybils around a victim with little room, so that few are many.
struct Siege {
    /// Connections the victim has room for, an eighth of them for those it makes itself.
    room: u32,
    /// Honest nodes that the victim dials; the first is its authority.
    dialed: u8,
    /// Honest nodes that dial the victim.
    dialing: u8,
    sybils: u8,
    from: From,
    /// Sybils that are let in at most, and at least: with fewer it would be no siege.
    let_in: std::ops::RangeInclusive<usize>,
}

impl Siege {
    /// A Sybil: it dials from where it listens.
    async fn sybil(&self, n: u8) -> TestNode {
        let ip = match self.from {
            From::OneBlock => format!("127.110.0.{}", n + 1),
            From::ManyBlocks => format!("127.110.{n}.1"),
        };
        let addrs = vec![format!("/ip4/{ip}/udp/0/quic-v1"), format!("/ip4/{ip}/tcp/0")];
        member_with(100 + n, |c| c.listen = ListenAddrs::Exactly(addrs)).await
    }

    /// The Sybils, each after its try to come in.
    async fn surround(&self, victim: &TestNode) -> Vec<TestNode> {
        let mut around = Vec::new();
        for n in 0..self.sybils {
            let sybil = self.sybil(n).await;
            // Refused or let in: what matters is who stays. Over TCP a machine without time to spare may let a try go
            // out from another address than the one that it listens on.
            let _ = sybil.net.dial(victim.id(), victim.quic()).await;
            around.push(sybil);
        }
        around
    }

    async fn meet(&self, victim: &TestNode, honest: &[TestNode]) {
        let (dialed, dialing) = honest.split_at(usize::from(self.dialed));
        for node in dialed {
            assert_eq!(victim.dial(node).await, Admission::Member, "kept out by Sybils");
        }
        for node in dialing {
            assert_eq!(node.dial(victim).await, Admission::Member, "kept out by Sybils");
        }
    }

    /// Sybils come before the honest nodes, or after.
    async fn run(&self, before: bool) {
        let victim = member_with(1, |c| c.limits.connections = self.room).await;
        let mut honest = Vec::new();
        for n in 0..self.dialed + self.dialing {
            let node = member(2 + n).await;
            echoing(&node);
            honest.push(node);
        }
        victim.net.protect(vec![honest[0].id()]).await;
        let _around = if before {
            let around = self.surround(&victim).await;
            self.meet(&victim, &honest).await;
            around
        } else {
            self.meet(&victim, &honest).await;
            self.surround(&victim).await
        };
        for (n, node) in honest.iter().enumerate() {
            // Who dials knows a moment earlier that it is a member than the victim does.
            let what = format!("honest node {n} among {} Sybils", self.sybils);
            until(&what, async || {
                let peers = victim.net.peers().await;
                peers.iter().any(|p| p.node == node.id() && p.member)
            })
            .await;
        }
        let peers = victim.net.peers().await;
        let theirs: Vec<_> = peers
            .iter()
            .filter(|p| honest.iter().all(|h| h.id() != p.node))
            .collect();
        println!(
            "{} of {} Sybils are in a room for {}",
            theirs.len(),
            self.sybils,
            self.room
        );
        assert!(
            self.let_in.contains(&theirs.len()),
            "{} Sybils were let in",
            theirs.len()
        );
        let blocks = theirs.iter().map(|p| block(p)).collect::<BTreeSet<_>>().len();
        assert_eq!(
            blocks,
            if self.from == From::OneBlock {
                1
            } else {
                theirs.len()
            }
        );
        // The ways to the authority and to others work.
        for node in honest.iter().take(3) {
            Pulse::to(&victim, node.id()).await.p99(10).await;
        }
    }
}

/// The first three numbers of a peer's address.
fn block(peer: &PeerView) -> String {
    let ip = peer.addr.split('/').nth(2).unwrap();
    ip.rsplit_once('.').unwrap().0.to_owned()
}

/// As many Sybils as honest nodes, and both together more than there is room for: without a bound for one block the
/// last honest nodes would find no place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_all_are_sybils() {
    let _beside = honest::beside_others().await;
    let siege = Siege {
        room: 32,
        dialed: 9,
        dialing: 8,
        sybils: 17,
        from: From::OneBlock,
        let_in: 8..=14,
    };
    siege.run(true).await;
    siege.run(false).await;
}

/// Sybils enough to fill every place that is given to whoever comes, and from so many blocks that none has too many:
/// the places the victim keeps for its own choice are left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nine_of_ten_are_sybils() {
    let _beside = honest::beside_others().await;
    let siege = Siege {
        room: 40,
        dialed: 4,
        dialing: 0,
        sybils: 42,
        from: From::ManyBlocks,
        let_in: 30..=35,
    };
    siege.run(true).await;
    siege.run(false).await;
}
