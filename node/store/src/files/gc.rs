//! Taking things out: what nothing keeps, what was left to rot, what the user names. Files of the user's stay.

use super::{
    FileStore, STALE_DAYS,
    error::FilesError,
    index::Folder,
    rows::{self, Change, RootRow},
    stamp::now,
    types::{Collected, PartialInfo},
};
use hive_protocol::{
    ids::BlobHash,
    time::{Millis, Timestamp},
};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

impl FileStore {
    /// Removes roots that nothing keeps (no tag in force, no lease, not being received), and transfers that nobody
    /// touched for [`STALE_DAYS`] days. With `dry_run` only says what that would be. Never removes a file of the
    /// user's: for those only what is known about them goes.
    ///
    /// # Errors
    /// The journal, I/O.
    pub fn gc(&self, dry_run: bool) -> Result<Collected, FilesError> {
        let now = now();
        let loose: Vec<RootRow> = {
            let index = self.index();
            let loose = index
                .roots
                .values()
                .filter(|r| !in_force(r, now) && !self.in_use(&index, &r.hash));
            loose.cloned().collect()
        };
        let mut report = Collected::default();
        for row in loose {
            let bytes = self.kept_bytes(&row)?;
            if !dry_run {
                match self.remove(&row.hash) {
                    // Somebody took it up since.
                    Err(FilesError::InUse { .. }) => continue,
                    other => drop(other?),
                }
            }
            report.freed += bytes;
            report.roots.push((row.root(), bytes));
        }
        let limit = Millis(STALE_DAYS * 24 * 3_600_000);
        for info in self.partials() {
            if info.open || now.since(info.touched) < limit {
                continue;
            }
            let bytes = disk_bytes(&info.part);
            if !dry_run && !self.wipe(&info)? {
                continue;
            }
            report.freed += bytes;
            report.partials.push((info, bytes));
        }
        Ok(report)
    }

    fn in_use(&self, index: &super::Index, hash: &BlobHash) -> bool {
        index.is_leased(hash) || index.live_folders().iter().any(|f| f.hash() == *hash)
    }

    /// What a root has in the store and nobody else needs, in bytes.
    fn kept_bytes(&self, row: &RootRow) -> Result<u64, FilesError> {
        let size = |h: &BlobHash| self.0.blobs.size(h).unwrap_or_default();
        let places = &self.0.places;
        let mut bytes = size(&row.hash) + disk_bytes(&places.cvs_of(&row.hash));
        bytes += disk_bytes(&places.chunks.join(row.hash.hex()));
        let folders = self.index().folders_of(&row.hash);
        for folder in folders {
            bytes += disk_bytes(&folder.stem.with_extension("dir"))
                + disk_bytes(&folder.stem.with_extension("cvs"));
            if folder.path.is_none() {
                for file in folder.table.stream()? {
                    bytes += size(&file?.hash);
                }
            }
        }
        Ok(bytes)
    }

    /// Removes what a transfer left; false when somebody has it open.
    fn wipe(&self, info: &PartialInfo) -> Result<bool, FilesError> {
        let _change = self.change();
        let found = {
            let index = self.index();
            let same = |row: &rows::PartialRow| row.hash == info.hash && row.full_dest() == info.dest;
            let found = index.partials.iter().find(|(_, s)| same(&s.row));
            found
                .filter(|(_, s)| !s.is_open())
                .map(|(id, s)| (*id, s.row.clone()))
        };
        let Some((id, row)) = found else { return Ok(false) };
        if let Some(part) = &row.part {
            let part: PathBuf = part.path();
            // Only what has the name such things have: a row that was tampered with must not remove a home.
            let ours = part.file_name().is_some_and(|n| {
                let n = n.to_string_lossy();
                n.ends_with(super::PART_SUFFIX) || part.starts_with(&self.0.places.partials)
            });
            if ours {
                super::remove(&part)?;
            }
        }
        self.0.rows.apply(&[Change::NoPartial(&id)])?;
        self.write_index().partials.remove(&id);
        self.remove_notes(&id);
        Ok(true)
    }

