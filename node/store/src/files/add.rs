//! Adding a path: a file by reference or by copy, a folder as a manifest. Unchanged files are not read again.

use super::{
    FileStore,
    cvs::{self, CvList},
    error::FilesError,
    hash::{Job, hashers},
    index::Folder,
    roots::NewRoot,
    rows::{FolderRow, ReferenceRow, RowPath},
    stamp::{Stamp, now_ns},
    table::{self, FileRow, NewRow, Table},
    types::{AddOptions, AddedPath, Root},
    walk::{Found, Walk},
};
use crate::blobs::Import;
use hive_protocol::{
    file::{GROUP, MAX_CONTENT},
    ids::BlobHash,
    manifest::{Entry, EntryKind, Manifest},
};
use rustix::fs::{Mode, OFlags};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// Files above this are hashed by all threads together, one file after the other.
const LARGE: u64 = 16 << 20;
/// Small files a thread takes at a time.
const BATCH: usize = 32;

/// Opens a file for reading, never following a link in its last name, never waiting (for a pipe).
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

impl FileStore {
    /// Makes a file or folder known by its hash, so that it can be read by others. Links in `path` itself are
    /// followed; what is in a folder is taken as it is.
    ///
    /// # Errors
    /// Not there, `file.unsafe` (what cannot travel), `file.unsteady` (changed meanwhile), cancelled, quota with
    /// `copy`, I/O.
    pub fn add_path(
        &self,
        path: &Path,
        options: &AddOptions<'_>,
        cancel: &AtomicBool,
    ) -> Result<AddedPath, FilesError> {
        let full = fs::canonicalize(path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => FilesError::Missing { path: path.into() },
            _ => FilesError::io("read", path, e),
        })?;
        let m = fs::symlink_metadata(&full).map_err(|e| FilesError::io("read", &full, e))?;
        let name = match full.file_name().map(|n| n.to_str()) {
            Some(Some(name)) => name.to_owned(),
            Some(None) => {
                return Err(FilesError::Unsafe {
                    path: full,
                    why: "its name is not UTF-8",
                });
            }
            None => "root".to_owned(),
        };
        if m.is_dir() {
            Adding {
                store: self,
                options,
                cancel,
                root: &full,
            }
            .folder(name)
        } else if m.is_file() {
            self.add_file(&full, name, options, cancel)
        } else {
            Err(FilesError::Unsafe {
                path: full,
                why: "neither a file nor a folder",
            })
        }
    }

    fn add_file(
        &self,
        path: &Path,
        name: String,
        options: &AddOptions<'_>,
        cancel: &AtomicBool,
    ) -> Result<AddedPath, FilesError> {
        let (hash, size, hashed) = if options.copy {
            let added = self.0.blobs.add_path(path, Import::Reflink, MAX_CONTENT)?;
            (added.hash, added.size, added.size)
        } else {
            self.reference(path, options, cancel)?
        };
        let root = Root {
            hash,
            folder: false,
            size,
            files: 1,
            entries: 1,
            name,
        };
        self.register(NewRoot {
            path: (!options.copy).then_some(path),
            tag: options.tag,
            until: options.until,
            ..NewRoot::of(&root)
        })?;
        Ok(AddedPath {
            root,
            hashed,
            skipped: Vec::new(),
            skipped_count: 0,
        })
    }

    /// Remembers a file; returns hash, size, and bytes hashed.
    fn reference(
        &self,
        path: &Path,
        options: &AddOptions<'_>,
        cancel: &AtomicBool,
    ) -> Result<(BlobHash, u64, u64), FilesError> {
        let failed = |e| FilesError::io("open", path, e);
        let file = open_file(path).map_err(failed)?;
        let read_ns = now_ns();
        let stamp = Stamp::of(&file.metadata().map_err(failed)?);
        if stamp.size > MAX_CONTENT {
            return Err(FilesError::TooLarge {
                size: stamp.size,
                limit: MAX_CONTENT,
            });
        }
        let known = self.index().reference_at(path);
        if let Some(known) = known.filter(|k| k.stamp == stamp && stamp.settled(k.read_ns)) {
            if let Some(f) = options.progress {
                f(stamp.size);
            }
            return Ok((known.hash, stamp.size, 0));
        }
        let hash = self.hash_cached(&file, path, stamp.size, options.progress, cancel)?;
        if Stamp::of(&file.metadata().map_err(failed)?) != stamp {
            return Err(FilesError::Unsteady { path: path.into() });
        }
        self.put_reference(ReferenceRow {
            hash,
            path: RowPath::new(path),
            stamp,
            read_ns,
        })?;
        Ok((hash, stamp.size, stamp.size))
    }

    /// Hashes a file and leaves its chaining values under its hash.
    pub(super) fn hash_cached(
        &self,
        file: &File,
        path: &Path,
        size: u64,
        progress: Option<&(dyn Fn(u64) + Sync)>,
        cancel: &AtomicBool,
    ) -> Result<BlobHash, FilesError> {
        let job = Job {
            file,
            path,
            size,
            progress,
            cancel,
        };
        if size <= GROUP {
            return job.run(None, 1);
        }
        let temp = self.temp("cvs");
        let run = || {
            let out = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&temp)
                .map_err(|e| FilesError::io("create", &temp, e))?;
            let list = CvList::at(Arc::new(out), &temp, cvs::HEAD, BlobHash::default(), size);
            let hash = job.run(Some(&list), hashers())?;
            CvList::write_head(list.file(), &hash, size).map_err(|e| FilesError::io("write", &temp, e))?;
            let to = self.0.places.cvs_of(&hash);
            fs::rename(&temp, &to).map_err(|e| FilesError::io("rename", &to, e))?;
            Ok(hash)
        };
        run().inspect_err(|_| drop(fs::remove_file(&temp)))
    }
}

