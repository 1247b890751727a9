//! Files of any size as content by hash: where they are, which parts are here, how they come in and go out.
//!
//! Files are remembered by reference where they lie, or received straight to where they shall be; what is known
//! about them (chaining values, bitmaps, rows) lies below `files/` in the data folder. Every group of 64 KiB is
//! checked before it is kept. Knows nothing of who may have what, nor of where content comes from.

mod error;
mod tree;
mod types;

pub use error::FilesError;
pub use types::{
    AddOptions, AddedPath, Collected, Content, ContentKind, Destination, PartialInfo, Report, Root, RootInfo,
};

use crate::{blobs::BlobStore, dir::DataDir};
use hive_protocol::{ids::BlobHash, manifest::Manifest, time::Timestamp};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

/// Left-out paths that are listed one by one; more are only counted.
pub const MAX_SKIPPED: usize = 100;
/// Days a partial is left alone before [`FileStore::gc`] may take it.
pub const STALE_DAYS: u64 = 7;

/// Files and content. Clones share one store; all methods may be called from any thread and block on the disk.
#[derive(Debug, Clone)]
pub struct FileStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    blobs: BlobStore,
    root: PathBuf,
}

/// Keeps content from being collected while it lives.
#[derive(Debug)]
pub struct Lease {
    store: FileStore,
    hash: BlobHash,
}

impl Lease {
    /// Turns the lease into a tag, leaving no moment in between in which the content could be collected.
    ///
    /// # Errors
    /// Not here; the journal.
    pub fn keep(self, tag: &str, until: Option<Timestamp>) -> Result<(), FilesError> {
        self.store.keep(&self.hash, tag, until)
    }
}

/// Content open for reading. Stays readable when the content is removed.
#[derive(Debug)]
pub struct Source {
    hash: BlobHash,
    size: u64,
}

/// Content being received. Clones are one transfer; all methods may be called from several threads.
#[derive(Debug, Clone)]
pub struct Partial(Arc<BlobHash>);

/// A folder being received.
#[derive(Debug, Clone)]
pub struct FolderPartial(Arc<BlobHash>);

/// One copy within [`Partial::copy_from`]: bytes of an older version that may be those of this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyRange {
    /// First byte in the old content.
    pub from: u64,
    /// First byte in this content.
    pub to: u64,
    /// How many.
    pub len: u64,
}

const NOT: FilesError = FilesError::Cancelled;

