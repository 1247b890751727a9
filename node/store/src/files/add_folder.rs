//! Adding a folder: its files hashed by several threads, but for those an earlier state of it knows; then one
//! manifest, one table, one transaction.

use super::{
    FileStore,
    add::open_file,
    cvs::{self, CvList},
    error::FilesError,
    hash::{Job, hashers},
    roots::NewRoot,
    rows::{FolderRow, RowPath},
    stamp::{Stamp, now_ns},
    table::{self, FileRow, NewRow},
    types::{AddOptions, Root},
};
use crate::blobs::Import;
use hive_protocol::{
    file::MAX_CONTENT,
    ids::BlobHash,
    manifest::{Entry, EntryKind, Manifest},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
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
/// An entry, its inode, and what to say of it when it cannot be read now.
pub(super) type Listed = (Entry, u64, Option<Entry>);

/// A folder being added.
pub(super) struct Adding<'a> {
    pub store: &'a FileStore,
    pub options: &'a AddOptions<'a>,
    pub cancel: &'a AtomicBool,
    pub root: &'a Path,
    /// Whether a file that cannot be read is named and the rest goes on.
    pub lenient: bool,
}

/// What came of it.
pub(super) struct Done {
    pub root: Root,
    pub manifest: Manifest,
    pub hashed: u64,
    pub failed: Vec<(String, FilesError)>,
}

/// One regular file of the list.
struct Item<'a> {
    entry: usize,
    path: &'a str,
    stamp: Stamp,
    cvs_at: u64,
    hash: Option<BlobHash>,
    hashed: bool,
    failed: Option<FilesError>,
}

/// Chaining values of an earlier state, and where they go.
struct Lists<'a> {
    from: Option<&'a File>,
    to: Option<&'a File>,
    /// When the earlier state was read.
    read_ns: i64,
}

/// What hashing gave for one file.
type Hashed = (usize, Result<BlobHash, FilesError>);

