//! Calls that concern files: they go to the desk beside the daemon's loop and never wait for the loop.

use super::{Refused, Reply, file_views::*};
use crate::config::FileConfig;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tokio::sync::mpsc;

/// Longest a question may wait for something to happen, in milliseconds; whoever wants to wait longer asks again.
pub const MAX_FILE_WAIT_MS: u64 = 60_000;

/// A file or folder to take in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddRequest {
    /// Absolute path on the daemon's machine.
    pub path: PathBuf,
    /// Keep a copy of the bytes instead of a reference to the path.
    #[serde(default)]
    pub copy: bool,
    /// Leave out what cannot travel (devices, links out of the folder, names that are no UTF-8) instead of refusing.
    #[serde(default)]
    pub skip_unsafe: bool,
    /// Share it with all members: the answer has a ticket.
    #[serde(default)]
    pub share: bool,
}

/// Content to bring here.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullRequest {
    /// A file ticket, a content's id (`b_…`), or what an inbox or list shows of it.
    pub what: String,
    /// Absolute path on the daemon's machine where it shall stand; `None` to keep it in the store only.
    #[serde(default)]
    pub dest: Option<PathBuf>,
    /// For a bare content id: whether it is a folder.
    #[serde(default)]
    pub folder: bool,
    /// Nodes to ask besides those of the ticket: names, ids, beginnings of ids.
    #[serde(default)]
    pub from: Vec<String>,
    /// An older version on this machine: what it has in common is not fetched.
    #[serde(default)]
    pub like: Option<PathBuf>,
    /// Replace what stands at the destination.
    #[serde(default)]
    pub overwrite: bool,
    /// `interactive`, `normal` or `bulk`.
    #[serde(default)]
    pub priority: Option<String>,
}

/// What to do with a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferDo {
    /// Hold it.
    Pause,
    /// Go on.
    Resume,
    /// Give it up; what was fetched stays for a later pull until `file gc`.
    Cancel,
}

/// A notice to send. Exactly one of `path`, `what`, `text` and `event` says what.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct PushRequest {
    /// A file or folder by absolute path: taken in, then offered.
    pub path: Option<PathBuf>,
    /// Content that is here already, by id or name.
    pub what: Option<String>,
    /// A line for people.
    pub text: Option<String>,
    /// For programs: (kind, data).
    pub event: Option<(String, String)>,
    /// Names, ids, beginnings of ids, `all`, `role=worker`.
    pub to: Vec<String>,
    /// What it shall be called at the receiver; the file's own name when absent.
    pub name: Option<String>,
    /// `interactive`, `normal` or `bulk`.
    pub priority: Option<String>,
    /// How long it may wait for absent receivers, in milliseconds; a week when absent.
    pub ttl_ms: Option<u64>,
    /// As in [`AddRequest`].
    pub copy: bool,
    /// As in [`AddRequest`].
    pub skip_unsafe: bool,
}

/// A folder to mirror to other nodes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncRequest {
    /// Absolute path of the folder.
    pub dir: PathBuf,
    /// As in [`PushRequest`].
    pub to: Vec<String>,
    /// Go on watching; otherwise its present state is sent once.
    #[serde(default)]
    pub watch: bool,
    /// Old versions receivers keep of changed and deleted files.
    #[serde(default)]
    pub versions: u32,
    /// Leave out what cannot travel instead of refusing.
    #[serde(default)]
    pub skip_unsafe: bool,
    /// Send on, this time, that the folder has no files any more.
    #[serde(default)]
    pub allow_empty: bool,
}

/// Verified bytes of a content, in order, as they come.
#[derive(Debug)]
pub struct FileBytes {
    /// Which content.
    pub hash: String,
    /// Its whole size in bytes.
    pub size: u64,
    /// First byte of the range given.
    pub from: u64,
    /// Bytes of the range.
    pub len: u64,
    /// The bytes; the channel closes after the last, or after a refusal.
    pub pieces: mpsc::Receiver<Result<Vec<u8>, Refused>>,
}

/// Everything about files that can be asked.
#[derive(Debug)]
#[allow(missing_docs)] // each variant is documented at the method of the handle that sends it
pub enum FileCall {
    Add {
        request: AddRequest,
        reply: Reply<FileView>,
    },
    Files {
        reply: Reply<Vec<FileRow>>,
    },
    File {
        file: String,
        reply: Reply<FileView>,
    },
    Share {
        file: String,
        reply: Reply<FileView>,
    },
    Unshare {
        file: String,
        reply: Reply<FileRow>,
    },
    Verify {
        file: String,
        reply: Reply<VerifyView>,
    },
    Remove {
        file: String,
        reply: Reply<()>,
    },
    Gc {
        dry_run: bool,
        reply: Reply<GcView>,
    },
    Read {
        what: String,
        from: u64,
        to: Option<u64>,
        reply: Reply<FileBytes>,
    },
    Settings {
        settings: Option<FileConfig>,
        reply: Reply<()>,
    },
    SettingsWanted {
        reply: Reply<()>,
    },
    Reload {
        reply: Reply<()>,
    },
    Pull {
        request: PullRequest,
        reply: Reply<TransferView>,
    },
    Transfers {
        reply: Reply<Vec<TransferView>>,
    },
    Transfer {
        transfer: String,
        wait_ms: u64,
        reply: Reply<TransferView>,
    },
    TransferDo {
        transfer: String,
        what: TransferDo,
        reply: Reply<Vec<TransferView>>,
    },
    Push {
        request: Box<PushRequest>,
        reply: Reply<NoticeView>,
    },
    Notices {
        reply: Reply<Vec<NoticeView>>,
    },
    Notice {
        notice: String,
        wait_ms: u64,
        reply: Reply<NoticeView>,
    },
    NoticeCancel {
        notice: String,
        reply: Reply<NoticeView>,
    },
    Inbox {
        reply: Reply<Vec<InboxRow>>,
    },
    InboxItem {
        notice: String,
        reply: Reply<InboxRow>,
    },
    InboxAccept {
        notice: String,
        dest: Option<PathBuf>,
        reply: Reply<InboxRow>,
    },
    InboxDecline {
        notice: String,
        reason: String,
        reply: Reply<InboxRow>,
    },
    SyncStart {
        request: SyncRequest,
        reply: Reply<SyncView>,
    },
    Syncs {
        reply: Reply<Vec<SyncView>>,
    },
    Sync {
        sync: String,
        wait_ms: u64,
        reply: Reply<SyncView>,
    },
    SyncRemove {
        sync: String,
        reply: Reply<()>,
    },
}
