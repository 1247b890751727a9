//! What the daemon shows of files: JSON documents of /v1, fields are only ever added.
//! Ids are in their text form, times in milliseconds since 1970, sizes in bytes, rates in bytes a second.

use super::Refused;
use serde::{Deserialize, Serialize};

/// One content this node keeps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FileRow {
    /// Content id: of the file, or of the folder's manifest.
    pub hash: String,
    /// Name for people.
    pub name: String,
    /// Whether it is a folder.
    pub folder: bool,
    /// Bytes of the file, or of all files of the folder.
    pub size: u64,
    /// Number of files.
    pub files: u64,
    /// `whole`, `partial`, or `changed` (its file is not what it was when it was added).
    pub state: String,
    /// Where it stands on this machine; absent when the bytes are in the store.
    pub path: Option<String>,
    /// Why it is kept: `added`, `shared`, `pushed`, `pulled`, `sync`.
    pub tags: Vec<String>,
    /// Whether all members may pull it.
    pub shared: bool,
}

/// One content in full.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FileView {
    /// The line.
    #[serde(flatten)]
    pub row: FileRow,
    /// Files, folders and links of a folder; 0 for a file.
    pub entries: u64,
    /// Names left out because they cannot travel, at most a few.
    pub skipped: Vec<String>,
    /// What another member pulls it with, once it is shared.
    pub ticket: Option<String>,
    /// What is in a folder, at most the first 1000 entries.
    pub listing: Vec<EntryRow>,
}

/// One entry of a folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EntryRow {
    /// Path below the folder.
    pub path: String,
    /// `file`, `folder` or `link`.
    pub kind: String,
    /// Size in bytes of a file.
    pub size: u64,
    /// Content id of a file; target of a link.
    pub of: String,
}

/// The outcome of reading a content again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VerifyView {
    /// Content id.
    pub hash: String,
    /// Whether every byte is what its hash says.
    pub good: bool,
    /// Bytes read.
    pub bytes: u64,
    /// What is wrong, at most a few.
    pub problems: Vec<String>,
}

/// What a clearing freed, or would free.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GcView {
    /// Whether nothing was touched.
    pub dry_run: bool,
    /// Bytes of the disk.
    pub freed: u64,
    /// Contents and remains of transfers, largest first, at most the first 1000.
    pub items: Vec<GcRow>,
    /// How many in all.
    pub count: u64,
}

/// One thing a clearing frees.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GcRow {
    /// Content id.
    pub hash: String,
    /// Bytes.
    pub size: u64,
    /// `unused` or `stale transfer`.
    pub why: String,
}

/// Bytes on their way here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TransferView {
    /// Transfer id.
    pub transfer: String,
    /// Content id.
    pub hash: String,
    /// Name for people.
    pub name: String,
    /// Whether it is a folder.
    pub folder: bool,
    /// Where it goes; absent when it stays in the store.
    pub dest: Option<String>,
    /// `queued`, `starting`, `running`, `paused`, `finishing`, `done`, `failed` or `cancelled`.
    pub state: String,
    /// Verified bytes; never shrinks.
    pub done: u64,
    /// Bytes in all; 0 until known.
    pub total: u64,
    /// Files in place.
    pub files_done: u64,
    /// Files in all; 0 until known.
    pub files: u64,
    /// Bytes that came over the network.
    pub fetched: u64,
    /// Bytes that were here already: an older version, another copy, an earlier try.
    pub reused: u64,
    /// Verified bytes a second over the last ten seconds.
    pub rate: u64,
    /// Milliseconds left at this rate, where it can be said.
    pub eta_ms: Option<u64>,
    /// Why nothing comes, after five seconds without a byte.
    pub stalled: Option<Refused>,
    /// Why it failed.
    pub error: Option<Refused>,
    /// Who gives.
    pub peers: Vec<TransferPeer>,
    /// When it began.
    pub started: u64,
    /// When it ended; 0 while it has not.
    pub ended: u64,
}

impl TransferView {
    /// Whether it has come to an end.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self.state.as_str(), "done" | "failed" | "cancelled")
    }
}

