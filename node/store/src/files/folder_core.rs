//! The state of one folder being received: which of its files are here, and how a whole one takes its place.

use super::{
    FileStore,
    beneath::{Beneath, dress},
    core::Core,
    error::FilesError,
    map::Map,
    receive::{Notes, part_name},
    roots::Lease,
    rows::{self, Id},
    source::Source,
    space::Promise,
};
use hive_protocol::{
    ids::BlobHash,
    manifest::{Entry, EntryKind, Manifest},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// The state of one folder being received.
#[derive(Debug)]
pub(super) struct FolderCore {
    pub store: FileStore,
    pub id: Id,
    pub hash: BlobHash,
    pub manifest: Arc<Manifest>,
    /// Where files are written: the folder itself, or the one that is renamed at the end.
    pub beneath: Beneath,
    /// The folder that holds `beneath`, open.
    pub parent: Arc<std::os::fd::OwnedFd>,
    /// Whether `beneath` is the destination itself.
    pub in_place: bool,
    pub overwrite: bool,
    /// First half of the first half of each file's hash, with its entry, in order.
    pub by_hash: Vec<(u64, u32)>,
    pub done: Vec<AtomicU64>,
    pub map: Map,
    pub here: AtomicU64,
    /// Larger files under way.
    pub open: Mutex<BTreeMap<u32, Weak<Core>>>,
    pub promise: Mutex<Option<Promise>>,
    pub closed: AtomicBool,
    /// Alive as long as this is: says that the row is open.
    pub _token: Arc<()>,
    /// Keeps the manifest.
    pub _lease: Lease,
}

pub(super) fn prefix(hash: &BlobHash) -> u64 {
    hash.0.first_chunk().map_or(0, |b| u64::from_be_bytes(*b))
}

pub(super) fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    // Tables changed in single steps.
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FolderCore {
    pub(super) fn hash(&self) -> BlobHash {
        self.hash
    }

    pub(super) fn path(&self) -> &Path {
        self.beneath.path()
    }

    /// A file of the manifest: its entry, hash and size.
    pub(super) fn file(&self, n: u32) -> Option<(&Entry, BlobHash, u64)> {
        let entry = self.manifest.entries.get(n as usize)?;
        match entry.kind {
            EntryKind::File { hash, size } => Some((entry, hash, size)),
            EntryKind::Folder | EntryKind::Link { .. } => None,
        }
    }

    /// Entries with this content.
    pub(super) fn same(&self, hash: &BlobHash) -> impl Iterator<Item = u32> {
        let p = prefix(hash);
        let from = self.by_hash.partition_point(|k| k.0 < p);
        let rest = self.by_hash.get(from..).unwrap_or_default();
        let wanted = *hash;
        rest.iter()
            .take_while(move |k| k.0 == p)
            .map(|k| k.1)
            .filter(move |n| self.file(*n).is_some_and(|f| f.1 == wanted))
    }

    pub(super) fn lists(&self, hash: &BlobHash) -> bool {
        self.same(hash).next().is_some()
    }

    pub(super) fn is_done(&self, n: u32) -> bool {
        let word = self.done.get(n as usize / 64);
        word.is_some_and(|w| w.load(Ordering::Acquire) >> (n % 64) & 1 == 1)
    }

    /// A finished file with this content: entry and size.
    pub(super) fn has(&self, hash: &BlobHash) -> Option<(u32, u64)> {
        let n = self.same(hash).find(|n| self.is_done(*n))?;
        self.file(n).map(|f| (n, f.2))
    }

    /// Opens a finished file.
    pub(super) fn open_done(&self, n: u32) -> Option<(File, u64)> {
        let (entry, _, size) = self.file(n).filter(|_| self.is_done(n))?;
        let file = self.beneath.open_file(&entry.path).ok()?;
        (file.metadata().ok()?.len() == size).then_some((file, size))
    }

    /// Ticks files off, in memory and on the disk.
    pub(super) fn tick(&self, entries: &[u32]) -> Result<(), FilesError> {
        let (mut words, mut bytes) = (BTreeSet::new(), 0);
        for n in entries {
            let Some(word) = self.done.get(*n as usize / 64) else {
                continue;
            };
            let bit = 1u64 << (n % 64);
            if word.fetch_or(bit, Ordering::AcqRel) & bit == 0 {
                bytes += self.file(*n).map_or(0, |f| f.2);
                words.insert(*n / 64);
            }
        }
        self.here.fetch_add(bytes, Ordering::AcqRel);
        if let Some(p) = lock(&self.promise).as_mut() {
            p.used(bytes);
        }
        for w in words {
            let mask = self.done.get(w as usize).map_or(0, |m| m.load(Ordering::Acquire));
            self.map.set(u64::from(w), mask)?;
        }
        Ok(())
    }

    pub(super) fn check_open(&self, what: &'static str) -> Result<(), FilesError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(FilesError::Order {
                hash: self.hash,
                what,
            });
        }
        Ok(())
    }

    pub(super) fn part_of(&self, path: &str) -> String {
        match path.rsplit_once('/') {
            Some((parent, name)) => format!("{parent}/{}", part_name(name, &self.id)),
            None => part_name(path, &self.id),
        }
    }

    /// Writes a file whose bytes have been verified.
    pub(super) fn put_small(&self, entry: &Entry, bytes: &[u8]) -> Result<(), FilesError> {
        let part;
        let name = if self.in_place {
            part = self.part_of(&entry.path);
            &part
        } else {
            &entry.path
        };
        let mut file = self.beneath.create(name, 0o600, true)?;
        let path = || self.beneath.full(name);
        file.write_all(bytes)
            .map_err(|e| FilesError::io("write", &path(), e))?;
        dress(&file, self.path(), Some(entry.mode), Some(entry.mtime_ns))?;
        if self.in_place {
            self.beneath
                .rename(name, &entry.path, self.overwrite)
                .inspect_err(|_| drop(self.beneath.remove(name)))?;
        }
        Ok(())
    }

    pub(super) fn notes(&self, n: u32) -> Notes {
        let dir = self
            .store
            .0
            .places
            .partials
            .join(rows::hex(&self.id))
            .with_extension("d");
        Notes::at(&dir.join(n.to_string()))
    }

    /// Where the chaining values of a finished larger file are.
    pub(super) fn cvs_of(&self, n: u32) -> PathBuf {
        self.notes(n).cvs
    }

    /// Takes a whole larger file into the folder, and gives other entries of the same content a copy.
    pub(super) fn take_entry(&self, n: u32, core: &Core) -> Result<super::Root, FilesError> {
        let (entry, hash, size) = self.file(n).ok_or(FilesError::NotFound { hash: core.hash })?;
        dress(&core.data, &core.part, Some(entry.mode), Some(entry.mtime_ns))?;
        let part = self.part_of(&entry.path);
        self.beneath
            .rename(&part, &entry.path, self.overwrite || !self.in_place)?;
        let mut done = vec![n];
        for other in self.same(&hash).filter(|o| *o != n && !self.is_done(*o)) {
            if let Some((e, ..)) = self.file(other) {
                self.copy(&core.data, e)?;
                done.push(other);
            }
        }
        self.tick(&done)?;
        lock(&self.open).remove(&n);
        super::remove(&core.map_path)?;
        Ok(super::Root {
            hash,
            folder: false,
            size,
            files: 1,
            entries: 1,
            name: entry.path.rsplit('/').next().unwrap_or_default().to_owned(),
        })
    }

    fn copy(&self, from: &File, to: &Entry) -> Result<(), FilesError> {
        let part = self.part_of(&to.path);
        let file = self.beneath.create(&part, 0o600, true)?;
        let path = self.beneath.full(&part);
        let failed = |e| FilesError::io("write", &path, e);
        if rustix::fs::ioctl_ficlone(&file, from).is_err() {
            let source = From { file: from, at: 0 };
            std::io::copy(&mut { source }, &mut &file).map_err(failed)?;
        }
        dress(&file, &path, Some(to.mode), Some(to.mtime_ns))?;
        self.beneath
            .rename(&part, &to.path, self.overwrite || !self.in_place)
    }

    pub(super) fn close_entry(&self, n: u32) {
        lock(&self.open).remove(&n);
    }

    pub(super) fn drop_entry(&self, n: u32, core: &Core) -> Result<(), FilesError> {
        if let Some((entry, ..)) = self.file(n) {
            self.beneath.remove(&self.part_of(&entry.path))?;
        }
        lock(&self.open).remove(&n);
        super::remove(&core.map_path)?;
        super::remove(&core.cvs)
    }
}

/// Reads a file from its start whatever its offset is.
struct From<'a> {
    file: &'a File,
    at: u64,
}

impl std::io::Read for From<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = std::os::unix::fs::FileExt::read_at(self.file, buf, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl FileStore {
    /// A finished file of a folder that is still being received.
    pub(super) fn live_folder_source(&self, hash: &BlobHash) -> Option<Source> {
        let folders = self.index().live_folders();
        folders.iter().find_map(|f| {
            let (n, size) = f.has(hash)?;
            let (file, _) = f.open_done(n)?;
            Some(self.entry_source(*hash, size, file, f.beneath.full(&f.file(n)?.0.path)))
        })
    }
}

impl FolderCore {
    /// A source on this machine that has all of it, other than this folder.
    pub(super) fn local(&self, hash: &BlobHash) -> Option<Source> {
        let whole = self.store.content(hash).is_some_and(|c| c.whole);
        let source = whole.then(|| self.store.source(hash).ok()).flatten();
        source.filter(Source::is_whole)
    }
}
