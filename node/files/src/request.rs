//! What a caller asks for: which content, where to, from whom, how urgent.

use crate::access::Audience;
use hive_protocol::{
    file::Via,
    ids::{BlobHash, NodeId, TransferId},
    notice::Priority,
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Providers a request may name.
pub const MAX_HINTS: usize = 256;

/// A node that may have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// Who.
    pub node: NodeId,
    /// Where it listens, as multiaddresses; may be empty when it is connected or can be looked up.
    pub addrs: Vec<String>,
    /// Whether it should have all of it (the sharer, the sender); others may have some or nothing yet.
    pub whole: bool,
}

/// Where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// This path (of the file or of the folder itself); absolute.
    Path(PathBuf),
    /// Into the blob store (files only): for task inputs, manifests, and `file cat`.
    Store,
}

/// An older version, whose bytes are used where they are the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Like {
    /// A file or folder on this machine.
    Path(PathBuf),
    /// Content that this node has (whole).
    Root(BlobHash),
}

/// What happens to what is at the destination already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Existing {
    /// Refused with `file.exists` (the same content that is there already is success at once).
    #[default]
    Refuse,
    /// A file is replaced when the new one is whole. A folder keeps what the manifest does not name; what it names
    /// is replaced, file by file.
    Replace,
}

/// A pull.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    /// A file's content, or a folder's manifest.
    pub root: BlobHash,
    /// Whether `root` is a folder's manifest and the folder is wanted.
    pub folder: bool,
    /// Why we may have it; `None`: [`Via::Root`] of `root`.
    pub via: Option<Via>,
    /// Its name, for people.
    pub name: String,
    /// Bytes of all of it as its ticket or notice says, if known: shown until it is proven.
    pub size_hint: Option<u64>,
    /// The most bytes taken, manifest not counted.
    pub max_bytes: u64,
    /// Where to.
    pub target: Target,
    /// What if something is there.
    pub existing: Existing,
    /// Who may have it, most useful first; at most [`MAX_HINTS`].
    pub hints: Vec<Hint>,
    /// Whether the hash table is asked for providers when the hints do not do.
    pub lookup: bool,
    /// How urgent.
    pub priority: Priority,
    /// An older version to take equal bytes from; what stands at the destination is used without being named.
    pub like: Option<Like>,
    /// Who may fetch it from us, from the first verified segment on.
    pub audience: Audience,
    /// Whether it goes on after a restart of the daemon.
    pub durable: bool,
    /// The id the transfer shall have (for callers that must know it before); `None`: a fresh one.
    pub id: Option<TransferId>,
}

impl PullRequest {
    /// A pull of this root into this target, with everything else as a user who names nothing else means it:
    /// nothing is overwritten, all members may fetch it on, it survives restarts.
    #[must_use]
    pub fn new(root: BlobHash, folder: bool, target: Target) -> Self {
        Self {
            root,
            folder,
            via: None,
            name: String::new(),
            size_hint: None,
            max_bytes: hive_protocol::file::MAX_CONTENT,
            target,
            existing: Existing::Refuse,
            hints: Vec::new(),
            lookup: true,
            priority: Priority::Normal,
            like: None,
            audience: Audience::Members,
            durable: true,
            id: None,
        }
    }

    /// Why we may have it.
    #[must_use]
    pub const fn via(&self) -> Via {
        match self.via {
            Some(via) => via,
            None => Via::Root(self.root),
        }
    }
}

/// One file of a list to pull ([`crate::Files::pull_list`]): for mirrors, which decide by themselves what goes where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Its content.
    pub hash: BlobHash,
    /// Its size in bytes, as the manifest says; another one is refused.
    pub size: u64,
    /// Where it shall be; absolute, its folder exists.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// Time of its last change, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// An older version of it on this machine, if any (may be `path` itself).
    pub like: Option<PathBuf>,
}
