//! The job journal: small versioned records under keys in a few named trees, written in atomic batches.
//!
//! It survives the death of the process, not the loss of power: what must survive that is in the ledger.
//! Whatever is lost or damaged is reported, never passed over. Knows nothing of what the records mean.

mod check;
mod flusher;
mod mark;
mod record;
mod sled_open;
mod sled_store;

pub use record::{MAX_KEY_BYTES, MAX_PAYLOAD_BYTES, Record};
pub use sled_store::SledJournal;

use std::{fmt, io, path::PathBuf};

/// The most trees one journal may have: each is a handful of records of one kind, not a table per job.
pub const MAX_TREES: usize = 8;
/// The most operations in one batch: bounds the memory of a batch at some 40 MiB.
pub const MAX_OPS: usize = 1024;
/// The most records one page of a scan returns.
pub const MAX_PAGE: usize = 1024;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a record, replacing the one under that key.
    Put {
        /// One of the journal's trees.
        tree: &'static str,
        /// 1 to [`MAX_KEY_BYTES`] bytes.
        key: Vec<u8>,
        /// The record.
        record: Record,
    },
    /// Removes the record under that key, if any.
    Delete {
        /// One of the journal's trees.
        tree: &'static str,
        /// 1 to [`MAX_KEY_BYTES`] bytes.
        key: Vec<u8>,
    },
}

/// A page of a prefix scan, in key order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScanPage {
    /// Sound records with their keys.
    pub records: Vec<(Vec<u8>, Record)>,
    /// Keys whose records do not pass their checksum.
    pub damaged: Vec<Vec<u8>>,
    /// Where to go on: give it as `after`. `None` at the end.
    pub next: Option<Vec<u8>>,
}

/// What the caller must hear when a journal is not all that was written. Nothing was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalAlarm {
    /// It could not be read and a new one was begun: the jobs in it are unknown to this node now.
    MovedAside {
        /// Where the unreadable journal is.
        moved_to: PathBuf,
        /// What was wrong with it.
        why: String,
    },
    /// It is sound but older than it was: the newest batches are gone (a power cut, or damage in the log).
    RolledBack {
        /// How many batches; `None` when the note about it is gone too.
        batches: Option<u64>,
    },
}

impl JournalAlarm {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::MovedAside { .. } => "journal.moved_aside",
            Self::RolledBack { .. } => "journal.rolled_back",
        }
    }
}

impl fmt::Display for JournalAlarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MovedAside { moved_to, why } => {
                write!(
                    f,
                    "the job journal could not be read ({why}); it was moved to {}",
                    moved_to.display()
                )
            }
            Self::RolledBack { batches: Some(n) } => {
                write!(f, "the last {n} changes of the job journal are lost")
            }
            Self::RolledBack { batches: None } => {
                f.write_str("the job journal may have lost its last changes")
            }
        }
    }
}

/// Why the journal refuses.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has it open.
    #[error("the journal {} is open in another process", .path.display())]
    Locked {
        /// The journal's folder.
        path: PathBuf,
    },
    /// A record does not pass its checksum.
    #[error("the record {key:?} in the journal tree {tree} is damaged")]
    Damaged {
        /// The tree.
        tree: &'static str,
        /// The key.
        key: Vec<u8>,
    },
    /// The journal's files are not what was written; seen while it was open.
    #[error("the journal {} is damaged: {why}", .path.display())]
    Corrupt {
        /// The journal's folder.
        path: PathBuf,
        /// What was noticed.
        why: String,
    },
    /// Key, record, batch or list of trees beyond its bound.
    #[error("journal: {what} has {size}, allowed are {limit}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// A tree that was not named when the journal was opened.
    #[error("the journal has no tree {tree:?}")]
    NoTree {
        /// The name.
        tree: &'static str,
    },
    /// A write to the disk never ended; the journal is of no more use until the daemon is started anew.
    #[error("the journal {} does not answer any more after a failed write", .path.display())]
    Stuck {
        /// The journal's folder.
        path: PathBuf,
    },
    /// The disk is full, or has less room left than a journal must have to go on safely (8 MiB).
    #[error("too little space left on the disk for the journal {}", .path.display())]
    DiskFull {
        /// The journal's folder.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl JournalError {
    /// The stable error code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "journal.locked",
            Self::Damaged { .. } => "journal.damaged_record",
            Self::Corrupt { .. } => "journal.corrupt",
            Self::TooLarge { .. } => "journal.too_large",
            Self::NoTree { .. } => "journal.no_tree",
            Self::Stuck { .. } => "journal.stuck",
            Self::DiskFull { .. } => "store.disk_full",
            Self::Io { .. } => "journal.io",
        }
    }
}

/// A place for journal records. Implementations are shared between threads and block on the disk.
pub trait Journal: Send + Sync {
    /// The record under a key.
    ///
    /// # Errors
    /// `journal.damaged_record`, `journal.no_tree`, `journal.corrupt`, I/O.
    fn get(&self, tree: &'static str, key: &[u8]) -> Result<Option<Record>, JournalError>;

    /// Makes all changes or none, in order, and hands them to the operating system: they survive the death of
    /// this process once this returns.
    ///
    /// # Errors
    /// `journal.too_large`, `journal.no_tree` (nothing was changed); `journal.corrupt`, full disk, I/O.
    fn apply(&self, ops: Vec<Op>) -> Result<(), JournalError>;

    /// As [`Journal::apply`], but a killed process may lose the last half second of such changes (whole batches,
    /// the newest first).
    ///
    /// # Errors
    /// As [`Journal::apply`].
    fn apply_later(&self, ops: Vec<Op>) -> Result<(), JournalError>;

    /// Up to `limit` (at most [`MAX_PAGE`]) records whose keys start with `prefix`, after the key `after`.
    ///
    /// # Errors
    /// `journal.no_tree`, `journal.corrupt`, I/O.
    fn scan(
        &self,
        tree: &'static str,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<ScanPage, JournalError>;

    /// Hands everything to the operating system.
    ///
    /// # Errors
    /// `journal.corrupt`, full disk, I/O.
    fn flush(&self) -> Result<(), JournalError>;
}
