//! Everything that can go wrong with a blob, by name.

use crate::budget::QuotaExceeded;
use hive_protocol::ids::BlobHash;
use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a blob operation failed. Nothing is ever visible under a hash it does not have, whatever the error.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// Received bytes do not belong to the hash; found at the first wrong group.
    #[error("blob {hash}: received bytes do not match its hash, first noticed at byte {offset}")]
    Corrupt {
        /// The blob asked for.
        hash: BlobHash,
        /// Byte of the blob where the wrong group (or its proof) starts.
        offset: u64,
    },
    /// The stream ended early.
    #[error("blob {hash}: the stream ended after {got} of {want} bytes")]
    Truncated {
        /// The blob asked for.
        hash: BlobHash,
        /// Bytes of the encoded stream received.
        got: u64,
        /// Bytes of the encoded stream expected.
        want: u64,
    },
    /// Larger than the caller allows; noticed before anything of that size is reserved.
    #[error("blob of {size} bytes or more is larger than the {cap} bytes allowed here")]
    TooLarge {
        /// Claimed or reached size in bytes.
        size: u64,
        /// The cap in bytes.
        cap: u64,
    },
    /// There is no such blob here.
    #[error("blob {hash} is not in the store")]
    NotFound {
        /// The blob asked for.
        hash: BlobHash,
    },
    /// Our own copy went bad; it has been dropped and can be fetched again.
    #[error("blob {hash}: the stored copy was damaged at byte {offset} and has been dropped")]
    Damaged {
        /// The blob.
        hash: BlobHash,
        /// Where the damage starts.
        offset: u64,
    },
    /// A file changed while it was being added.
    #[error("{} changed while it was being read", .path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Only regular files can be added.
    #[error("{} is not a regular file", .path.display())]
    NotAFile {
        /// What was to be added.
        path: PathBuf,
    },
    /// A link name that is not one plain file name.
    #[error("{name:?} is not a plain file name")]
    BadName {
        /// The name, cut.
        name: String,
    },
    /// A file of that name is there already.
    #[error("{} exists already", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A pinned blob is not removed.
    #[error("blob {hash} is pinned by {owner}")]
    Pinned {
        /// The blob.
        hash: BlobHash,
        /// Who pinned it.
        owner: String,
    },
    /// A bounded table is full.
    #[error("the table of {what} is full ({limit})")]
    Full {
        /// Which table.
        what: &'static str,
        /// Its bound.
        limit: usize,
    },
    /// The quota refuses.
    #[error(transparent)]
    Quota(#[from] QuotaExceeded),
    /// The file system has no room.
    #[error("no space left on the disk while writing {}", .path.display())]
    DiskFull {
        /// The file being written.
        path: PathBuf,
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
    /// Reading or writing the other end of a stream failed.
    #[error("the blob stream broke: {0}")]
    Stream(#[source] io::Error),
}

impl BlobError {
    /// The stable error code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Corrupt { .. } => "blob.corrupt",
            Self::Truncated { .. } => "blob.truncated",
            Self::TooLarge { .. } => "blob.too_large",
            Self::NotFound { .. } => "blob.not_found",
            Self::Damaged { .. } => "blob.damaged",
            Self::Changed { .. } => "blob.changed",
            Self::NotAFile { .. } => "blob.not_a_file",
            Self::BadName { .. } => "blob.bad_name",
            Self::Exists { .. } => "blob.exists",
            Self::Pinned { .. } => "blob.pinned",
            Self::Full { .. } => "store.full",
            Self::Quota(_) => "store.quota",
            Self::DiskFull { .. } => "store.disk_full",
            Self::Io { .. } => "store.io",
            Self::Stream(_) => "blob.stream",
        }
    }

    /// True when the sender of a stream is to blame: ask somebody else.
    #[must_use]
    pub const fn is_sender_fault(&self) -> bool {
        matches!(
            self,
            Self::Corrupt { .. } | Self::Truncated { .. } | Self::TooLarge { .. }
        )
    }

    /// Names an I/O error, telling a full disk from the rest.
    pub(crate) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path: path.into() },
            _ => Self::Io {
                what,
                path: path.into(),
                source,
            },
        }
    }
}
