//! Small files put in their places at once, as a mirror gets them by the thousand: no transfer on record for each, the
//! whole content being at hand. What a kill leaves unfinished is written over the next time.

use super::{
    FileStore,
    beneath::{Beneath, dress},
    error::FilesError,
    receive::part_name,
    rows,
};
use hive_protocol::{file::GROUP, ids::BlobHash};
use std::io::Write;

/// A small file and where it goes.
#[derive(Debug, Clone, Copy)]
pub struct Small<'a> {
    /// What its bytes must hash to.
    pub hash: BlobHash,
    /// Its bytes, at most 64 KiB.
    pub bytes: &'a [u8],
    /// Relative to the folder, with `/` between names.
    pub path: &'a str,
    /// Permissions.
    pub mode: u32,
    /// Nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Whether a file that is there is replaced.
    pub overwrite: bool,
}

impl FileStore {
    /// Verifies small contents and puts them where they belong below an open folder, each as a whole. One result for
    /// each, in order. They are not remembered: see [`FileStore::add_known`].
    pub fn place_small(&self, below: &Beneath, files: &[Small<'_>]) -> Vec<Result<(), FilesError>> {
        files.iter().map(|f| place(below, f)).collect()
    }
}

fn place(below: &Beneath, small: &Small<'_>) -> Result<(), FilesError> {
    let size = small.bytes.len() as u64;
    if size > GROUP {
        return Err(FilesError::TooLarge { size, limit: GROUP });
    }
    if BlobHash::of(small.bytes) != small.hash {
        return Err(FilesError::Corrupt {
            hash: small.hash,
            segment: 0,
        });
    }
    let full = below.full(small.path);
    let id = rows::transfer_id(&small.hash, Some(&full));
    let part = match small.path.rsplit_once('/') {
        Some((parent, name)) => format!("{parent}/{}", part_name(name, &id)),
        None => part_name(small.path, &id),
    };
    let mut file = below.create(&part, 0o600, true)?;
    let mut write = || {
        file.write_all(small.bytes)
            .map_err(|e| FilesError::io("write", &full, e))?;
        dress(&file, &full, Some(small.mode), Some(small.mtime_ns))?;
        below.rename(&part, small.path, small.overwrite)
    };
    write().inspect_err(|_| drop(below.remove(&part)))
}
