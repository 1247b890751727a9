//! How many tests this node makes for others: each is a handshake towards an address somebody else names.

use hive_protocol::ids::NodeId;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The minute everything here counts in.
const SPAN: Duration = Duration::from_secs(60);
/// Tests of one asker a minute: QUIC and TCP, IPv4 and IPv6, and some tried again.
pub(super) const PER_ASKER: u32 = 12;
/// Tests of all askers a minute.
pub(super) const IN_ALL: u32 = 120;
/// Successes remembered: a stranger is asked to dial only what this node itself has reached.
const MAX_PROVEN: usize = 1024;
/// A success counts for this long.
const PROVEN_FOR: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
struct State {
    begun: Option<Instant>,
    all: u32,
    /// At most [`IN_ALL`].
    askers: BTreeMap<NodeId, u32>,
    /// At most [`MAX_PROVEN`].
    proven: BTreeMap<(NodeId, String), Instant>,
}

/// What is left of this minute, and what has been reached lately.
#[derive(Debug, Default)]
pub(super) struct Budget(Mutex<State>);

impl Budget {
    /// Takes one test; false when there is none left for this asker or for anybody.
    pub(super) fn take(&self, asker: NodeId, now: Instant) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state
            .begun
            .is_none_or(|begun| now.saturating_duration_since(begun) >= SPAN)
        {
            state.begun = Some(now);
            state.all = 0;
            state.askers.clear();
        }
        if state.all >= IN_ALL {
            return false;
        }
        let count = state.askers.entry(asker).or_insert(0);
        if *count >= PER_ASKER {
            return false;
        }
        *count = count.saturating_add(1);
        state.all = state.all.saturating_add(1);
        true
    }

    /// This node has reached the asker there.
    pub(super) fn proved(&self, asker: NodeId, addr: String, now: Instant) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state
            .proven
            .retain(|_, at| now.saturating_duration_since(*at) < PROVEN_FOR);
        if state.proven.len() < MAX_PROVEN {
            state.proven.insert((asker, addr), now);
        }
    }

    /// Whether it has lately.
    pub(super) fn proven(&self, asker: NodeId, addr: &str, now: Instant) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state
            .proven
            .get(&(asker, addr.to_owned()))
            .is_some_and(|at| now.saturating_duration_since(*at) < PROVEN_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_asker_and_all_together_are_bounded_each_minute() {
        let budget = Budget::default();
        let now = Instant::now();
        let node = |n: u8| NodeId([n; 32]);
        for _ in 0..PER_ASKER {
            assert!(budget.take(node(1), now));
        }
        assert!(!budget.take(node(1), now));
        let mut taken = PER_ASKER;
        for n in 2..=255 {
            taken += u32::from(budget.take(node(n), now));
        }
        assert_eq!(taken, IN_ALL);
        assert!(budget.take(node(1), now + SPAN));
    }

    #[test]
    fn what_was_reached_counts_for_five_minutes() {
        let budget = Budget::default();
        let (now, node) = (Instant::now(), NodeId([1; 32]));
        budget.proved(node, "a".to_owned(), now);
        assert!(budget.proven(node, "a", now));
        assert!(!budget.proven(node, "b", now));
        assert!(!budget.proven(NodeId([2; 32]), "a", now));
        assert!(!budget.proven(node, "a", now + PROVEN_FOR));
    }
}
