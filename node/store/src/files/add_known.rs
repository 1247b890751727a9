//! Adding a folder of which the caller knows more than a walk would tell: a list of its own, or a manifest whose files
//! were just put in place.

use super::{
    FileStore,
    add_folder::Adding,
    beneath::Beneath,
    cvs,
    error::FilesError,
    roots::NewRoot,
    rows::{FolderRow, RowPath},
    stamp::{Stamp, now_ns},
    table::{self, FileRow, NewRow},
    types::{AddOptions, Root},
};
use hive_protocol::{
    file::GROUP,
    manifest::{Entry, EntryKind, Manifest},
};
use rustix::fs::FileType;
use std::{
    fs::{self, File},
    iter::Peekable,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

/// An entry of a folder as the caller found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Path, size, mode and time as found; the hash of a file is not looked at.
    pub entry: Entry,
    /// Inode of a file.
    pub ino: u64,
    /// What to say of a file that cannot be read now; without it such a file is left out.
    pub older: Option<Entry>,
}

/// What came of adding given entries.
#[derive(Debug)]
pub struct AddedEntries {
    /// What the folder is now called.
    pub root: Root,
    /// What is in it.
    pub manifest: Manifest,
    /// Files that could not be read, or changed meanwhile.
    pub failed: Vec<(String, FilesError)>,
}

fn folder_name(dir: &Path) -> String {
    dir.file_name()
        .map_or_else(|| "root".to_owned(), |n| n.to_string_lossy().into_owned())
}

fn full(dir: &Path) -> Result<PathBuf, FilesError> {
    fs::canonicalize(dir).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => FilesError::Missing { path: dir.into() },
        _ => FilesError::io("read", dir, e),
    })
}

impl FileStore {
    /// As [`FileStore::add_path`] of a folder by reference, with the caller's list instead of a walk. A file that
    /// cannot be read is named, and the rest goes on.
    ///
    /// # Errors
    /// The folder is not there; cancelled; a list that makes no manifest; I/O of the store.
    pub fn add_entries(
        &self,
        dir: &Path,
        entries: Vec<Given>,
        tag: Option<&str>,
        cancel: &AtomicBool,
    ) -> Result<AddedEntries, FilesError> {
        let dir = full(dir)?;
        let options = AddOptions {
            tag,
            ..AddOptions::default()
        };
        let done = Adding {
            store: self,
            options: &options,
            cancel,
            root: &dir,
            lenient: true,
        }
        .run(
            folder_name(&dir),
            entries.into_iter().map(|g| (g.entry, g.ino, g.older)).collect(),
        )?;
        Ok(AddedEntries {
            root: done.root,
            manifest: done.manifest,
            failed: done.failed,
        })
    }

    /// Remembers a folder that has just been made what this manifest says. Nothing is read: files of another size
    /// or kind are left out, and whoever receives the others checks them.
    ///
    /// # Errors
    /// The folder is not there; I/O of the store.
    pub fn add_known(&self, dir: &Path, manifest: &Manifest, tag: Option<&str>) -> Result<Root, FilesError> {
        let dir = full(dir)?;
        let beneath = Beneath::open(&dir)?;
        let read_ns = now_ns();
        let root = self.keep_manifest(manifest, folder_name(&dir))?;
        let stamps: Vec<Option<Stamp>> = manifest
            .entries
            .iter()
            .map(|e| match e.kind {
                EntryKind::File { size, .. } => {
                    let stat = beneath.stat(&e.path).ok().flatten()?;
                    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
                    Some(Stamp::of_stat(&stat)).filter(|s| regular && s.size == size)
                }
                EntryKind::Folder | EntryKind::Link { .. } => None,
            })
            .collect();
        let sizes = stamps.iter().map(|s| s.map_or(0, |s| s.size));
        let (starts, len) = table::layout(sizes);
        let temp = self.temp("pack");
        if len > 0 {
            let failed = |e| FilesError::io("write", &temp, e);
            let pack = File::create(&temp).map_err(failed)?;
            pack.set_len(len).map_err(failed)?;
            self.collect_values(&dir, manifest, &starts, &pack)?;
        }
        let rows = (0u32..)
            .zip(manifest.entries.iter().zip(stamps.iter().zip(&starts)))
            .filter_map(|(entry, (e, (stamp, cvs_at)))| match e.kind {
                EntryKind::File { hash, .. } => Some(NewRow {
                    hash,
                    stamp: (*stamp)?,
                    cvs_at: *cvs_at,
                    entry,
                    path: &e.path,
                }),
                EntryKind::Folder | EntryKind::Link { .. } => None,
            });
        let row = FolderRow {
            hash: root.hash,
            path: Some(RowPath::new(&dir)),
            read_ns,
        };
        let folder = self.write_table(row, rows, Some(&temp))?;
        self.register(NewRoot {
            path: Some(&dir),
            folder: Some(folder),
            tag,
            ..NewRoot::of(&root)
        })?;
        Ok(root)
    }

    /// Fills the pack with chaining values that are known: from the state before, or from when a file came. Others
    /// are computed when they are wanted.
    fn collect_values(
        &self,
        dir: &Path,
        manifest: &Manifest,
        starts: &[u64],
        pack: &File,
    ) -> Result<(), FilesError> {
        let before = self.earlier(dir).into_iter().next();
        let old_pack = before
            .as_ref()
            .and_then(|f| File::open(f.stem.with_extension("cvs")).ok());
        let rows = before.as_ref().map(|f| f.table.stream()).transpose()?;
        let mut rows = rows.into_iter().flatten().map_while(Result::ok).peekable();
        for (e, at) in manifest.entries.iter().zip(starts) {
            let EntryKind::File { hash, size } = e.kind else {
                continue;
            };
            if size <= GROUP {
                continue;
            }
            let known = old_row(&mut rows, &e.path).filter(|r| r.hash == hash && r.stamp.size == size);
            let copied = match (known, &old_pack) {
                (Some(row), Some(from)) => cvs::copy_body(from, row.cvs_at, pack, *at, size),
                _ => false,
            };
            if !copied && let Ok(own) = File::open(self.0.places.cvs_of(&hash)) {
                cvs::copy_body(&own, cvs::HEAD, pack, *at, size);
            }
        }
        Ok(())
    }
}

/// The row of this path, of rows in the order of their paths.
fn old_row(rows: &mut Peekable<impl Iterator<Item = FileRow>>, path: &str) -> Option<FileRow> {
    while rows.next_if(|r| r.path.as_str() < path).is_some() {}
    rows.next_if(|r| r.path == path)
}
