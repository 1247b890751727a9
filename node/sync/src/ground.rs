//! A folder that is never left: paths below it are opened by the kernel with no link followed and no way out, so
//! that whoever swaps a folder for a link while a mirror works gains nothing.

use rustix::{
    fs::{self, AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat, Timespec, Timestamps},
    io::{Errno, Result},
};
use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

const INSIDE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// The kernel asks to try again when folders are renamed while it resolves a path.
const TRIES: u32 = 32;

/// What kind of thing it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    File,
    Folder,
    Link,
    Other,
}

/// What tells a thing that was changed from one that was not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    pub(crate) kind: Kind,
    pub(crate) size: u64,
    pub(crate) mtime_ns: i64,
    pub(crate) ctime_ns: i64,
    pub(crate) ino: u64,
    pub(crate) dev: u64,
    pub(crate) mode: u32,
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

impl Stamp {
    fn of(s: &Stat) -> Self {
        let kind = match FileType::from_raw_mode(s.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            FileType::Symlink => Kind::Link,
            _ => Kind::Other,
        };
        Self {
            kind,
            size: u64::try_from(s.st_size).unwrap_or_default(),
            mtime_ns: nanoseconds(s.st_mtime, i64::try_from(s.st_mtime_nsec).unwrap_or_default()),
            ctime_ns: nanoseconds(s.st_ctime, i64::try_from(s.st_ctime_nsec).unwrap_or_default()),
            ino: s.st_ino,
            dev: s.st_dev,
            mode: s.st_mode & 0o777,
        }
    }

    /// Whether it is the same thing with the same content, moved or with other permission bits perhaps.
    pub(crate) fn same_content(&self, other: &Self) -> bool {
        (self.kind, self.ino, self.mtime_ns) == (other.kind, other.ino, other.mtime_ns)
            && (self.kind == Kind::Folder || self.size == other.size)
    }
}

/// One name in a folder.
pub(crate) struct Name {
    /// `Err` when it is not UTF-8.
    pub(crate) name: std::result::Result<String, String>,
    pub(crate) stamp: Stamp,
}

/// The folder.
#[derive(Debug)]
pub(crate) struct Ground {
    root: OwnedFd,
    path: PathBuf,
}

enum Parent<'a> {
    Root(BorrowedFd<'a>),
    Opened(OwnedFd),
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Root(fd) => *fd,
            Self::Opened(fd) => fd.as_fd(),
        }
    }
}

impl Ground {
    /// Opens a folder; links in `path` itself are the user's own and followed.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            root: fs::open(path, FOLDER, Mode::empty())?,
            path: path.to_path_buf(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn full(&self, rel: &str) -> PathBuf {
        if rel.is_empty() {
            self.path.clone()
        } else {
            self.path.join(rel)
        }
    }

    fn beneath(&self, rel: &str, flags: OFlags) -> Result<OwnedFd> {
        let mut tries = 0;
        loop {
            match fs::openat2(&self.root, rel, flags, Mode::empty(), INSIDE) {
                Err(Errno::AGAIN) if tries < TRIES => tries += 1,
                other => return other,
            }
        }
    }

    /// Opens a folder below; `""` is the folder itself.
    pub(crate) fn dir(&self, rel: &str) -> Result<OwnedFd> {
        match rel {
            "" => fs::openat(&self.root, ".", FOLDER, Mode::empty()),
            rel => self.beneath(rel, FOLDER),
        }
    }

    fn parent<'a>(&'a self, rel: &'a str) -> Result<(Parent<'a>, &'a str)> {
        match rel.rsplit_once('/') {
            None => Ok((Parent::Root(self.root.as_fd()), rel)),
            Some((above, name)) => {
                let fd = self.beneath(above, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC)?;
                Ok((Parent::Opened(fd), name))
            }
        }
    }

    /// What is at a path; `None` when nothing is, or something above it is no folder.
    pub(crate) fn stamp(&self, rel: &str) -> Result<Option<Stamp>> {
        let stat = || {
            let (dir, name) = self.parent(rel)?;
            fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)
        };
        match stat() {
            Ok(stat) => Ok(Some(Stamp::of(&stat))),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// What an open file or folder is.
    pub(crate) fn stamp_of(fd: impl AsFd) -> Result<Stamp> {
        Ok(Stamp::of(&fs::fstat(fd)?))
    }

    /// Opens a regular file for reading; never waits for a pipe.
    pub(crate) fn file(&self, rel: &str) -> Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(self.beneath(rel, flags)?.into())
    }

    /// Makes a new file.
    pub(crate) fn create(&self, rel: &str, mode: u32) -> Result<File> {
        let (dir, name) = self.parent(rel)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(fs::openat(&dir, name, flags, Mode::from_raw_mode(mode))?.into())
    }

    pub(crate) fn target(&self, rel: &str) -> Result<std::result::Result<String, String>> {
        let (dir, name) = self.parent(rel)?;
        let target = fs::readlinkat(&dir, name, Vec::new())?;
        Ok(target
            .into_string()
            .map_err(|e| e.into_cstring().to_string_lossy().into_owned()))
    }

    pub(crate) fn make_folder(&self, rel: &str, mode: u32) -> Result<()> {
        let (dir, name) = self.parent(rel)?;
        fs::mkdirat(&dir, name, Mode::from_raw_mode(mode))
    }

