//! A folder being received: small files written as they come, larger ones as transfers of their own. A new folder
//! grows beside its destination and is renamed as a whole; an existing one is filled in place, each file taking its
//! name when it is whole.

use super::{
    error::FilesError,
    finish::Target,
    folder_core::{FolderCore, lock},
    partial::Partial,
    source::Source,
};
use hive_protocol::{file::GROUP, ids::BlobHash, manifest::Manifest};
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// A folder being received. Clones are one transfer; all methods may be called from several threads.
#[derive(Debug, Clone)]
pub struct FolderPartial(pub(super) Arc<FolderCore>);

impl FolderPartial {
    /// Which folder, by its manifest.
    #[must_use]
    pub fn hash(&self) -> BlobHash {
        self.0.hash
    }

    /// What it will have in it.
    #[must_use]
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.0.manifest
    }

    /// Contents still to come, each once, by their first entry: entry, hash, size. In the order of the entries, after
    /// the entry `after`, at most `limit`.
    #[must_use]
    pub fn wanted(&self, after: Option<u32>, limit: usize) -> Vec<(u32, BlobHash, u64)> {
        let from = after.map_or(0, |a| a.saturating_add(1));
        let to = u32::try_from(self.0.manifest.entries.len()).unwrap_or(u32::MAX);
        let one = |n| {
            let (_, hash, size) = self.0.file(n).filter(|_| !self.0.is_done(n))?;
            (self.0.same(&hash).find(|o| !self.0.is_done(*o)) == Some(n)).then_some((n, hash, size))
        };
        (from..to).filter_map(one).take(limit).collect()
    }

    /// Bytes of finished files.
    #[must_use]
    pub fn bytes_here(&self) -> u64 {
        self.0.here.load(Ordering::Acquire)
    }

    /// Whether every file is here.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.wanted(None, 1).is_empty()
    }

    /// Writes small files that came whole; other entries with the same content are written, too. Returns entries
    /// whose bytes were not theirs; nothing of those was kept.
    ///
    /// # Errors
    /// `file.exists` in place without overwriting; `store.disk_full`; I/O. What was written before stays.
    pub fn write_small(&self, batch: &[(u32, &[u8])]) -> Result<Vec<u32>, FilesError> {
        let core = &*self.0;
        core.check_open("files after the end")?;
        let (mut wrong, mut done) = (Vec::new(), Vec::with_capacity(batch.len()));
        let mut failed = None;
        'all: for (n, bytes) in batch {
            let fits = core
                .file(*n)
                .filter(|f| f.2 == bytes.len() as u64 && BlobHash::of(bytes) == f.1);
            let Some((_, hash, _)) = fits else {
                wrong.push(*n);
                continue;
            };
            for n in core.same(&hash).filter(|n| !core.is_done(*n)) {
                if let Some((entry, ..)) = core.file(n) {
                    if let Err(e) = core.put_small(entry, bytes) {
                        failed = Some(e);
                        break 'all;
                    }
                    done.push(n);
                }
            }
        }
        core.tick(&done)?;
        failed.map_or(Ok(wrong), Err)
    }

    /// Begins, or goes on with, a larger file (any size will do); its `finish` ticks it off.
    ///
    /// # Errors
    /// `file.busy` when it is open; `file.not_found` for an entry that is no file; I/O.
    pub fn begin_entry(&self, n: u32) -> Result<Partial, FilesError> {
        let core = &self.0;
        core.check_open("a file after the end")?;
        let (entry, hash, size) = core.file(n).ok_or(FilesError::NotFound { hash: core.hash })?;
        let mut open = lock(&core.open);
        open.retain(|_, w| w.strong_count() > 0);
        if open.contains_key(&n) || core.is_done(n) {
            return Err(FilesError::Busy {
                path: core.beneath.full(&entry.path),
            });
        }
        let notes = core.notes(n);
        if let Some(dir) = notes.map.parent() {
            fs::create_dir_all(dir).map_err(|e| FilesError::io("create", dir, e))?;
        }
        let part = core.part_of(&entry.path);
        let data = core.beneath.create(&part, 0o600, false)?;
        let target = Target::Entry(core.clone(), n);
        let path = core.beneath.full(&part);
        let one = core
            .store
            .open_core(core.id, hash, target, data, path, notes, size, Arc::new(()))?;
        open.insert(n, Arc::downgrade(&one));
        drop(open);
        core.store.write_index().go_live(hash, &one);
        Ok(Partial(one))
    }

    /// Takes what is here already instead of asking for it: files of the right content that are in place, other
    /// folders, references, blobs. Everything is checked on the way. Returns the bytes taken.
    ///
    /// # Errors
    /// Cancelled; `store.disk_full`; I/O of the destination.
    pub fn fill_from_store(&self, cancel: &AtomicBool) -> Result<u64, FilesError> {
        let before = self.bytes_here();
        let mut after = None;
        loop {
            // A page at a time: a list of all would be large.
            let page = self.wanted(after, 4096);
            let Some(last) = page.last() else { break };
            after = Some(last.0);
            for (_, hash, size) in page {
                if cancel.load(Ordering::Relaxed) {
                    return Err(FilesError::Cancelled);
                }
                self.fill_one(&hash, size, cancel)?;
            }
        }
        Ok(self.bytes_here() - before)
    }

    /// Takes one content for all entries that want it.
    fn fill_one(&self, hash: &BlobHash, size: u64, cancel: &AtomicBool) -> Result<(), FilesError> {
        let core = &self.0;
        if core.in_place {
            for n in core.same(hash).filter(|n| !core.is_done(*n)) {
                core.adopt_in_place(n, cancel)?;
            }
        }
        let Some(n) = core.same(hash).find(|n| !core.is_done(*n)) else {
            return Ok(());
        };
        // One of the entries may just have been found in place.
        let Some(source) = core.local(hash) else {
            return Ok(());
        };
        if size > GROUP {
            return self.copy_large(n, &source, cancel);
        }
        let mut bytes = Vec::new();
        if source.read_range(0, size, false, &mut bytes).is_ok() {
            self.write_small(&[(n, &bytes)])?;
        }
        Ok(())
    }

    /// Copies a larger file group by group; a source that turns out wrong leaves the rest to be fetched.
    fn copy_large(&self, n: u32, source: &Source, cancel: &AtomicBool) -> Result<(), FilesError> {
        let partial = match self.begin_entry(n) {
            Err(FilesError::Busy { .. }) => return Ok(()),
            other => other?,
        };
        let Ok(cvs) = source.segment_cvs() else {
            return Ok(());
        };
        match partial.set_tree(source.size(), &cvs) {
            Err(FilesError::Corrupt { .. } | FilesError::TooLarge { .. }) => return Ok(()),
            other => other?,
        }
        let mut bytes = Vec::new();
        for segment in 0..hive_protocol::file::segments(source.size()) {
            if cancel.load(Ordering::Relaxed) {
                return Err(FilesError::Cancelled);
            }
            let missing = partial.missing(segment);
            let Ok(cvs) = source.group_cvs(segment) else {
                return Ok(());
            };
            bytes.clear();
            if partial.set_groups(segment, &cvs).is_err()
                || source.read(segment, missing, &mut bytes).is_err()
            {
                return Ok(());
            }
            match partial.write_mask(segment, missing, &bytes) {
                Ok(right) if right == missing => {}
                Ok(_) | Err(FilesError::Corrupt { .. }) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        partial.finish(None, None).map(drop)
    }
}