    /// Reads all of it and compares it with its hash; of a folder every file. Returns the bytes read.
    ///
    /// # Errors
    /// Not here whole; `file.changed`, `blob.damaged`; cancelled; I/O.
    pub fn verify(&self, hash: &BlobHash, cancel: &AtomicBool) -> Result<u64, FilesError> {
        let folders = self.index().folders_of(hash);
        let source = self.source(hash)?;
        if !source.is_whole() {
            return Err(FilesError::Incomplete { hash: *hash });
        }
        source.verify(cancel)?;
        let mut bytes = source.size();
        for folder in folders {
            for file in folder.table.stream()? {
                let file = file?;
                let source = match &folder.path {
                    Some(_) => self.row_source(&folder, &file)?,
                    None => self.source(&file.hash)?,
                };
                source.verify(cancel)?;
                bytes += source.size();
            }
        }
        Ok(bytes)
    }

    /// Forgets content: a root with all that was known about it, whatever its tags; bytes the store kept for it
    /// alone are removed, files of the user's are not. False when it was not known.
    ///
    /// # Errors
    /// `file.in_use` while it is leased or being received, or another root has it; the journal; I/O.
    pub fn remove(&self, hash: &BlobHash) -> Result<bool, FilesError> {
        let _change = self.change();
        let (root, references, folders) = {
            let index = self.index();
            if self.in_use(&index, hash) {
                return Err(FilesError::InUse { hash: *hash });
            }
            (
                index.roots.get(hash).cloned(),
                index.references_of(hash),
                index.folders_of(hash),
            )
        };
        let blob = self.0.blobs.has(hash);
        if root.is_none() && references.is_empty() && folders.is_empty() && !blob {
            return Ok(false);
        }
        let paths: Vec<PathBuf> = references.iter().map(|r| r.path.path()).collect();
        let mut changes: Vec<_> = paths.iter().map(|p| Change::NoReference(p)).collect();
        changes.extend(folders.iter().map(|f| Change::NoFolder(&f.row)));
        changes.extend(root.as_ref().map(|r| Change::NoRoot(&r.hash)));
        self.0.rows.apply(&changes)?;
        {
            let mut index = self.write_index();
            for path in &paths {
                index.take_reference(&rows::path_id(path));
            }
            for folder in &folders {
                index.folders.remove(&folder.row.key());
            }
            index.roots.remove(hash);
        }
        self.unpin(hash);
        self.remove_bytes(hash, &folders)?;
        Ok(true)
    }

    /// Takes a tag away and, when that was the last one in force, the root with it (unless it is in use: then the
    /// next [`Self::gc`] takes it). True when the root is gone.
    ///
    /// # Errors
    /// As [`Self::remove`].
    pub fn release(&self, hash: &BlobHash, tag: &str) -> Result<bool, FilesError> {
        self.drop_tag(hash, tag)?;
        let now = now();
        let kept = self.index().roots.get(hash).is_some_and(|r| in_force(r, now));
        if kept {
            return Ok(false);
        }
        match self.remove(hash) {
            Err(FilesError::InUse { .. }) => Ok(false),
            other => other,
        }
    }

    fn remove_bytes(&self, hash: &BlobHash, folders: &[Arc<Folder>]) -> Result<(), FilesError> {
        let blobs = &self.0.blobs;
        let drop_blob = |h: &BlobHash| match blobs.remove(h) {
            // Another root, a task or a lease has it.
            Err(crate::blobs::BlobError::Pinned { .. }) | Ok(_) => Ok(()),
            Err(e) => Err(e),
        };
        drop_blob(hash)?;
        for folder in folders {
            if folder.path.is_none() {
                for file in folder.table.stream()? {
                    drop_blob(&file?.hash)?;
                }
            }
            super::remove(&folder.stem.with_extension("dir"))?;
            super::remove(&folder.stem.with_extension("cvs"))?;
        }
        if self.content(hash).is_none() {
            super::remove(&self.0.places.cvs_of(hash))?;
            super::remove(&self.0.places.chunks.join(hash.hex()))?;
        }
        Ok(())
    }
}

fn in_force(root: &RootRow, now: Timestamp) -> bool {
    root.tags.iter().any(|(_, until)| until.is_none_or(|u| u > now))
}

/// Bytes on the disk of a file, or of everything in a folder.
fn disk_bytes(path: &Path) -> u64 {
    let (mut sum, mut todo) = (0, vec![path.to_path_buf()]);
    while let Some(path) = todo.pop() {
        let Ok(m) = fs::symlink_metadata(&path) else {
            continue;
        };
        if m.is_dir() {
            let items = fs::read_dir(&path).into_iter().flatten().flatten();
            todo.extend(items.map(|i| i.path()));
        } else {
            sum += m.blocks() * 512;
        }
    }
    sum
}