    pub(crate) fn make_link(&self, target: &str, rel: &str) -> Result<()> {
        let (dir, name) = self.parent(rel)?;
        fs::symlinkat(target, &dir, name)
    }

    /// Removes a file or link.
    pub(crate) fn remove(&self, rel: &str) -> Result<()> {
        let (dir, name) = self.parent(rel)?;
        fs::unlinkat(&dir, name, AtFlags::empty())
    }

    /// Removes an empty folder.
    pub(crate) fn remove_folder(&self, rel: &str) -> Result<()> {
        let (dir, name) = self.parent(rel)?;
        fs::unlinkat(&dir, name, AtFlags::REMOVEDIR)
    }

    /// Renames; `EEXIST` when something is there.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        match self.rename_with(from, to, RenameFlags::NOREPLACE) {
            // A file system that does not know the flag: then looked at first.
            Err(Errno::INVAL) if self.stamp(to)?.is_none() => {
                self.rename_with(from, to, RenameFlags::empty())
            }
            Err(Errno::INVAL) => Err(Errno::EXIST),
            other => other,
        }
    }

    /// Lets two things change places in one step; `EINVAL` where the file system cannot.
    pub(crate) fn exchange(&self, one: &str, other: &str) -> Result<()> {
        self.rename_with(one, other, RenameFlags::EXCHANGE)
    }

    fn rename_with(&self, from: &str, to: &str, flags: RenameFlags) -> Result<()> {
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.parent(to)?;
        fs::renameat_with(&from_dir, from_name, &to_dir, to_name, flags)
    }

    /// Sets permission bits of a file or folder; a link is refused (`ELOOP`).
    pub(crate) fn set_mode(&self, rel: &str, mode: u32) -> Result<()> {
        let (dir, name) = self.parent(rel)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(&dir, name, flags, Mode::empty())?;
        if Stamp::of(&fs::fstat(&fd)?).kind == Kind::Link {
            return Err(Errno::LOOP);
        }
        // Bits can only be set through a path; this one leads to what was opened and to nothing else.
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        fs::chmod(path, Mode::from_raw_mode(mode))
    }

    /// Sets the time of a file, folder or link.
    pub(crate) fn set_time(&self, rel: &str, mtime_ns: i64) -> Result<()> {
        let (dir, name) = self.parent(rel)?;
        let time = Timespec {
            tv_sec: mtime_ns.div_euclid(1_000_000_000),
            tv_nsec: mtime_ns.rem_euclid(1_000_000_000) as _,
        };
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: fs::UTIME_OMIT as _,
            },
            last_modification: time,
        };
        fs::utimensat(&dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// What is in a folder that is open.
    pub(crate) fn names(dir: &OwnedFd) -> Result<Vec<Name>> {
        let mut found = Vec::new();
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let raw = entry.file_name();
            if raw == c"." || raw == c".." {
                continue;
            }
            let stamp = match fs::statat(dir, raw, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Stamp::of(&stat),
                // Removed since it was listed.
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(e),
            };
            let name = raw.to_str().map(str::to_owned);
            found.push(Name {
                name: name.map_err(|_| raw.to_string_lossy().into_owned()),
                stamp,
            });
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_swapped_link_leads_nowhere() {
        let temp = tempfile::tempdir().unwrap();
        let (inside, outside) = (temp.path().join("in"), temp.path().join("out"));
        std::fs::create_dir_all(inside.join("d")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("victim"), "x").unwrap();
        std::fs::write(inside.join("f"), "y").unwrap();
        let ground = Ground::open(&inside).unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("l")).unwrap();
        for path in ["l/victim", "../out/victim", "d/../../out/victim"] {
            assert!(ground.file(path).is_err(), "{path}");
            assert!(ground.remove(path).is_err(), "{path}");
            assert!(
                ground.rename("f", path).is_err() && ground.exchange("f", path).is_err(),
                "{path}"
            );
            assert!(
                ground.set_mode(path, 0o600).is_err() && ground.set_time(path, 1).is_err(),
                "{path}"
            );
        }
        assert!(ground.make_folder("l/new", 0o700).is_err() && ground.create("l/new", 0o600).is_err());
        assert!(
            ground.set_mode("l", 0o700).is_err(),
            "bits of a link are those of its target"
        );
        assert_eq!(ground.stamp("l/victim").unwrap(), None);
        ground.set_time("l", 5).unwrap();
        assert_eq!(ground.stamp("l").unwrap().unwrap().mtime_ns, 5);
        assert_eq!(std::fs::read_to_string(outside.join("victim")).unwrap(), "x");
    }

    #[test]
    fn renames_never_replace() {
        let temp = tempfile::tempdir().unwrap();
        let ground = Ground::open(temp.path()).unwrap();
        std::fs::write(temp.path().join("a"), "1").unwrap();
        std::fs::write(temp.path().join("b"), "2").unwrap();
        assert_eq!(ground.rename("a", "b"), Err(Errno::EXIST));
        ground.exchange("a", "b").unwrap();
        assert_eq!(std::fs::read_to_string(temp.path().join("a")).unwrap(), "2");
        ground.set_time("a", -1).unwrap();
        ground.set_mode("a", 0o400).unwrap();
        let stamp = ground.stamp("a").unwrap().unwrap();
        assert_eq!((stamp.mtime_ns, stamp.mode, stamp.size), (-1, 0o400, 1));
    }
}
