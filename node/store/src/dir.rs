//! The data folder: where everything lies, who may use it, which format it has.
//!
//! Layout: `format` · `lock` · `pid` · `boot` · `keys/` · `blobs/` · `files/` · `journal/` · `ledger/` · `tasks/` · `run/`.
//! Knows nothing of what is inside the sub-folders.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The newest data folder format this program understands.
pub const FORMAT_VERSION: u32 = 1;
const FORMAT_HEAD: &str = "hivenode-data ";
/// The small text files here are a line long; whatever is larger is not ours.
const MAX_LINE_FILE: u64 = 256;

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// Another daemon has it.
    #[error("{} is in use by another hivenode{}", .path.display(), pid_text(*.pid))]
    Locked {
        /// The data folder.
        path: PathBuf,
        /// The process that holds it, when it wrote its pid.
        pid: Option<u32>,
    },
    /// A newer program wrote it.
    #[error("{} has data format {found}, this program knows up to {FORMAT_VERSION}", .path.display())]
    Newer {
        /// The data folder.
        path: PathBuf,
        /// The format found.
        found: u32,
    },
    /// The format file says something else.
    #[error("{} is not a hivenode data folder: its format file reads {text:?}", .path.display())]
    Format {
        /// The data folder.
        path: PathBuf,
        /// What the file says, cut.
        text: String,
    },
    /// Others may write into it.
    #[error("{} may be written by other users (mode {mode:03o})", .path.display())]
    Permissions {
        /// The data folder.
        path: PathBuf,
        /// The permission bits found.
        mode: u32,
    },
    /// The file system refuses.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |p| format!(" (process {p})"))
}

impl DirError {
    /// The stable error code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "store.locked",
            Self::Newer { .. } => "store.newer_format",
            Self::Format { .. } => "store.not_a_data_dir",
            Self::Permissions { .. } => "store.dir_permissions",
            Self::Io { .. } => "store.io",
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::Locked { pid: Some(p), .. } => {
                format!("stop that daemon (process {p}) or start this one with another --data-dir")
            }
            Self::Locked { pid: None, .. } => "stop the other daemon or use another --data-dir".into(),
            Self::Newer { .. } => "install a hivenode at least as new as the one that wrote it".into(),
            Self::Format { .. } => "choose an empty folder with --data-dir".into(),
            Self::Permissions { path, .. } => format!("chmod 700 {}", path.display()),
            Self::Io { path, .. } => format!("check that {} exists and can be written", path.display()),
        }
    }
}

/// An open, locked data folder. The lock lasts as long as this value.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    rebooted: bool,
    // Held for its flock; the kernel lets go of it when the process ends, however it ends.
    _lock: File,
}

/// How full the file system under the data folder is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Size of the file system.
    pub total: u64,
    /// What an unprivileged process may still write.
    pub available: u64,
}

impl DataDir {
    /// Opens the folder, making it (0700) with its sub-folders when it is not there.
    ///
    /// # Errors
    /// Locked by another process, written by a newer version, not ours, open to other users, or plain I/O.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, DirError> {
        let root = root.into();
        make_private(&root)?;
        let mode = fs::metadata(&root).map_err(io_at("read", &root))?.mode() & 0o777;
        if mode & 0o022 != 0 {
            return Err(DirError::Permissions { path: root, mode });
        }
        let lock = lock(&root)?;
        check_format(&root)?;
        for sub in ["keys", "blobs", "files", "journal", "ledger", "tasks", "run"] {
            make_private(&root.join(sub))?;
        }
        let rebooted = note_boot(&root)?;
        Ok(Self {
            root,
            rebooted,
            _lock: lock,
        })
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where key files lie.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// Where blobs lie.
    #[must_use]
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// Where what is known about files lies: rows, chaining values, bitmaps; not the files themselves.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.root.join("files")
    }

    /// Where the job journal lies.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// Where an authority keeps its ledger (written by the authority, not by this crate).
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.root.join("ledger")
    }

    /// Where task folders are made: on the same file system as the blobs, so that inputs can be hard links.
    #[must_use]
    pub fn tasks(&self) -> PathBuf {
        self.root.join("tasks")
    }

    /// Where sockets lie.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// True when the machine has restarted since the folder was last open: files that were never
    /// synced may have lost their bytes, so blobs are verified before their first use.
    #[must_use]
    pub fn rebooted(&self) -> bool {
        self.rebooted
    }

    /// Free and total space of the file system.
    ///
    /// # Errors
    /// Plain I/O.
    pub fn space(&self) -> Result<DiskSpace, DirError> {
        disk_space(&self.root).map_err(io_at("measure", &self.root))
    }
}

/// Free and total space of the file system that holds `path`.
pub(crate) fn disk_space(path: &Path) -> io::Result<DiskSpace> {
    let s = rustix::fs::statvfs(path)?;
    Ok(DiskSpace {
        total: s.f_blocks.saturating_mul(s.f_frsize),
        available: s.f_bavail.saturating_mul(s.f_frsize),
    })
}

fn io_at<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> DirError + 'a {
    move |source| DirError::Io {
        what,
        path: path.to_path_buf(),
        source,
    }
}

fn make_private(path: &Path) -> Result<(), DirError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io_at("create", path))
}

/// How long a lock held by a dying process is waited for.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_millis(500);
/// Pause between two tries.
pub(crate) const LOCK_PAUSE: Duration = Duration::from_millis(10);

