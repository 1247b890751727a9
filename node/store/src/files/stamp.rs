//! What tells a changed file from an unchanged one without reading it: size, time of change, inode.
//!
//! Bytes changed in place with all three put back are not noticed here; whoever receives them does.

use serde::{Deserialize, Serialize};
use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt,
    time::{SystemTime, UNIX_EPOCH},
};

/// A file changed this shortly before it was read may change again without its time telling: the clock of file
/// systems ticks every 4 ms or so (1 to 10 by configuration). Such a file is read again when added again.
const TICK_NS: i64 = 20_000_000;

/// Size, time of change and inode of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub(super) struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Inode.
    pub ino: u64,
}

impl Stamp {
    pub(super) fn of(m: &Metadata) -> Self {
        Self {
            size: m.len(),
            mtime_ns: m
                .mtime()
                .saturating_mul(1_000_000_000)
                .saturating_add(m.mtime_nsec()),
            ino: m.ino(),
        }
    }

    pub(super) fn of_stat(s: &rustix::fs::Stat) -> Self {
        Self {
            size: u64::try_from(s.st_size).unwrap_or_default(),
            mtime_ns: s
                .st_mtime
                .saturating_mul(1_000_000_000)
                .saturating_add(i64::try_from(s.st_mtime_nsec).unwrap_or_default()),
            ino: s.st_ino,
        }
    }

    /// Whether a file with this stamp, read at `read_ns`, could not have changed since without showing it.
    pub(super) fn settled(&self, read_ns: i64) -> bool {
        self.mtime_ns.saturating_add(TICK_NS) < read_ns
    }
}

/// Now, in nanoseconds since 1970.
pub(super) fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

/// Now, in milliseconds since 1970.
pub(super) fn now() -> hive_protocol::time::Timestamp {
    hive_protocol::time::Timestamp(u64::try_from(now_ns() / 1_000_000).unwrap_or_default())
}
