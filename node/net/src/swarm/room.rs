//! Which idle members are let go when there are more connections than comfortable.
//!
//! Owns the order, so that nobody who comes with many nodes pushes others out: those this node chose to connect to
//! stay longest, the address block with the most members gives way first, and in it whoever came last. What an
//! attacker adds goes before what was there.

use super::{
    doors::Block,
    guard::Guard,
    table::{Peer, Table},
};
use hive_protocol::ids::NodeId;
use libp2p::PeerId;
use std::{
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    time::{Duration, Instant},
};

/// A member's connection must have been there this long before it counts as idle.
const MEMBER_IDLE: Duration = Duration::from_secs(60);

/// Who stays however many connections there are and however idle it is.
pub(super) struct Kept<'a> {
    /// Neighbours that gossip is passed on to.
    pub neighbours: &'a BTreeSet<PeerId>,
    /// Nodes whose connections carry something that no stream of the mesh shows.
    pub busy: &'a BTreeSet<NodeId>,
    /// Those the owner protects: authorities, relays, anchors.
    pub guard: &'a Guard,
}

impl Kept<'_> {
    fn keeps(&self, id: &PeerId, peer: &Peer) -> bool {
        self.neighbours.contains(id) || self.busy.contains(&peer.node) || self.guard.is_protected(&peer.node)
    }
}

/// An idle member.
#[derive(Debug, Clone)]
struct Idle {
    id: PeerId,
    /// Since when it is connected.
    since: Instant,
    /// Whether this node dialed it.
    ours: bool,
    /// Where it is.
    block: Block,
}

impl Table {
    /// Members to let go because there are more connections than comfortable: idle, and not kept.
    pub(super) fn surplus(&self, now: Instant, comfortable: usize, kept: &Kept<'_>) -> Vec<PeerId> {
        let excess = self.iter().count().saturating_sub(comfortable);
        if excess == 0 {
            return Vec::new();
        }
        let idle = self
            .iter()
            .filter(|(id, peer)| peer.is_member() && peer.streams() == 0 && !kept.keeps(id, peer))
            .filter_map(|(id, peer)| {
                let best = self.preferred(id)?;
                Some(Idle {
                    id: *id,
                    since: peer.since()?,
                    ours: best.dialer,
                    block: Block::of(&best.addr),
                })
            })
            .filter(|idle| now.saturating_duration_since(idle.since) >= MEMBER_IDLE)
            .collect();
        let_go(idle, excess)
    }
}

/// At most so many of them, in the order they go.
fn let_go(idle: Vec<Idle>, count: usize) -> Vec<PeerId> {
    let (ours, theirs): (Vec<_>, Vec<_>) = idle.into_iter().partition(|i| i.ours);
    let mut gone = from_the_fullest(theirs, count);
    let left = count.saturating_sub(gone.len());
    gone.extend(from_the_fullest(ours, left));
    gone
}