/// A folder being added.
struct Adding<'a> {
    store: &'a FileStore,
    options: &'a AddOptions<'a>,
    cancel: &'a AtomicBool,
    root: &'a Path,
}

/// One regular file of the walk.
struct Item<'a> {
    entry: u32,
    path: &'a str,
    stamp: Stamp,
    cvs_at: u64,
    hash: Option<BlobHash>,
}

impl Adding<'_> {
    fn folder(&self, name: String) -> Result<AddedPath, FilesError> {
        let read_ns = now_ns();
        let Found {
            mut entries,
            skipped,
            skipped_count,
        } = Walk {
            root: self.root,
            skip_unsafe: self.options.skip_unsafe,
            exclude: self.options.exclude,
            cancel: self.cancel,
        }
        .run()?;
        let temp = self.store.temp("pack");
        let (hashed, stamps) = {
            let mut items = items(&entries);
            let pack = self.pack(&temp, &mut items)?;
            self.reuse(&mut items, pack.as_ref(), read_ns)?;
            let hashed = self.hash_all(&mut items, pack.as_ref())?;
            let done: Vec<_> = items.iter().map(|i| (i.entry, i.hash, i.cvs_at)).collect();
            (hashed, done)
        };
        for (n, hash, _) in &stamps {
            if let (Some((e, _)), Some(h)) = (entries.get_mut(*n as usize), hash) {
                if let EntryKind::File { hash, .. } = &mut e.kind {
                    *hash = *h;
                }
            }
        }
        let inodes: Vec<u64> = entries.iter().map(|(_, ino)| *ino).collect();
        let manifest = Manifest::new(entries.into_iter().map(|(e, _)| e).collect())?;
        let bytes = manifest
            .encode()
            .map_err(hive_protocol::manifest::ManifestError::from)?;
        let hash = self.store.0.blobs.add_bytes(&bytes)?.hash;
        drop(bytes);
        let root = Root {
            hash,
            folder: true,
            size: manifest.total_bytes(),
            files: manifest.files() as u64,
            entries: manifest.entries.len() as u64,
            name,
        };
        let row = FolderRow {
            hash,
            path: (!self.options.copy).then(|| RowPath::new(self.root)),
            read_ns,
        };
        let rows = stamps.iter().filter_map(|(n, _, cvs_at)| {
            let e = manifest.entries.get(*n as usize)?;
            new_row(
                e,
                *n,
                *cvs_at,
                inodes.get(*n as usize).copied().unwrap_or_default(),
            )
        });
        let folder = self.store.write_table(row, root.files, rows, Some(&temp))?;
        self.store.register(NewRoot {
            path: (!self.options.copy).then_some(self.root),
            folder: Some(folder),
            tag: self.options.tag,
            until: self.options.until,
            ..NewRoot::of(&root)
        })?;
        Ok(AddedPath {
            root,
            hashed,
            skipped,
            skipped_count,
        })
    }

    /// The file for the chaining values of all files, if any has some.
    fn pack(&self, temp: &Path, items: &mut [Item<'_>]) -> Result<Option<Arc<File>>, FilesError> {
        let (starts, len) = table::layout(items.iter().map(|i| i.stamp.size));
        for (item, at) in items.iter_mut().zip(starts) {
            item.cvs_at = at;
        }
        if len == 0 {
            return Ok(None);
        }
        let file = File::options().read(true).write(true).create_new(true).open(temp);
        Ok(Some(Arc::new(
            file.map_err(|e| FilesError::io("create", temp, e))?,
        )))
    }

    /// Takes hashes of unchanged files from earlier states of this folder.
    fn reuse(&self, items: &mut [Item<'_>], pack: Option<&Arc<File>>, now: i64) -> Result<(), FilesError> {
        if self.options.copy {
            return Ok(());
        }
        let mut known = self.store.index().folders_at(self.root);
        // The newest state first: it has most in common with the present.
        known.sort_by_key(|f| std::cmp::Reverse(f.row.read_ns));
        for old in known.iter().take(4).filter(|f| f.row.read_ns <= now) {
            let old_pack = File::open(old.stem.with_extension("cvs")).ok();
            let mut at = 0;
            for row in old.table.stream()? {
                let Ok(row) = row else { break };
                // Both in the order of their paths.
                while items.get(at).is_some_and(|i| i.path < row.path.as_str()) {
                    at += 1;
                }
                let Some(item) = items.get_mut(at).filter(|i| i.path == row.path) else {
                    continue;
                };
                if item.hash.is_none() && item.stamp == row.stamp && row.stamp.settled(old.row.read_ns) {
                    if copy_list(old_pack.as_ref(), pack, &row, item.cvs_at) {
                        item.hash = Some(row.hash);
                        if let Some(f) = self.options.progress {
                            f(row.stamp.size);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn hash_all(&self, items: &mut [Item<'_>], pack: Option<&Arc<File>>) -> Result<u64, FilesError> {
        let todo: Vec<usize> = (0..items.len())
            .filter(|i| items.get(*i).is_some_and(|i| i.hash.is_none()))
            .collect();
        let (small, large): (Vec<usize>, Vec<usize>) = todo
            .into_iter()
            .partition(|i| items.get(*i).is_some_and(|i| i.stamp.size <= LARGE));
        let mut hashed = 0u64;
        let results = self.in_parallel(items, &small, pack)?;
        for (i, hash) in results {
            if let Some(item) = items.get_mut(i) {
                item.hash = Some(hash);
                hashed += item.stamp.size;
            }
        }
        for i in large {
            if let Some(item) = items.get_mut(i) {
                item.hash = Some(self.one(item, pack, hashers())?);
                hashed += item.stamp.size;
            }
        }
        Ok(hashed)
    }

    fn in_parallel(
        &self,
        items: &[Item<'_>],
        which: &[usize],
        pack: Option<&Arc<File>>,
    ) -> Result<Vec<(usize, BlobHash)>, FilesError> {
        let (next, all) = (
            AtomicUsize::new(0),
            Mutex::new((Vec::with_capacity(which.len()), None)),
        );
        let work = || {
            let mut mine = Vec::new();
            let mut failed = None;
            'all: loop {
                let from = next.fetch_add(BATCH, Ordering::Relaxed);
                let Some(batch) = which.get(from..which.len().min(from.saturating_add(BATCH))) else {
                    break;
                };
                if batch.is_empty() {
                    break;
                }
                for i in batch {
                    let Some(item) = items.get(*i) else { continue };
                    match self.one(item, pack, 1) {
                        Ok(h) => mine.push((*i, h)),
                        Err(e) => {
                            failed = Some(e);
                            // The others find nothing left to do.
                            next.store(usize::MAX / 2, Ordering::Relaxed);
                            break 'all;
                        }
                    }
                }
            }
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            all.0.append(&mut mine);
            if all.1.is_none() {
                all.1 = failed;
            }
        };
        thread::scope(|scope| {
            for _ in 1..hashers().min(which.len().div_ceil(BATCH)) {
                let _ = thread::Builder::new()
                    .name("file-hash".into())
                    .spawn_scoped(scope, work);
            }
            work();
        });
        match all.into_inner().unwrap_or_else(PoisonError::into_inner) {
            (_, Some(e)) => Err(e),
            (done, None) => Ok(done),
        }
    }

    fn one(&self, item: &Item<'_>, pack: Option<&Arc<File>>, threads: usize) -> Result<BlobHash, FilesError> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(FilesError::Cancelled);
        }
        let path = self.root.join(item.path);
        let file = open_file(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => FilesError::Unsteady { path: path.clone() },
            _ => FilesError::io("open", &path, e),
        })?;
        let steady = || {
            let m = file.metadata().map_err(|e| FilesError::io("read", &path, e))?;
            if Stamp::of(&m) == item.stamp && m.is_file() {
                Ok(())
            } else {
                Err(FilesError::Unsteady { path: path.clone() })
            }
        };
        steady()?;
        let list = pack.map(|p| {
            CvList::at(
                p.clone(),
                &path,
                item.cvs_at,
                BlobHash::default(),
                item.stamp.size,
            )
        });
        let hash = Job {
            file: &file,
            path: &path,
            size: item.stamp.size,
            progress: self.options.progress,
            cancel: self.cancel,
        }
        .run(list.as_ref(), threads)?;
        steady()?;
        if self.options.copy {
            let added = self.store.0.blobs.add_path(&path, Import::Reflink, MAX_CONTENT)?;
            if added.hash != hash {
                return Err(FilesError::Unsteady { path });
            }
        }
        Ok(hash)
    }
}

fn items(entries: &[(Entry, u64)]) -> Vec<Item<'_>> {
    let file = |(n, (e, ino)): (usize, &'_ (Entry, u64))| -> Option<(u32, Stamp)> {
        match e.kind {
            EntryKind::File { size, .. } => Some((
                u32::try_from(n).ok()?,
                Stamp {
                    size,
                    mtime_ns: e.mtime_ns,
                    ino: *ino,
                },
            )),
            EntryKind::Folder | EntryKind::Link { .. } => None,
        }
    };
    entries
        .iter()
        .enumerate()
        .filter_map(|(n, pair)| {
            let (entry, stamp) = file((n, pair))?;
            Some(Item {
                entry,
                path: pair.0.path.as_str(),
                stamp,
                cvs_at: 0,
                hash: None,
            })
        })
        .collect()
}

/// The row of a file of a manifest; `None` for what is no file.
pub(super) fn new_row(e: &Entry, entry: u32, cvs_at: u64, ino: u64) -> Option<NewRow<'_>> {
    match e.kind {
        EntryKind::File { hash, size } => Some(NewRow {
            hash,
            stamp: Stamp {
                size,
                mtime_ns: e.mtime_ns,
                ino,
            },
            cvs_at,
            entry,
            path: &e.path,
        }),
        EntryKind::Folder | EntryKind::Link { .. } => None,
    }
}

/// Copies the chaining values of an unchanged file; false when they are not to be had.
fn copy_list(from: Option<&File>, to: Option<&Arc<File>>, row: &FileRow, at: u64) -> bool {
    let mut left = cvs::body_len(row.stamp.size);
    let (mut src, mut dst) = (row.cvs_at, at);
    let mut buf = [0; 16 << 10];
    while left > 0 {
        let (Some(from), Some(to)) = (from, to) else {
            return false;
        };
        let n = usize::try_from(left).unwrap_or(buf.len()).min(buf.len());
        let Some(piece) = buf.get_mut(..n) else {
            return false;
        };
        if from.read_exact_at(piece, src).is_err() || to.write_all_at(piece, dst).is_err() {
            return false;
        }
        left -= n as u64;
        src += n as u64;
        dst += n as u64;
    }
    true
}

impl FileStore {
    /// Puts the table of a folder, and the chaining values in `pack`, in their places.
    pub(super) fn write_table<'a>(
        &self,
        row: FolderRow,
        files: u64,
        rows: impl Iterator<Item = NewRow<'a>> + Clone,
        pack: Option<&Path>,
    ) -> Result<Folder, FilesError> {
        let stem = self.0.places.folder_stem(&row);
        let (temp, to) = (self.temp("dir"), stem.with_extension("dir"));
        table::write(&temp, usize::try_from(files).unwrap_or(usize::MAX), rows)?;
        if let Some(pack) = pack.filter(|p| p.exists()) {
            let to = stem.with_extension("cvs");
            fs::rename(pack, &to).map_err(|e| FilesError::io("rename", &to, e))?;
        }
        fs::rename(&temp, &to).map_err(|e| FilesError::io("rename", &to, e))?;
        let table = Table::open(&to)?.ok_or_else(|| FilesError::Damaged {
            hash: row.hash,
            path: to.clone(),
        })?;
        Ok(Folder {
            path: row.path.as_ref().map(RowPath::path),
            row,
            table,
            stem,
        })
    }
}
