//! The end of receiving one content: it gets its name and is on record, or is abandoned.

use super::{
    FileStore,
    beneath::{Beneath, dress},
    core::Core,
    error::FilesError,
    folder_core::FolderCore,
    partial::Partial,
    receive::Notes,
    roots::NewRoot,
    rows::{Change, Id, PartialRow, ReferenceRow, RowPath},
    stamp::{Stamp, now_ns},
    types::Root,
};
use crate::blobs::BlobError;
use hive_protocol::file::{GROUP, segments};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, atomic::Ordering},
};

/// Permissions of a file that came without.
const DEFAULT_MODE: u32 = 0o644;

/// Where content goes when it is whole.
#[derive(Debug)]
pub(super) enum Target {
    /// Into the blob store.
    Blob,
    /// To a place of the user's.
    File(Box<Place>),
    /// Into a folder that is being received.
    Entry(Arc<FolderCore>, u32),
}

/// A place of the user's, its folder open.
#[derive(Debug)]
pub(super) struct Place {
    pub beneath: Beneath,
    /// Relative to `beneath`.
    pub rel: String,
    /// What it is called until it is whole, relative to `beneath`.
    pub part: String,
    /// The absolute path.
    pub full: PathBuf,
    pub overwrite: bool,
    pub durable: bool,
}

impl Target {
    pub(super) fn is_blob(&self) -> bool {
        matches!(self, Self::Blob)
    }

    /// A folder of the file system that the bytes go to.
    pub(super) fn room(&self, core: &Core) -> PathBuf {
        match self {
            Self::Blob => core.store.0.places.partials.clone(),
            Self::File(place) => place.beneath.path().to_path_buf(),
            Self::Entry(folder, _) => folder.path().to_path_buf(),
        }
    }
}

impl Partial {
    /// Gives whole content its name, permissions (0644 when `None`) and time of change (now when `None`), and
    /// remembers where it is, so that it is served from there.
    ///
    /// Unless the destination is `durable` nothing is forced to the disk: the bytes were verified on their way, the
    /// source still has them, and a file cut short by a power cut shows by its stamp or when it is verified.
    ///
    /// # Errors
    /// `file.incomplete`; `file.exists` (something came in the way; try again or abandon); I/O.
    pub fn finish(&self, mode: Option<u32>, mtime_ns: Option<i64>) -> Result<Root, FilesError> {
        let core = &*self.0;
        let size = core.size().filter(|_| core.is_whole());
        let size = size.ok_or(FilesError::Incomplete { hash: core.hash })?;
        self.checkpoint()?;
        if !core.end() {
            return Err(FilesError::Order {
                hash: core.hash,
                what: "a second end",
            });
        }
        let done = match &core.target {
            Target::Blob => core.to_blob(size),
            Target::File(place) => core.to_file(place, size, mode.unwrap_or(DEFAULT_MODE), mtime_ns),
            Target::Entry(folder, entry) => folder.take_entry(*entry, core),
        };
        done.inspect_err(|_| core.closed.store(false, Ordering::Release))
    }

    /// Ends the transfer for all its clones. With `keep` it can be begun again at once, where it is now; otherwise all
    /// of it is removed.
    ///
    /// # Errors
    /// The journal, I/O.
    pub fn abandon(&self, keep: bool) -> Result<(), FilesError> {
        let core = &*self.0;
        if keep {
            self.checkpoint()?;
        }
        if !core.end() {
            return Ok(());
        }
        if keep {
            match &core.target {
                Target::Entry(folder, entry) => folder.close_entry(*entry),
                Target::Blob | Target::File(_) => core.store.close_partial(&core.id),
            }
            return Ok(());
        }
        *core.promise.lock().unwrap_or_else(PoisonError::into_inner) = None;
        match &core.target {
            Target::Blob => super::remove(&core.part)?,
            Target::File(place) => drop(place.beneath.remove(&place.part)?),
            Target::Entry(folder, entry) => return folder.drop_entry(*entry, core),
        }
        core.store.forget_partial(&core.id)
    }
}

impl Core {
    fn root(&self, size: u64, name: String) -> Root {
        Root {
            hash: self.hash,
            folder: false,
            size,
            files: 1,
            entries: 1,
            name,
        }
    }