impl Adding<'_> {
    pub(super) fn run(&self, name: String, listed: Vec<Listed>) -> Result<Done, FilesError> {
        let temp = self.store.temp("pack");
        self.add(name, listed, &temp)
            .inspect_err(|_| drop(std::fs::remove_file(&temp)))
    }

    fn add(&self, name: String, mut listed: Vec<Listed>, temp: &Path) -> Result<Done, FilesError> {
        let read_ns = now_ns();
        listed.sort_unstable_by(|a, b| a.0.path.cmp(&b.0.path));
        let (mut entries, mut places) = (Vec::with_capacity(listed.len()), Vec::with_capacity(listed.len()));
        let (mut hashed, mut failed) = (0, Vec::new());
        {
            let mut items = items(&listed);
            let pack = self.pack(temp, &mut items)?;
            self.reuse(&mut items, pack.as_deref(), read_ns)?;
            self.hash_all(&mut items, pack.as_ref())?;
            let mut items = items.into_iter().peekable();
            for (n, (entry, ino, older)) in listed.iter().enumerate() {
                let Some(item) = items.next_if(|i| i.entry == n) else {
                    entries.push(entry.clone());
                    places.push(None);
                    continue;
                };
                if item.hashed {
                    hashed += item.stamp.size;
                }
                let mut entry = entry.clone();
                match (item.hash, &mut entry.kind) {
                    (Some(found), EntryKind::File { hash, .. }) => {
                        *hash = found;
                        entries.push(entry);
                        places.push(Some((*ino, item.cvs_at)));
                    }
                    _ => {
                        failed.extend(item.failed.map(|e| (entry.path.clone(), e)));
                        if let Some(older) = older.as_ref().filter(|o| o.path == entry.path) {
                            entries.push(older.clone());
                            places.push(None);
                        }
                    }
                }
            }
        }
        drop(listed);
        let manifest = Manifest::new(entries)?;
        let root = self.store.keep_manifest(&manifest, name)?;
        let row = FolderRow {
            hash: root.hash,
            path: (!self.options.copy).then(|| RowPath::new(self.root)),
            read_ns,
        };
        let rows = (0u32..)
            .zip(manifest.entries.iter().zip(&places))
            .filter_map(|(n, (e, place))| {
                let (ino, cvs_at) = (*place)?;
                new_row(e, n, cvs_at, ino)
            });
        let folder = self.store.write_table(row, rows, Some(temp))?;
        self.store.register(NewRoot {
            path: (!self.options.copy).then_some(self.root),
            folder: Some(folder),
            tag: self.options.tag,
            until: self.options.until,
            ..NewRoot::of(&root)
        })?;
        Ok(Done {
            root,
            manifest,
            hashed,
            failed,
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
        let file = file.map_err(|e| FilesError::io("create", temp, e))?;
        file.set_len(len).map_err(|e| FilesError::io("write", temp, e))?;
        Ok(Some(Arc::new(file)))
    }

    /// Takes hashes of unchanged files from earlier states of this folder.
    fn reuse(&self, items: &mut [Item<'_>], pack: Option<&File>, now: i64) -> Result<(), FilesError> {
        if self.options.copy {
            return Ok(());
        }
        let earlier = self.store.earlier(self.root);
        for old in earlier.iter().filter(|f| f.row.read_ns <= now) {
            let from = File::open(old.stem.with_extension("cvs")).ok();
            let lists = Lists {
                from: from.as_ref(),
                to: pack,
                read_ns: old.row.read_ns,
            };
            let mut at = 0;
            for row in old.table.stream()?.map_while(Result::ok) {
                // Both in the order of their paths.
                while items.get(at).is_some_and(|i| i.path < row.path.as_str()) {
                    at += 1;
                }
                if let Some(item) = items.get_mut(at).filter(|i| i.path == row.path) {
                    self.take(item, &row, &lists);
                }
            }
            // What is still unknown may have been renamed: the inode tells.
            let unknown = items.iter().enumerate().filter(|(_, i)| i.hash.is_none());
            let unknown: BTreeMap<u64, usize> = unknown.map(|(n, i)| (i.stamp.ino, n)).collect();
            if unknown.is_empty() {
                break;
            }
            for row in old.table.stream()?.map_while(Result::ok) {
                let item = unknown.get(&row.stamp.ino).and_then(|n| items.get_mut(*n));
                if let Some(item) = item {
                    self.take(item, &row, &lists);
                }
            }
        }
        Ok(())
    }

    /// Takes the hash of a row for an unchanged file.
    fn take(&self, item: &mut Item<'_>, row: &FileRow, lists: &Lists<'_>) {
        if item.hash.is_some() || item.stamp != row.stamp || !row.stamp.settled(lists.read_ns) {
            return;
        }
        let size = row.stamp.size;
        let copied = match (lists.from, lists.to) {
            (Some(from), Some(to)) => cvs::copy_body(from, row.cvs_at, to, item.cvs_at, size),
            _ => cvs::body_len(size) == 0,
        };
        if copied {
            item.hash = Some(row.hash);
            if let Some(f) = self.options.progress {
                f(size);
            }
        }
    }

    fn hash_all(&self, items: &mut [Item<'_>], pack: Option<&Arc<File>>) -> Result<(), FilesError> {
        let todo = items.iter().enumerate().filter(|(_, i)| i.hash.is_none());
        let (small, large): (Vec<_>, Vec<_>) =
            todo.map(|(n, i)| (n, i.stamp.size)).partition(|i| i.1 <= LARGE);
        let mut results = self.in_parallel(items, &small, pack);
        for (n, _) in large {
            if let Some(item) = items.get(n) {
                results.push((n, self.one(item, pack, hashers())));
            }
        }
        for (n, result) in results {
            let Some(item) = items.get_mut(n) else { continue };
            match result {
                Ok(hash) => (item.hash, item.hashed) = (Some(hash), true),
                Err(FilesError::Cancelled) => return Err(FilesError::Cancelled),
                Err(e) if self.lenient => item.failed = Some(e),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn in_parallel(
        &self,
        items: &[Item<'_>],
        which: &[(usize, u64)],
        pack: Option<&Arc<File>>,
    ) -> Vec<Hashed> {
        let (next, all) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(which.len())));
        let work = || {
            let mut mine = Vec::new();
            'all: while let Some(batch) = next_batch(&next, which) {
                for (n, _) in batch {
                    let Some(item) = items.get(*n) else { continue };
                    let result = self.one(item, pack, 1);
                    let stop = result.is_err() && !self.lenient;
                    mine.push((*n, result));
                    if stop {
                        // The others find nothing left to do.
                        next.store(which.len(), Ordering::Relaxed);
                        break 'all;
                    }
                }
            }
            all.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .append(&mut mine);
        };
        thread::scope(|scope| {
            for _ in 1..hashers().min(which.len().div_ceil(BATCH)) {
                // A system without a thread to spare is slower, not wrong.
                let _ = thread::Builder::new()
                    .name("file-hash".into())
                    .spawn_scoped(scope, work);
            }
            work();
        });
        all.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn one(&self, item: &Item<'_>, pack: Option<&Arc<File>>, threads: usize) -> Result<BlobHash, FilesError> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(FilesError::Cancelled);
        }
        let path = self.root.join(item.path);
        let unsteady = || FilesError::Unsteady { path: path.clone() };
        let file = open_file(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => unsteady(),
            _ => FilesError::io("open", &path, e),
        })?;
        let steady = || {
            let m = file.metadata().map_err(|e| FilesError::io("read", &path, e))?;
            let same = Stamp::of(&m) == item.stamp && m.is_file();
            same.then_some(()).ok_or_else(unsteady)
        };
        steady()?;
        let size = item.stamp.size;
        let list = pack.map(|p| CvList::at(p.clone(), &path, item.cvs_at, BlobHash::default(), size));
        let hash = Job {
            file: &file,
            path: &path,
            size,
            progress: self.options.progress,
            cancel: self.cancel,
        }
        .run(list.as_ref(), threads)?;
        steady()?;
        if self.options.copy {
            let added = self.store.0.blobs.add_path(&path, Import::Reflink, MAX_CONTENT)?;
            if added.hash != hash {
                return Err(unsteady());
            }
        }
        Ok(hash)
    }
}

fn next_batch<'a>(next: &AtomicUsize, which: &'a [(usize, u64)]) -> Option<&'a [(usize, u64)]> {
    let from = next.fetch_add(BATCH, Ordering::Relaxed);
    let to = which.len().min(from.saturating_add(BATCH));
    which.get(from..to).filter(|b| !b.is_empty())
}

fn items(listed: &[Listed]) -> Vec<Item<'_>> {
    let item = |(n, (e, ino, _)): (usize, &'_ Listed)| match e.kind {
        EntryKind::File { size, .. } => Some((
            n,
            Stamp {
                size,
                mtime_ns: e.mtime_ns,
                ino: *ino,
            },
        )),
        EntryKind::Folder | EntryKind::Link { .. } => None,
    };
    let all = listed.iter().enumerate().filter_map(item);
    all.filter_map(|(entry, stamp)| {
        Some(Item {
            entry,
            path: listed.get(entry)?.0.path.as_str(),
            stamp,
            cvs_at: 0,
            hash: None,
            hashed: false,
            failed: None,
        })
    })
    .collect()
}

/// The row of a file of a manifest; `None` for what is no file.
fn new_row(e: &Entry, entry: u32, cvs_at: u64, ino: u64) -> Option<NewRow<'_>> {
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
