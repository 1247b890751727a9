//! Throwing away what has expired, and whether the books agree.

use crate::{
    Key, MAX_BYTES, MAX_FOR_RECIPIENT, MAX_NOTICES, MAX_OF_SENDER, MAX_PLACES, Mailbox, OVERDUE_LOOKS, Share,
};
use hive_protocol::{ids::NodeId, time::Timestamp};
use std::collections::BTreeMap;

impl Mailbox {
    pub(crate) fn look(&mut self, now: Timestamp) {
        let mut over: Vec<Key> = Vec::new();
        for (key, held) in &mut self.held {
            if now < held.expires {
                held.overdue = 0;
                continue;
            }
            held.overdue = held.overdue.saturating_add(1);
            if held.overdue >= OVERDUE_LOOKS {
                over.push(*key);
            }
        }
        for key in over {
            let waiting = self.held.get(&key).map(|h| h.waiting.clone());
            for node in waiting.into_iter().flatten() {
                if let Some(order) = self.place_of(&node, key) {
                    self.free(node, order, key);
                }
            }
        }
        self.cursors.retain(|node, _| self.boxes.contains_key(node));
    }

    /// Whether the books agree with each other and with the bounds.
    ///
    /// # Errors
    /// What does not.
    pub fn check_invariants(&self) -> Result<(), String> {
        let mut shares: BTreeMap<NodeId, Share> = BTreeMap::new();
        for (key, held) in &self.held {
            let share = shares.entry(key.0).or_default();
            share.notices += 1;
            share.bytes += held.size;
            share.places += held.waiting.len();
            if held.waiting.is_empty() {
                return Err(format!("{key:?} is kept for nobody"));
            }
        }
        if shares != self.senders {
            return Err("what senders have is noted wrongly".into());
        }
        let bytes: usize = shares.values().map(|s| s.bytes).sum();
        let places: usize = shares.values().map(|s| s.places).sum();
        let in_boxes: usize = self.boxes.values().map(BTreeMap::len).sum();
        if (bytes, places) != (self.bytes, self.places) || places != in_boxes {
            return Err(format!("{bytes} bytes, {places} places, {in_boxes} in boxes"));
        }
        if self.held.len() > MAX_NOTICES || bytes > MAX_BYTES || places > MAX_PLACES {
            return Err("over a bound of all".into());
        }
        if self
            .boxes
            .values()
            .any(|b| b.len() > MAX_FOR_RECIPIENT || b.is_empty())
        {
            return Err("over a bound of one recipient".into());
        }
        if shares.values().any(|s| s.notices > MAX_OF_SENDER) {
            return Err("over a bound of one sender".into());
        }
        for (node, places) in &self.boxes {
            for key in places.values() {
                if !self.held.get(key).is_some_and(|h| h.waiting.contains(node)) {
                    return Err(format!("a place of {node:?} holds nothing"));
                }
            }
        }
        Ok(())
    }
}