    fn to_blob(&self, size: u64) -> Result<Root, FilesError> {
        let store = &self.store;
        let state = self.state().ok_or(FilesError::Incomplete { hash: self.hash })?;
        let damaged = || BlobError::Damaged {
            hash: self.hash,
            offset: 0,
        };
        let groups = (0..if size <= GROUP { 0 } else { segments(size) }).flat_map(|n| {
            let cvs = state.list.group_cvs(n).ok().flatten();
            cvs.map_or_else(|| vec![Err(damaged())], |c| c.into_iter().map(Ok).collect())
        });
        let quota = self.quota.lock().unwrap_or_else(PoisonError::into_inner).take();
        let quota = match quota {
            Some(q) => q,
            None => store.0.blobs.budget().reserve(crate::blobs::charge(size))?,
        };
        store.0.blobs.adopt(&self.part, self.hash, size, groups, quota)?;
        if size > GROUP {
            let to = store.0.places.cvs_of(&self.hash);
            fs::rename(&self.cvs, &to).map_err(|e| FilesError::io("rename", &to, e))?;
        }
        let root = self.root(size, self.hash.short());
        let tag = store
            .index()
            .partials
            .get(&self.id)
            .and_then(|s| s.row.tag.clone());
        match tag {
            Some(tag) => store.register(NewRoot {
                tag: Some(&tag),
                transfer: Some(self.id),
                ..NewRoot::of(&root)
            })?,
            None => store.forget_partial(&self.id)?,
        }
        store.remove_notes(&self.id);
        Ok(root)
    }

    fn to_file(
        &self,
        place: &Place,
        size: u64,
        mode: u32,
        mtime_ns: Option<i64>,
    ) -> Result<Root, FilesError> {
        dress(&self.data, &self.part, Some(mode), mtime_ns)?;
        if place.durable {
            self.data
                .sync_all()
                .map_err(|e| FilesError::io("write", &self.part, e))?;
        }
        let m = self
            .data
            .metadata()
            .map_err(|e| FilesError::io("read", &self.part, e))?;
        place.beneath.rename(&place.part, &place.rel, place.overwrite)?;
        if place.durable {
            let parent = place.rel.rsplit_once('/').map_or("", |(p, _)| p);
            let dir = place.beneath.dir(parent, false)?;
            rustix::fs::fsync(&*dir).map_err(|e| FilesError::io("write", &place.full, e.into()))?;
        }
        let row = self.store.index().partials.get(&self.id).map(|s| s.row.clone());
        let row = row.ok_or(FilesError::NotFound { hash: self.hash })?;
        let notes = Notes {
            cvs: self.cvs.clone(),
            map: self.map_path.clone(),
        };
        debug_assert_eq!(size, m.len());
        self.store
            .record_file(&self.id, &row, &place.full, Stamp::of(&m), &notes)
    }
}

impl FileStore {
    /// Puts a file that has its name on record as what it is.
    pub(super) fn record_file(
        &self,
        id: &Id,
        row: &PartialRow,
        dest: &Path,
        stamp: Stamp,
        notes: &Notes,
    ) -> Result<Root, FilesError> {
        if stamp.size > GROUP {
            let to = self.0.places.cvs_of(&row.hash);
            match fs::rename(&notes.cvs, &to) {
                // Done before a kill.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                other => other.map_err(|e| FilesError::io("rename", &to, e))?,
            }
        }
        let name = dest.file_name().map(|n| n.to_string_lossy().into_owned());
        let root = Root {
            hash: row.hash,
            folder: false,
            size: stamp.size,
            files: 1,
            entries: 1,
            name: name.unwrap_or_default(),
        };
        self.register(NewRoot {
            path: Some(dest),
            reference: Some(ReferenceRow {
                hash: row.hash,
                path: RowPath::new(dest),
                stamp,
                read_ns: now_ns(),
            }),
            transfer: Some(*id),
            tag: row.tag.as_deref(),
            ..NewRoot::of(&root)
        })?;
        self.remove_notes(id);
        Ok(root)
    }

    /// Lets a transfer be begun again although somebody may still hold the one that ended.
    pub(super) fn close_partial(&self, id: &Id) {
        if let Some(slot) = self.write_index().partials.get_mut(id) {
            slot.open = std::sync::Weak::new();
        }
    }

    /// Takes a transfer off the record, with all that was known about it.
    pub(super) fn forget_partial(&self, id: &Id) -> Result<(), FilesError> {
        let _change = self.change();
        self.0.rows.apply(&[Change::NoPartial(id)])?;
        self.write_index().partials.remove(id);
        self.remove_notes(id);
        Ok(())
    }

    pub(super) fn remove_notes(&self, id: &Id) {
        let stem = self.0.places.partials.join(super::rows::hex(id));
        for ext in ["cvs", "map", "part", "d"] {
            if let Err(e) = super::remove(&stem.with_extension(ext)) {
                // Swept at the next start.
                tracing::debug!(error = %e, "notes of a finished transfer stay for now");
            }
        }
    }
}
