//! Making room: pins say what must stay, the least recently used of the rest goes first.

use super::{BlobStore, charge, error::BlobError, now};
use hive_protocol::{ids::BlobHash, time::Timestamp};

/// What a collection did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GcReport {
    /// Blobs removed.
    pub removed: usize,
    /// What they counted against the quota, in bytes.
    pub freed: u64,
    /// What the remaining blobs count, in bytes.
    pub charged: u64,
}

impl BlobStore {
    /// Keeps a blob (here already or coming) from being collected on behalf of `owner`, at most until `until`
    /// (for ever when `None`). Repeating it replaces the end. Pins live in memory: after a start, pin first,
    /// collect then.
    ///
    /// # Errors
    /// `store.full` when there are too many pins or the owner's name is longer than 96 bytes.
    pub fn pin(&self, hash: BlobHash, owner: &str, until: Option<Timestamp>) -> Result<(), BlobError> {
        self.index().pin(hash, owner, until)
    }

    /// Takes one pin away; false when there was none.
    pub fn unpin(&self, hash: &BlobHash, owner: &str) -> bool {
        self.index().unpin(hash, owner)
    }

    /// Takes all pins of an owner away; returns how many.
    pub fn unpin_all(&self, owner: &str) -> usize {
        self.index().unpin_all(owner)
    }

    /// Removes a blob; false when it was not here.
    ///
    /// # Errors
    /// `blob.pinned`, I/O.
    pub fn remove(&self, hash: &BlobHash) -> Result<bool, BlobError> {
        if let Some(owner) = self.index().pinned_by(hash, now()) {
            return Err(BlobError::Pinned {
                hash: *hash,
                owner: owner.to_owned(),
            });
        }
        self.take_out(hash, true)
    }

    /// Removes unpinned blobs, least recently used first, until the rest counts at most `target` bytes.
    ///
    /// # Errors
    /// I/O.
    pub fn gc(&self, target: u64) -> Result<GcReport, BlobError> {
        self.collect(|store| store.index().charged() > target)
    }

    /// As [`Self::gc`], until `bytes` more fit into the quota or nothing can go.
    ///
    /// # Errors
    /// I/O.
    pub fn make_room(&self, bytes: u64) -> Result<GcReport, BlobError> {
        self.collect(|store| store.budget().free() < bytes)
    }

    fn collect(&self, go_on: impl Fn(&Self) -> bool) -> Result<GcReport, BlobError> {
        let mut report = GcReport::default();
        if go_on(self) {
            let cold = {
                let mut index = self.index();
                index.drop_expired_pins(now());
                index.coldest()
            };
            for (hash, entry) in cold {
                if !go_on(self) {
                    break;
                }
                if self.take_out(&hash, true)? {
                    report.removed += 1;
                    report.freed = report.freed.saturating_add(charge(entry.len));
                }
            }
        }
        report.charged = self.index().charged();
        Ok(report)
    }
}
