//! The look at everything now and then: what has waited past its time, which traces may go, whether the books agree.

use super::{Inbox, MAX_ENDED, MAX_OPEN, MAX_PULLS, MAX_SEEN, OVERDUE_LOOKS, row::Key};
use hive_protocol::{notice::DeliveryState, time::Timestamp};

impl Inbox {
    pub(super) fn look(&mut self, now: Timestamp) {
        let mut over: Vec<Key> = Vec::new();
        for (key, item) in &mut self.items {
            if item.ended() || item.active() || now < item.notice.expires {
                item.overdue = 0;
                continue;
            }
            item.overdue = item.overdue.saturating_add(1);
            if item.overdue >= OVERDUE_LOOKS {
                over.push(*key);
            }
        }
        for key in over {
            let why = "its time was over before it could be had".to_owned();
            self.end(now, key, DeliveryState::Failed(why));
        }
        if self.seen.len() > MAX_SEEN / 2 {
            self.forget_expired(now, MAX_SEEN / 2);
        }
    }

    /// Whether the books agree with each other.
    ///
    /// # Errors
    /// What does not.
    pub fn check_invariants(&self) -> Result<(), String> {
        if self.seen.len() > MAX_SEEN {
            return Err(format!("{} traces", self.seen.len()));
        }
        let ended = self.items.values().filter(|i| i.ended()).count();
        if ended > MAX_ENDED || self.items.len() - ended > MAX_OPEN {
            return Err(format!("{} items, {ended} of them ended", self.items.len()));
        }
        if self.items.values().filter(|i| i.active()).count() > MAX_PULLS {
            return Err("too many pulls".into());
        }
        for (key, item) in &self.items {
            let Some(seen) = self.seen.get(key) else {
                if item.ended() {
                    continue;
                }
                return Err(format!("{key:?} is open and has left no trace"));
            };
            if item.ended() != seen.last.is_some() {
                return Err(format!("{key:?}: the list and the trace differ"));
            }
        }
        let owed = self.seen.iter().filter(|(_, s)| s.owed()).count();
        let noted: usize = self.senders.values().map(|s| s.owed.len()).sum();
        if owed != noted {
            return Err(format!("{owed} states are owed, {noted} are noted"));
        }
        Ok(())
    }
}
