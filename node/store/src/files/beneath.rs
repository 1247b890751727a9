//! A folder that is never left: every name is opened relative to its parent's handle, and no link is followed.
//!
//! Whoever swaps a folder for a link meanwhile gains nothing: handles stay with what was opened.

use super::error::FilesError;
use hive_protocol::manifest::check_path;
use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps},
    io::Errno,
};
use std::{
    collections::VecDeque,
    fs::File,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Folders kept open: neighbours in a manifest mostly share one; few enough for a small limit of handles.
const MAX_OPEN: usize = 32;
const DIR: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(OFlags::RDONLY);

/// A folder and what is below it, by relative paths with `/` between names.
#[derive(Debug)]
pub struct Beneath {
    root: Arc<OwnedFd>,
    path: PathBuf,
    open: Mutex<VecDeque<(String, Arc<OwnedFd>)>>,
}

impl Beneath {
    /// Opens a folder of the user's; links in `path` itself are followed.
    ///
    /// # Errors
    /// Not there, no folder, I/O.
    pub fn open(path: &Path) -> Result<Self, FilesError> {
        let root = fs::open(path, DIR, Mode::empty()).map_err(|e| fail("open", path, e))?;
        Ok(Self {
            root: Arc::new(root),
            path: path.to_path_buf(),
            open: Mutex::default(),
        })
    }

    /// A folder that is open already.
    pub(super) fn of(root: Arc<OwnedFd>, path: &Path) -> Self {
        Self {
            root,
            path: path.to_path_buf(),
            open: Mutex::default(),
        }
    }

    /// Its path as given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn full(&self, rel: &str) -> PathBuf {
        if rel.is_empty() {
            self.path.clone()
        } else {
            self.path.join(rel)
        }
    }

    fn failed(&self, what: &'static str, rel: &str) -> impl FnOnce(Errno) -> FilesError {
        let path = self.full(rel);
        move |e| fail(what, &path, e)
    }

    /// Opens a folder below; `""` is the folder itself. With `create`, what is missing is made (mode 0700 & umask).
    ///
    /// # Errors
    /// A path that leads elsewhere, a link or file on the way, not there, I/O.
    pub fn dir(&self, rel: &str, create: bool) -> Result<Arc<OwnedFd>, FilesError> {
        if rel.is_empty() {
            return Ok(self.root.clone());
        }
        if let Some(fd) = self.cached(rel) {
            return Ok(fd);
        }
        check_path(rel)?;
        let (parent, name) = rel.rsplit_once('/').unwrap_or(("", rel));
        let parent = self.dir(parent, create)?;
        let open = || fs::openat(&*parent, name, DIR | OFlags::NOFOLLOW, Mode::empty());
        let fd = match open() {
            Err(Errno::NOENT) if create => {
                match fs::mkdirat(&*parent, name, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(self.failed("create", rel)(e)),
                }
                open()
            }
            other => other,
        };
        let fd = Arc::new(fd.map_err(self.failed("open", rel))?);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= MAX_OPEN {
            open.pop_front();
        }
        open.push_back((rel.to_owned(), fd.clone()));
        Ok(fd)
    }

    fn cached(&self, rel: &str) -> Option<Arc<OwnedFd>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter()
            .rev()
            .find(|(name, _)| name == rel)
            .map(|(_, fd)| fd.clone())
    }

    /// Forgets folders that were opened: after one was moved or removed.
    pub fn forget(&self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The folder that holds `rel`, open, and the last name.
    fn parent<'a>(&self, rel: &'a str, create: bool) -> Result<(Arc<OwnedFd>, &'a str), FilesError> {
        check_path(rel)?;
        let (parent, name) = rel.rsplit_once('/').unwrap_or(("", rel));
        Ok((self.dir(parent, create)?, name))
    }

    /// Opens a file for reading and writing, making it (with this mode & umask) and its folders when missing.
    ///
    /// # Errors
    /// As [`Self::dir`]; a link or folder of that name.
    pub fn create(&self, rel: &str, mode: u32, truncate: bool) -> Result<File, FilesError> {
        let (dir, name) = self.parent(rel, true)?;
        let mut flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        if truncate {
            flags |= OFlags::TRUNC;
        }
        let fd = fs::openat(&*dir, name, flags, Mode::from_raw_mode(mode));
        Ok(fd.map_err(self.failed("create", rel))?.into())
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// As [`Self::dir`]; a link of that name.
    pub fn open_file(&self, rel: &str) -> Result<File, FilesError> {
        let (dir, name) = self.parent(rel, false)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = fs::openat(&*dir, name, flags, Mode::empty());
        Ok(fd.map_err(self.failed("open", rel))?.into())
    }

    /// What is there, a link being a link; `None` when nothing is.
    ///
    /// # Errors
    /// As [`Self::dir`], but for folders that are missing.
    pub fn stat(&self, rel: &str) -> Result<Option<Stat>, FilesError> {
        let (dir, name) = match self.parent(rel, false) {
            Err(FilesError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            other => other?,
        };
        match fs::statat(&*dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(self.failed("read", rel)(e)),
        }
    }

    /// Makes a link at `rel`.
    ///
    /// # Errors
    /// As [`Self::dir`]; something of that name.
    pub fn link(&self, target: &str, rel: &str) -> Result<(), FilesError> {
        let (dir, name) = self.parent(rel, true)?;
        fs::symlinkat(target, &*dir, name).map_err(self.failed("create", rel))
    }

    /// Moves something to another name; what is there is replaced only with `replace`, and a folder never by a file.
    ///
    /// # Errors
    /// As [`Self::dir`]; `file.exists`.
    pub fn rename(&self, from: &str, to: &str, replace: bool) -> Result<(), FilesError> {
        let (from_dir, from_name) = self.parent(from, false)?;
        let (to_dir, to_name) = self.parent(to, true)?;
        let (from, to) = ((&*from_dir, from_name), (&*to_dir, to_name));
        let full = self.full(to.1);
        rename(from, to, replace, &full)
    }

    /// Removes a file or link, or an empty folder; false when it was not there.
    ///
    /// # Errors
    /// As [`Self::dir`]; a folder that is not empty.
    pub fn remove(&self, rel: &str) -> Result<bool, FilesError> {
        let Some(stat) = self.stat(rel)? else {
            return Ok(false);
        };
        let (dir, name) = self.parent(rel, false)?;
        let folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let flags = if folder {
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        match fs::unlinkat(&*dir, name, flags) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(self.failed("remove", rel)(e)),
        }
    }

    /// Sets permissions and time of change of a folder; `""` is the folder itself.
    ///
    /// # Errors
    /// As [`Self::dir`].
    pub fn dress_dir(&self, rel: &str, mode: u32, mtime_ns: i64) -> Result<(), FilesError> {
        let dir = self.dir(rel, false)?;
        // The time first: the mode may forbid more.
        fs::futimens(&*dir, &times(mtime_ns)).map_err(self.failed("set the time of", rel))?;
        fs::fchmod(&*dir, Mode::from_raw_mode(mode)).map_err(self.failed("protect", rel))
    }

    /// Sets the permissions of the folder itself.
    pub(super) fn dress_root(&self, mode: u32) -> Result<(), FilesError> {
        fs::fchmod(&*self.root, Mode::from_raw_mode(mode)).map_err(self.failed("protect", ""))
    }

    /// Where a link leads; `None` when it is not UTF-8.
    ///
    /// # Errors
    /// As [`Self::dir`]; not a link.
    pub fn link_target(&self, rel: &str) -> Result<Option<String>, FilesError> {
        let (dir, name) = self.parent(rel, false)?;
        let target = fs::readlinkat(&*dir, name, Vec::new()).map_err(self.failed("read", rel))?;
        Ok(target.into_string().ok())
    }

    /// Sets the time of change of a link.
    ///
    /// # Errors
    /// As [`Self::dir`].
    pub fn dress_link(&self, rel: &str, mtime_ns: i64) -> Result<(), FilesError> {
        let (dir, name) = self.parent(rel, false)?;
        fs::utimensat(&*dir, name, &times(mtime_ns), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(self.failed("set the time of", rel))
    }
}

/// Renames between open folders. `full` is the destination's path for messages.
pub(super) fn rename(
    from: (&OwnedFd, &str),
    to: (&OwnedFd, &str),
    replace: bool,
    full: &Path,
) -> Result<(), FilesError> {
    let exists = || FilesError::Exists {
        path: full.to_path_buf(),
    };
    let result = if replace {
        fs::renameat(from.0, from.1, to.0, to.1)
    } else {
        match fs::renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE) {
            // A file system that cannot promise it: looked at first.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                if fs::statat(to.0, to.1, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                    return Err(exists());
                }
                fs::renameat(from.0, from.1, to.0, to.1)
            }
            other => other,
        }
    };
    match result {
        Ok(()) => Ok(()),
        Err(Errno::EXIST | Errno::NOTEMPTY | Errno::ISDIR | Errno::NOTDIR) => Err(exists()),
        Err(e) => Err(fail("rename", full, e)),
    }
}

/// Sets permissions and time of change of an open file.
pub(super) fn dress(
    file: &File,
    path: &Path,
    mode: Option<u32>,
    mtime_ns: Option<i64>,
) -> Result<(), FilesError> {
    if let Some(mode) = mode {
        let mode = Mode::from_raw_mode(mode & hive_protocol::manifest::MODE_MASK);
        fs::fchmod(file, mode).map_err(|e| fail("protect", path, e))?;
    }
    if let Some(ns) = mtime_ns {
        fs::futimens(file, &times(ns)).map_err(|e| fail("set the time of", path, e))?;
    }
    Ok(())
}

fn times(mtime_ns: i64) -> Timestamps {
    let at = Timespec {
        tv_sec: mtime_ns.div_euclid(1_000_000_000),
        tv_nsec: mtime_ns.rem_euclid(1_000_000_000),
    };
    Timestamps {
        last_access: at,
        last_modification: at,
    }
}

pub(super) fn fail(what: &'static str, path: &Path, e: Errno) -> FilesError {
    FilesError::io(what, path, e.into())
}
