//! What can go wrong with the log, each with its stable code.

use hive_protocol::ids::NetworkId;
use std::io;

/// Why the log cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk refused. The log takes nothing more until the process is started again.
    #[error(
        "ledger.disk: {op} of {file} failed: {source}; nothing more is accepted until the authority is restarted with a working disk and free space"
    )]
    Disk {
        /// The operation.
        op: &'static str,
        /// The file, relative to the ledger's folder.
        file: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// An earlier disk error has stopped this log.
    #[error("ledger.disk: stopped by an earlier error ({first}); restart the authority with a working disk")]
    Stopped {
        /// The first error.
        first: String,
    },
    /// The files are not what was written: damage that must not be repaired by guessing.
    #[error(
        "ledger.corrupt: {file} at byte {offset}, record {index}: {what}. The authority does not start on a damaged ledger. Keep a copy of this folder, check the disk, then restore the folder from a backup; do not delete or cut single files"
    )]
    Corrupt {
        /// The file, relative to the ledger's folder.
        file: String,
        /// Where in it, in bytes.
        offset: u64,
        /// The record that was expected there.
        index: u64,
        /// What is wrong.
        what: String,
    },
    /// Written by a newer program.
    #[error(
        "ledger.version: {file} at byte {offset} has format version {found}, this program reads {spoken}; start the newer program"
    )]
    Version {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
        /// The version found.
        found: u16,
        /// The version this program reads.
        spoken: u16,
    },
    /// Another process has the ledger open.
    #[error("ledger.locked: another process has {path} open; only one authority may write a ledger")]
    Locked {
        /// The lock file.
        path: String,
    },
    /// A new ledger was to be made where one is already.
    #[error("ledger.exists: {path} already holds the ledger of mesh {network}")]
    Exists {
        /// The folder.
        path: String,
        /// The mesh found.
        network: NetworkId,
    },
    /// There is no ledger here.
    #[error("ledger.absent: {path} holds no ledger")]
    Absent {
        /// The folder.
        path: String,
    },
    /// A payload larger than a record may carry.
    #[error("ledger.too_large: an entry of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

impl LogError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Disk { .. } | Self::Stopped { .. } => "ledger.disk",
            Self::Corrupt { .. } => "ledger.corrupt",
            Self::Version { .. } => "ledger.version",
            Self::Locked { .. } => "ledger.locked",
            Self::Exists { .. } => "ledger.exists",
            Self::Absent { .. } => "ledger.absent",
            Self::TooLarge { .. } => "ledger.too_large",
        }
    }

    pub(super) fn disk(op: &'static str, file: &str) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_owned();
        move |source| Self::Disk { op, file, source }
    }

    pub(super) fn corrupt(file: &str, offset: u64, index: u64, what: impl Into<String>) -> Self {
        Self::Corrupt {
            file: file.to_owned(),
            offset,
            index,
            what: what.into(),
        }
    }
}
