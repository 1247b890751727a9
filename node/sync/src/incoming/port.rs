//! What a receiver of mirrors needs from the rest of the node, and what it tells it.

use futures::future::BoxFuture;
use hive_protocol::{
    ids::{BlobHash, NodeId, SyncId, TransferId},
    manifest::Manifest,
    notice::Priority,
    time::Timestamp,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::watch;

/// A state of somebody's folder that this node is to have.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Which mirror.
    pub sync: SyncId,
    /// Whose.
    pub from: NodeId,
    /// Counts up with each state.
    pub seq: u64,
    /// The manifest.
    pub root: BlobHash,
    /// Old versions to keep.
    pub versions: u32,
    /// The folder it comes to: absolute; made if it is not there. A known mirror stays where it is.
    pub dir: PathBuf,
    /// What it is called, for people.
    pub name: String,
    /// Who may have the contents, the sender first.
    pub hints: Vec<NodeId>,
    /// How urgent.
    pub priority: Priority,
    /// The transfer's id, for people.
    pub transfer: TransferId,
}

/// Where the contents of a state come from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The manifest's hash.
    pub root: BlobHash,
    /// Who may have it, the sender first.
    pub hints: Vec<NodeId>,
    /// How urgent.
    pub priority: Priority,
    /// The transfer's id, for people.
    pub transfer: TransferId,
    /// The mirror's name, for people.
    pub name: String,
}

/// One content to fetch.
#[derive(Clone, Debug)]
pub struct FetchFile {
    /// Which.
    pub hash: BlobHash,
    /// Its size in bytes, as the manifest says.
    pub size: u64,
    /// Where to: absolute, in the mirror's staging folder.
    pub path: PathBuf,
    /// A local file that is probably similar.
    pub like: Option<PathBuf>,
}

/// Why something could not be fetched.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct FetchFault {
    /// The stable code.
    pub code: String,
    /// For people.
    pub text: String,
    /// Whether this disk is full.
    pub disk_full: bool,
}

/// Brings contents from other nodes.
pub trait Fetcher: Send + Sync + 'static {
    /// The manifest of a state; `like` is the state before, if it is known here.
    fn manifest(
        &self,
        from: &Origin,
        like: Option<BlobHash>,
    ) -> BoxFuture<'static, Result<Manifest, FetchFault>>;
    /// Fetches contents to their paths, each by renaming it there when it is whole and verified. Ends when all are
    /// there, or no more can be had, or `stop` becomes true; what stands at its path counts, whatever is returned.
    /// `progress` is called with the bytes that are here, all together.
    fn fetch(
        &self,
        from: &Origin,
        files: Vec<FetchFile>,
        progress: Arc<dyn Fn(u64) + Send + Sync>,
        stop: watch::Receiver<bool>,
    ) -> BoxFuture<'static, Result<(), FetchFault>>;
    /// The folder is as the manifest says (but for the `absent` paths): it can be given to others from there. May
    /// block.
    fn settled(&self, from: &Origin, dir: &Path, manifest: &Manifest, absent: &[String]);
}

/// Is told how one offered state fares.
pub trait News: Send + Sync + 'static {
    /// Bytes that are here, of so many.
    fn progress(&self, done: u64, total: u64);
    /// It does not go on at present, and why.
    fn waiting(&self, why: String);
    /// The folder is as wanted, or has a newer state.
    fn done(&self);
    /// It could not be reached, and why; `again`: the mirror itself goes on trying.
    fn failed(&self, why: String, again: bool);
}

/// Where a received mirror stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InState {
    /// Something is missing that may come.
    Waiting,
    /// The folder is being looked at.
    Scanning,
    /// Contents are being fetched.
    Fetching,
    /// Things are being put in place.
    Placing,
    /// The folder is as wanted.
    Whole,
    /// The folder is as wanted but for what this file system cannot hold.
    Partial,
    /// Nothing goes until somebody does something about it.
    Blocked,
}

/// A received mirror, for people.
#[derive(Clone, Debug)]
pub struct ReplicaView {
    /// Which.
    pub sync: SyncId,
    /// Whose.
    pub from: NodeId,
    /// What it is called.
    pub name: String,
    /// Where it is.
    pub dir: PathBuf,
    /// Number of the newest state heard of.
    pub seq: u64,
    /// Its manifest.
    pub root: BlobHash,
    /// Where it stands.
    pub state: InState,
    /// More about it; empty when there is nothing to say.
    pub detail: String,
    /// Bytes fetched of the state that is being applied.
    pub done: u64,
    /// Of so many.
    pub total: u64,
    /// Paths under which things were kept that were in the way, newest last; the last [`MAX_NAMED`].
    pub conflicts: Vec<String>,
    /// Paths that cannot be had here, with why; the first [`MAX_NAMED`].
    pub refused: Vec<(String, String)>,
    /// How many there are.
    pub refused_count: usize,
    /// When anything of this changed.
    pub changed: Timestamp,
}

/// Paths named in a view: enough to act on, few enough to carry about.
pub const MAX_NAMED: usize = 100;
