//! Beginning to receive content, anew or where an interruption left it; what is left over at a start.

use super::{
    FileStore, PART_SUFFIX,
    beneath::Beneath,
    core::{Core, State},
    cvs::CvList,
    error::FilesError,
    finish::{Place, Target},
    index::Slot,
    map::Map,
    partial::Partial,
    rows::{self, Change, Id, PartialRow, RowPath},
    stamp::{Stamp, now},
    types::{Destination, PartialInfo, Report},
};
use hive_protocol::{file::segments, ids::BlobHash, time::Timestamp};
use std::{
    collections::{BTreeSet, VecDeque},
    fs::{self, File},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, RwLock, atomic::AtomicBool},
};

/// Bytes a name may have on the file systems there are.
const MAX_NAME: usize = 255;

/// The name something has while it is being received, next to what it will be.
pub(super) fn part_name(name: &str, id: &Id) -> String {
    let id = rows::hex(id.first_chunk::<4>().map_or(&[], |b| b.as_slice()));
    let room = MAX_NAME - PART_SUFFIX.len() - id.len() - 2;
    let mut end = name.len().min(room);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!(".{}.{id}{PART_SUFFIX}", name.get(..end).unwrap_or_default())
}

/// Where a transfer keeps what it knows.
pub(super) struct Notes {
    pub cvs: PathBuf,
    pub map: PathBuf,
}

impl Notes {
    pub(super) fn at(stem: &Path) -> Self {
        Self {
            cvs: stem.with_extension("cvs"),
            map: stem.with_extension("map"),
        }
    }
}

impl FileStore {
    /// Begins to receive content, or goes on where an earlier attempt at the same content and destination ended,
    /// however it did. The row is on record before the first byte is.
    ///
    /// # Errors
    /// `file.busy` (something is being received there now), `file.exists`, `file.bad_destination`, I/O.
    pub fn begin(&self, hash: &BlobHash, dest: &Destination, size_limit: u64) -> Result<Partial, FilesError> {
        let token = Arc::new(());
        let (id, row, target) = {
            let _change = self.change();
            let place = dest.path.as_ref().map(|p| Place::open(p, dest)).transpose()?;
            let full = place.as_ref().map(|p| p.full.clone());
            let id = rows::transfer_id(hash, full.as_deref());
            if self.index().is_busy(&id, full.as_deref()) {
                return Err(FilesError::Busy {
                    path: full.unwrap_or_default(),
                });
            }
            if let Some(place) = &place {
                place.check_free()?;
            }
            let old = self.index().partials.get(&id).map(|s| s.row.clone());
            let row = self.partial_row(hash, dest, place.as_ref(), &id, old)?;
            self.note_partial(id, &row, &token)?;
            let target = match place {
                Some(place) => Target::File(Box::new(place.with_part(&id))),
                None => Target::Blob,
            };
            (id, row, target)
        };
        let notes = Notes::at(&self.0.places.partials.join(rows::hex(&id)));
        let part = row.part.as_ref().map(RowPath::path).unwrap_or_default();
        let data = match &target {
            Target::File(place) => place.beneath.create(&place.part, 0o600, false)?,
            _ => own_file(&part)?,
        };
        let core = self.open_core(id, *hash, target, data, part, notes, size_limit, token)?;
        self.write_index().go_live(*hash, &core);
        Ok(Partial(core))
    }

    fn partial_row(
        &self,
        hash: &BlobHash,
        dest: &Destination,
        place: Option<&Place>,
        id: &Id,
        old: Option<PartialRow>,
    ) -> Result<PartialRow, FilesError> {
        if old.is_none() {
            self.index().check_partials()?;
        }
        let part = match place {
            Some(p) => p.part_path(id),
            None => self.0.places.partials.join(format!("{}.part", rows::hex(id))),
        };
        Ok(PartialRow {
            hash: *hash,
            folder: false,
            dest: place.map(|p| RowPath::new(&p.full)),
            below: None,
            part: Some(RowPath::new(&part)),
            overwrite: dest.overwrite,
            tag: dest.tag.clone(),
            durable: dest.durable,
            begun: old.map_or_else(now, |o| o.begun),
        })
    }

    /// Writes down a transfer that is now open.
    pub(super) fn note_partial(&self, id: Id, row: &PartialRow, token: &Arc<()>) -> Result<(), FilesError> {
        let known = self.index().partials.get(&id).is_some_and(|s| s.row == *row);
        if !known {
            self.0.rows.apply(&[Change::Partial(&id, row)])?;
        }
        let slot = Slot {
            row: row.clone(),
            open: Arc::downgrade(token),
        };
        self.write_index().partials.insert(id, slot);
        Ok(())
    }

