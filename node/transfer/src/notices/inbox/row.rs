//! A notice taken, the trace it leaves, and a mirror it belongs to.

use crate::notices::{RestoreError, Table, Write, table};
use hive_protocol::{
    ids::{NodeId, NoticeId, SyncId, TransferId},
    notice::{DeliveryState, FileNotice, Notice, NoticeBody, Priority},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// A notice is known by its sender and the id that one gave it.
pub type Key = (NodeId, NoticeId);

/// What is being done about a notice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Somebody has to accept it.
    Asking,
    /// To be pulled; why not now.
    Waiting(String),
    /// A place for it is being looked for.
    Placing,
    /// Being pulled; why it does not move, if it does not.
    Moving {
        done: u64,
        total: u64,
        why: Option<String>,
    },
    /// Over.
    Ended(DeliveryState),
}

/// A notice in the list.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub notice: Notice,
    /// Counts up: the order of arrival.
    pub order: u64,
    pub arrived: Timestamp,
    pub stage: Stage,
    /// Where it goes: asked for by somebody, then as it was found free.
    pub dest: Option<String>,
    /// Whether a pull of it has begun, and `dest` is what it goes to.
    pub begun: bool,
    /// Failed attempts in a row; not kept.
    pub failures: u32,
    /// Not tried before; not kept.
    pub retry_at: Timestamp,
    /// Looks in a row at which its time was over; not kept.
    pub overdue: u8,
}

#[derive(Serialize, Deserialize)]
enum KeptStage {
    Asking,
    Open,
    Ended(DeliveryState),
}

#[derive(Serialize, Deserialize)]
struct KeptItem {
    notice: Notice,
    order: u64,
    arrived: Timestamp,
    stage: KeptStage,
    dest: Option<String>,
    begun: bool,
}

impl Item {
    pub(super) const fn key(&self) -> Key {
        (self.notice.from, self.notice.id)
    }

    pub(super) const fn file(&self) -> Option<&FileNotice> {
        match &self.notice.body {
            NoticeBody::File(file) => Some(file),
            _ => None,
        }
    }

    pub(super) fn sync(&self) -> Option<(SyncId, u64)> {
        self.file()?.sync.as_ref().map(|s| (s.sync, s.seq))
    }

    pub(super) const fn ended(&self) -> bool {
        matches!(self.stage, Stage::Ended(_))
    }

    pub(super) const fn active(&self) -> bool {
        matches!(self.stage, Stage::Placing | Stage::Moving { .. })
    }

    /// Urgent first, then older first.
    pub(super) const fn rank(&self) -> (Priority, u64) {
        (self.notice.priority, self.order)
    }

    /// The transfer it becomes: the same for ever.
    pub(super) fn transfer(&self) -> TransferId {
        let mut transfer = self.notice.id.0;
        for (a, b) in transfer.iter_mut().zip(self.notice.from.0) {
            *a ^= b;
        }
        TransferId(transfer)
    }

    /// As its sender hears it.
    pub(super) fn state(&self) -> DeliveryState {
        match &self.stage {
            Stage::Asking => DeliveryState::Waiting("waits for its owner's word".into()),
            Stage::Waiting(why) if why.is_empty() => DeliveryState::Received,
            Stage::Waiting(why) => DeliveryState::Waiting(why.clone()),
            Stage::Placing => DeliveryState::Received,
            Stage::Moving { why: Some(why), .. } => DeliveryState::Waiting(why.clone()),
            Stage::Moving { done, total, .. } => DeliveryState::Pulling {
                done: *done,
                total: *total,
            },
            Stage::Ended(state) => state.clone(),
        }
    }

    pub(super) fn write(&self) -> Write {
        let stage = match &self.stage {
            Stage::Asking => KeptStage::Asking,
            Stage::Waiting(_) | Stage::Placing | Stage::Moving { .. } => KeptStage::Open,
            Stage::Ended(state) => KeptStage::Ended(state.clone()),
        };
        let kept = KeptItem {
            notice: self.notice.clone(),
            order: self.order,
            arrived: self.arrived,
            stage,
            dest: self.dest.clone(),
            begun: self.begun,
        };
        Write {
            table: Table::Item,
            key: key_bytes(self.key()),
            value: table::encode(&kept),
        }
    }

    pub(super) fn read(key: &[u8], value: &[u8]) -> Result<Self, RestoreError> {
        let kept: KeptItem = table::decode(value)?;
        let item = Self {
            notice: kept.notice,
            order: kept.order,
            arrived: kept.arrived,
            stage: match kept.stage {
                KeptStage::Asking => Stage::Asking,
                KeptStage::Open => Stage::Waiting(String::new()),
                KeptStage::Ended(state) => Stage::Ended(state),
            },
            dest: kept.dest,
            begun: kept.begun,
            failures: 0,
            retry_at: Timestamp(0),
            overdue: 0,
        };
        if key_bytes(item.key()) == key {
            Ok(item)
        } else {
            Err(RestoreError::Key(key.len()))
        }
    }
}

pub(super) fn key_bytes((from, id): Key) -> Vec<u8> {
    table::join(&from.0, &id.0)
}

/// That a notice was taken.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub(super) struct Seen {
    pub expires: Timestamp,
    /// Its final state, once it has one.
    pub last: Option<DeliveryState>,
    /// Whether the sender has confirmed that state.
    pub told: bool,
    pub sync: Option<(SyncId, u64)>,
}

impl Seen {
    pub(super) const fn owed(&self) -> bool {
        self.last.is_some() && !self.told
    }

    pub(super) fn write(&self, key: Key) -> Write {
        Write {
            table: Table::Seen,
            key: key_bytes(key),
            value: table::encode(self),
        }
    }

    pub(super) fn read(key: &[u8], value: &[u8]) -> Result<(Key, Self), RestoreError> {
        let (from, id) = table::part::<32, 16>(key)?;
        Ok(((NodeId(from), NoticeId(id)), table::decode(value)?))
    }
}

/// A mirror another node keeps up here.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub(super) struct Mirror {
    /// The newest state heard of.
    pub seq: u64,
    /// Whether its states are applied without asking.
    pub accepted: bool,
    /// Where it goes, when somebody said so.
    pub dest: Option<String>,
}

impl Mirror {
    pub(super) fn write(&self, from: NodeId, sync: SyncId) -> Write {
        Write {
            table: Table::Mirror,
            key: table::join(&from.0, &sync.0),
            value: table::encode(self),
        }
    }

    pub(super) fn read(key: &[u8], value: &[u8]) -> Result<((NodeId, SyncId), Self), RestoreError> {
        let (from, sync) = table::part::<32, 16>(key)?;
        Ok(((NodeId(from), SyncId(sync)), table::decode(value)?))
    }
}
