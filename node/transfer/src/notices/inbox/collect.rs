//! Fetching mail from the authorities.

use super::Inbox;
use crate::notices::backoff;
use hive_protocol::{
    credential::Tier,
    ids::{NodeId, NoticeId},
    notice::{Notice, NoticeMsg},
    time::Timestamp,
};
use std::collections::BTreeMap;

/// An authority with a mailbox.
#[derive(Debug, Default)]
pub(super) struct Office {
    /// Whether it was asked and has not said that there is no more.
    pub asked: bool,
    pub failures: u32,
    /// When it is asked, or given up waiting for.
    pub next: Timestamp,
}

impl Office {
    pub(super) const fn timeout(&self) -> Timestamp {
        self.next
    }
}

impl Inbox {
    pub(super) fn set_offices(&mut self, nodes: &[NodeId]) {
        let mut old = std::mem::take(&mut self.offices);
        self.offices = nodes
            .iter()
            .map(|n| (*n, old.remove(n).unwrap_or_default()))
            .collect::<BTreeMap<_, _>>();
    }

    /// Asks every authority that is due.
    pub(super) fn ask_offices(&mut self, now: Timestamp) {
        let mut ask = Vec::new();
        for (node, office) in &mut self.offices {
            if office.next > now {
                continue;
            }
            if office.asked {
                // No answer: as when the link had broken.
                office.asked = false;
                office.failures = office.failures.saturating_add(1);
                let (first, longest) = self.config.retry;
                office.next = now + backoff::pause(office.failures, first, longest, &mut self.seed);
                continue;
            }
            office.asked = true;
            office.next = now + self.config.answer_within;
            ask.push(*node);
        }
        for node in ask {
            self.say(node, NoticeMsg::Collect);
        }
    }

    pub(super) fn office_up(&mut self, now: Timestamp, node: NodeId) {
        if let Some(office) = self.offices.get_mut(&node) {
            *office = Office {
                next: now,
                ..Office::default()
            };
        }
    }

    pub(super) fn office_broken(&mut self, now: Timestamp, node: NodeId) {
        if let Some(office) = self.offices.get_mut(&node).filter(|o| o.asked) {
            office.asked = false;
            office.failures = office.failures.saturating_add(1);
            let (first, longest) = self.config.retry;
            office.next = now + backoff::pause(office.failures, first, longest, &mut self.seed);
        }
    }

    /// A page: all that is taken, known or useless need not be kept there any longer.
    pub(super) fn mail(
        &mut self,
        now: Timestamp,
        from: NodeId,
        notices: Vec<(Notice, Option<Tier>)>,
        useless: Vec<NoticeId>,
        end: bool,
    ) {
        let Some(office) = self.offices.get_mut(&from) else {
            return;
        };
        office.failures = 0;
        if end {
            office.asked = false;
            office.next = now + self.config.collect_every;
            return;
        }
        office.asked = true;
        office.next = now + self.config.answer_within;
        let mut taken = useless;
        for (notice, tier) in notices {
            let key = (notice.from, notice.id);
            if self.take(now, notice, tier) {
                taken.push(key.1);
                self.tell(now, key);
            }
        }
        self.say(from, NoticeMsg::Taken(taken));
    }
}
