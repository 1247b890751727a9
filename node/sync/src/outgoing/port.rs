//! What the sending side needs from the rest of the node, and what it shows.

use crate::error::SyncError;
use futures::future::BoxFuture;
use hive_protocol::{
    ids::{BlobHash, NodeId, NoticeId, SyncId},
    manifest::{Entry, Manifest},
    notice::FileNotice,
    time::Timestamp,
};
use std::{
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

/// A mirror to be made.
#[derive(Clone, Debug)]
pub struct NewMirror {
    /// The folder, absolute.
    pub dir: PathBuf,
    /// Who is to have it.
    pub to: Vec<NodeId>,
    /// Whether changes are sent as they happen; otherwise when asked to look again.
    pub watch: bool,
    /// Old versions that receivers keep of changed and removed files.
    pub versions: u32,
    /// Whether an emptied folder is sent on as such.
    pub allow_empty: bool,
    /// Leave out what cannot travel instead of refusing. Later states always leave it out, and name it.
    pub skip_unsafe: bool,
}

/// An entry as it was found; the hash of a file is not known yet.
#[derive(Clone, Debug)]
pub struct Found {
    /// Path, size, permission bits, time.
    pub entry: Entry,
    /// Inode.
    pub ino: u64,
    /// What is said of a file that cannot be read now; without it, it is left out.
    pub older: Option<Entry>,
}

/// A folder that was added.
#[derive(Debug)]
pub struct Added {
    /// Hash of its manifest.
    pub root: BlobHash,
    /// The manifest.
    pub manifest: Manifest,
    /// Files that could not be read, with why, and whether they were being changed just then.
    pub failed: Vec<(String, String, bool)>,
}

/// Gives folders to others, by their contents' hashes. All calls may block.
pub trait Library: Send + Sync + 'static {
    /// Hashes what has to be hashed and can give the folder from then on.
    ///
    /// # Errors
    /// The folder is not there, it was cancelled, the store's own.
    fn add(&self, dir: &Path, found: Vec<Found>, tag: &str, cancel: &AtomicBool) -> Result<Added, SyncError>;
    /// The manifest of a state that was added and not released.
    fn manifest(&self, root: &BlobHash) -> Option<Manifest>;
    /// Need not give a state any more.
    fn release(&self, root: &BlobHash, tag: &str);
}

/// A state to be announced.
#[derive(Clone, Debug)]
pub struct NewState {
    /// Which mirror.
    pub id: SyncId,
    /// The folder.
    pub dir: PathBuf,
    /// Who is to have it.
    pub to: Vec<NodeId>,
    /// What they are told.
    pub notice: FileNotice,
    /// The notice of the state before, which is of no use any more.
    pub replaces: Option<NoticeId>,
    /// The root of the state before.
    pub previous: Option<BlobHash>,
}

/// Announces states.
pub trait Sender: Send + Sync + 'static {
    /// Lets the recipients have the state's contents, and hands the notice over; durable once it returns.
    fn send(&self, state: NewState) -> BoxFuture<'static, Result<NoticeId, String>>;
}

/// Where a sent mirror stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutState {
    /// The folder is being looked at, or its files are read.
    Scanning,
    /// Its latest state is announced.
    Sent,
    /// As [`OutState::Sent`]; changes are only noticed by looking now and then.
    Polling,
    /// Nothing is announced until somebody does something about it.
    Blocked,
}

/// A sent mirror, for people.
#[derive(Clone, Debug)]
pub struct MirrorView {
    /// Which.
    pub id: SyncId,
    /// The folder.
    pub dir: PathBuf,
    /// Who is to have it.
    pub to: Vec<NodeId>,
    /// Whether changes are sent as they happen.
    pub watch: bool,
    /// Old versions that receivers keep.
    pub versions: u32,
    /// Number of the latest state; 0 before the first.
    pub seq: u64,
    /// Its manifest.
    pub root: Option<BlobHash>,
    /// Its notice.
    pub notice: Option<NoticeId>,
    /// Files in it.
    pub files: u64,
    /// Files, folders and links in it.
    pub entries: u64,
    /// Bytes of its files.
    pub size: u64,
    /// Where it stands.
    pub state: OutState,
    /// More about it; empty when there is nothing to say.
    pub detail: String,
    /// Paths that were left out, with why; the first [`crate::MAX_NAMED`].
    pub skipped: Vec<String>,
    /// How many there are.
    pub skipped_count: usize,
    /// When anything of this changed.
    pub changed: Timestamp,
}