/// One giver of a transfer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TransferPeer {
    /// Node id.
    pub node: String,
    /// Name, where known.
    pub name: String,
    /// `direct`, `mesh` or `relayed`.
    pub path: String,
    /// The relay that carries it: its name or, where it has none, its node id.
    #[serde(default)]
    pub relay: Option<String>,
    /// Whether it has all of it.
    pub whole: bool,
    /// Why it is asked no more, when that is so.
    pub dropped: Option<String>,
    /// Bytes it has given.
    pub bytes: u64,
    /// Bytes a second.
    pub rate: u64,
}

/// A notice this node sends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NoticeView {
    /// Notice id.
    pub notice: String,
    /// `file`, `text`, `event` or `sync`.
    pub kind: String,
    /// The file's name, the text, or the event's kind.
    pub name: String,
    /// Content id of a file.
    pub hash: Option<String>,
    /// Bytes of its files.
    pub size: u64,
    /// `interactive`, `normal` or `bulk`.
    pub priority: String,
    /// When it was made.
    pub created: u64,
    /// When it is given up for those who have not got it.
    pub expires: u64,
    /// Whether nothing more will happen to it.
    pub ended: bool,
    /// Where it stands at each receiver.
    pub recipients: Vec<RecipientRow>,
}

impl NoticeView {
    /// How many receivers have it, and how many never will.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let of = |states: &[&str]| {
            let is = |r: &&RecipientRow| states.contains(&r.state.as_str());
            self.recipients.iter().filter(is).count()
        };
        (of(&["done"]), of(&["declined", "failed", "expired", "cancelled"]))
    }
}

/// One receiver of a notice.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecipientRow {
    /// Node id.
    pub node: String,
    /// Name, where known.
    pub name: String,
    /// `queued`, `mailbox`, `received`, `waiting`, `pulling`, `done`, `declined`, `failed`, `expired`, `cancelled`.
    pub state: String,
    /// Why, for people.
    pub detail: String,
    /// Bytes it has verified.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// A notice this node has got.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InboxRow {
    /// Notice id.
    pub notice: String,
    /// Sender's node id.
    pub from: String,
    /// Its name, or the beginning of its id while that is not known.
    pub from_name: String,
    /// `file`, `text`, `event` or `sync`.
    pub kind: String,
    /// The file's name, the text, or the event's kind.
    pub name: String,
    /// Data of an event.
    pub data: String,
    /// Content id of a file.
    pub hash: Option<String>,
    /// Bytes of its files.
    pub size: u64,
    /// Number of its files.
    pub files: u64,
    /// `asking` (for you to accept), `waiting`, `pulling`, `done`, `declined`, `failed`.
    pub state: String,
    /// Why, for people.
    pub detail: String,
    /// Where it goes, once that is settled.
    pub dest: Option<String>,
    /// The transfer, once it runs.
    pub transfer: Option<String>,
    /// When it came.
    pub received: u64,
    /// When its sender gives it up.
    pub expires: u64,
}

/// A mirrored folder: one's own towards others, or another's here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SyncView {
    /// Mirror id.
    pub sync: String,
    /// `out` for one's own folder, `in` for another node's.
    pub direction: String,
    /// The folder on this machine.
    pub dir: String,
    /// Who receives it; for `in` who sends it.
    pub nodes: Vec<RecipientRow>,
    /// Whether changes are sent as they happen.
    pub watch: bool,
    /// Old versions kept.
    pub versions: u32,
    /// Number of the latest state.
    pub seq: u64,
    /// Manifest of the latest state.
    pub hash: Option<String>,
    /// Files in it.
    pub files: u64,
    /// Bytes in it.
    pub size: u64,
    /// `scanning`, `sending`, `idle` or `blocked`; here of others also `waiting`, `fetching`, `placing`, `partial`.
    pub state: String,
    /// Why, for people.
    pub detail: String,
    /// When it last changed.
    pub changed: u64,
    /// Conflicts kept beside the mirrored files.
    pub conflicts: u64,
}
