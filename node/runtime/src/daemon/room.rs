//! Room in the store: old blobs nobody needs go before new ones are refused.

use super::Daemon;
use std::sync::atomic::{AtomicBool, Ordering};

/// Share of the quota, in percent, above which unpinned blobs are collected …
const ABOVE: u64 = 80;
/// … down to this share.
const DOWN_TO: u64 = 60;
/// Without a quota: share of the file system, in percent, that is kept free as far as our own blobs allow.
const KEEP_FREE: u64 = 5;

/// Whether a collection is under way: one at a time is enough.
static COLLECTING: AtomicBool = AtomicBool::new(false);

/// How many bytes the store may keep, if it has to give something up.
fn target(used: u64, quota: u64, disk_total: u64, disk_free: u64) -> Option<u64> {
    if quota != u64::MAX {
        return (used > quota / 100 * ABOVE).then_some(quota / 100 * DOWN_TO);
    }
    let wanted = disk_total / 100 * KEEP_FREE;
    let missing = wanted.saturating_sub(disk_free);
    (missing > 0 && used > 0).then_some(used.saturating_sub(missing))
}

impl Daemon {
    /// Looks whether the store is too full, and collects on a thread of its own.
    pub(super) fn make_room(&self) {
        let budget = self.store.budget();
        let Ok(space) = self.dir.space() else { return };
        let Some(target) = target(budget.used(), budget.quota(), space.total, space.available) else {
            return;
        };
        if COLLECTING.swap(true, Ordering::AcqRel) {
            return;
        }
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || {
            match store.gc(target) {
                Ok(report) => tracing::info!(target: "hive_runtime::store", ?report, "made room"),
                Err(e) => {
                    tracing::warn!(target: "hive_runtime::store", code = e.code(), "cannot make room: {e}")
                }
            }
            COLLECTING.store(false, Ordering::Release);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn blobs_go_when_the_quota_or_the_disk_asks_for_it_and_not_before() {
        assert_eq!(target(79, 100, 0, 0), None);
        assert_eq!(target(81, 100, 0, 0), Some(60));
        assert_eq!(target(500, u64::MAX, 1000, 50), None, "enough is free");
        assert_eq!(target(500, u64::MAX, 1000, 40), Some(490), "10 bytes are missing");
        assert_eq!(target(9, u64::MAX, 1000, 40), Some(0), "no more than there is");
        assert_eq!(target(0, u64::MAX, 1000, 0), None, "nothing to give");
    }
}
