//! What is where, in memory: references, folders, roots, transfers, leases. Changed only together with the rows.

use super::{
    core::Core,
    error::FilesError,
    folder_core::FolderCore,
    rows::{FolderRow, Id, PartialRow, ReferenceRow, RootRow, path_id},
    table::Table,
};
use hive_protocol::ids::BlobHash;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

/// References at most: some 400 bytes of memory each.
pub(super) const MAX_REFERENCES: usize = 1_000_000;
/// Folders at most: each is asked for a hash that is found nowhere else.
pub(super) const MAX_FOLDERS: usize = 4096;
/// Roots at most.
pub(super) const MAX_ROOTS: usize = 1_000_000;
/// Transfers at most, those left over included.
pub(super) const MAX_PARTIALS: usize = 16_384;
/// Reasons to keep one root.
pub(super) const MAX_TAGS: usize = 64;
/// Bytes of a tag.
pub(super) const MAX_TAG_BYTES: usize = 96;
/// Leases at most: far beyond the transfers a node serves at once.
pub(super) const MAX_LEASES: usize = 65_536;

/// A folder that is here whole.
#[derive(Debug)]
pub(super) struct Folder {
    pub row: FolderRow,
    /// `None` when the store keeps the bytes of its files.
    pub path: Option<PathBuf>,
    pub table: Table,
    /// Where table and chaining values lie, without extension.
    pub stem: PathBuf,
}

/// A transfer: its row, and who has it open.
#[derive(Debug)]
pub(super) struct Slot {
    pub row: PartialRow,
    /// Alive while somebody has it open.
    pub open: Weak<()>,
}

impl Slot {
    pub(super) fn is_open(&self) -> bool {
        self.open.strong_count() > 0
    }
}

#[derive(Debug, Default)]
pub(super) struct Index {
    references: BTreeMap<Id, Arc<ReferenceRow>>,
    by_hash: BTreeMap<BlobHash, Vec<Id>>,
    pub folders: BTreeMap<Vec<u8>, Arc<Folder>>,
    pub roots: BTreeMap<BlobHash, RootRow>,
    pub partials: BTreeMap<Id, Slot>,
    live: BTreeMap<BlobHash, Vec<Weak<Core>>>,
    pub live_folders: BTreeMap<Id, Weak<FolderCore>>,
    leases: BTreeMap<BlobHash, u32>,
}

fn room(what: &'static str, has: usize, limit: usize) -> Result<(), FilesError> {
    if has < limit {
        Ok(())
    } else {
        Err(FilesError::Full { what, limit })
    }
}

impl Index {
    pub(super) fn reference_at(&self, path: &Path) -> Option<Arc<ReferenceRow>> {
        self.references.get(&path_id(path)).cloned()
    }

    pub(super) fn references_of(&self, hash: &BlobHash) -> Vec<Arc<ReferenceRow>> {
        let ids = self.by_hash.get(hash).map(Vec::as_slice).unwrap_or_default();
        ids.iter()
            .filter_map(|id| self.references.get(id).cloned())
            .collect()
    }

    /// Size of a file remembered by reference.
    pub(super) fn reference_size(&self, hash: &BlobHash) -> Option<u64> {
        let id = self.by_hash.get(hash)?.first()?;
        self.references.get(id).map(|r| r.stamp.size)
    }

    pub(super) fn reference_count(&self) -> usize {
        self.references.len()
    }

    pub(super) fn check_room(&self, references: usize, folders: usize) -> Result<(), FilesError> {
        room("files", self.references.len() + references, MAX_REFERENCES + 1)?;
        room("folders", self.folders.len() + folders, MAX_FOLDERS + 1)?;
        room("roots", self.roots.len(), MAX_ROOTS)
    }

    pub(super) fn check_partials(&self) -> Result<(), FilesError> {
        room("transfers", self.partials.len(), MAX_PARTIALS)
    }

    pub(super) fn put_reference(&mut self, row: ReferenceRow) {
        let id = path_id(&row.path.path());
        self.take_reference(&id);
        self.by_hash.entry(row.hash).or_default().push(id);
        self.references.insert(id, Arc::new(row));
    }

    pub(super) fn take_reference(&mut self, id: &Id) -> Option<Arc<ReferenceRow>> {
        let row = self.references.remove(id)?;
        if let Some(ids) = self.by_hash.get_mut(&row.hash) {
            ids.retain(|i| i != id);
            if ids.is_empty() {
                self.by_hash.remove(&row.hash);
            }
        }
        Some(row)
    }

    /// Folders whose path is this one.
    pub(super) fn folders_at(&self, path: &Path) -> Vec<Arc<Folder>> {
        let here = |f: &&Arc<Folder>| f.path.as_deref() == Some(path);
        self.folders.values().filter(here).cloned().collect()
    }

    /// Folders with this manifest.
    pub(super) fn folders_of(&self, manifest: &BlobHash) -> Vec<Arc<Folder>> {
        let from = manifest.0.to_vec();
        let of = self
            .folders
            .range(from..)
            .take_while(|(k, _)| k.starts_with(&manifest.0));
        of.map(|(_, f)| f.clone()).collect()
    }

    /// Folders that list this content, with its size and first row.
    pub(super) fn folders_with<'a>(
        &'a self,
        hash: &'a BlobHash,
    ) -> impl Iterator<Item = (&'a Arc<Folder>, u64, u32)> {
        self.folders
            .values()
            .filter_map(|f| f.table.find(hash).map(|(size, row)| (f, size, row)))
    }

    /// Transfers of this content that are open now.
    pub(super) fn live(&self, hash: &BlobHash) -> Vec<Arc<Core>> {
        self.live
            .get(hash)
            .into_iter()
            .flatten()
            .filter_map(Weak::upgrade)
            .collect()
    }

    /// Folders being received now.
    pub(super) fn live_folders(&self) -> Vec<Arc<FolderCore>> {
        self.live_folders.values().filter_map(Weak::upgrade).collect()
    }

    /// Whether somebody receives something to this place.
    pub(super) fn is_busy(&self, id: &Id, dest: Option<&Path>) -> bool {
        self.partials.iter().any(|(other, slot)| {
            slot.is_open() && (other == id || (dest.is_some() && slot.row.full_dest().as_deref() == dest))
        })
    }

    pub(super) fn go_live(&mut self, hash: BlobHash, core: &Arc<Core>) {
        // Closed ones are forgotten here: dropping a transfer must not need this table.
        self.live.retain(|_, all| {
            all.retain(|w| w.strong_count() > 0);
            !all.is_empty()
        });
        self.live_folders.retain(|_, w| w.strong_count() > 0);
        self.live.entry(hash).or_default().push(Arc::downgrade(core));
    }

    pub(super) fn lease(&mut self, hash: BlobHash) {
        if self.leases.len() < MAX_LEASES || self.leases.contains_key(&hash) {
            let n = self.leases.entry(hash).or_default();
            *n = n.saturating_add(1);
        }
    }

    /// Ends one lease; true when it was the last.
    pub(super) fn unlease(&mut self, hash: &BlobHash) -> bool {
        let Some(n) = self.leases.get_mut(hash) else {
            return true;
        };
        *n = n.saturating_sub(1);
        let last = *n == 0;
        if last {
            self.leases.remove(hash);
        }
        last
    }

    pub(super) fn is_leased(&self, hash: &BlobHash) -> bool {
        self.leases.contains_key(hash)
    }
}
