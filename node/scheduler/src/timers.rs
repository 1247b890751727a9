//! Deadlines by name: setting one again moves it. The shell owns the only real timer and asks for the next.

use hive_protocol::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// At most one deadline for each key, so its size is bounded by the things that have deadlines.
#[derive(Clone, Debug)]
pub(crate) struct Timers<K> {
    at: BTreeMap<K, Timestamp>,
    order: BTreeSet<(Timestamp, K)>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self {
            at: BTreeMap::new(),
            order: BTreeSet::new(),
        }
    }
}

impl<K: Ord + Copy> Timers<K> {
    /// Sets or moves a deadline.
    pub(crate) fn set(&mut self, key: K, at: Timestamp) {
        if let Some(old) = self.at.insert(key, at) {
            if old == at {
                return;
            }
            self.order.remove(&(old, key));
        }
        self.order.insert((at, key));
    }

    /// Sets a deadline unless an earlier one stands.
    pub(crate) fn set_earlier(&mut self, key: K, at: Timestamp) {
        if self.at.get(&key).is_none_or(|old| *old > at) {
            self.set(key, at);
        }
    }

    pub(crate) fn clear(&mut self, key: K) {
        if let Some(old) = self.at.remove(&key) {
            self.order.remove(&(old, key));
        }
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes one deadline that has passed, earliest first.
    pub(crate) fn take_due(&mut self, now: Timestamp) -> Option<K> {
        let (at, key) = *self.order.first()?;
        if at > now {
            return None;
        }
        self.order.remove(&(at, key));
        self.at.remove(&key);
        Some(key)
    }

    pub(crate) fn check(&self) {
        assert_eq!(self.at.len(), self.order.len(), "timers out of step");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moved_deadlines_fire_once_in_order() {
        let mut t = Timers::default();
        t.set(1, Timestamp(10));
        t.set(2, Timestamp(5));
        t.set(1, Timestamp(3));
        t.set_earlier(2, Timestamp(9));
        t.check();
        assert_eq!(t.next(), Some(Timestamp(3)));
        assert_eq!(t.take_due(Timestamp(4)), Some(1));
        assert_eq!(t.take_due(Timestamp(4)), None);
        assert_eq!(t.take_due(Timestamp(5)), Some(2));
        assert_eq!(t.next(), None);
    }
}
