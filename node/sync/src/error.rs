//! What goes wrong with mirrors, each with its stable code.

use hive_store::journal::JournalError;
use std::{io, path::PathBuf};

/// Why a mirror cannot be made, found, or go on.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// There is no such folder, or the path is relative.
    #[error("{} is no folder on this machine (an absolute path is needed)", .path.display())]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// Nobody to send it to.
    #[error("a mirror needs at least one other node to go to, and at most {limit}")]
    Recipients {
        /// The most a notice may have.
        limit: usize,
    },
    /// The folder is mirrored to them already.
    #[error("{} is mirrored to these nodes already, as {id}", .dir.display())]
    Exists {
        /// The folder.
        dir: PathBuf,
        /// The mirror.
        id: String,
    },
    /// Another mirror comes into this folder, or into one above or below it.
    #[error("another mirror ({by}) comes into {}; two into one folder would remove each other's files", .dir.display())]
    FolderTaken {
        /// The folder.
        dir: PathBuf,
        /// The other mirror.
        by: String,
    },
    /// No such mirror.
    #[error("there is no mirror {id} here")]
    NotFound {
        /// As asked for.
        id: String,
    },
    /// More mirrors than a node keeps.
    #[error("this node has {limit} mirrors already, the most it keeps")]
    TooMany {
        /// The bound.
        limit: usize,
    },
    /// The mirrored folder is not there any more, or a disk is not mounted.
    #[error("{} is gone or another disk is in its place; receivers keep what they have", .dir.display())]
    SourceGone {
        /// The folder.
        dir: PathBuf,
    },
    /// All files are gone from a folder that had some.
    #[error("all files are gone from {}; receivers keep theirs; it goes on when there is a file again", .dir.display())]
    SourceEmptied {
        /// The folder.
        dir: PathBuf,
    },
    /// There is something in the folder that cannot travel.
    #[error("`{path}` cannot be mirrored: {why}; leave such things out with --skip-unsafe")]
    Unsafe {
        /// Below the folder.
        path: String,
        /// Why not.
        why: String,
    },
    /// A line of `.hiveignore` is no pattern.
    #[error("line {line} of .hiveignore is no pattern: {why}")]
    BadIgnore {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// The file store refuses.
    #[error("{text}")]
    Content {
        /// The store's code.
        code: &'static str,
        /// The store's words.
        text: String,
    },
    /// The notice about a new state could not be handed over.
    #[error("the new state of {} could not be announced: {why}", .dir.display())]
    NotSent {
        /// The folder.
        dir: PathBuf,
        /// Why.
        why: String,
    },
    /// The journal refuses.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The disk is full.
    #[error("the disk with {} is full; it goes on when there is room", .path.display())]
    DiskFull {
        /// Where.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The node is stopping.
    #[error("this node is stopping")]
    Closed,
}

impl SyncError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotAFolder { .. } => "sync.not_a_folder",
            Self::Recipients { .. } => "sync.recipients",
            Self::Exists { .. } => "sync.exists",
            Self::FolderTaken { .. } => "sync.folder_taken",
            Self::NotFound { .. } => "sync.not_found",
            Self::TooMany { .. } => "sync.too_many",
            Self::SourceGone { .. } => "sync.source_gone",
            Self::SourceEmptied { .. } => "sync.source_emptied",
            Self::Unsafe { .. } => "sync.unsafe",
            Self::BadIgnore { .. } => "sync.bad_ignore",
            Self::Content { code, .. } => code,
            Self::NotSent { .. } => "sync.not_sent",
            Self::Journal(e) => e.code(),
            Self::DiskFull { .. } => "store.disk_full",
            Self::Io { .. } => "sync.io",
            Self::Closed => "sync.closed",
        }
    }

    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.into(), source.into());
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Io { what, path, source },
        }
    }
}
