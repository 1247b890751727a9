//! What goes in and out of the file store, as plain data.

use hive_protocol::{ids::BlobHash, time::Timestamp};
use std::path::PathBuf;

/// Something that was added or received as one thing: a file, or a folder by its manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Hash of the file's bytes, or of the folder's manifest.
    pub hash: BlobHash,
    /// Whether it is a folder.
    pub folder: bool,
    /// Bytes of the file, or of all files in the folder.
    pub size: u64,
    /// Regular files: 1 for a file.
    pub files: u64,
    /// Entries of the manifest: 1 for a file.
    pub entries: u64,
    /// The last name of the path.
    pub name: String,
}

/// A root with everything known about it here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootInfo {
    /// The root.
    pub root: Root,
    /// Where it lies; `None` when the store keeps its bytes.
    pub path: Option<PathBuf>,
    /// Why it is kept, each until when.
    pub tags: Vec<(String, Option<Timestamp>)>,
    /// When it came here.
    pub added: Timestamp,
    /// What was noticed about it since, such as a changed file.
    pub problem: Option<String>,
}

/// How a path is added.
#[derive(Default, Clone, Copy)]
pub struct AddOptions<'a> {
    /// Whether the store keeps bytes of its own; otherwise it remembers where they are.
    pub copy: bool,
    /// Leave out what cannot travel (devices, sockets, odd names, links that lead out) instead of refusing.
    pub skip_unsafe: bool,
    /// Why it is kept. Without a tag it goes with the next [`super::FileStore::gc`].
    pub tag: Option<&'a str>,
    /// Until when the tag keeps it; for ever when `None`.
    pub until: Option<Timestamp>,
    /// Names directly below a folder that are left out without a word.
    pub exclude: &'a [&'a str],
    /// Called with the number of further bytes done, from several threads.
    pub progress: Option<&'a (dyn Fn(u64) + Sync)>,
}

/// What came of adding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedPath {
    /// What it is now called.
    pub root: Root,
    /// Bytes that had to be hashed; unchanged files are not read again.
    pub hashed: u64,
    /// What was left out with `skip_unsafe`: path and reason. At most [`super::MAX_SKIPPED`] are listed.
    pub skipped: Vec<(PathBuf, String)>,
    /// How many were left out.
    pub skipped_count: u64,
}

/// Where content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentKind {
    /// In the blob store.
    Blob,
    /// A file of the user's.
    Reference,
    /// Being received.
    Partial,
}

/// What is known of content without touching the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Its size in bytes; 0 when it is being received and its size is not known yet.
    pub size: u64,
    /// Whether all of it is here.
    pub whole: bool,
    /// One bit for each segment here whole, lowest bit of the first byte first; empty when all is here.
    pub segments: Vec<u8>,
    /// Where.
    pub kind: ContentKind,
}

/// Where received content goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Destination {
    /// The file or folder to be; `None`: into the blob store. Absolute, or relative to `below`.
    pub path: Option<PathBuf>,
    /// A folder that must not be left, whatever links are on the way. Without it the parent of `path` is opened
    /// as the user gave it (links in it are the user's own).
    pub below: Option<PathBuf>,
    /// Whether a file that is there may be replaced (folders: whether files in it may be).
    pub overwrite: bool,
    /// Why it is kept once it is here.
    pub tag: Option<String>,
    /// Whether bytes are forced to the disk before it takes its name. Without it a power cut soon after may leave
    /// a file that is shorter or wrong (as with cp); it is found out before it is passed on, or by `verify`.
    pub durable: bool,
}

/// Something being received, or left over from that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialInfo {
    /// The content or manifest.
    pub hash: BlobHash,
    /// Whether it is a folder.
    pub folder: bool,
    /// Where it will be; `None`: the blob store.
    pub dest: Option<PathBuf>,
    /// Where its bytes are until then.
    pub part: PathBuf,
    /// Its size in bytes, when known.
    pub size: u64,
    /// When it was begun.
    pub begun: Timestamp,
    /// When it was last touched.
    pub touched: Timestamp,
    /// Whether it is open now.
    pub open: bool,
}

/// What a collection removed, or would remove.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Collected {
    /// Roots that nothing keeps, with the bytes of theirs in the store.
    pub roots: Vec<(Root, u64)>,
    /// Partials untouched for [`super::STALE_DAYS`] days, with their bytes on the disk.
    pub partials: Vec<(PartialInfo, u64)>,
    /// Bytes of the disk freed. Files of the user's are never touched.
    pub freed: u64,
}

/// What opening found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Files remembered by reference, those in folders not counted.
    pub references: usize,
    /// Folders.
    pub folders: usize,
    /// Transfers that can go on.
    pub partials: usize,
    /// Rows that could not be read and were dropped, folders whose table is gone, and what the journal said.
    pub problems: Vec<String>,
}
