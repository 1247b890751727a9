//! Beginning to receive a folder, anew or where an interruption left it.

use super::{
    FileStore,
    beneath::{Beneath, dress},
    error::FilesError,
    finish::Place,
    folder_core::{FolderCore, prefix},
    folder_partial::FolderPartial,
    hash::{Job, hashers},
    map::Map,
    rows::{self, Id, PartialRow, RowPath},
    stamp::{Stamp, now},
    types::Destination,
};
use hive_protocol::{
    ids::BlobHash,
    manifest::{EntryKind, Manifest},
};
use rustix::fs::FileType;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Bytes of room that each entry takes beside its own, at least.
const ENTRY_ROOM: u64 = 512;

impl FileStore {
    /// Begins to receive a folder, or goes on with it. To a new destination it comes as a whole at the end; an
    /// existing folder is filled in place, which needs `overwrite` unless it is empty. What else is there stays.
    ///
    /// # Errors
    /// `file.too_large`, `file.busy`, `file.exists`, `file.bad_destination`, `store.disk_full`, I/O.
    pub fn begin_folder(
        &self,
        hash: &BlobHash,
        manifest: &Arc<Manifest>,
        dest: &Destination,
        size_limit: u64,
    ) -> Result<FolderPartial, FilesError> {
        let size = manifest.total_bytes();
        if size > size_limit {
            return Err(FilesError::TooLarge {
                size,
                limit: size_limit,
            });
        }
        let path = dest.path.as_ref().ok_or(FilesError::BadDestination {
            path: PathBuf::new(),
            why: "a folder needs a place to go",
        })?;
        let token = Arc::new(());
        let (id, row, place) = {
            let _change = self.change();
            let place = Place::open(path, dest)?;
            let id = rows::transfer_id(hash, Some(&place.full));
            if self.index().is_busy(&id, Some(&place.full)) {
                return Err(FilesError::Busy { path: place.full });
            }
            let old = self.index().partials.get(&id).map(|s| s.row.clone());
            let row = self.folder_partial_row(hash, dest, &place, &id, old)?;
            self.note_partial(id, &row, &token)?;
            (id, row, place)
        };
        let core = self.open_folder(id, *hash, manifest, &row, &place, token)?;
        let here = core.here.load(Ordering::Acquire);
        let wanted = size.saturating_sub(here) + manifest.entries.len() as u64 * ENTRY_ROOM;
        let promise = self.0.space.promise(core.path(), wanted)?;
        *core.promise.lock().unwrap_or_else(PoisonError::into_inner) = Some(promise);
        let core = Arc::new(core);
        let mut index = self.write_index();
        index.live_folders.retain(|_, w| w.strong_count() > 0);
        index.live_folders.insert(id, Arc::downgrade(&core));
        Ok(FolderPartial(core))
    }

    fn folder_partial_row(
        &self,
        hash: &BlobHash,
        dest: &Destination,
        place: &Place,
        id: &Id,
        old: Option<PartialRow>,
    ) -> Result<PartialRow, FilesError> {
        let exists = FilesError::Exists {
            path: place.full.clone(),
        };
        let staged = match (&old, place.beneath.stat(&place.rel)?) {
            // Decided before; what came in the way since is seen at the end.
            (Some(row), there) => row.part.is_some() || there.is_none(),
            (None, None) => true,
            (None, Some(stat)) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => {
                return Err(exists);
            }
            (None, Some(_)) => {
                let empty = fs::read_dir(&place.full).is_ok_and(|mut d| d.next().is_none());
                if !empty && !dest.overwrite {
                    return Err(exists);
                }
                false
            }
        };
        if old.is_none() {
            self.index().check_partials()?;
        }
        Ok(PartialRow {
            hash: *hash,
            folder: true,
            dest: Some(RowPath::new(&place.full)),
            below: None,
            part: staged.then(|| RowPath::new(&place.part_path(id))),
            overwrite: dest.overwrite,
            tag: dest.tag.clone(),
            durable: dest.durable,
            begun: old.map_or_else(now, |o| o.begun),
        })
    }

