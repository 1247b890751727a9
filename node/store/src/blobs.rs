//! The content-addressed store: immutable files named by their BLAKE3 hash, verified while they stream in and out.
//!
//! `blobs/ab/<hex>` holds the bytes (0444), `<hex>.obao` next to it the hashes of its 64 KiB groups when there is
//! more than one group, `blobs/tmp/` whatever is being written. A file is renamed to its hash last, so that a kill
//! at any instant leaves either the right blob or none. Nothing is synced: after a restart of the machine blobs
//! are verified before their first use. Knows nothing of who may have a blob.

mod adopt;
mod async_streams;
mod decode;
mod encode;
mod error;
mod export;
mod gc;
mod import;
mod index;
mod load;
mod part;
mod tree;

pub use async_streams::{AsyncDecoder, AsyncEncoder};
pub use decode::Decoder;
pub use encode::Encoder;
pub use error::BlobError;
pub use gc::GcReport;
pub use import::{BlobWriter, Import};
pub use load::LoadReport;
pub use tree::{GROUP_BYTES, MAX_BLOB_BYTES, charge, encoded_len};

use crate::budget::DiskBudget;
use hive_protocol::{ids::BlobHash, time::Timestamp};
use index::{Entry, Index};
use std::{
    fs::{self, File, FileTimes},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How stale a file's access time may be before a use sets it again: one system call per blob and ten minutes.
const TOUCH_AFTER_US: u64 = 600_000_000;

/// A blob that is now in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    /// Its hash.
    pub hash: BlobHash,
    /// Its size in bytes.
    pub size: u64,
    /// False when the same bytes were there before.
    pub new: bool,
}

/// How full the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Number of blobs.
    pub blobs: usize,
    /// Sum of their sizes in bytes.
    pub bytes: u64,
    /// What they count against the quota, in bytes.
    pub charged: u64,
    /// Blobs with at least one pin.
    pub pinned: usize,
    /// What the whole data folder's budget has taken or reserved, in bytes.
    pub budget_used: u64,
    /// The quota in bytes.
    pub quota: u64,
}

/// The store. Clones share one store; all methods may be called from any thread and block on the disk.
#[derive(Debug, Clone)]
pub struct BlobStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    tmp: PathBuf,
    budget: DiskBudget,
    index: Mutex<Index>,
    serial: AtomicU64,
}

impl BlobStore {
    /// Opens the store in `root` (of which the caller holds the lock), sweeping what a killed process left.
    ///
    /// `suspect` makes every blob be verified before its first use: for the first start after a reboot.
    /// What is found counts against the budget even if it exceeds it; then nothing can be added until [`Self::gc`].
    ///
    /// # Errors
    /// I/O, or more blobs than the table holds.
    pub fn open(
        root: impl Into<PathBuf>,
        budget: DiskBudget,
        suspect: bool,
    ) -> Result<(Self, LoadReport), BlobError> {
        let root = root.into();
        let tmp = root.join("tmp");
        let (index, mut report, to_mend) = load::load(&root, &tmp, suspect)?;
        budget.count(index.charged());
        let store = Self(Arc::new(Inner {
            root,
            tmp,
            budget,
            index: Mutex::new(index),
            serial: AtomicU64::new(0),
        }));
        for hash in to_mend {
            match store.verify(&hash) {
                Ok(_) => report.mended += 1,
                Err(BlobError::Damaged { .. }) => report.dropped += 1,
                Err(e) => return Err(e),
            }
        }
        Ok((store, report))
    }

