//! Why something about files was refused: one enum, each variant with what, where and a stable code.

use crate::{blobs::BlobError, budget::QuotaExceeded, journal::JournalError};
use hive_protocol::{ids::BlobHash, manifest::ManifestError};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Why the file store refuses.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// Nothing of this content is here.
    #[error("content {hash} is not here")]
    NotFound {
        /// The content.
        hash: BlobHash,
    },
    /// That part of it is not here (yet).
    #[error("content {hash}: segment {segment} is not here")]
    NotHere {
        /// The content.
        hash: BlobHash,
        /// The segment.
        segment: u64,
    },
    /// The file behind the content is not what it was: other size, time or inode, or gone.
    #[error("content {hash}: {} has been changed or taken away since it was added", .path.display())]
    Changed {
        /// The content.
        hash: BlobHash,
        /// Its file.
        path: PathBuf,
    },
    /// A file changed while it was being read for the first time.
    #[error("{} changed while it was being read", .path.display())]
    Unsteady {
        /// The file.
        path: PathBuf,
    },
    /// Received bytes or chaining values are not those of this content; nothing of them was kept.
    #[error("content {hash}: what came for segment {segment} is not part of it")]
    Corrupt {
        /// The content.
        hash: BlobHash,
        /// The segment (0 for the list of all segments).
        segment: u64,
    },
    /// What is kept here is not what it was when it was kept.
    #[error("content {hash}: {} is damaged", .path.display())]
    Damaged {
        /// The content.
        hash: BlobHash,
        /// Its file.
        path: PathBuf,
    },
    /// Larger than may be taken.
    #[error("content of {size} bytes is larger than the {limit} bytes allowed here")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// Not there: the path to add.
    #[error("{} is not there", .path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// Neither a regular file nor a folder, or a link that leaves the folder, or a name that is not UTF-8.
    #[error("{}: {why}", .path.display())]
    Unsafe {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Something is in the way at the destination.
    #[error("{} exists already", .path.display())]
    Exists {
        /// The destination.
        path: PathBuf,
    },
    /// Something else is being received there.
    #[error("{} is the destination of another transfer", .path.display())]
    Busy {
        /// The destination.
        path: PathBuf,
    },
    /// A destination that cannot be one: a link on the way, a file where a folder should be.
    #[error("cannot write to {}: {why}", .path.display())]
    BadDestination {
        /// The destination.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Not all of it is here yet.
    #[error("content {hash} is not complete")]
    Incomplete {
        /// The content.
        hash: BlobHash,
    },
    /// Somebody reads or receives it now, or wants it kept.
    #[error("content {hash} is in use")]
    InUse {
        /// The content.
        hash: BlobHash,
    },
    /// The caller broke the order of calls: tree before groups before bytes.
    #[error("content {hash}: {what} before it is known what to expect")]
    Order {
        /// The content.
        hash: BlobHash,
        /// What was tried.
        what: &'static str,
    },
    /// The caller gave up.
    #[error("cancelled")]
    Cancelled,
    /// A bounded table is full.
    #[error("the table of {what} is full ({limit})")]
    Full {
        /// Which table.
        what: &'static str,
        /// Its bound.
        limit: usize,
    },
    /// The file system has, or will have, no room for it.
    #[error("no space left on the disk for {}: {wanted} bytes wanted, {free} free", .path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// Bytes wanted (0 when it was noticed while writing).
        wanted: u64,
        /// Bytes free.
        free: u64,
    },
    /// No manifest, or one that may not be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The blob store.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The rows about files.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The quota refuses.
    #[error(transparent)]
    Quota(#[from] QuotaExceeded),
    /// The daemon may not do that there.
    #[error("cannot {what} {}: {why}", .path.display())]
    Denied {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Permissions, or a file system that is read-only.
        why: &'static str,
    },
    /// Any other refusal of the file system.
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

impl FilesError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "file.not_found",
            Self::NotHere { .. } => "file.not_here",
            Self::Changed { .. } => "file.changed",
            Self::Unsteady { .. } => "file.unsteady",
            Self::Corrupt { .. } => "file.corrupt",
            Self::Damaged { .. } => "file.damaged",
            Self::TooLarge { .. } => "file.too_large",
            Self::Missing { .. } => "file.missing",
            Self::Unsafe { .. } => "file.unsafe",
            Self::Exists { .. } => "file.exists",
            Self::Busy { .. } => "file.busy",
            Self::BadDestination { .. } => "file.bad_destination",
            Self::Incomplete { .. } => "file.incomplete",
            Self::InUse { .. } => "file.in_use",
            Self::Order { .. } => "file.order",
            Self::Cancelled => "file.cancelled",
            Self::Full { .. } => "store.full",
            Self::DiskFull { .. } => "store.disk_full",
            Self::Manifest(e) => e.code(),
            Self::Blob(e) => e.code(),
            Self::Journal(e) => e.code(),
            Self::Quota(e) => e.code(),
            Self::Denied { .. } => "file.denied",
            Self::Io { .. } => "store.io",
        }
    }

    /// True when whoever sent it is to blame: ask somebody else.
    #[must_use]
    pub const fn is_sender_fault(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::TooLarge { .. })
    }

    /// Names an I/O error, telling a full disk and a link in the way from the rest.
    pub(crate) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        use rustix::io::Errno;
        let path = path.to_path_buf();
        let raw = source.raw_os_error();
        if [Errno::LOOP, Errno::XDEV]
            .iter()
            .any(|e| raw == Some(e.raw_os_error()))
        {
            return Self::BadDestination {
                path,
                why: "a link on the way",
            };
        }
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull {
                path,
                wanted: 0,
                free: 0,
            },
            io::ErrorKind::NotADirectory => Self::BadDestination {
                path,
                why: "something on the way is not a folder",
            },
            io::ErrorKind::PermissionDenied => Self::Denied {
                what,
                path,
                why: "the daemon has no permission",
            },
            io::ErrorKind::ReadOnlyFilesystem => Self::Denied {
                what,
                path,
                why: "the file system is read-only",
            },
            _ => Self::Io { what, path, source },
        }
    }
}
