//! What senders hear: states as they change, final ones until they have confirmed them.

use super::{Effect, Inbox, row::Key};
use crate::notices::backoff;
use hive_protocol::{
    ids::{NodeId, NoticeId},
    notice::{MAX_NOTICES_IN_FLIGHT, NoticeMsg},
    time::Timestamp,
};
use std::collections::BTreeSet;

/// A node that has sent something.
#[derive(Debug, Default)]
pub(super) struct Sender {
    pub up: bool,
    pub failures: u32,
    /// When what is owed is said again.
    pub retry_at: Timestamp,
    /// Notices whose final state it has not confirmed.
    pub owed: BTreeSet<NoticeId>,
}

impl Sender {
    pub(super) fn timeout(&self) -> Option<Timestamp> {
        (!self.owed.is_empty()).then_some(self.retry_at)
    }

    fn idle(&self) -> bool {
        !self.up && self.owed.is_empty()
    }
}

impl Inbox {
    pub(super) fn up(&mut self, now: Timestamp, node: NodeId) {
        let sender = self.senders.entry(node).or_default();
        sender.up = true;
        sender.failures = 0;
        sender.retry_at = now;
        self.office_up(now, node);
        // What has not ended is said once; what has, by the timer that is due now.
        let open: Vec<Key> = self
            .items
            .values()
            .filter(|i| i.notice.from == node && !i.ended())
            .map(super::row::Item::key)
            .take(MAX_NOTICES_IN_FLIGHT)
            .collect();
        for key in open {
            self.tell(now, key);
        }
    }

    pub(super) fn down(&mut self, node: NodeId) {
        if let Some(sender) = self.senders.get_mut(&node) {
            sender.up = false;
            if sender.idle() {
                self.senders.remove(&node);
            }
        }
    }

    pub(super) fn broken(&mut self, now: Timestamp, node: NodeId) {
        self.office_broken(now, node);
        if let Some(sender) = self.senders.get_mut(&node).filter(|s| !s.owed.is_empty()) {
            sender.failures = sender.failures.saturating_add(1);
            let (first, longest) = self.config.retry;
            sender.retry_at = now + backoff::pause(sender.failures, first, longest, &mut self.seed);
        }
    }

    /// Says where a notice stands, if its sender is there; otherwise what is final waits, and the rest is news of
    /// yesterday.
    pub(super) fn tell(&mut self, now: Timestamp, key: Key) {
        let state = match self.items.get(&key) {
            Some(item) => Some(item.state()),
            None => self.seen.get(&key).and_then(|s| s.last.clone()),
        };
        let Some(state) = state else { return };
        let sender = self.senders.entry(key.0).or_default();
        if !sender.up {
            // Owed states are tried at once when there has been no failure.
            if sender.failures == 0 {
                sender.retry_at = sender.retry_at.min(now);
            }
            if sender.idle() {
                self.senders.remove(&key.0);
            }
            return;
        }
        self.say(key.0, NoticeMsg::State { id: key.1, state });
    }

    /// Says owed states again where it is due.
    pub(super) fn tell_due(&mut self, now: Timestamp) {
        let mut say: Vec<(Key, hive_protocol::notice::DeliveryState)> = Vec::new();
        for (node, sender) in &mut self.senders {
            if sender.owed.is_empty() || sender.retry_at > now {
                continue;
            }
            sender.failures = sender.failures.saturating_add(1);
            let (first, longest) = self.config.retry;
            // The first pause is long enough for an answer.
            let first = first.max(self.config.answer_within);
            sender.retry_at = now + backoff::pause(sender.failures, first, longest, &mut self.seed);
            for id in sender.owed.iter().take(MAX_NOTICES_IN_FLIGHT) {
                let key = (*node, *id);
                if let Some(state) = self.seen.get(&key).and_then(|s| s.last.clone()) {
                    say.push((key, state));
                }
            }
        }
        for ((node, id), state) in say {
            self.say(node, NoticeMsg::State { id, state });
        }
    }

    pub(super) fn noted(&mut self, now: Timestamp, from: NodeId, ids: &[NoticeId]) {
        for id in ids.iter().copied() {
            let key = (from, id);
            let Some(seen) = self.seen.get_mut(&key).filter(|s| s.owed()) else {
                continue;
            };
            seen.told = true;
            let outdated = seen
                .sync
                .is_some_and(|(sync, seq)| self.mirrors.get(&(from, sync)).is_some_and(|m| seq < m.seq));
            if outdated && !self.items.contains_key(&key) {
                // Its number tells a repeat.
                self.drop_seen(key);
            } else if let Some(seen) = self.seen.get(&key) {
                self.effects.push_back(Effect::Write(seen.write(key)));
            }
            if let Some(sender) = self.senders.get_mut(&from) {
                sender.owed.remove(&id);
            }
        }
        if let Some(sender) = self.senders.get_mut(&from) {
            sender.failures = 0;
            sender.retry_at = now + self.config.answer_within;
            if sender.idle() {
                self.senders.remove(&from);
            } else if sender.owed.len() >= MAX_NOTICES_IN_FLIGHT {
                // The next ones of a long list.
                sender.retry_at = now;
            }
        }
    }
}