    /// Opens the store of a data folder.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_in(dir: &crate::dir::DataDir, budget: DiskBudget) -> Result<(Self, LoadReport), BlobError> {
        Self::open(dir.blobs(), budget, dir.rebooted())
    }

    /// The budget this store draws on.
    #[must_use]
    pub fn budget(&self) -> &DiskBudget {
        &self.0.budget
    }

    /// True when the blob is here. In memory, under a microsecond.
    #[must_use]
    pub fn has(&self, hash: &BlobHash) -> bool {
        self.index().get(hash).is_some()
    }

    /// The blob's size in bytes, when it is here.
    #[must_use]
    pub fn size(&self, hash: &BlobHash) -> Option<u64> {
        self.index().get(hash).map(|e| e.len)
    }

    /// Up to `limit` blobs with their sizes, in hash order, those after `after`.
    #[must_use]
    pub fn list(&self, after: Option<BlobHash>, limit: usize) -> Vec<(BlobHash, u64)> {
        self.index().list(after, limit)
    }

    /// How full the store is.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let i = self.index();
        Usage {
            blobs: i.len(),
            bytes: i.bytes(),
            charged: i.charged(),
            pinned: i.pinned_blobs(),
            budget_used: self.0.budget.used(),
            quota: self.0.budget.quota(),
        }
    }

    /// Opens a blob for reading. The file stays readable while it is open, even if the blob is removed.
    ///
    /// # Errors
    /// Not here, damaged, or I/O.
    pub fn open_blob(&self, hash: &BlobHash) -> Result<File, BlobError> {
        self.used(hash)?;
        self.open_file(hash)
    }

    /// Reads a whole blob of at most `cap` bytes into memory, checking it against its hash.
    ///
    /// # Errors
    /// Not here, larger than `cap`, damaged, or I/O.
    pub fn read(&self, hash: &BlobHash, cap: u64) -> Result<Vec<u8>, BlobError> {
        let entry = self
            .index()
            .get(hash)
            .ok_or(BlobError::NotFound { hash: *hash })?;
        tree::check_size(entry.len, cap)?;
        let mut file = self.open_file(hash)?;
        let mut bytes = Vec::with_capacity(usize::try_from(entry.len).unwrap_or_default());
        io::Read::read_to_end(&mut io::Read::take(&mut file, entry.len + 1), &mut bytes)
            .map_err(|e| BlobError::io("read", &self.path(hash), e))?;
        if BlobHash::of(&bytes) != *hash {
            return Err(self.damaged(hash, 0));
        }
        self.note_use(hash, true);
        Ok(bytes)
    }

    /// Reads the whole blob from disk and compares it with its hash; mends its outboard. Returns its size.
    ///
    /// # Errors
    /// Not here; `blob.damaged` when it is not what it was (then it has been dropped); I/O.
    pub fn verify(&self, hash: &BlobHash) -> Result<u64, BlobError> {
        let entry = self
            .index()
            .get(hash)
            .ok_or(BlobError::NotFound { hash: *hash })?;
        let file = self.open_file(hash)?;
        if !part::check_and_mend(self, hash, &file, entry.len)? {
            return Err(self.damaged(hash, 0));
        }
        self.note_use(hash, true);
        Ok(entry.len)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // The table is changed by short infallible steps; the worst a panic elsewhere leaves is a stale count.
        self.0.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, hash: &BlobHash) -> PathBuf {
        blob_path(&self.0.root, hash)
    }

    /// A name in `tmp/` that nobody else uses.
    fn temp(&self, kind: &str) -> PathBuf {
        let n = self.0.serial.fetch_add(1, Ordering::Relaxed);
        self.0.tmp.join(format!("{n}.{kind}"))
    }

    fn open_file(&self, hash: &BlobHash) -> Result<File, BlobError> {
        let path = self.path(hash);
        File::open(&path).map_err(|e| match e.kind() {
            // Somebody took the file away behind our back.
            io::ErrorKind::NotFound => self.damaged(hash, 0),
            _ => BlobError::io("open", &path, e),
        })
    }

    /// Checks that the blob is here and sound, and notes that it is being used. Returns its size.
    fn used(&self, hash: &BlobHash) -> Result<u64, BlobError> {
        let entry = self
            .index()
            .get(hash)
            .ok_or(BlobError::NotFound { hash: *hash })?;
        if entry.suspect {
            return self.verify(hash);
        }
        self.note_use(hash, false);
        Ok(entry.len)
    }

    fn note_use(&self, hash: &BlobHash, verified: bool) {
        let touch = {
            let mut index = self.index();
            let now = index.tick(now_us());
            let Some(e) = index.get_mut(hash) else { return };
            e.used = now;
            e.suspect &= !verified;
            let stale = now.saturating_sub(e.touched) > TOUCH_AFTER_US;
            if stale {
                e.touched = now;
            }
            stale
        };
        if touch {
            // Only the order of eviction after a restart hangs on it.
            let times = FileTimes::new().set_accessed(SystemTime::now());
            if let Err(e) = File::open(self.path(hash)).and_then(|f| f.set_times(times)) {
                tracing::debug!(blob = %hash, error = %e, "cannot note the use of a blob");
            }
        }
    }

    /// Drops a blob that turned out bad and names the damage.
    fn damaged(&self, hash: &BlobHash, offset: u64) -> BlobError {
        tracing::warn!(blob = %hash, offset, "a stored blob is damaged and was dropped");
        if let Err(e) = self.take_out(hash, false) {
            tracing::warn!(blob = %hash, error = %e, "cannot remove the damaged blob's files");
        }
        BlobError::Damaged { hash: *hash, offset }
    }

    /// Removes a blob from the table and the disk; its charge is given back. False when it was not there, or is
    /// pinned and pins count.
    fn take_out(&self, hash: &BlobHash, heed_pins: bool) -> Result<bool, BlobError> {
        let (data, outboard) = (self.path(hash), outboard_path(&self.path(hash)));
        let trash = self.temp("gone");
        let entry = {
            let mut index = self.index();
            let Some(entry) = index.get(hash) else {
                return Ok(false);
            };
            if heed_pins && index.pinned_by(hash, now()).is_some() {
                return Ok(false);
            }
            // Moved away under the lock, so that the same blob coming in again cannot be hit; unlinking a large
            // file takes long and happens outside.
            match fs::rename(&data, &trash) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(BlobError::io("remove", &data, e));
                }
                _ => {}
            }
            if entry.len > GROUP_BYTES as u64 {
                ignore_missing(fs::remove_file(&outboard))
                    .map_err(|e| BlobError::io("remove", &outboard, e))?;
            }
            index.remove(hash);
            entry
        };
        self.0.budget.release(charge(entry.len));
        ignore_missing(fs::remove_file(&trash)).map_err(|e| BlobError::io("remove", &trash, e))?;
        Ok(true)
    }

    /// Makes a finished temporary file visible under its hash, unless the blob is there already.
    fn publish(
        &self,
        temp: &Path,
        outboard: Option<&Path>,
        hash: BlobHash,
        size: u64,
    ) -> Result<bool, BlobError> {
        let target = self.path(&hash);
        let mut index = self.index();
        if index.get(&hash).is_some() {
            return Ok(false);
        }
        index.check_room()?;
        if let Some(o) = outboard {
            let to = outboard_path(&target);
            fs::rename(o, &to).map_err(|e| BlobError::io("rename", &to, e))?;
        }
        fs::rename(temp, &target).map_err(|e| BlobError::io("rename", &target, e))?;
        let now = index.tick(now_us());
        index.insert(
            hash,
            Entry {
                len: size,
                used: now,
                touched: now,
                suspect: false,
            },
        );
        Ok(true)
    }
}

fn blob_path(root: &Path, hash: &BlobHash) -> PathBuf {
    let hex = hash.hex();
    let mut p = root.to_path_buf();
    p.push(hex.get(..2).unwrap_or_default());
    p.push(&hex);
    p
}

fn outboard_path(data: &Path) -> PathBuf {
    data.with_extension("obao")
}

fn ignore_missing(r: io::Result<()>) -> io::Result<()> {
    match r {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn now_us() -> u64 {
    u64::try_from(since_epoch().as_micros()).unwrap_or(u64::MAX)
}

fn now() -> Timestamp {
    Timestamp(now_us() / 1000)
}
