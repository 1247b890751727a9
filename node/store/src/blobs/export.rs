//! Ways out to a task's folder: a hard link where the file system allows it, a copy elsewhere.

use super::{BlobStore, error::BlobError};
use hive_protocol::ids::BlobHash;
use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The longest file name, in bytes, as all common file systems have it.
const MAX_NAME_BYTES: usize = 255;

impl BlobStore {
    /// Puts a blob at `dir/name` as a read-only file, sharing the store's bytes where possible: whoever may write
    /// despite the file's mode (root, or a guest with write access to its inputs) must get [`Self::copy_into`].
    ///
    /// # Errors
    /// Not here, damaged; `blob.bad_name` unless `name` is one plain file name; `blob.exists`; full disk, I/O.
    pub fn link_into(&self, hash: &BlobHash, dir: &Path, name: &str) -> Result<PathBuf, BlobError> {
        let target = self.target(hash, dir, name)?;
        match fs::hard_link(self.path(hash), &target) {
            Ok(()) => Ok(target),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(BlobError::Exists { path: target }),
            // Another file system, too many links, no permission to link: all are answered by a copy.
            Err(_) => self.copy_to(hash, target),
        }
    }

    /// As [`Self::link_into`] with bytes of its own (shared by the file system until written, where it can).
    ///
    /// # Errors
    /// As [`Self::link_into`].
    pub fn copy_into(&self, hash: &BlobHash, dir: &Path, name: &str) -> Result<PathBuf, BlobError> {
        let target = self.target(hash, dir, name)?;
        self.copy_to(hash, target)
    }

    fn target(&self, hash: &BlobHash, dir: &Path, name: &str) -> Result<PathBuf, BlobError> {
        let plain = !name.is_empty()
            && name.len() <= MAX_NAME_BYTES
            && name != "."
            && name != ".."
            && !name.contains(['/', '\0']);
        if !plain {
            return Err(BlobError::BadName {
                name: name.chars().take(64).collect(),
            });
        }
        self.used(hash)?;
        Ok(dir.join(name))
    }

    fn copy_to(&self, hash: &BlobHash, target: PathBuf) -> Result<PathBuf, BlobError> {
        let mut from = self.open_file(hash)?;
        let mut to = match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o444)
            .open(&target)
        {
            Ok(f) => f,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(BlobError::Exists { path: target });
            }
            Err(e) => return Err(BlobError::io("create", &target, e)),
        };
        if rustix::fs::ioctl_ficlone(&to, &from).is_ok() {
            return Ok(target);
        }
        match io::copy(&mut from, &mut to) {
            Ok(_) => Ok(target),
            Err(e) => {
                // Half a file must not look like an input.
                let _ = fs::remove_file(&target);
                Err(BlobError::io("write", &target, e))
            }
        }
    }
}
