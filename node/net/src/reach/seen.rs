//! What members see this node as: the addresses its packets come from.

use hive_protocol::ids::NodeId;
use libp2p::Multiaddr;
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Observations kept.
const MAX_SEEN: usize = 128;
/// An observation counts for this long: mappings of routers change.
const SEEN_FOR: Duration = Duration::from_secs(1800);
/// Addresses given back.
pub(crate) const MAX_CANDIDATES: usize = 8;

#[derive(Debug)]
struct Sight {
    by: NodeId,
    addr: Multiaddr,
    at: Instant,
}

/// The observations, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<VecDeque<Sight>>);

impl Seen {
    /// A member sees this node as that.
    pub(crate) fn note(&self, by: NodeId, addr: Multiaddr, now: Instant) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|s| s.by != by || s.addr != addr);
        if all.len() >= MAX_SEEN {
            all.pop_front();
        }
        all.push_back(Sight { by, addr, at: now });
    }

    /// An interface has come or gone: what was seen before says nothing any more.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// All addresses seen lately.
    pub(crate) fn within(&self, now: Instant, span: Duration) -> Vec<Multiaddr> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = all.iter().filter(|s| now.saturating_duration_since(s.at) < span);
        fresh.map(|s| s.addr.clone()).collect()
    }

    /// The addresses, those seen by most members first and of those the newest; at most [`MAX_CANDIDATES`].
    pub(crate) fn most(&self, now: Instant) -> Vec<Multiaddr> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|s| now.saturating_duration_since(s.at) < SEEN_FOR);
        let mut found: Vec<(usize, Instant, Multiaddr)> = Vec::new();
        for sight in all.iter() {
            match found.iter_mut().find(|(_, _, addr)| *addr == sight.addr) {
                Some((count, at, _)) => {
                    *count = count.saturating_add(1);
                    *at = sight.at.max(*at);
                }
                None => found.push((1, sight.at, sight.addr.clone())),
            }
        }
        found.sort_by_key(|(count, at, _)| std::cmp::Reverse((*count, *at)));
        found.truncate(MAX_CANDIDATES);
        found.into_iter().map(|(_, _, addr)| addr).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_most_see_comes_first_and_both_bounds_hold() {
        let seen = Seen::default();
        let now = Instant::now();
        let addr = |port: usize| -> Multiaddr { format!("/ip4/203.0.113.5/tcp/{port}").parse().unwrap() };
        let node = |n: usize| NodeId([u8::try_from(n).unwrap(); 32]);
        seen.note(node(1), addr(1), now);
        seen.note(node(2), addr(1), now);
        // One observer that says the same again is still one.
        for _ in 0..3 {
            seen.note(node(3), addr(2), now + Duration::from_secs(1));
        }
        assert_eq!(seen.most(now), [addr(1), addr(2)]);
        for n in 0..2 * MAX_SEEN {
            seen.note(node(n % 200), addr(n + 1), now);
        }
        assert_eq!(seen.0.lock().unwrap().len(), MAX_SEEN);
        assert_eq!(seen.most(now).len(), MAX_CANDIDATES);
        assert!(seen.most(now + SEEN_FOR + SEEN_FOR).is_empty());
        seen.note(node(1), addr(1), now);
        seen.forget();
        assert!(seen.most(now).is_empty());
    }
}
