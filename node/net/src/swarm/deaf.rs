//! Neighbours that do not take the gossip that is for them, and when one of them is sent away.
//!
//! Messages for such a neighbour are dropped while its queue is full, and it is told of once a heartbeat. One that is
//! slow for a moment catches up. One that stays deaf keeps a place among the neighbours that another could have. Where
//! many seem deaf at once it is this node that says nothing: one is sent away at a time.

use libp2p::PeerId;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Heartbeats in which messages for a neighbour were dropped …
const REPORTS: u32 = 6;
/// … within this time, and it is deaf. One is sent away in this time.
const WITHIN: Duration = Duration::from_secs(30);
/// Neighbours of whom that is remembered; beyond it those forgotten go, then nobody new is counted.
const MAX: usize = 1024;

/// Who was slow, how often, and since when.
#[derive(Debug, Default)]
pub(super) struct Deaf {
    slow: BTreeMap<PeerId, (u32, Instant)>,
    /// When the last one was to be sent away.
    last: Option<Instant>,
}

impl Deaf {
    /// Messages for a neighbour were dropped; says whether it is to be sent away. It begins anew then.
    pub(super) fn slow(&mut self, peer: PeerId, now: Instant) -> bool {
        let over = |since: Instant| now.saturating_duration_since(since) >= WITHIN;
        if self.slow.len() >= MAX && !self.slow.contains_key(&peer) {
            self.slow.retain(|_, (_, since)| !over(*since));
            if self.slow.len() >= MAX {
                return false;
            }
        }
        let (count, since) = self.slow.entry(peer).or_insert((0, now));
        if over(*since) {
            (*count, *since) = (0, now);
        }
        *count = count.saturating_add(1);
        let away = *count >= REPORTS && self.last.is_none_or(over);
        if away {
            self.slow.remove(&peer);
            self.last = Some(now);
        }
        away
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_slow_again_and_again_is_deaf_and_who_is_now_and_then_is_not() {
        let (mut deaf, now) = (Deaf::default(), Instant::now());
        let (busy, dead) = (PeerId::random(), PeerId::random());
        for n in 1..=REPORTS {
            let at = now + Duration::from_secs(n.into());
            assert_eq!(deaf.slow(dead, at), n == REPORTS, "{n}");
            // A moment's slowness each window.
            assert!(!deaf.slow(busy, now + WITHIN * n));
        }
    }

    #[test]
    fn where_all_are_slow_one_is_sent_away_in_a_window() {
        let (mut deaf, now) = (Deaf::default(), Instant::now());
        let all: Vec<_> = (0..8).map(|_| PeerId::random()).collect();
        let windows = 4;
        let mut away = Vec::new();
        for n in 0..windows * WITHIN.as_secs() {
            let at = now + Duration::from_secs(n);
            away.extend(all.iter().filter(|peer| deaf.slow(**peer, at)).map(|_| at));
        }
        assert!((2..=4).contains(&away.len()), "{}", away.len());
        assert!(away.windows(2).all(|pair| pair[1] - pair[0] >= WITHIN));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten() {
        let (mut deaf, now) = (Deaf::default(), Instant::now());
        for _ in 0..MAX + 5 {
            deaf.slow(PeerId::random(), now);
        }
        assert_eq!(deaf.slow.len(), MAX);
        deaf.slow(PeerId::random(), now + WITHIN);
        assert_eq!(deaf.slow.len(), 1);
    }
}