    /// Opens the files of a transfer and finds out what is here.
    #[allow(clippy::too_many_arguments)] // the parts of one value, made in one place
    pub(super) fn open_core(
        &self,
        id: Id,
        hash: BlobHash,
        target: Target,
        data: File,
        part: PathBuf,
        notes: Notes,
        size_limit: u64,
        token: Arc<()>,
    ) -> Result<Arc<Core>, FilesError> {
        let m = data.metadata().map_err(|e| FilesError::io("read", &part, e))?;
        if !m.is_file() {
            return Err(FilesError::BadDestination {
                path: part,
                why: "something else has the name of the unfinished file",
            });
        }
        let map = Map::open(&notes.map)?;
        if map.ino(&hash) != Some(m.ino()) {
            // Nothing that is known is about this file.
            super::remove(&notes.cvs)?;
            map.reset(&hash, m.ino())?;
            data.set_len(0).map_err(|e| FilesError::io("write", &part, e))?;
        }
        let state = match known_tree(&notes.cvs, &hash)? {
            Some(list) => {
                let mut masks = map.load(&hash, segments(list.size()))?;
                if m.len() != list.size() {
                    data.set_len(list.size())
                        .map_err(|e| FilesError::io("write", &part, e))?;
                    masks.fill(0);
                }
                Some(Arc::new(State::new(list, &masks)))
            }
            None => None,
        };
        let core = Core {
            store: self.clone(),
            id,
            hash,
            target,
            data: Arc::new(data),
            part,
            cvs: notes.cvs,
            map_path: notes.map,
            map,
            size_limit,
            state: RwLock::new(state),
            cache: Mutex::new(VecDeque::new()),
            dirty: Mutex::new(BTreeSet::new()),
            promise: Mutex::new(None),
            quota: Mutex::new(None),
            closed: AtomicBool::new(false),
            writing: RwLock::new(()),
            _token: token,
        };
        core.recheck()?;
        if let Some(size) = core.size() {
            let here = core.state().map_or(0, |s| s.here());
            core.reserve(size, here)?;
        }
        Ok(Arc::new(core))
    }

    /// Transfers that are open, and those that were interrupted.
    #[must_use]
    pub fn partials(&self) -> Vec<PartialInfo> {
        let all: Vec<_> = {
            let index = self.index();
            let one = |(id, slot): (&Id, &Slot)| (*id, slot.row.clone(), slot.is_open());
            index.partials.iter().map(one).collect()
        };
        all.into_iter()
            .map(|(id, row, open)| self.partial_info(&id, &row, open))
            .collect()
    }

    pub(super) fn partial_info(&self, id: &Id, row: &PartialRow, open: bool) -> PartialInfo {
        let notes = Notes::at(&self.0.places.partials.join(rows::hex(id)));
        let size = known_tree(&notes.cvs, &row.hash)
            .ok()
            .flatten()
            .map_or(0, |l| l.size());
        let touched = fs::metadata(&notes.map).map_or(0, |m| Stamp::of(&m).mtime_ns);
        let touched = Timestamp(u64::try_from(touched / 1_000_000).unwrap_or_default());
        PartialInfo {
            hash: row.hash,
            folder: row.folder,
            dest: row.full_dest(),
            part: row
                .part
                .as_ref()
                .or(row.dest.as_ref())
                .map(RowPath::path)
                .unwrap_or_default(),
            size,
            begun: row.begun,
            touched: touched.max(row.begun),
            open,
        }
    }

    /// Ends transfers that were killed between taking their name and being on record.
    pub(super) fn complete_finished(&self, report: &mut Report) -> Result<(), FilesError> {
        let all: Vec<_> = {
            let index = self.index();
            index
                .partials
                .iter()
                .map(|(id, s)| (*id, s.row.clone()))
                .collect()
        };
        for (id, row) in all {
            if let Err(e) = self.complete_one(&id, &row) {
                report
                    .problems
                    .push(format!("an unfinished transfer of {}: {e}", row.hash));
            }
        }
        Ok(())
    }

