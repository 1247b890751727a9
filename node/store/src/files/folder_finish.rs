//! Beginning and ending a folder: staging beside the destination or in place; folders, links and times last.

use super::{
    FileStore,
    add::new_row,
    beneath::{self, Beneath, dress},
    cvs,
    error::FilesError,
    finish::Place,
    folder_partial::{FolderCore, FolderPartial, prefix},
    hash::{Job, hashers},
    map::Map,
    roots::NewRoot,
    rows::{self, FolderRow, Id, PartialRow, RowPath},
    stamp::{Stamp, now, now_ns},
    table,
    types::{Destination, Root},
};
use hive_protocol::{
    file::GROUP,
    ids::BlobHash,
    manifest::{Entry, EntryKind, Manifest},
};
use rustix::fs::FileType;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Permissions of the folder itself: a manifest does not say.
const ROOT_MODE: u32 = 0o755;
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
        let root = match &row.part {
            Some(part) => {
                let part = part.path();
                let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&part);
                made.map_err(|e| FilesError::io("create", &part, e))?;
                part
            }
            None => place.full.clone(),
        };
        // The last name must be a folder and no link: it is opened below the folder that is open.
        let name = root.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let parent = place.rel.rsplit_once('/').map_or("", |(p, _)| p);
        let rel = if parent.is_empty() {
            name.to_owned()
        } else {
            format!("{parent}/{name}")
        };
        let beneath = Beneath::of(place.beneath.dir(&rel, false)?, &root);
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

    /// Makes folders and links, then sets what folders look like, the deepest first.
    fn dress_all(&self) -> Result<(), FilesError> {
        let entries = &self.manifest.entries;
        for e in entries {
            match &e.kind {
                EntryKind::Folder => drop(self.beneath.dir(&e.path, true)?),
                EntryKind::Link { target } => self.make_link(e, target)?,
                EntryKind::File { .. } => {}
            }
        }
        for e in entries.iter().rev().filter(|e| e.kind == EntryKind::Folder) {
            self.beneath.dress_dir(&e.path, e.mode, e.mtime_ns)?;
        }
        Ok(())
    }

    fn make_link(&self, e: &Entry, target: &str) -> Result<(), FilesError> {
        if let Some(stat) = self.beneath.stat(&e.path)? {
            let link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
            if link && self.beneath.link_target(&e.path)?.as_deref() == Some(target) {
                return self.beneath.dress_link(&e.path, e.mtime_ns);
            }
            if self.in_place && !self.overwrite {
                return Err(FilesError::Exists {
                    path: self.beneath.full(&e.path),
                });
            }
        }
        let part = self.part_of(&e.path);
        self.beneath.remove(&part)?;
        self.beneath.link(target, &part)?;
        self.beneath.dress_link(&part, e.mtime_ns)?;
        self.beneath.rename(&part, &e.path, true)
    }

    /// The chaining values of all larger files in one pack; where each begins.
    fn pack(&self, to: &Path) -> Result<Vec<u64>, FilesError> {
        let sizes = (0..)
            .take(self.manifest.entries.len())
            .map(|n| self.file(n).map_or(0, |f| f.2));
        let (starts, len) = table::layout(sizes);
        if len == 0 {
            return Ok(starts);
        }
        let failed = |e| FilesError::io("write", to, e);
        let pack = File::create(to).map_err(failed)?;
        pack.set_len(len).map_err(failed)?;
        for (n, at) in (0..).zip(&starts) {
            let Some((_, hash, size)) = self.file(n).filter(|f| f.2 > GROUP) else {
                continue;
            };
            // Of entries with equal content only one came. Without values they are computed when they are wanted.
            let from = self.same(&hash).find_map(|o| File::open(self.cvs_of(o)).ok());
            let Some(from) = from else { continue };
            let (mut left, mut src, mut dst) = (cvs::body_len(size), cvs::HEAD, *at);
            let mut buf = [0; 16 << 10];
            while left > 0 {
                let n = usize::try_from(left).unwrap_or(buf.len()).min(buf.len());
                let piece = buf.get_mut(..n).unwrap_or_default();
                if from.read_exact_at(piece, src).is_err() {
                    break;
                }
                pack.write_all_at(piece, dst).map_err(failed)?;
                (left, src, dst) = (left - n as u64, src + n as u64, dst + n as u64);
            }
        }
        Ok(starts)
    }
}

