//! Room on file systems promised to transfers that have not written it yet, so that two do not count on the same.

use super::error::FilesError;
use crate::dir::disk_space;
use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Room left to everything else.
const SPARE_BYTES: u64 = 16 << 20;

/// Promised bytes by file system.
#[derive(Debug, Clone, Default)]
pub(super) struct Space(Arc<Mutex<BTreeMap<u64, u64>>>);

/// Room promised to one transfer; what is written is taken off, the rest given back on drop.
#[derive(Debug)]
pub(super) struct Promise {
    space: Space,
    dev: u64,
    bytes: u64,
}

impl Space {
    fn table(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        // Numbers, each changed in one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Promises room in the file system of this folder.
    pub(super) fn promise(&self, folder: &Path, bytes: u64) -> Result<Promise, FilesError> {
        let failed = |e| FilesError::io("measure", folder, e);
        let dev = std::fs::metadata(folder).map_err(failed)?.dev();
        let available = disk_space(folder).map_err(failed)?.available;
        let mut table = self.table();
        let promised = table.entry(dev).or_default();
        let free = available.saturating_sub(*promised);
        // Small things are let through to the last byte: the disk itself refuses them.
        if bytes > 0 && free < bytes.saturating_add(SPARE_BYTES.min(bytes)) {
            return Err(FilesError::DiskFull {
                path: folder.to_path_buf(),
                wanted: bytes,
                free,
            });
        }
        *promised = promised.saturating_add(bytes);
        Ok(Promise {
            space: self.clone(),
            dev,
            bytes,
        })
    }
}

impl Promise {
    /// So much of it has been written.
    pub(super) fn used(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        let mut table = self.space.table();
        if let Some(p) = table.get_mut(&self.dev) {
            *p = p.saturating_sub(bytes);
            if *p == 0 {
                table.remove(&self.dev);
            }
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.used(self.bytes);
    }
}
