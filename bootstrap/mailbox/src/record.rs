//! What is kept of a notice in memory, and how it lies on the disk.

use crate::{Effect, Key, Mailbox, Share};
use hive_protocol::{
    codec::{self, CodecError},
    ids::{NodeId, NoticeId, SyncId},
    notice::{Notice, NoticeBody},
    time::Timestamp,
};
use std::collections::BTreeSet;

/// A small row; the notice itself lies beside it under its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Row {
    /// A place in a recipient's box. 32 bytes recipient, 8 bytes arrival, big endian; the value is the notice's key.
    Place {
        /// For whom.
        node: NodeId,
        /// Counts up.
        order: u64,
        /// Which notice.
        key: Key,
    },
    /// That place is free again.
    Free {
        /// For whom it was.
        node: NodeId,
        /// Which place.
        order: u64,
    },
    /// The notice is no longer kept for anybody.
    Gone(Key),
}

/// Why a row is passed over when restoring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Its notice is missing, or not for this recipient.
    #[error("what it belongs to is missing")]
    Orphan,
}

/// A notice kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub order: u64,
    pub expires: Timestamp,
    pub size: usize,
    pub sync: Option<(SyncId, u64)>,
    /// For whom still.
    pub waiting: BTreeSet<NodeId>,
    /// Looks in a row at which it had expired.
    pub overdue: u8,
}

impl Held {
    pub(crate) fn new(notice: &Notice, size: usize, order: u64) -> Self {
        let sync = match &notice.body {
            NoticeBody::File(file) => file.sync.as_ref().map(|s| (s.sync, s.seq)),
            _ => None,
        };
        Self {
            order,
            expires: notice.expires,
            size,
            sync,
            waiting: BTreeSet::new(),
            overdue: 0,
        }
    }
}

impl Row {
    /// The key of a place.
    #[must_use]
    pub fn place_key(node: &NodeId, order: u64) -> Vec<u8> {
        let mut key = node.0.to_vec();
        key.extend_from_slice(&order.to_be_bytes());
        key
    }

    /// The bytes of a notice's key.
    #[must_use]
    pub fn notice_key((from, id): &Key) -> Vec<u8> {
        let mut key = from.0.to_vec();
        key.extend_from_slice(&id.0);
        key
    }

    /// Reads a place.
    ///
    /// # Errors
    /// Bytes that are none.
    pub fn read_place(key: &[u8], value: &[u8]) -> Result<(NodeId, u64, Key), CodecError> {
        let (node, order) = codec::decode::<(NodeId, [u8; 8])>("mailbox place", key, 40)?;
        let key = codec::decode::<(NodeId, NoticeId)>("mailbox notice", value, 48)?;
        Ok((node, u64::from_be_bytes(order), key))
    }
}

impl Mailbox {
    /// Takes back a notice that was written, before its places.
    pub fn restore_notice(&mut self, notice: &Notice, size: usize) {
        let key = (notice.from, notice.id);
        self.insert(key, Held::new(notice, size, 0));
    }

    /// Takes back a place that was written.
    ///
    /// # Errors
    /// A place of a notice that is not there.
    pub fn restore_place(&mut self, node: NodeId, order: u64, key: Key) -> Result<(), RestoreError> {
        self.next_order = self.next_order.max(order.saturating_add(1));
        let held = self.held.get_mut(&key).ok_or(RestoreError::Orphan)?;
        held.order = held.order.max(order);
        self.occupy(node, order, key);
        Ok(())
    }

    /// All is restored: what has no places is thrown away.
    pub fn restored(&mut self, now: Timestamp) {
        self.last = now;
        self.next_look = now + crate::LOOK_EVERY;
        let empty: Vec<Key> = self
            .held
            .iter()
            .filter(|(_, h)| h.waiting.is_empty())
            .map(|(k, _)| *k)
            .collect();
        for key in empty {
            self.drop_notice(key);
        }
    }

    pub(crate) fn insert(&mut self, key: Key, held: Held) {
        if self.held.contains_key(&key) {
            return;
        }
        let share = self.senders.entry(key.0).or_default();
        share.notices += 1;
        share.bytes += held.size;
        self.bytes += held.size;
        if let Some((sync, _)) = held.sync {
            self.syncs.entry((key.0, sync)).or_default().insert(key.1);
        }
        self.held.insert(key, held);
    }

    /// Gives a notice a place in a recipient's box.
    pub(crate) fn occupy(&mut self, node: NodeId, order: u64, key: Key) {
        let Some(held) = self.held.get_mut(&key) else {
            return;
        };
        if !held.waiting.insert(node) {
            return;
        }
        self.boxes.entry(node).or_default().insert(order, key);
        self.senders.entry(key.0).or_default().places += 1;
        self.places += 1;
    }

    /// Frees a place; the notice goes with its last one.
    pub(crate) fn free(&mut self, node: NodeId, order: u64, key: Key) {
        let Some(places) = self.boxes.get_mut(&node) else {
            return;
        };
        if places.remove(&order).is_none() {
            return;
        }
        if places.is_empty() {
            self.boxes.remove(&node);
        }
        self.effects.push_back(Effect::Write(Row::Free { node, order }));
        self.places = self.places.saturating_sub(1);
        if let Some(share) = self.senders.get_mut(&key.0) {
            share.places = share.places.saturating_sub(1);
        }
        let Some(held) = self.held.get_mut(&key) else {
            return;
        };
        held.waiting.remove(&node);
        if held.waiting.is_empty() {
            self.drop_notice(key);
        }
    }

    /// The place a notice has in a recipient's box.
    pub(crate) fn place_of(&self, node: &NodeId, key: Key) -> Option<u64> {
        let places = self.boxes.get(node)?;
        places.iter().find(|(_, k)| **k == key).map(|(order, _)| *order)
    }

    fn drop_notice(&mut self, key: Key) {
        let Some(held) = self.held.remove(&key) else {
            return;
        };
        self.bytes = self.bytes.saturating_sub(held.size);
        if let Some(share) = self.senders.get_mut(&key.0) {
            share.notices = share.notices.saturating_sub(1);
            share.bytes = share.bytes.saturating_sub(held.size);
            if *share == Share::default() {
                self.senders.remove(&key.0);
            }
        }
        if let Some((sync, _)) = held.sync {
            let place = (key.0, sync);
            if let Some(ids) = self.syncs.get_mut(&place) {
                ids.remove(&key.1);
                if ids.is_empty() {
                    self.syncs.remove(&place);
                }
            }
        }
        self.effects.push_back(Effect::Write(Row::Gone(key)));
    }
}
