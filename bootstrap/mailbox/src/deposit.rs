//! Keeping a notice: who may ask for it, and whether there is room.

use crate::{
    Effect, Key, MAX_BYTES, MAX_BYTES_OF_SENDER, MAX_FOR_RECIPIENT, MAX_NOTICES, MAX_OF_ONE_FOR_ONE,
    MAX_OF_SENDER, MAX_PLACES, MAX_PLACES_OF_SENDER, Mailbox,
    record::{Held, Row},
};
use hive_protocol::{
    command::Refusal,
    ids::{NetworkId, NodeId, SyncId},
    keys::Signed,
    notice::{MAX_NOTICE_LIFE, Notice},
    time::{MAX_CLOCK_SKEW, Timestamp},
};
use std::collections::BTreeSet;

/// Why a notice is not kept, whatever room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Forged, or signed by another node than it is from, or brought by another.
    #[error("a notice is kept for the node only that has signed it")]
    Signer,
    /// Of another mesh.
    #[error("the notice is of another mesh")]
    Network,
    /// Beyond a bound of its form.
    #[error("the notice is malformed: {0}")]
    Form(&'static str),
    /// Its time is over.
    #[error("the notice has expired")]
    Expired,
    /// It would live longer than any may.
    #[error("the notice is from the future by the authority's clock")]
    Early,
}

impl Unfit {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Signer | Self::Network | Self::Form(_) => "mailbox.invalid",
            Self::Expired | Self::Early => "mailbox.time",
        }
    }
}

/// Checks a notice that `by` wants kept. Costs a signature check.
///
/// # Errors
/// The first reason not to keep it.
pub fn check(
    signed: &Signed<Notice>,
    network: NetworkId,
    by: NodeId,
    now: Timestamp,
) -> Result<Notice, Unfit> {
    let notice = signed.verify_by(&by.0).map_err(|_| Unfit::Signer)?;
    if notice.from != by {
        return Err(Unfit::Signer);
    }
    if notice.network != network {
        return Err(Unfit::Network);
    }
    if let Some(fault) = notice.fault() {
        return Err(Unfit::Form(fault));
    }
    if now >= notice.expires {
        return Err(Unfit::Expired);
    }
    if notice.expires > now + MAX_NOTICE_LIFE + MAX_CLOCK_SKEW {
        return Err(Unfit::Early);
    }
    Ok(notice)
}

impl Mailbox {
    pub(crate) fn deposit(
        &mut self,
        now: Timestamp,
        notice: &Notice,
        size: usize,
        recipients: Vec<NodeId>,
        strangers: &[NodeId],
    ) {
        let key = (notice.from, notice.id);
        let asked: BTreeSet<NodeId> = recipients.into_iter().collect();
        let mut refused = None;
        let mut kept = Vec::new();
        let fresh = !self.held.contains_key(&key);
        let mut held = Some(Held::new(notice, size, self.next_order)).filter(|_| fresh);
        if self.held.is_empty() {
            self.next_look = now + crate::LOOK_EVERY;
        }
        for node in asked {
            if notice.to.binary_search(&node).is_err() || strangers.contains(&node) {
                let detail = format!("{node} is no member or none of the notice's recipients");
                refused = Some(Refusal::new("mailbox.recipient", detail));
                continue;
            }
            if self.held.get(&key).is_some_and(|h| h.waiting.contains(&node)) || self.outdated(notice, node) {
                kept.push(node);
                continue;
            }
            self.supersede(notice, node);
            if let Some(why) = self.full(key, node, held.as_ref().map(|h| h.size)) {
                refused = Some(why);
                continue;
            }
            if let Some(held) = held.take() {
                self.insert(key, held);
                self.effects.push_back(Effect::Store(key));
            }
            let order = self.next_order;
            self.next_order = order.saturating_add(1);
            self.occupy(node, order, key);
            self.effects
                .push_back(Effect::Write(Row::Place { node, order, key }));
            self.effects.push_back(Effect::News(node));
            kept.push(node);
        }
        self.effects.push_back(Effect::Deposited { key, kept, refused });
    }

    /// Why there is no room for one more place; `size` of the notice when it is new.
    fn full(&self, key: Key, node: NodeId, size: Option<usize>) -> Option<Refusal> {
        let share = self.senders.get(&key.0).copied().unwrap_or_default();
        let of_recipient = self.boxes.get(&node);
        let count = of_recipient.map_or(0, std::collections::BTreeMap::len);
        let (new, bytes) = size.map_or((0, 0), |s| (1, s));
        let bounds = [
            ("notices", self.held.len() + new, MAX_NOTICES),
            ("bytes", self.bytes + bytes, MAX_BYTES),
            ("places", self.places + 1, MAX_PLACES),
            ("notices of this sender", share.notices + new, MAX_OF_SENDER),
            ("bytes of this sender", share.bytes + bytes, MAX_BYTES_OF_SENDER),
            ("places of this sender", share.places + 1, MAX_PLACES_OF_SENDER),
            ("notices for this recipient", count + 1, MAX_FOR_RECIPIENT),
        ];
        let over = bounds.into_iter().find(|(_, would, limit)| would > limit);
        if let Some((what, _, limit)) = over {
            return Some(full_of(limit, what));
        }
        // Counted only when it can matter.
        if count >= MAX_OF_ONE_FOR_ONE {
            let of_one = of_recipient.into_iter().flatten().filter(|(_, k)| k.0 == key.0);
            if of_one.count() >= MAX_OF_ONE_FOR_ONE {
                return Some(full_of(
                    MAX_OF_ONE_FOR_ONE,
                    "notices of this sender for this recipient",
                ));
            }
        }
        None
    }

    fn states(&self, from: NodeId, sync: SyncId) -> Vec<(Key, u64, &Held)> {
        let ids = self.syncs.get(&(from, sync)).into_iter().flatten();
        ids.filter_map(|id| {
            let key = (from, *id);
            let held = self.held.get(&key)?;
            Some((key, held.sync?.1, held))
        })
        .collect()
    }

    /// Whether a newer state of the same mirror is kept for this recipient already.
    fn outdated(&self, notice: &Notice, node: NodeId) -> bool {
        let Some((sync, seq)) = Held::new(notice, 0, 0).sync else {
            return false;
        };
        self.states(notice.from, sync)
            .iter()
            .any(|(_, newer, held)| *newer > seq && held.waiting.contains(&node))
    }

    /// Older states of the same mirror need not be kept for a recipient of this one.
    fn supersede(&mut self, notice: &Notice, node: NodeId) {
        let Some((sync, seq)) = Held::new(notice, 0, 0).sync else {
            return;
        };
        let older: Vec<Key> = self
            .states(notice.from, sync)
            .into_iter()
            .filter(|(_, older, held)| *older < seq && held.waiting.contains(&node))
            .map(|(key, ..)| key)
            .collect();
        for key in older {
            if let Some(order) = self.place_of(&node, key) {
                self.free(node, order, key);
            }
        }
    }
}

fn full_of(limit: usize, what: &str) -> Refusal {
    Refusal::new(
        "mailbox.full",
        format!(
            "the mailbox holds {limit} {what} already; it takes more when some are taken or have expired"
        ),
    )
}
