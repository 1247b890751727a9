//! Files of any size as content by hash: where they are, which parts are here, how they come in and go out.
//!
//! Files are remembered by reference where they lie, or received straight to where they shall be; what is known
//! about them lies below `files/` in the data folder: `index/` rows, `cvs/` chaining values, `folders/` tables,
//! `partials/` bitmaps, `chunks/` lists of chunks. Every group of 64 KiB is checked before it is kept. Knows
//! nothing of who may have what, nor of where content comes from.

mod add;
mod add_folder;
mod add_known;
mod beneath;
mod chunks;
mod copy;
mod core;
mod cvs;
mod error;
mod finish;
mod folder_begin;
mod folder_core;
mod folder_finish;
mod folder_partial;
mod folder_table;
mod gc;
mod hash;
mod index;
mod map;
mod open;
mod partial;
mod place;
mod receive;
mod roots;
mod rows;
mod small;
mod source;
mod space;
mod stamp;
mod table;
mod tree;
mod types;
mod walk;

pub use add_known::{AddedEntries, Given};
pub use beneath::Beneath;
pub use copy::CopyRange;
pub use error::FilesError;
pub use folder_partial::FolderPartial;
pub use partial::Partial;
pub use place::Small;
pub use roots::Lease;
pub use source::Source;
pub use types::{
    AddOptions, AddedPath, Collected, Content, ContentKind, Destination, PartialInfo, Report, Root, RootInfo,
};

use crate::{blobs::BlobStore, dir::DataDir};
use hive_protocol::{
    ids::BlobHash,
    manifest::{MAX_MANIFEST, Manifest},
};
use index::{Folder, Index};
use rows::{Change, FolderRow, Loaded, Rows};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

/// Left-out paths that are listed one by one; more are only counted.
pub const MAX_SKIPPED: usize = 100;
/// Days a partial is left alone before [`FileStore::gc`] may take it.
pub const STALE_DAYS: u64 = 7;
/// How names of files and folders being received end (they begin with a dot); adding a folder leaves them out.
pub const PART_SUFFIX: &str = ".hive-part";

/// Files and content. Clones share one store; all methods may be called from any thread and block on the disk.
#[derive(Debug, Clone)]
pub struct FileStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    blobs: BlobStore,
    places: Places,
    rows: Rows,
    index: RwLock<Index>,
    /// Held while rows and index change together.
    change: Mutex<()>,
    serial: AtomicU64,
    space: space::Space,
}

/// Where things lie below `files/`.
#[derive(Debug)]
struct Places {
    cvs: PathBuf,
    folders: PathBuf,
    partials: PathBuf,
    chunks: PathBuf,
    tmp: PathBuf,
}

impl Places {
    fn make(root: &Path) -> Result<Self, FilesError> {
        let place = |name: &str| -> Result<PathBuf, FilesError> {
            let path = root.join(name);
            fs::create_dir_all(&path).map_err(|e| FilesError::io("create", &path, e))?;
            Ok(path)
        };
        let places = Self {
            cvs: place("cvs")?,
            folders: place("folders")?,
            partials: place("partials")?,
            chunks: place("chunks")?,
            tmp: place("tmp")?,
        };
        for name in names(&places.tmp)? {
            remove(&places.tmp.join(name))?;
        }
        Ok(places)
    }

    fn cvs_of(&self, hash: &BlobHash) -> PathBuf {
        self.cvs.join(hash.hex())
    }

    fn folder_stem(&self, row: &FolderRow) -> PathBuf {
        self.folders.join(rows::hex(&row.key()))
    }
}

impl FileStore {
    /// Opens what is known about files in a data folder.
    ///
    /// # Errors
    /// The journal, I/O.
    pub fn open(dir: &DataDir, blobs: BlobStore) -> Result<(Self, Report), FilesError> {
        let root = dir.files();
        let places = Places::make(&root)?;
        let (rows, loaded) = Rows::open(&root.join("index"))?;
        let store = Self(Arc::new(Inner {
            blobs,
            places,
            rows,
            index: RwLock::default(),
            change: Mutex::new(()),
            serial: AtomicU64::new(0),
            space: space::Space::default(),
        }));
        let report = store.load(loaded)?;
        Ok((store, report))
    }

    /// Where whole blobs lie.
    #[must_use]
    pub fn blobs(&self) -> &BlobStore {
        &self.0.blobs
    }

    /// The manifest of a folder that is here, read and checked.
    ///
    /// # Errors
    /// Not here, damaged, no manifest.
    pub fn manifest(&self, hash: &BlobHash) -> Result<Arc<Manifest>, FilesError> {
        if !self.0.blobs.has(hash) {
            return Err(FilesError::NotFound { hash: *hash });
        }
        let bytes = self.0.blobs.read(hash, MAX_MANIFEST as u64)?;
        Ok(Arc::new(Manifest::decode(&bytes)?))
    }

