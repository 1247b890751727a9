//! What is to be said to one node, and what was said and not answered yet.

use hive_protocol::{
    ids::{NodeId, NoticeId},
    notice::{MAX_NOTICES_IN_FLIGHT, Priority},
    time::Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// What a node is to be told of a notice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Work {
    /// To a recipient: it is taken back.
    Withdraw,
    /// To a recipient: take it.
    Deliver,
    /// To an authority: keep it.
    Deposit,
    /// To an authority: keep it no longer.
    Release,
}

/// A place in a queue: urgent first, then older first.
pub(super) type Due = (Priority, u64, NoticeId, Work);

/// A node there is something to say to.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub up: bool,
    /// Since the last good answer.
    pub failures: u32,
    /// Not tried before.
    pub retry_at: Timestamp,
    pub due: BTreeSet<Due>,
    /// Said and not answered, with the recipients an authority was told.
    pub flying: BTreeMap<(NoticeId, Work), (Due, Vec<NodeId>)>,
    /// Without a word from the node until then, what is flying counts as lost.
    pub deadline: Timestamp,
}

impl Peer {
    /// Whether something may be said now.
    pub(super) fn ready(&self, now: Timestamp) -> bool {
        !self.due.is_empty() && self.flying.len() < MAX_NOTICES_IN_FLIGHT && self.retry_at <= now
    }

    /// When something is to be done without any input.
    pub(super) fn timeout(&self) -> Option<Timestamp> {
        let retry =
            (!self.due.is_empty() && self.flying.len() < MAX_NOTICES_IN_FLIGHT).then_some(self.retry_at);
        let deadline = (!self.flying.is_empty()).then_some(self.deadline);
        retry.into_iter().chain(deadline).min()
    }

    /// Takes a word about a notice out of the queue and out of the air; the recipients an authority was told.
    pub(super) fn settle(&mut self, id: NoticeId, work: Work) -> Option<Vec<NodeId>> {
        self.due.retain(|d| !(d.2 == id && d.3 == work));
        self.flying.remove(&(id, work)).map(|(_, nodes)| nodes)
    }

    /// Everything in the air is due again.
    pub(super) fn ground(&mut self) {
        for (_, (due, _)) in std::mem::take(&mut self.flying) {
            self.due.insert(due);
        }
    }

    /// Whether nothing is remembered of it that matters.
    pub(super) fn idle(&self) -> bool {
        !self.up && self.due.is_empty() && self.flying.is_empty()
    }
}
