//! Counts and times of the authority, for `/metrics` and `status`.

use hive_protocol::{
    money::MicroCpt,
    time::{Millis, Timestamp},
};
use std::time::Duration;

/// Upper bounds of the fsync histogram's buckets in milliseconds; one more bucket holds the rest.
pub const FSYNC_BUCKETS_MS: [f64; 12] = [
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1000.0,
];

/// A snapshot of the authority's counts.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Metrics {
    /// Records in the log.
    pub entries: u64,
    /// Time of the newest record.
    pub last_time: Timestamp,
    /// How far the clock is behind the newest record. Until it has caught up, commands that end before the newest
    /// record's time are refused as expired: the clock is or was wrong.
    pub clock_behind: Millis,
    /// Commands that took effect since the start.
    pub accepted: u64,
    /// Commands refused since the start.
    pub refused: u64,
    /// Commands answered again without a new record.
    pub repeated: u64,
    /// Times a request was refused as `authority.busy`.
    pub busy: u64,
    /// Newcomers let in since the start.
    pub joined: u64,
    /// Credentials issued since the start.
    pub credentials: u64,
    /// Heartbeats heard since the start.
    pub heartbeats: u64,
    /// Syncs of the log since the start.
    pub fsyncs: u64,
    /// Seconds spent in them.
    pub fsync_seconds: f64,
    /// Syncs by duration: not cumulative, bounds in [`FSYNC_BUCKETS_MS`], the last entry holds the rest.
    pub fsync_buckets: [u64; FSYNC_BUCKETS_MS.len() + 1],
    /// Bytes written to the log since the start.
    pub log_bytes: u64,
    /// Requests waiting for the ordering thread now.
    pub queue: usize,
    /// µCPT ever minted.
    pub minted: MicroCpt,
    /// Sum of all free balances.
    pub available: MicroCpt,
    /// Sum of everything held.
    pub held: MicroCpt,
    /// Accounts.
    pub accounts: u64,
    /// Nodes whose heartbeats come.
    pub online: u64,
    /// Why the authority has stopped, if it has.
    pub stopped: Option<String>,
}

impl Metrics {
    pub(super) fn synced(&mut self, took: Duration) {
        let ms = took.as_secs_f64() * 1000.0;
        self.fsyncs += 1;
        self.fsync_seconds += took.as_secs_f64();
        let bucket = FSYNC_BUCKETS_MS.iter().position(|b| ms <= *b);
        if let Some(count) = self
            .fsync_buckets
            .get_mut(bucket.unwrap_or(FSYNC_BUCKETS_MS.len()))
        {
            *count += 1;
        }
    }
}