    fn load(&self, loaded: Loaded) -> Result<Report, FilesError> {
        let mut report = Report {
            problems: loaded.problems,
            ..Report::default()
        };
        let (mut index, mut gone) = (Index::default(), Vec::new());
        for row in loaded.references {
            index.put_reference(row);
        }
        for row in loaded.folders {
            let stem = self.0.places.folder_stem(&row);
            match table::Table::open(&stem.with_extension("dir"))? {
                Some(table) => {
                    let folder = Folder {
                        path: row.path.as_ref().map(rows::RowPath::path),
                        row,
                        table,
                        stem,
                    };
                    index.folders.insert(folder.row.key(), Arc::new(folder));
                }
                None => {
                    report.problems.push(format!(
                        "the table of folder {} is gone; add the folder again",
                        row.hash
                    ));
                    gone.push(row);
                }
            }
        }
        for row in loaded.roots {
            index.roots.insert(row.hash, row);
        }
        for (id, row) in loaded.partials {
            index.partials.insert(
                id,
                index::Slot {
                    row,
                    open: std::sync::Weak::new(),
                },
            );
        }
        let changes: Vec<_> = gone.iter().map(Change::NoFolder).collect();
        self.0.rows.apply(&changes)?;
        report.references = index.reference_count();
        report.folders = index.folders.len();
        *self.write_index() = index;
        self.pin_all()?;
        self.complete_finished(&mut report)?;
        self.sweep()?;
        report.partials = self.index().partials.len();
        Ok(report)
    }

    /// Removes files that no row speaks of: what a kill left between two steps.
    fn sweep(&self) -> Result<(), FilesError> {
        let places = &self.0.places;
        let (folders, partials, contents): (BTreeSet<_>, BTreeSet<_>, BTreeSet<_>) = {
            let index = self.index();
            let stem = |f: &Arc<Folder>| f.stem.file_name().map(|n| n.to_string_lossy().into_owned());
            (
                index.folders.values().filter_map(stem).collect(),
                index.partials.keys().map(|id| rows::hex(id)).collect(),
                self.cv_owners(&index),
            )
        };
        for (place, known) in [
            (&places.folders, &folders),
            (&places.partials, &partials),
            (&places.cvs, &contents),
            (&places.chunks, &contents),
        ] {
            for name in names(place)? {
                let stem = name.split('.').next().unwrap_or_default();
                if !known.contains(stem) {
                    remove(&place.join(&name))?;
                }
            }
        }
        Ok(())
    }

    /// Hashes whose cached lists may stay, in hexadecimal.
    fn cv_owners(&self, index: &Index) -> BTreeSet<String> {
        let places = &self.0.places;
        let cached = [&places.cvs, &places.chunks]
            .into_iter()
            .filter_map(|p| names(p).ok());
        cached
            .flatten()
            .filter(|name| {
                let bytes = data_encoding::HEXLOWER
                    .decode(name.as_bytes())
                    .unwrap_or_default();
                <[u8; 32]>::try_from(bytes).is_ok_and(|h| {
                    let h = BlobHash(h);
                    index.reference_size(&h).is_some()
                        || self.0.blobs.has(&h)
                        || index.folders_with(&h).next().is_some()
                })
            })
            .collect()
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        // Changed by short steps that cannot panic; the worst a panic elsewhere leaves is a stale row.
        self.0.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_index(&self) -> RwLockWriteGuard<'_, Index> {
        self.0.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.0.change.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name in `tmp/` that nobody else uses.
    fn temp(&self, kind: &str) -> PathBuf {
        let n = self.0.serial.fetch_add(1, Ordering::Relaxed);
        self.0.places.tmp.join(format!("{n}.{kind}"))
    }
}

/// Names in a folder of ours; other than UTF-8 there are none.
fn names(dir: &Path) -> Result<Vec<String>, FilesError> {
    let failed = |e| FilesError::io("read", dir, e);
    let mut all = Vec::new();
    for item in fs::read_dir(dir).map_err(failed)? {
        if let Ok(name) = item.map_err(failed)?.file_name().into_string() {
            all.push(name);
        }
    }
    Ok(all)
}

/// Removes a file or a folder of ours; one that is gone is fine.
fn remove(path: &Path) -> Result<(), FilesError> {
    let result = match fs::symlink_metadata(path) {
        Ok(m) if m.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match result {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(FilesError::io("remove", path, e)),
        _ => Ok(()),
    }
}
