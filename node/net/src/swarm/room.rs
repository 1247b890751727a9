//! Which idle members are let go when there are more connections than comfortable.
//!
//! Owns the order, so that nobody who comes with many nodes pushes others out: those this node chose to connect to
//! stay longest, the address block with the most members gives way first, and in it whoever came last. What an
//! attacker adds goes before what was there.

use super::{doors::Block, table::Table};
use libp2p::PeerId;
use std::{
    collections::{BTreeMap, BinaryHeap},
    time::{Duration, Instant},
};

/// A member's connection must have been there this long before it counts as idle.
const MEMBER_IDLE: Duration = Duration::from_secs(60);

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
    /// Members to let go because there are more connections than comfortable: idle, not in `keep`.
    pub(crate) fn surplus(
        &self,
        now: Instant,
        comfortable: usize,
        keep: impl Fn(&PeerId) -> bool,
    ) -> Vec<PeerId> {
        let excess = self.iter().count().saturating_sub(comfortable);
        if excess == 0 {
            return Vec::new();
        }
        let idle = self
            .iter()
            .filter(|(id, peer)| peer.is_member() && peer.streams() == 0 && !keep(id))
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
    use super::*;
    use std::time::Duration;

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