fn lock(root: &Path) -> Result<File, DirError> {
    let path = root.join("lock");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(io_at("open", &path))?;
    let pid_path = root.join("pid");
    let began = Instant::now();
    // A process killed just now may not have let go of its files yet: the kernel closes them a moment later.
    let locked = loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(LOCK_PAUSE);
            }
            other => break other,
        }
    };
    match locked {
        Ok(()) => {
            write_line(&pid_path, &std::process::id().to_string()).map_err(io_at("write", &pid_path))?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let pid = read_line(&pid_path).ok().flatten().and_then(|t| t.parse().ok());
            Err(DirError::Locked {
                path: root.to_path_buf(),
                pid,
            })
        }
        Err(TryLockError::Error(e)) => Err(io_at("lock", &path)(e)),
    }
}

fn check_format(root: &Path) -> Result<(), DirError> {
    let path = root.join("format");
    let Some(text) = read_line(&path).map_err(io_at("read", &path))? else {
        return write_line(&path, &format!("{FORMAT_HEAD}{FORMAT_VERSION}")).map_err(io_at("write", &path));
    };
    match text.strip_prefix(FORMAT_HEAD).and_then(|n| n.parse::<u32>().ok()) {
        Some(n) if n > FORMAT_VERSION => Err(DirError::Newer {
            path: root.to_path_buf(),
            found: n,
        }),
        Some(n) if n > 0 => Ok(()),
        _ => Err(DirError::Format {
            path: root.to_path_buf(),
            text: text.chars().take(64).collect(),
        }),
    }
}

/// Writes this boot's id; true when another boot had the folder open before.
fn note_boot(root: &Path) -> Result<bool, DirError> {
    let path = root.join("boot");
    // A system without the id (no /proc) counts as rebooted each time: slower, never wrong.
    let now = read_line(Path::new("/proc/sys/kernel/random/boot_id"))
        .ok()
        .flatten()
        .unwrap_or_default();
    let before = read_line(&path).map_err(io_at("read", &path))?;
    if before.as_deref() != Some(now.as_str()) {
        write_line(&path, &now).map_err(io_at("write", &path))?;
    }
    Ok(now.is_empty() || before.is_some_and(|b| b != now))
}

/// The first line of a small file; `None` when there is no such file.
fn read_line(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(f) => f,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut bytes = Vec::new();
    file.take(MAX_LINE_FILE).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(Some(text.lines().next().unwrap_or_default().trim().to_owned()))
}

/// Writes a one-line file so that it is whole or not there.
fn write_line(path: &Path, line: &str) -> io::Result<()> {
    let temp = path.with_extension("new");
    let mut f = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temp)?;
    f.write_all(line.as_bytes())?;
    f.write_all(b"\n")?;
    f.sync_all()?;
    fs::rename(&temp, path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_new_folder_is_private_and_complete() {
        let t = tempfile::tempdir().unwrap();
        let root = t.path().join("data");
        let d = DataDir::open(&root).unwrap();
        for p in [
            d.root(),
            &d.keys(),
            &d.blobs(),
            &d.journal(),
            &d.ledger(),
            &d.tasks(),
            &d.run(),
        ] {
            assert_eq!(fs::metadata(p).unwrap().mode() & 0o777, 0o700, "{}", p.display());
        }
        assert!(!d.rebooted());
        assert!(d.space().unwrap().total > 0);
        drop(d);
        assert!(!DataDir::open(&root).unwrap().rebooted());
    }

    #[test]
    fn a_second_opener_is_told_who_holds_it() {
        let t = tempfile::tempdir().unwrap();
        let _first = DataDir::open(t.path().join("d")).unwrap();
        let e = DataDir::open(t.path().join("d")).unwrap_err();
        assert_eq!(e.code(), "store.locked");
        assert!(e.to_string().contains(&std::process::id().to_string()), "{e}");
        assert!(e.fix().contains(&std::process::id().to_string()));
    }

    #[test]
    fn newer_and_foreign_formats_are_refused() {
        let t = tempfile::tempdir().unwrap();
        let root = t.path().join("d");
        drop(DataDir::open(&root).unwrap());
        fs::write(root.join("format"), "hivenode-data 2\n").unwrap();
        assert_eq!(DataDir::open(&root).unwrap_err().code(), "store.newer_format");
        for bad in [
            "",
            "hivenode-data x",
            "photos",
            "hivenode-data 0",
            "hivenode-data -1",
        ] {
            fs::write(root.join("format"), bad).unwrap();
            assert_eq!(
                DataDir::open(&root).unwrap_err().code(),
                "store.not_a_data_dir",
                "{bad:?}"
            );
        }
    }

    #[test]
    fn a_folder_others_can_write_is_refused() {
        let t = tempfile::tempdir().unwrap();
        let root = t.path().join("d");
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o777)).unwrap();
        let e = DataDir::open(&root).unwrap_err();
        assert_eq!(e.code(), "store.dir_permissions");
        assert!(e.fix().starts_with("chmod 700"));
    }

    #[test]
    fn another_boot_is_noticed_once() {
        let t = tempfile::tempdir().unwrap();
        let root = t.path().join("d");
        drop(DataDir::open(&root).unwrap());
        fs::write(root.join("boot"), "some-other-boot\n").unwrap();
        assert!(DataDir::open(&root).unwrap().rebooted());
        assert!(!DataDir::open(&root).unwrap().rebooted());
    }
}