fn from_the_fullest(idle: Vec<Idle>, count: usize) -> Vec<PeerId> {
    let mut blocks: BTreeMap<Block, Vec<(Instant, PeerId)>> = BTreeMap::new();
    for i in idle {
        blocks.entry(i.block).or_default().push((i.since, i.id));
    }
    for members in blocks.values_mut() {
        members.sort_unstable();
    }
    let mut fullest: BinaryHeap<(usize, Block)> = blocks.iter().map(|(b, m)| (m.len(), b.clone())).collect();
    let mut gone = Vec::new();
    while gone.len() < count {
        let Some((_, block)) = fullest.pop() else { break };
        let Some(members) = blocks.get_mut(&block) else {
            break;
        };
        let Some((_, youngest)) = members.pop() else {
            continue;
        };
        gone.push(youngest);
        fullest.push((members.len(), block));
    }
    gone
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{
        super::table::{Stage, tests::connection},
        *,
    };
    use crate::names;
    use hive_protocol::keys::SecretKey;

    /// A table of so many idle members that all dialed this node, and their nodes.
    fn members(count: u8, since: Instant) -> (Table, Vec<(PeerId, NodeId)>) {
        let mut table = Table::new(NodeId([0; 32]));
        let mut all = Vec::new();
        for n in 1..=count {
            let node = NodeId(SecretKey::from_seed(&[n; 32]).public());
            let id = names::peer_id(node).unwrap();
            table.add(id, node, connection(usize::from(n), false, since));
            table.get_mut(&id).unwrap().stage = Stage::Member;
            all.push((id, node));
        }
        (table, all)
    }

    #[test]
    fn who_is_protected_a_neighbour_or_busy_stays_when_all_others_go() {
        let began = Instant::now();
        let now = began + MEMBER_IDLE;
        let (table, all) = members(20, began);
        let mut guard = Guard::new(true);
        let gone = |guard: &Guard, neighbours: &BTreeSet<PeerId>, busy: &BTreeSet<NodeId>| {
            let kept = Kept {
                neighbours,
                busy,
                guard,
            };
            BTreeSet::from_iter(table.surplus(now, 0, &kept))
        };
        assert_eq!(
            gone(&guard, &BTreeSet::new(), &BTreeSet::new()).len(),
            20,
            "nobody is kept"
        );
        let [authority, neighbour, busy] = [all[0], all[7], all[19]];
        guard.protect(vec![authority.1]);
        let neighbours = BTreeSet::from([neighbour.0]);
        let busy_nodes = BTreeSet::from([busy.1]);
        let left = gone(&guard, &neighbours, &busy_nodes);
        assert_eq!(left.len(), 17);
        for (kept, why) in [
            (authority, "protected"),
            (neighbour, "a neighbour"),
            (busy, "busy"),
        ] {
            assert!(!left.contains(&kept.0), "{why}, and was let go");
        }
        // Whom the owner protects no longer goes like any other.
        guard.protect(Vec::new());
        assert!(gone(&guard, &BTreeSet::new(), &BTreeSet::new()).contains(&authority.0));
    }

    fn idle(block: u8, age: u64, ours: bool, now: Instant) -> Idle {
        Idle {
            id: PeerId::random(),
            since: now - Duration::from_secs(age),
            ours,
            block: Block::V4([10, 0, block]),
        }
    }

    #[test]
    fn nine_sybils_of_ten_push_nobody_out() {
        let now = Instant::now();
        let honest = [
            idle(1, 600, true, now),
            idle(2, 500, false, now),
            idle(3, 400, false, now),
        ];
        // From one block, later than the honest, and as many as it likes.
        let sybils: Vec<_> = (0..27).map(|n| idle(9, 100 + n, false, now)).collect();
        let all: Vec<_> = honest.iter().chain(&sybils).cloned().collect();
        let gone = let_go(all.clone(), 26);
        assert_eq!(gone.len(), 26);
        assert!(honest.iter().all(|h| !gone.contains(&h.id)));
        assert_eq!(
            let_go(all.clone(), 30).last(),
            Some(&honest[0].id),
            "what is ours goes last"
        );
        assert_eq!(let_go(all, 100).len(), 30);
    }

    #[test]
    fn in_one_block_the_youngest_goes_and_blocks_take_turns() {
        let now = Instant::now();
        let (old, young) = (idle(1, 50, false, now), idle(1, 10, false, now));
        let (other, third) = (idle(2, 20, false, now), idle(2, 30, false, now));
        let gone = let_go(vec![old.clone(), young.clone(), other.clone(), third.clone()], 4);
        let position = |i: &Idle| gone.iter().position(|g| *g == i.id);
        assert!(position(&young) < position(&old) && position(&other) < position(&third));
        assert!(position(&old) >= Some(2) && position(&third) >= Some(2));
        assert!(let_go(Vec::new(), 3).is_empty());
    }
}
