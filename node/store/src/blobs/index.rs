//! What is in the store, when it was last used and who needs it: the in-memory table. Knows no files.

use super::{error::BlobError, tree};
use hive_protocol::{ids::BlobHash, time::Timestamp};
use std::{
    collections::{BTreeMap, btree_map},
    ops::Bound,
};

/// The most blobs one store holds: keeps the table below about 100 MiB.
pub(crate) const MAX_BLOBS: usize = 1_000_000;
/// The most pins: as many as there may be blobs.
pub(crate) const MAX_PINS: usize = 1_000_000;
/// The longest name of a pin's owner, in bytes (a job or task id with a word before it).
pub(crate) const MAX_OWNER_BYTES: usize = 96;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub len: u64,
    /// Microseconds of the last use, strictly increasing within a run.
    pub used: u64,
    /// `used` when the file's access time was last set.
    pub touched: u64,
    /// Not verified since the machine last started.
    pub suspect: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: BTreeMap<BlobHash, Entry>,
    pins: BTreeMap<BlobHash, BTreeMap<String, Option<Timestamp>>>,
    pin_count: usize,
    bytes: u64,
    charged: u64,
    clock: u64,
}

impl Index {
    pub(crate) fn get(&self, hash: &BlobHash) -> Option<Entry> {
        self.entries.get(hash).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Sum of the blobs' sizes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Sum of what the blobs count against the quota.
    pub(crate) fn charged(&self) -> u64 {
        self.charged
    }

    pub(crate) fn pinned_blobs(&self) -> usize {
        self.pins.len()
    }

    pub(crate) fn check_room(&self) -> Result<(), BlobError> {
        if self.entries.len() >= MAX_BLOBS {
            return Err(BlobError::Full {
                what: "blobs",
                limit: MAX_BLOBS,
            });
        }
        Ok(())
    }

    /// The next moment of use, in microseconds: never the same twice, so that the order of uses is total.
    pub(crate) fn tick(&mut self, now_us: u64) -> u64 {
        self.clock = now_us.max(self.clock.saturating_add(1));
        self.clock
    }

    /// Adds a blob; false when it was there.
    pub(crate) fn insert(&mut self, hash: BlobHash, entry: Entry) -> bool {
        match self.entries.entry(hash) {
            btree_map::Entry::Occupied(_) => false,
            btree_map::Entry::Vacant(v) => {
                v.insert(entry);
                self.bytes = self.bytes.saturating_add(entry.len);
                self.charged = self.charged.saturating_add(tree::charge(entry.len));
                true
            }
        }
    }

    pub(crate) fn remove(&mut self, hash: &BlobHash) -> Option<Entry> {
        let e = self.entries.remove(hash)?;
        self.bytes = self.bytes.saturating_sub(e.len);
        self.charged = self.charged.saturating_sub(tree::charge(e.len));
        Some(e)
    }

    pub(crate) fn get_mut(&mut self, hash: &BlobHash) -> Option<&mut Entry> {
        self.entries.get_mut(hash)
    }

    pub(crate) fn list(&self, after: Option<BlobHash>, limit: usize) -> Vec<(BlobHash, u64)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.entries
            .range((from, Bound::Unbounded))
            .take(limit)
            .map(|(h, e)| (*h, e.len))
            .collect()
    }

    pub(crate) fn pin(
        &mut self,
        hash: BlobHash,
        owner: &str,
        until: Option<Timestamp>,
    ) -> Result<(), BlobError> {
        if owner.len() > MAX_OWNER_BYTES {
            return Err(BlobError::Full {
                what: "bytes of a pin owner's name",
                limit: MAX_OWNER_BYTES,
            });
        }
        let known = self.pins.get(&hash).is_some_and(|p| p.contains_key(owner));
        if !known && self.pin_count >= MAX_PINS {
            return Err(BlobError::Full {
                what: "pins",
                limit: MAX_PINS,
            });
        }
        if self
            .pins
            .entry(hash)
            .or_default()
            .insert(owner.to_owned(), until)
            .is_none()
        {
            self.pin_count += 1;
        }
        Ok(())
    }

    pub(crate) fn unpin(&mut self, hash: &BlobHash, owner: &str) -> bool {
        let Some(owners) = self.pins.get_mut(hash) else {
            return false;
        };
        let had = owners.remove(owner).is_some();
        if owners.is_empty() {
            self.pins.remove(hash);
        }
        self.pin_count -= usize::from(had);
        had
    }

    pub(crate) fn unpin_all(&mut self, owner: &str) -> usize {
        let before = self.pin_count;
        self.retain_pins(|o, _| o != owner);
        before - self.pin_count
    }

    pub(crate) fn drop_expired_pins(&mut self, now: Timestamp) {
        self.retain_pins(|_, until| until.is_none_or(|u| u > now));
    }

    fn retain_pins(&mut self, keep: impl Fn(&str, Option<Timestamp>) -> bool) {
        let mut count = 0;
        self.pins.retain(|_, owners| {
            owners.retain(|o, until| keep(o, *until));
            count += owners.len();
            !owners.is_empty()
        });
        self.pin_count = count;
    }

    /// One of those who pinned it at this moment.
    pub(crate) fn pinned_by(&self, hash: &BlobHash, now: Timestamp) -> Option<&str> {
        self.pins
            .get(hash)?
            .iter()
            .find(|(_, until)| until.is_none_or(|u| u > now))
            .map(|(o, _)| o.as_str())
    }

    /// Unpinned blobs, least recently used first.
    pub(crate) fn coldest(&self) -> Vec<(BlobHash, Entry)> {
        let mut cold: Vec<_> = self
            .entries
            .iter()
            .filter(|(h, _)| !self.pins.contains_key(h))
            .map(|(h, e)| (*h, *e))
            .collect();
        cold.sort_unstable_by_key(|(_, e)| e.used);
        cold
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn h(n: u8) -> BlobHash {
        BlobHash([n; 32])
    }

    #[test]
    fn counts_stay_right_through_inserts_and_removals() {
        let mut i = Index::default();
        let e = Entry {
            len: 5000,
            used: 1,
            touched: 1,
            suspect: false,
        };
        assert!(i.insert(h(1), e));
        assert!(!i.insert(h(1), e));
        assert_eq!((i.len(), i.bytes(), i.charged()), (1, 5000, 8192));
        assert!(i.remove(&h(1)).is_some());
        assert!(i.remove(&h(1)).is_none());
        assert_eq!((i.len(), i.bytes(), i.charged()), (0, 0, 0));
    }

    #[test]
    fn pins_have_owners_and_ends() {
        let mut i = Index::default();
        i.pin(h(1), "job a", None).unwrap();
        i.pin(h(1), "job a", Some(Timestamp(10))).unwrap();
        i.pin(h(1), "job b", None).unwrap();
        i.pin(h(2), "job b", None).unwrap();
        assert_eq!((i.pin_count, i.pinned_blobs()), (3, 2));
        i.drop_expired_pins(Timestamp(10));
        assert_eq!(i.pinned_by(&h(1), Timestamp(10)), Some("job b"));
        assert_eq!(i.unpin_all("job b"), 2);
        assert_eq!((i.pin_count, i.pinned_blobs()), (0, 0));
        assert!(!i.unpin(&h(1), "job a"));
        assert_eq!(
            i.pin(h(1), &"x".repeat(97), None).unwrap_err().code(),
            "store.full"
        );
    }

    #[test]
    fn uses_are_ordered_even_within_one_microsecond() {
        let mut i = Index::default();
        let (a, b, c) = (i.tick(5), i.tick(5), i.tick(4));
        assert!(a < b && b < c);
    }
}