    fn complete_one(&self, id: &Id, row: &PartialRow) -> Result<(), FilesError> {
        let (Some(dest), Some(part)) = (row.full_dest(), row.part.as_ref().map(RowPath::path)) else {
            return Ok(());
        };
        if fs::symlink_metadata(&part).is_ok() {
            return Ok(());
        }
        let Ok(m) = fs::symlink_metadata(&dest) else {
            return Ok(());
        };
        let stem = self.0.places.partials.join(rows::hex(id));
        let notes = Notes::at(&stem);
        if !notes.map.exists() {
            return Ok(());
        }
        let map = Map::open(&notes.map)?;
        if row.folder {
            // A staged folder takes its name when all of it is there.
            if m.is_dir() && map.ino(&row.hash) == Some(m.ino()) {
                let manifest = self.manifest(&row.hash)?;
                self.add_known(&dest, &manifest, row.tag.as_deref())?;
                self.forget_partial(id)?;
            }
            return Ok(());
        }
        // The values move just before the row goes.
        let moved = self.0.places.cvs_of(&row.hash);
        let list =
            known_tree(&notes.cvs, &row.hash)?.map_or_else(|| known_tree(&moved, &row.hash), |l| Ok(Some(l)));
        let Some(list) = list? else {
            return Ok(());
        };
        let masks = map.load(&row.hash, segments(list.size()))?;
        let whole = (0..)
            .zip(&masks)
            .all(|(n, m)| *m == hive_protocol::file::whole_mask(list.size(), n));
        if m.is_file() && map.ino(&row.hash) == Some(m.ino()) && m.len() == list.size() && whole {
            self.record_file(id, row, &dest, Stamp::of(&m), &notes)?;
        }
        Ok(())
    }
}

/// The list of a transfer if it has one that is sound.
fn known_tree(cvs: &Path, hash: &BlobHash) -> Result<Option<CvList>, FilesError> {
    let Ok(file) = File::options().read(true).write(true).open(cvs) else {
        return Ok(None);
    };
    let list = CvList::with_head(file, cvs, hash).map_err(|e| FilesError::io("read", cvs, e))?;
    Ok(list.filter(|l| l.size() <= hive_protocol::file::MAX_CONTENT && l.segment_cvs().is_ok()))
}

fn own_file(path: &Path) -> Result<File, FilesError> {
    let mut options = File::options();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    options.open(path).map_err(|e| FilesError::io("create", path, e))
}

impl Place {
    /// Opens the folder a destination is in, making what is missing.
    pub(super) fn open(path: &Path, dest: &Destination) -> Result<Self, FilesError> {
        let bad = |why| FilesError::BadDestination {
            path: path.to_path_buf(),
            why,
        };
        let (root, rel) = match &dest.below {
            Some(below) => {
                let rel = path.to_str().ok_or_else(|| bad("its name is not UTF-8"))?;
                (below.clone(), rel.to_owned())
            }
            None => {
                let full = std::path::absolute(path).map_err(|e| FilesError::io("read", path, e))?;
                let name = full.file_name().and_then(|n| n.to_str());
                let name = name
                    .ok_or_else(|| bad("it has no name, or one that is not UTF-8"))?
                    .to_owned();
                let parent = full.parent().map(Path::to_path_buf).unwrap_or_default();
                fs::create_dir_all(&parent).map_err(|e| FilesError::io("create", &parent, e))?;
                (parent, name)
            }
        };
        hive_protocol::manifest::check_path(&rel)?;
        let root = fs::canonicalize(&root).map_err(|e| FilesError::io("open", &root, e))?;
        let beneath = Beneath::open(&root)?;
        if let Some((parent, _)) = rel.rsplit_once('/') {
            beneath.dir(parent, true)?;
        }
        Ok(Self {
            full: root.join(&rel),
            beneath,
            rel,
            part: String::new(),
            overwrite: dest.overwrite,
            durable: dest.durable,
        })
    }

    fn part_rel(&self, id: &Id) -> String {
        match self.rel.rsplit_once('/') {
            Some((parent, name)) => format!("{parent}/{}", part_name(name, id)),
            None => part_name(&self.rel, id),
        }
    }

    pub(super) fn part_path(&self, id: &Id) -> PathBuf {
        self.beneath.path().join(self.part_rel(id))
    }

    fn with_part(mut self, id: &Id) -> Self {
        self.part = self.part_rel(id);
        self
    }

    /// Refuses a destination where something is that may not be replaced.
    fn check_free(&self) -> Result<(), FilesError> {
        let Some(stat) = self.beneath.stat(&self.rel)? else {
            return Ok(());
        };
        let folder = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory;
        if folder || !self.overwrite {
            return Err(FilesError::Exists {
                path: self.full.clone(),
            });
        }
        Ok(())
    }
}
