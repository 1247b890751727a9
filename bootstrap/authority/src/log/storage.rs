//! The few things the log asks of a disk, and the real disk. Tests bring a simulated one.

use super::{LogError, SEGMENT_BYTES};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const LOCK: &str = "ledger.lock";
/// How long a lock held by a dying process is waited for.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
/// Pause between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A folder of files.
pub trait Storage: Send {
    /// Where it is, for messages.
    fn place(&self) -> String;
    /// How large a segment may grow here, in bytes; at most [`SEGMENT_BYTES`].
    fn segment_bytes(&self) -> u64 {
        SEGMENT_BYTES
    }
    /// Names of all files.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens a file that exists, to read and write.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>>;
    /// Makes a file that does not exist yet. Durable after [`Storage::sync_dir`].
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>>;
    /// Removes a file. Durable after [`Storage::sync_dir`].
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes the creation and removal of files durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_dir(&self) -> io::Result<()>;
}

/// An open file.
pub trait LogFile: Send {
    /// Its length in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn len(&self) -> io::Result<u64>;
    /// Whether it has no bytes.
    ///
    /// # Errors
    /// What the system says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills the buffer from this place.
    ///
    /// # Errors
    /// What the system says; a file that ends before is an error.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes all bytes at this place, growing the file. Durable after [`LogFile::sync_data`].
    ///
    /// # Errors
    /// What the system says; part of the bytes may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file. Durable after [`LogFile::sync_data`].
    ///
    /// # Errors
    /// What the system says.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Makes the file's bytes and its length durable (fdatasync).
    ///
    /// # Errors
    /// What the system says. After an error nothing is known about what is on the disk.
    fn sync_data(&self) -> io::Result<()>;
}

/// The real disk: one folder, locked for this process.
#[derive(Debug)]
pub struct DirStorage {
    path: PathBuf,
    dir: File,
    // Held open: closing it gives the lock up.
    _lock: File,
}

impl DirStorage {
    /// Takes the folder (made with mode 0700 where it does not exist) for this process alone.
    ///
    /// # Errors
    /// [`LogError::Locked`] when another process has it, [`LogError::Disk`] otherwise.
    pub fn take(path: &Path) -> Result<Self, LogError> {
        let text = path.display().to_string();
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(LogError::disk("making the folder", &text))?;
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            // The folder's own name must survive too.
            File::open(parent)
                .and_then(|d| d.sync_all())
                .map_err(LogError::disk("fsync of the folder above", &text))?;
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(LogError::disk("opening", LOCK))?;
        let began = Instant::now();
        // A process killed just now may not have let go of its files yet: the kernel closes them a moment later.
        let locked = loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Err(rustix::io::Errno::WOULDBLOCK) if began.elapsed() < LOCK_PATIENCE => {
                    std::thread::sleep(LOCK_PAUSE);
                }
                other => break other,
            }
        };
        match locked {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(LogError::Locked {
                    path: path.join(LOCK).display().to_string(),
                });
            }
            Err(e) => return Err(LogError::disk("locking", LOCK)(e.into())),
        }
        let dir = File::open(path).map_err(LogError::disk("opening", &text))?;
        Ok(Self {
            path: path.to_owned(),
            dir,
            _lock: lock,
        })
    }
}

impl Storage for DirStorage {
    fn place(&self) -> String {
        self.path.display().to_string()
    }
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path.join(name))?;
        Ok(Box::new(DirFile(file)))
    }
    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path.join(name))?;
        Ok(Box::new(DirFile(file)))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.dir.sync_all()
    }
}

struct DirFile(File);

impl LogFile for DirFile {
    fn len(&self) -> io::Result<u64> {
        self.0.metadata().map(|m| m.len())
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