    fn open_folder(
        &self,
        id: Id,
        hash: BlobHash,
        manifest: &Arc<Manifest>,
        row: &PartialRow,
        place: &Place,
        token: Arc<()>,
    ) -> Result<FolderCore, FilesError> {
        let root = row
            .part
            .as_ref()
            .map_or_else(|| place.full.clone(), RowPath::path);
        // The last name must be a folder and no link: it is opened below the folder that is open.
        let name = root.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let parent = place.rel.rsplit_once('/').map_or("", |(p, _)| p);
        let rel = if parent.is_empty() {
            name.to_owned()
        } else {
            format!("{parent}/{name}")
        };
        let beneath = Beneath::of(place.beneath.dir(&rel, row.part.is_some())?, &root);
        let ino = fs::symlink_metadata(&root)
            .map_err(|e| FilesError::io("read", &root, e))?
            .ino();
        let map = Map::open(&self.0.places.partials.join(rows::hex(&id)).with_extension("map"))?;
        if map.ino(&hash) != Some(ino) {
            map.reset(&hash, ino)?;
        }
        let words = manifest.entries.len().div_ceil(64);
        let done = map.load(&hash, words as u64)?;
        let mut by_hash: Vec<(u64, u32)> = (0..)
            .zip(&manifest.entries)
            .filter_map(|(n, e)| match &e.kind {
                EntryKind::File { hash, .. } => Some((prefix(hash), n)),
                EntryKind::Folder | EntryKind::Link { .. } => None,
            })
            .collect();
        by_hash.sort_unstable();
        let core = FolderCore {
            store: self.clone(),
            id,
            hash,
            manifest: manifest.clone(),
            beneath,
            parent: place.beneath.dir(parent, false)?,
            in_place: row.part.is_none(),
            overwrite: row.overwrite,
            by_hash,
            done: (0..words).map(|_| AtomicU64::new(0)).collect(),
            map,
            here: AtomicU64::new(0),
            open: Mutex::new(BTreeMap::new()),
            promise: Mutex::new(None),
            closed: AtomicBool::new(false),
            _token: token,
            _lease: self.lease(&hash),
        };
        core.restore(&done)?;
        Ok(core)
    }
}

impl FolderCore {
    /// Ticks off what an interrupted transfer left: what the map says, and files that were finished after it.
    fn restore(&self, done: &[u64]) -> Result<(), FilesError> {
        let noted = |n: u32| done.get(n as usize / 64).is_some_and(|w| w >> (n % 64) & 1 == 1);
        let fresh = done.iter().all(|w| *w == 0) && !self.in_place && self.is_empty();
        if fresh {
            return Ok(());
        }
        let mut there = Vec::new();
        for n in (0..).take(self.manifest.entries.len()) {
            let Some((entry, _, size)) = self.file(n) else {
                continue;
            };
            // In place, a file that was there before is looked at when the store is.
            if self.in_place && !noted(n) {
                continue;
            }
            let stat = self.beneath.stat(&entry.path)?;
            let stat = stat.filter(|s| FileType::from_raw_mode(s.st_mode) == FileType::RegularFile);
            let Some(stamp) = stat.map(|s| Stamp::of_stat(&s)).filter(|s| s.size == size) else {
                continue;
            };
            if (noted(n) && stamp.mtime_ns == entry.mtime_ns) || self.is_right(n)? {
                there.push(n);
            }
        }
        self.tick(&there)
    }

    fn is_empty(&self) -> bool {
        fs::read_dir(self.path()).is_ok_and(|mut d| d.next().is_none())
    }

    /// Whether the file at an entry's place has its content, by reading it; dressed if so.
    fn is_right(&self, n: u32) -> Result<bool, FilesError> {
        let Some((entry, hash, size)) = self.file(n) else {
            return Ok(false);
        };
        let path = self.beneath.full(&entry.path);
        let Ok(file) = self.beneath.open_file(&entry.path) else {
            return Ok(false);
        };
        let cancel = AtomicBool::new(false);
        let job = Job {
            file: &file,
            path: &path,
            size,
            progress: None,
            cancel: &cancel,
        };
        match job.run(None, hashers()) {
            Ok(found) if found == hash => {
                dress(&file, &path, Some(entry.mode), Some(entry.mtime_ns))?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Ticks off a file that was in place before and has the right content.
    pub(super) fn adopt_in_place(&self, n: u32, cancel: &AtomicBool) -> Result<bool, FilesError> {
        let Some((entry, _, size)) = self.file(n) else {
            return Ok(false);
        };
        let Some(stat) = self.beneath.stat(&entry.path)? else {
            return Ok(false);
        };
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !regular || Stamp::of_stat(&stat).size != size || cancel.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let right = self.is_right(n)?;
        if right {
            self.tick(&[n])?;
        }
        Ok(right)
    }
}
