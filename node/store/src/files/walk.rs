//! Walking a folder of the user's: what is in it, as entries of a manifest without hashes.
//!
//! What cannot travel is refused by name, or left out and listed. Nothing is opened but folders.

use super::{MAX_SKIPPED, PART_SUFFIX, error::FilesError, stamp::Stamp};
use hive_protocol::{
    file::MAX_CONTENT,
    ids::BlobHash,
    manifest::{Entry, EntryKind, MAX_ENTRIES, MODE_MASK, check_link, check_path},
};
use std::{
    fs::{self, DirEntry, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// In byte order of the paths; hashes of files are zero.
    pub entries: Vec<(Entry, u64)>,
    pub skipped: Vec<(PathBuf, String)>,
    pub skipped_count: u64,
}

pub(super) struct Walk<'a> {
    pub(super) root: &'a Path,
    pub(super) skip_unsafe: bool,
    /// Names directly below the root that are left out without a word.
    pub(super) exclude: &'a [&'a str],
    pub(super) cancel: &'a AtomicBool,
}

impl Walk<'_> {
    pub(super) fn run(&self) -> Result<Found, FilesError> {
        let mut found = Found::default();
        let mut folders = vec![String::new()];
        while let Some(rel) = folders.pop() {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(FilesError::Cancelled);
            }
            let path = self.root.join(&rel);
            let failed = |e: io::Error| match e.kind() {
                io::ErrorKind::NotFound => FilesError::Unsteady { path: path.clone() },
                _ => FilesError::io("read", &path, e),
            };
            for item in fs::read_dir(&path).map_err(failed)? {
                let item = item.map_err(failed)?;
                if let Some(entry) = self.one(&rel, &item, &mut found)? {
                    if found.entries.len() >= MAX_ENTRIES {
                        return Err(FilesError::Full {
                            what: "entries of a folder",
                            limit: MAX_ENTRIES,
                        });
                    }
                    if entry.0.kind == EntryKind::Folder {
                        folders.push(entry.0.path.clone());
                    }
                    found.entries.push(entry);
                }
            }
        }
        found.entries.sort_unstable_by(|a, b| a.0.path.cmp(&b.0.path));
        Ok(found)
    }

    fn one(&self, rel: &str, item: &DirEntry, found: &mut Found) -> Result<Option<(Entry, u64)>, FilesError> {
        let name = item.file_name();
        let Some(name) = name.to_str() else {
            return self.refuse(item.path(), "its name is not UTF-8", found);
        };
        // What is just being received here is nobody's file yet.
        if name.starts_with('.') && name.ends_with(PART_SUFFIX) {
            return Ok(None);
        }
        if rel.is_empty() && self.exclude.contains(&name) {
            return Ok(None);
        }
        let path = if rel.is_empty() {
            name.to_owned()
        } else {
            format!("{rel}/{name}")
        };
        let m = match item.metadata() {
            // Gone since the folder was read, as if it had been a moment earlier.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|e| FilesError::io("read", &item.path(), e))?,
        };
        let kind = match self.kind(&path, &m, item) {
            Ok(kind) => kind,
            Err(FilesError::Unsafe { path, why }) => return self.refuse(path, why, found),
            Err(e) => return Err(e),
        };
        let stamp = Stamp::of(&m);
        let entry = Entry {
            path,
            kind,
            mode: m.mode() & MODE_MASK,
            mtime_ns: stamp.mtime_ns,
        };
        Ok(Some((entry, stamp.ino)))
    }

    fn kind(&self, path: &str, m: &Metadata, item: &DirEntry) -> Result<EntryKind, FilesError> {
        let no = |why| FilesError::Unsafe {
            path: item.path(),
            why,
        };
        if check_path(path).is_err() {
            return Err(no("its path is too long or too deep to travel"));
        }
        let t = m.file_type();
        if t.is_dir() {
            return Ok(EntryKind::Folder);
        }
        if t.is_symlink() {
            let target = fs::read_link(item.path()).map_err(|e| FilesError::io("read", &item.path(), e))?;
            let target = target.to_str().ok_or_else(|| no("its target is not UTF-8"))?;
            check_link(path, target).map_err(|_| no("a link that leaves the folder"))?;
            return Ok(EntryKind::Link {
                target: target.to_owned(),
            });
        }
        if !t.is_file() {
            return Err(no("neither a file, nor a folder, nor a link"));
        }
        if m.len() > MAX_CONTENT {
            return Err(no("larger than 1 TiB"));
        }
        Ok(EntryKind::File {
            hash: BlobHash::default(),
            size: m.len(),
        })
    }

    fn refuse<T>(
        &self,
        path: PathBuf,
        why: &'static str,
        found: &mut Found,
    ) -> Result<Option<T>, FilesError> {
        if !self.skip_unsafe {
            return Err(FilesError::Unsafe { path, why });
        }
        found.skipped_count += 1;
        if found.skipped.len() < MAX_SKIPPED {
            found.skipped.push((path, why.to_owned()));
        }
        Ok(None)
    }
}
