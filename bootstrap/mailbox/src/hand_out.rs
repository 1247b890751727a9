//! Handing mail out, and taking it back.

use crate::{Effect, Key, Mailbox};
use hive_protocol::{
    ids::{NodeId, NoticeId},
    notice::MAX_MAIL,
    time::Timestamp,
};

impl Mailbox {
    /// The next page for a recipient: what has not been handed out since it asked, oldest first.
    pub(crate) fn page(&mut self, now: Timestamp, node: NodeId) {
        let after = self.cursors.get(&node).copied().unwrap_or(0);
        let mut keys = Vec::new();
        let mut reached = after;
        let from = after.saturating_add(1);
        for (order, key) in self.boxes.get(&node).into_iter().flat_map(|b| b.range(from..)) {
            reached = *order;
            if self.held.get(key).is_some_and(|h| now < h.expires) {
                keys.push(*key);
            }
            if keys.len() >= MAX_MAIL {
                break;
            }
        }
        if keys.is_empty() {
            self.cursors.remove(&node);
        } else {
            self.cursors.insert(node, reached);
        }
        self.effects.push_back(Effect::Page(node, keys));
    }

    pub(crate) fn taken(&mut self, now: Timestamp, node: NodeId, ids: &[NoticeId]) {
        // Without a cursor this process was started since it was handed out: the recipient knows what it has.
        let up_to = self.cursors.get(&node).copied().unwrap_or(u64::MAX);
        let places = self.boxes.get(&node).into_iter().flat_map(|b| b.range(..=up_to));
        let gone: Vec<(u64, Key)> = places
            .filter(|(_, key)| ids.contains(&key.1))
            .map(|(order, key)| (*order, *key))
            .collect();
        for (order, key) in gone {
            self.free(node, order, key);
        }
        if up_to == u64::MAX {
            self.effects.push_back(Effect::Page(node, Vec::new()));
        } else {
            self.page(now, node);
        }
    }

    pub(crate) fn withdraw(&mut self, from: NodeId, id: NoticeId, recipients: &[NodeId]) {
        let key = (from, id);
        let waiting = self.held.get(&key).map(|h| h.waiting.clone());
        for node in waiting.into_iter().flatten() {
            let named = recipients.is_empty() || recipients.contains(&node);
            if let Some(order) = self.place_of(&node, key).filter(|_| named) {
                self.free(node, order, key);
            }
        }
        self.effects.push_back(Effect::Noted(key));
    }
}
