//! Neighbours that do not take the gossip that is for them, and when one of them is sent away.
//!
//! Messages for such a neighbour are dropped while its queue is full, and it is told of once a heartbeat. One that is
//! slow for a moment catches up. One that stays deaf keeps a place among the neighbours that another could have.

use libp2p::PeerId;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Heartbeats in which messages for a neighbour were dropped …
const REPORTS: u32 = 6;
/// … within this time, and it is deaf.
const WITHIN: Duration = Duration::from_secs(30);
/// Neighbours of whom that is remembered; beyond it those forgotten go, then nobody new is counted.
const MAX: usize = 1024;

/// Who was slow, how often, and since when.
#[derive(Debug, Default)]
pub(super) struct Deaf(BTreeMap<PeerId, (u32, Instant)>);

impl Deaf {
    /// Messages for a neighbour were dropped; says whether it is deaf. It begins anew then.
    pub(super) fn slow(&mut self, peer: PeerId, now: Instant) -> bool {
        let over = |since: Instant| now.saturating_duration_since(since) >= WITHIN;
        if self.0.len() >= MAX && !self.0.contains_key(&peer) {
            self.0.retain(|_, (_, since)| !over(*since));
            if self.0.len() >= MAX {
                return false;
            }
        }
        let (count, since) = self.0.entry(peer).or_insert((0, now));
        if over(*since) {
            (*count, *since) = (0, now);
        }
        *count = count.saturating_add(1);
        let deaf = *count >= REPORTS;
        if deaf {
            self.0.remove(&peer);
        }
        deaf
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_slow_again_and_again_is_deaf_and_who_is_now_and_then_is_not() {
        let (mut deaf, now) = (Deaf::default(), Instant::now());
        let (busy, dead) = (PeerId::random(), PeerId::random());
        for n in 1..=3 * u64::from(REPORTS) {
            let at = now + Duration::from_secs(n);
            assert_eq!(deaf.slow(dead, at), n % u64::from(REPORTS) == 0, "{n}");
            // A moment's slowness each window.
            assert!(!deaf.slow(busy, now + WITHIN * u32::try_from(n).unwrap_or(0)));
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten() {
        let (mut deaf, now) = (Deaf::default(), Instant::now());
        for _ in 0..MAX + 5 {
            deaf.slow(PeerId::random(), now);
        }
        assert_eq!(deaf.0.len(), MAX);
        deaf.slow(PeerId::random(), now + WITHIN);
        assert_eq!(deaf.0.len(), 1);
    }
}
