//! What a transfer looks like from outside.

use hive_protocol::{
    ids::{BlobHash, NodeId, TransferId},
    time::Timestamp,
};
use serde::Serialize;
use std::path::PathBuf;

/// Peers shown with a transfer at most; more take part.
pub const MAX_PEERS_SHOWN: usize = 32;

/// Where a transfer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Waits for its turn.
    Queued,
    /// Learns what there is to fetch (manifest, sizes), or looks through what is here already.
    Starting,
    /// Bytes come.
    Running,
    /// Stopped by the user until resumed.
    Paused,
    /// All bytes are here; names, modes and times are set.
    Finishing,
    /// In place.
    Done,
    /// Ended with an error.
    Failed,
    /// Ended by the user.
    Cancelled,
}

impl Stage {
    /// Whether it will not change any more.
    #[must_use]
    pub const fn ended(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// A provider's share in a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerView {
    /// Who.
    pub node: NodeId,
    /// `direct`, `mesh` or `relayed`.
    pub path: &'static str,
    /// Whether it has all of it.
    pub whole: bool,
    /// Bytes it gave to this transfer.
    pub bytes: u64,
    /// Bytes a second over the last few seconds.
    pub rate: u64,
    /// Why it is not asked any more, when that is so.
    pub dropped: Option<String>,
}

/// Why nothing comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StallView {
    /// Stable code.
    pub code: &'static str,
    /// For people.
    pub why: String,
}

/// A transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TransferView {
    /// Its id.
    pub id: TransferId,
    /// What is pulled.
    pub root: BlobHash,
    /// Whether a folder.
    pub folder: bool,
    /// Its name, for people.
    pub name: String,
    /// Where it goes; `None`: into the store.
    pub path: Option<PathBuf>,
    /// Where it stands.
    pub stage: Stage,
    /// Verified bytes in place, those found here included. Never goes back.
    pub done: u64,
    /// Of so many; a claim until the manifest or tree is proven; 0 when not known yet.
    pub total: u64,
    /// Of `done`: bytes that came over the network.
    pub fetched: u64,
    /// Of `done`: bytes found on this machine (an older version, an earlier try).
    pub reused: u64,
    /// Files in place.
    pub files_done: u64,
    /// Of so many.
    pub files: u64,
    /// Bytes a second over the last few seconds.
    pub rate: u64,
    /// The providers, at most [`MAX_PEERS_SHOWN`].
    pub peers: Vec<PeerView>,
    /// Why nothing comes, when nothing has come for 5 seconds.
    pub stalled: Option<StallView>,
    /// Code and words of its failure.
    pub error: Option<(&'static str, String)>,
    /// When it was asked for.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
}