#[allow(unused_variables, missing_docs, clippy::missing_errors_doc)]
impl FileStore {
    pub fn open(dir: &DataDir, blobs: BlobStore) -> Result<(Self, Report), FilesError> { Err(NOT) }
    pub fn blobs(&self) -> &BlobStore { &self.0.blobs }
    pub fn add_path(&self, path: &Path, options: &AddOptions<'_>, cancel: &AtomicBool) -> Result<AddedPath, FilesError> { Err(NOT) }
    pub fn keep(&self, hash: &BlobHash, tag: &str, until: Option<Timestamp>) -> Result<(), FilesError> { Err(NOT) }
    pub fn drop_tag(&self, hash: &BlobHash, tag: &str) -> Result<bool, FilesError> { Err(NOT) }
    pub fn roots(&self) -> Vec<RootInfo> { Vec::new() }
    pub fn root(&self, hash: &BlobHash) -> Option<RootInfo> { None }
    pub fn lists(&self, root: &BlobHash, hash: &BlobHash) -> bool { false }
    pub fn manifest(&self, hash: &BlobHash) -> Result<Manifest, FilesError> { Err(NOT) }
    pub fn lease(&self, hash: &BlobHash) -> Lease { Lease { store: self.clone(), hash: *hash } }
    pub fn gc(&self, dry_run: bool) -> Result<Collected, FilesError> { Err(NOT) }
    pub fn verify(&self, hash: &BlobHash) -> Result<u64, FilesError> { Err(NOT) }
    pub fn remove(&self, hash: &BlobHash) -> Result<bool, FilesError> { Err(NOT) }
    pub fn partials(&self) -> Vec<PartialInfo> { Vec::new() }
    pub fn content(&self, hash: &BlobHash) -> Option<Content> { None }
    pub fn source(&self, hash: &BlobHash) -> Result<Source, FilesError> { Err(NOT) }
    pub fn small(&self, hashes: &[BlobHash], out: &mut Vec<u8>, sizes: &mut Vec<u32>, cap: u64) -> Result<(), FilesError> { Err(NOT) }
    pub fn chunks(&self, hash: &BlobHash) -> Result<Vec<([u8; 32], u32)>, FilesError> { Err(NOT) }
    pub fn begin(&self, hash: &BlobHash, dest: &Destination, size_limit: u64) -> Result<Partial, FilesError> { Err(NOT) }
    pub fn begin_folder(&self, hash: &BlobHash, manifest: &Manifest, dest: &Destination, size_limit: u64) -> Result<FolderPartial, FilesError> { Err(NOT) }
}

#[allow(unused_variables, missing_docs, clippy::missing_errors_doc)]
impl Source {
    pub fn hash(&self) -> BlobHash { self.hash }
    pub fn size(&self) -> u64 { self.size }
    pub fn has(&self, segment: u64, mask: u64) -> bool { false }
    pub fn segment_cvs(&self) -> Result<Vec<[u8; 32]>, FilesError> { Err(NOT) }
    pub fn group_cvs(&self, segment: u64) -> Result<Vec<[u8; 32]>, FilesError> { Err(NOT) }
    pub fn read(&self, segment: u64, mask: u64, out: &mut Vec<u8>) -> Result<(), FilesError> { Err(NOT) }
    pub fn read_range(&self, from: u64, to: u64, verified: bool, out: &mut Vec<u8>) -> Result<(), FilesError> { Err(NOT) }
}

#[allow(unused_variables, missing_docs, clippy::missing_errors_doc)]
impl Partial {
    pub fn hash(&self) -> BlobHash { *self.0 }
    /// `None` until the tree is set.
    pub fn size(&self) -> Option<u64> { None }
    pub fn set_tree(&self, size: u64, segment_cvs: &[[u8; 32]]) -> Result<(), FilesError> { Err(NOT) }
    pub fn has_groups(&self, segment: u64) -> bool { false }
    pub fn set_groups(&self, segment: u64, group_cvs: &[[u8; 32]]) -> Result<(), FilesError> { Err(NOT) }
    /// Mask of the groups still to come.
    pub fn missing(&self, segment: u64) -> u64 { 0 }
    /// One bit per segment that is whole.
    pub fn bitmap(&self) -> Vec<u8> { Vec::new() }
    pub fn bytes_here(&self) -> u64 { 0 }
    pub fn is_whole(&self) -> bool { false }
    pub fn write(&self, segment: u64, group: u32, bytes: &[u8]) -> Result<bool, FilesError> { Err(NOT) }
    /// The groups of the mask back to back. Returns the mask of those that were right; Err(Corrupt) only if none.
    pub fn write_mask(&self, segment: u64, mask: u64, bytes: &[u8]) -> Result<u64, FilesError> { Err(NOT) }
    /// Groups of this segment that are all zeros and can be had without asking anybody.
    pub fn fill_zeros(&self, segment: u64) -> Result<u64, FilesError> { Err(NOT) }
    pub fn copy_from(&self, old: &Source, ranges: &[CopyRange]) -> Result<u64, FilesError> { Err(NOT) }
    pub fn read_range(&self, from: u64, to: u64, out: &mut Vec<u8>) -> Result<(), FilesError> { Err(NOT) }
    pub fn checkpoint(&self) -> Result<(), FilesError> { Err(NOT) }
    pub fn sync(&self) -> Result<(), FilesError> { Err(NOT) }
    pub fn finish(&self, mode: Option<u32>, mtime_ns: Option<i64>) -> Result<Root, FilesError> { Err(NOT) }
    pub fn abandon(&self, keep: bool) -> Result<(), FilesError> { Err(NOT) }
}

#[allow(unused_variables, missing_docs, clippy::missing_errors_doc)]
impl FolderPartial {
    pub fn hash(&self) -> BlobHash { *self.0 }
    /// Takes what is here already (other folders, references, blobs) instead of asking; returns bytes.
    pub fn fill_from_store(&self, cancel: &AtomicBool) -> Result<u64, FilesError> { Err(NOT) }
    /// Entries (indices into the manifest) whose content is still to come, each content once, after `after`.
    pub fn wanted(&self, after: Option<u32>, limit: usize) -> Vec<(u32, BlobHash, u64)> { Vec::new() }
    pub fn bytes_here(&self) -> u64 { 0 }
    pub fn is_whole(&self) -> bool { false }
    /// Small contents (at most 64 KiB each), all entries of the same content are written. Returns those with wrong bytes.
    pub fn write_small(&self, batch: &[(u32, &[u8])]) -> Result<Vec<u32>, FilesError> { Err(NOT) }
    /// A larger content; its `finish` ticks off the entry.
    pub fn begin_entry(&self, entry: u32) -> Result<Partial, FilesError> { Err(NOT) }
    pub fn finish(&self) -> Result<Root, FilesError> { Err(NOT) }
    pub fn abandon(&self, keep: bool) -> Result<(), FilesError> { Err(NOT) }
}
