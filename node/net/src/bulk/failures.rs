//! The nodes a direct connection failed to lately, so that not every stream pays for finding out again.

use hive_protocol::ids::NodeId;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A failure is remembered for so long, or until the node connects to the mesh anew.
const REMEMBERED: Duration = Duration::from_secs(5 * 60);
/// Failures remembered; the oldest is forgotten above that.
const MAX_REMEMBERED: usize = 1024;

/// The memory.
#[derive(Default)]
pub(crate) struct Failures {
    /// By node, and whether the way went through a relay.
    since: Mutex<BTreeMap<(NodeId, bool), Instant>>,
}

impl Failures {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(NodeId, bool), Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a try has failed lately.
    pub(crate) fn lately(&self, node: NodeId, relayed: bool, now: Instant) -> bool {
        let mut since = self.lock();
        let lately = since
            .get(&(node, relayed))
            .is_some_and(|at| now.saturating_duration_since(*at) < REMEMBERED);
        if !lately {
            since.remove(&(node, relayed));
        }
        lately
    }

    /// Notes a failure.
    pub(crate) fn note(&self, node: NodeId, relayed: bool, now: Instant) {
        let mut since = self.lock();
        since.insert((node, relayed), now);
        if since.len() > MAX_REMEMBERED
            && let Some(oldest) = since.iter().min_by_key(|(_, at)| **at).map(|(n, _)| *n)
        {
            since.remove(&oldest);
        }
    }

    /// The node may be reachable now.
    pub(crate) fn forget(&self, node: NodeId) {
        let mut since = self.lock();
        for relayed in [false, true] {
            since.remove(&(node, relayed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_remembered_for_a_while_and_the_memory_is_bounded() {
        let (failures, now) = (Failures::default(), Instant::now());
        let node = |n: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_le_bytes());
            NodeId(id)
        };
        for n in 0..=MAX_REMEMBERED {
            failures.note(node(n), false, now + Duration::from_millis(n as u64));
        }
        assert_eq!(failures.lock().len(), MAX_REMEMBERED);
        assert!(!failures.lately(node(0), false, now) && failures.lately(node(1), false, now));
        assert!(!failures.lately(node(1), false, now + REMEMBERED + REMEMBERED));
        assert!(!failures.lately(node(2), true, now), "another way may work");
        failures.forget(node(2));
        assert!(!failures.lately(node(2), false, now));
    }
}
