//! Adding a path by reference or by copy. Unchanged files are not read again.

use super::{
    FileStore,
    add_folder::Adding,
    cvs::{self, CvList},
    error::FilesError,
    hash::{Job, hashers},
    roots::NewRoot,
    rows::{ReferenceRow, RowPath},
    stamp::{Stamp, now_ns},
    types::{AddOptions, AddedPath, Root},
    walk::Walk,
};
use crate::blobs::Import;
use hive_protocol::{
    file::{GROUP, MAX_CONTENT},
    ids::BlobHash,
};
use rustix::fs::{Mode, OFlags};
use std::{
    fs::{self, File},
    io,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

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
            let found = Walk {
                root: &full,
                skip_unsafe: options.skip_unsafe,
                exclude: options.exclude,
                cancel,
            }
            .run()?;
            let entries = found
                .entries
                .into_iter()
                .map(|(entry, ino)| (entry, ino, None))
                .collect();
            let added = Adding {
                store: self,
                options,
                cancel,
                root: &full,
                lenient: false,
            }
            .run(name, entries)?;
            Ok(AddedPath {
                root: added.root,
                hashed: added.hashed,
                skipped: found.skipped,
                skipped_count: found.skipped_count,
            })
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
            if self.content(&hash).is_none() {
                super::remove(&self.0.places.cvs_of(&hash))?;
            }
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
