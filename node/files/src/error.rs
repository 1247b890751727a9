//! Why a pull, a read or a share did not work.

use hive_protocol::{ids::BlobHash, manifest::ManifestError};

/// Why a transfer ended without its content, or why a call was refused. Cloneable: a transfer's end is told to all
/// who wait for it, and shown later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PullError {
    /// Nobody who was asked has it, or nobody gives it to us.
    #[error(
        "nobody gives {hash}: {asked} nodes were asked; is its owner online, and is it shared with this node?"
    )]
    NoProvider {
        /// The content.
        hash: BlobHash,
        /// Nodes asked.
        asked: usize,
    },
    /// Larger than the caller takes.
    #[error("{hash} has {size} bytes; at most {limit} are taken")]
    TooLarge {
        /// The content.
        hash: BlobHash,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The manifest of a folder is not one.
    #[error("the manifest {hash} cannot be used: {source}")]
    Manifest {
        /// The manifest's content.
        hash: BlobHash,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// A manifest says another size of a file than its content has.
    #[error("the manifest says that {hash} has {said} bytes; it has {size}")]
    Size {
        /// The content.
        hash: BlobHash,
        /// Its size in bytes as the manifest says.
        said: u64,
        /// Its size in bytes.
        size: u64,
    },
    /// The user's wish.
    #[error("the transfer was cancelled")]
    Cancelled,
    /// The process ends; the transfer goes on at its next start.
    #[error("this node shuts down; the transfer goes on when it is started again")]
    Stopped,
    /// Too many transfers at once.
    #[error("{count} transfers are known already; remove ended ones first")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// No such transfer.
    #[error("there is no such transfer")]
    NoTransfer,
    /// A range outside the content.
    #[error("bytes {from}-{to} are not within the {size} bytes of the content")]
    Range {
        /// First byte.
        from: u64,
        /// One past the last byte.
        to: u64,
        /// The content's size in bytes.
        size: u64,
    },
    /// A request that says two things at once or nothing.
    #[error("{0}")]
    Request(String),
    /// The store refused.
    #[error("{detail}")]
    Store {
        /// Its code.
        code: &'static str,
        /// Its words.
        detail: String,
    },
    /// The network refused.
    #[error("{detail}")]
    Net {
        /// Its code.
        code: &'static str,
        /// Its words.
        detail: String,
    },
}

impl PullError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoProvider { .. } => "file.no_provider",
            Self::TooLarge { .. } => "file.too_large",
            Self::Manifest { source, .. } => source.code(),
            Self::Size { .. } => "file.manifest_size",
            Self::Cancelled => "file.cancelled",
            Self::Stopped => "file.stopped",
            Self::TooMany { .. } => "file.too_many_transfers",
            Self::NoTransfer => "file.no_transfer",
            Self::Range { .. } => "file.range",
            Self::Request(_) => "file.request",
            Self::Store { code, .. } | Self::Net { code, .. } => code,
        }
    }
}
