//! Having a plan's contents fetched to the staging folder.

use super::{
    apply::Bring,
    attempt::Attempt,
    port::{FetchFile, InState},
    staging,
};
use crate::ground::Ground;
use hive_transfer::mirror::Fetch;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Fetching for one plan.
pub(super) struct Bringing<'a> {
    attempt: &'a Attempt,
    ground: &'a Ground,
    /// Bytes of the batches before.
    before: u64,
    total: u64,
}

impl<'a> Bringing<'a> {
    pub(super) const fn new(attempt: &'a Attempt, ground: &'a Ground, total: u64) -> Self {
        Self {
            attempt,
            ground,
            before: 0,
            total,
        }
    }
}

impl Bring for Bringing<'_> {
    fn bring(&mut self, files: &[Fetch]) -> Result<(), (String, bool)> {
        let attempt = self.attempt;
        attempt.tell.state(InState::Fetching);
        let wanted = files
            .iter()
            .map(|f| FetchFile {
                hash: f.hash,
                size: f.size,
                path: self.ground.full(&staging::staged(&f.hash)),
                like: f.like.as_ref().map(|path| self.ground.full(path)),
            })
            .collect();
        let (tell, before, total) = (attempt.tell.clone(), self.before, self.total);
        // Never backwards, and never more than there is.
        let highest = AtomicU64::new(before);
        let progress = Arc::new(move |done: u64| {
            let now = before.saturating_add(done).min(total);
            if highest.fetch_max(now, Ordering::Relaxed) < now {
                tell.progress(now, total);
            }
        });
        let stopping = attempt.stopping.clone();
        let fetch = attempt.fetcher.fetch(&attempt.origin, wanted, progress, stopping);
        let came = attempt.runtime.block_on(fetch);
        self.before = files
            .iter()
            .map(|f| f.size)
            .fold(self.before, u64::saturating_add);
        came.map_err(|fault| (format!("{}: {fault}", fault.code), fault.disk_full))
    }

    fn placing(&mut self) {
        self.attempt.tell.state(InState::Placing);
    }
}