impl FolderPartial {
    /// Ends the transfer of a whole folder: makes empty folders and links, sets modes and times, gives the folder
    /// its name, and remembers its files where they are.
    ///
    /// # Errors
    /// `file.incomplete`; `file.exists` (something came in the way); I/O.
    pub fn finish(&self) -> Result<Root, FilesError> {
        let core = &*self.0;
        if !self.is_whole() {
            return Err(FilesError::Incomplete { hash: core.hash });
        }
        core.check_open("a second end")?;
        let store = &core.store;
        let row = store.index().partials.get(&core.id).map(|s| s.row.clone());
        let row = row.ok_or(FilesError::NotFound { hash: core.hash })?;
        let dest = row.full_dest().unwrap_or_default();
        core.dress_all()?;
        let inodes = core.inodes()?;
        if core.closed.swap(true, Ordering::AcqRel) {
            return Err(FilesError::Order {
                hash: core.hash,
                what: "a second end",
            });
        }
        core.take_name(&dest)
            .inspect_err(|_| core.closed.store(false, Ordering::Release))?;
        let temp = store.temp("pack");
        let starts = core.pack(&temp)?;
        let root = Root {
            hash: core.hash,
            folder: true,
            size: core.manifest.total_bytes(),
            files: core.manifest.files() as u64,
            entries: core.manifest.entries.len() as u64,
            name: dest
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default(),
        };
        let table_row = FolderRow {
            hash: core.hash,
            path: Some(RowPath::new(&dest)),
            read_ns: now_ns(),
        };
        let rows = (0..).zip(&core.manifest.entries).filter_map(|(n, e)| {
            let at = |v: &[u64]| v.get(n as usize).copied().unwrap_or_default();
            new_row(e, n, at(&starts), at(&inodes))
        });
        let folder = store.write_table(table_row, root.files, rows, Some(&temp))?;
        store.register(NewRoot {
            path: Some(&dest),
            folder: Some(folder),
            transfer: Some(core.id),
            tag: row.tag.as_deref(),
            ..NewRoot::of(&root)
        })?;
        store.remove_notes(&core.id);
        Ok(root)
    }

    /// Ends the transfer. With `keep` it can be begun again where it is now; otherwise what came is removed, but
    /// for files that took their place in an existing folder.
    ///
    /// # Errors
    /// The journal, I/O.
    pub fn abandon(&self, keep: bool) -> Result<(), FilesError> {
        let core = &*self.0;
        if core.closed.swap(true, Ordering::AcqRel) || keep {
            return Ok(());
        }
        if core.in_place {
            for n in (0..).take(core.manifest.entries.len()) {
                if let Some((e, _, size)) = core.file(n).filter(|_| !core.is_done(n))
                    && size > GROUP
                {
                    core.beneath.remove(&core.part_of(&e.path))?;
                }
            }
        } else {
            super::remove(core.path())?;
        }
        core.store.forget_partial(&core.id)
    }
}

impl FolderCore {
    fn inodes(&self) -> Result<Vec<u64>, FilesError> {
        let one = |e: &Entry| match e.kind {
            EntryKind::File { .. } => Ok(self.beneath.stat(&e.path)?.map_or(0, |s| s.st_ino)),
            EntryKind::Folder | EntryKind::Link { .. } => Ok(0),
        };
        self.manifest.entries.iter().map(one).collect()
    }

    /// Renames a staged folder to what it shall be called.
    fn take_name(&self, dest: &Path) -> Result<(), FilesError> {
        if self.in_place {
            return Ok(());
        }
        self.beneath.dress_root(ROOT_MODE)?;
        let name = |p: &Path| {
            p.file_name()
                .and_then(|n| n.to_str())
                .unwrap_or_default()
                .to_owned()
        };
        let (from, to) = (name(self.path()), name(dest));
        beneath::rename((&self.parent, &from), (&self.parent, &to), false, dest)
    }
}
