//! A notice of ours and where it stands with each recipient.

use crate::notices::{RestoreError, Table, Write, is_final, table};
use hive_protocol::{
    ids::{NodeId, NoticeId, SyncId},
    keys::Signed,
    notice::{DeliveryState, Notice, NoticeBody},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Where a notice stands with one recipient, as far as its sender knows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Standing {
    /// Not yet known to have arrived anywhere.
    Queued,
    /// An authority keeps it for the recipient.
    Kept,
    /// The recipient has it.
    At(DeliveryState),
    /// Taken back before the recipient had dealt with it, or made idle by a newer state of the same mirror.
    Cancelled,
    /// Its time was over before the recipient was known to have it.
    Expired,
}

impl Standing {
    /// Whether nothing comes after it.
    #[must_use]
    pub const fn ended(&self) -> bool {
        match self {
            Self::Queued | Self::Kept => false,
            Self::At(state) => is_final(state),
            Self::Cancelled | Self::Expired => true,
        }
    }
}

/// A notice at one recipient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Delivery {
    pub standing: Standing,
    /// Authorities that may keep it for this recipient: noted before it is said to them.
    pub kept_at: BTreeSet<NodeId>,
    pub changed: Timestamp,
    /// Times it was said to the recipient or to an authority.
    pub tries: u32,
}

#[derive(Serialize, Deserialize)]
struct KeptDelivery(Standing, Vec<NodeId>, Timestamp, u32);

/// A notice of ours.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub signed: Signed<Notice>,
    pub notice: Notice,
    /// Counts up: the order of sending.
    pub order: u64,
    pub cancelled: bool,
    /// Looks in a row at which its time was over; not kept.
    pub overdue: u8,
    pub to: BTreeMap<NodeId, Delivery>,
}

#[derive(Serialize, Deserialize)]
struct KeptSent(u64, bool, Signed<Notice>);

impl Sent {
    pub(super) fn live(&self, now: Timestamp) -> bool {
        now < self.notice.expires
    }

    pub(super) fn ended(&self) -> bool {
        self.to.values().all(|d| d.standing.ended())
    }

    /// Deliveries that have not ended.
    pub(super) fn open(&self) -> usize {
        self.to.values().filter(|d| !d.standing.ended()).count()
    }

    pub(super) fn sync(&self) -> Option<(SyncId, u64)> {
        match &self.notice.body {
            NoticeBody::File(file) => file.sync.as_ref().map(|s| (s.sync, s.seq)),
            _ => None,
        }
    }

    pub(super) fn write(&self) -> Write {
        Write {
            table: Table::Sent,
            key: self.notice.id.0.to_vec(),
            value: table::encode(&KeptSent(self.order, self.cancelled, self.signed.clone())),
        }
    }

    /// Reads what [`Sent::write`] made; deliveries follow, those not found are queued.
    pub(super) fn read(key: &[u8], value: &[u8]) -> Result<Self, RestoreError> {
        let KeptSent(order, cancelled, signed) = table::decode(value)?;
        let notice = signed.peek()?;
        if notice.id.0.as_slice() != key {
            return Err(RestoreError::Key(key.len()));
        }
        let to = notice
            .to
            .iter()
            .map(|n| (*n, Delivery::new(notice.created)))
            .collect();
        Ok(Self {
            signed,
            notice,
            order,
            cancelled,
            overdue: 0,
            to,
        })
    }
}

impl Delivery {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self {
            standing: Standing::Queued,
            kept_at: BTreeSet::new(),
            changed: now,
            tries: 0,
        }
    }

    pub(super) fn write(&self, id: NoticeId, node: NodeId) -> Write {
        let kept_at = self.kept_at.iter().copied().collect();
        let kept = KeptDelivery(self.standing.clone(), kept_at, self.changed, self.tries);
        Write {
            table: Table::Delivery,
            key: table::join(&id.0, &node.0),
            value: table::encode(&kept),
        }
    }

    pub(super) fn read(key: &[u8], value: &[u8]) -> Result<(NoticeId, NodeId, Self), RestoreError> {
        let (id, node) = table::part::<16, 32>(key)?;
        let KeptDelivery(standing, kept_at, changed, tries) = table::decode(value)?;
        let delivery = Self {
            standing,
            kept_at: kept_at.into_iter().collect(),
            changed,
            tries,
        };
        Ok((NoticeId(id), NodeId(node), delivery))
    }
}
