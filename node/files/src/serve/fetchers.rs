//! Who fetches what from this node at the moment: told to fetchers, so that they find each other.

use hive_protocol::{
    file::MAX_FETCHERS,
    ids::{BlobHash, NodeId},
    time::{Millis, Timestamp},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// A node that has not asked for so long is no fetcher any more.
const FORGET_AFTER: Millis = Millis::secs(30);
/// Contents with fetchers at a time; of more the fetchers do not hear of each other, and nothing else happens.
const MAX_CONTENTS: usize = 4096;

type Table = BTreeMap<BlobHash, BTreeMap<NodeId, Timestamp>>;

/// The table. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Fetchers(Arc<Mutex<Table>>);

impl Fetchers {
    /// Notes that a node fetches this content.
    pub fn note(&self, hash: BlobHash, node: NodeId, now: Timestamp) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !table.contains_key(&hash) && table.len() >= MAX_CONTENTS {
            table.retain(|_, nodes| {
                nodes.retain(|_, seen| now.since(*seen) < FORGET_AFTER);
                !nodes.is_empty()
            });
            if table.len() >= MAX_CONTENTS {
                return;
            }
        }
        let nodes = table.entry(hash).or_default();
        if nodes.len() < MAX_FETCHERS || nodes.contains_key(&node) {
            nodes.insert(node, now);
        } else {
            nodes.retain(|_, seen| now.since(*seen) < FORGET_AFTER);
        }
    }

    /// Those who fetch this content now, in key order.
    pub fn of(&self, hash: &BlobHash, now: Timestamp) -> Vec<NodeId> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(nodes) = table.get(hash) else {
            return Vec::new();
        };
        let fresh = nodes.iter().filter(|(_, seen)| now.since(**seen) < FORGET_AFTER);
        fresh.map(|(node, _)| *node).take(MAX_FETCHERS).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fetchers_are_named_in_order_until_they_fall_silent() {
        let table = Fetchers::default();
        let hash = BlobHash([1; 32]);
        for n in (0..40).rev() {
            table.note(hash, NodeId([n; 32]), Timestamp(1000 + u64::from(n)));
        }
        let now = table.of(&hash, Timestamp(2000));
        assert_eq!(now.len(), MAX_FETCHERS);
        assert!(now.is_sorted());
        assert!(table.of(&hash, Timestamp(1000) + Millis::secs(31)).is_empty());
    }
}
