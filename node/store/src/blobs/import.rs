//! Ways in: bytes, a reader, a file, or pieces as they come. Everything is hashed while it is written.

use super::{
    Added, BlobStore, GROUP_BYTES,
    error::BlobError,
    part::{self, Part, Temp},
    tree,
};
use hive_protocol::ids::BlobHash;
use rustix::fs::OFlags;
use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::Read,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

/// How a file's bytes get into the store. What is not possible on the file system falls back to a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Import {
    /// The store has its own bytes.
    #[default]
    Copy,
    /// The file system shares the bytes until the original changes (btrfs, XFS).
    Reflink,
    /// Store and original are one file: it becomes read-only, and a later change of the original damages the
    /// blob (noticed before anything wrong is sent). Only for files the program made itself.
    HardLink,
}

impl BlobStore {
    /// Adds bytes from memory.
    ///
    /// # Errors
    /// Quota, full disk, I/O.
    pub fn add_bytes(&self, bytes: &[u8]) -> Result<Added, BlobError> {
        if bytes.len() <= GROUP_BYTES {
            return part::put_small(self, bytes, BlobHash::of(bytes));
        }
        let mut w = self.writer(bytes.len() as u64, bytes.len() as u64);
        w.write(bytes)?;
        w.finish()
    }

    /// Adds bytes that must have this hash: the fast way for small blobs from a peer.
    ///
    /// # Errors
    /// `blob.corrupt`, quota, full disk, I/O.
    pub fn add_expected(&self, hash: &BlobHash, bytes: &[u8]) -> Result<Added, BlobError> {
        if BlobHash::of(bytes) != *hash {
            return Err(BlobError::Corrupt {
                hash: *hash,
                offset: 0,
            });
        }
        if bytes.len() <= GROUP_BYTES {
            return part::put_small(self, bytes, *hash);
        }
        self.add_bytes(bytes)
    }

    /// Adds everything a reader gives, up to `cap` bytes.
    ///
    /// # Errors
    /// Too large, quota, full disk, I/O; `blob.stream` when the reader fails.
    pub fn add_reader(&self, reader: &mut impl Read, cap: u64) -> Result<Added, BlobError> {
        let mut writer = self.writer(cap, 0);
        let mut group = vec![0; GROUP_BYTES];
        loop {
            let n = part::read_group(reader, &mut group).map_err(BlobError::Stream)?;
            writer.write(group.get(..n).unwrap_or_default())?;
            if n < GROUP_BYTES {
                return writer.finish();
            }
        }
    }

    /// Adds a file of at most `cap` bytes.
    ///
    /// # Errors
    /// Not a regular file, too large, `blob.changed` when it was written to meanwhile, quota, full disk, I/O.
    pub fn add_path(&self, path: &Path, how: Import, cap: u64) -> Result<Added, BlobError> {
        let (mut file, before) = open_regular(path)?;
        tree::check_size(before.len(), cap)?;
        let added = if before.len() <= GROUP_BYTES as u64 || how == Import::Copy {
            self.copy_in(path, &mut file, before.len(), cap)?
        } else if let Some(temp) = self.in_place(path, &file, how)? {
            self.hash_in_place(path, temp, &before)?
        } else {
            self.copy_in(path, &mut file, before.len(), cap)?
        };
        let after = file.metadata().map_err(|e| BlobError::io("read", path, e))?;
        if same(&before, &after) && added.size == before.len() {
            return Ok(added);
        }
        // The bytes stored are the bytes hashed, but perhaps of no version the file ever had.
        if added.new {
            self.take_out(&added.hash, false)?;
        }
        Err(BlobError::Changed {
            path: path.to_path_buf(),
        })
    }

    /// The hash and size of a file, without storing it.
    ///
    /// # Errors
    /// Not a regular file, changed meanwhile, I/O.
    pub fn hash_path(path: &Path) -> Result<(BlobHash, u64), BlobError> {
        let (mut file, before) = open_regular(path)?;
        let (mut hasher, mut buf, mut size) = (blake3::Hasher::new(), vec![0; GROUP_BYTES], 0);
        loop {
            let n = part::read_group(&mut file, &mut buf).map_err(|e| BlobError::io("read", path, e))?;
            hasher.update(buf.get(..n).unwrap_or_default());
            size += n as u64;
            if n < GROUP_BYTES {
                break;
            }
        }
        let after = file.metadata().map_err(|e| BlobError::io("read", path, e))?;
        if !same(&before, &after) || size != after.len() {
            return Err(BlobError::Changed {
                path: path.to_path_buf(),
            });
        }
        Ok((BlobHash(*hasher.finalize().as_bytes()), size))
    }

    /// Starts a blob whose bytes come piece by piece: at most `cap` bytes, about `expected` (0 when unknown).
    #[must_use]
    pub fn writer(&self, cap: u64, expected: u64) -> BlobWriter {
        BlobWriter {
            store: self.clone(),
            cap,
            expected: expected.min(cap),
            group: Vec::new(),
            part: None,
        }
    }

    fn copy_in(&self, path: &Path, file: &mut File, size: u64, cap: u64) -> Result<Added, BlobError> {
        let mut writer = self.writer(cap, size);
        let mut group = vec![0; GROUP_BYTES];
        loop {
            let n = part::read_group(file, &mut group).map_err(|e| BlobError::io("read", path, e))?;
            writer.write(group.get(..n).unwrap_or_default())?;
            if n < GROUP_BYTES {
                return writer.finish();
            }
        }
    }

    /// The file's bytes under a temporary name without copying them, where that works.
    fn in_place(&self, path: &Path, file: &File, how: Import) -> Result<Option<Temp>, BlobError> {
        let temp = Temp::new(self.temp("part"));
        let done = match how {
            Import::Copy => false,
            Import::Reflink => rustix::fs::ioctl_ficlone(&part::create(&temp.path)?, file).is_ok(),
            // A symbolic link would be linked as such.
            Import::HardLink => {
                fs::hard_link(path, &temp.path).is_ok()
                    && fs::symlink_metadata(&temp.path).is_ok_and(|m| m.file_type().is_file())
            }
        };
        Ok(done.then_some(temp))
    }

    fn hash_in_place(&self, path: &Path, temp: Temp, before: &Metadata) -> Result<Added, BlobError> {
        let failed = |e| BlobError::io("read", path, e);
        let mut file = File::open(&temp.path).map_err(failed)?;
        let reservation = part::reserve_for(self, before.len())?;
        let mut part = Part::around(self, temp, None, reservation)?;
        let mut group = vec![0; GROUP_BYTES];
        loop {
            let n = part::read_group(&mut file, &mut group).map_err(failed)?;
            let bytes = group.get(..n).unwrap_or_default();
            if !bytes.is_empty() {
                part.write(bytes, tree::group_hash(part.written(), bytes))?;
            }
            if n < GROUP_BYTES {
                break;
            }
        }
        if part.written() <= GROUP_BYTES as u64 {
            return Err(BlobError::Changed {
                path: path.to_path_buf(),
            });
        }
        part.finish(None)
    }
}

/// A blob whose bytes come piece by piece. Dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    store: BlobStore,
    cap: u64,
    expected: u64,
    group: Vec<u8>,
    part: Option<Part>,
}

impl BlobWriter {
    /// Bytes taken so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.part.as_ref().map_or(0, Part::written) + self.group.len() as u64
    }

    /// True before the first byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the next bytes. Up to 64 KiB stay in memory, the rest is on its way to the disk.
    ///
    /// # Errors
    /// Too large, quota, full disk, I/O. After an error the writer is to be dropped.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), BlobError> {
        tree::check_size(self.len().saturating_add(bytes.len() as u64), self.cap)?;
        while !bytes.is_empty() {
            if self.group.len() == GROUP_BYTES {
                let group = std::mem::take(&mut self.group);
                self.put(&group)?;
                self.group = group;
                self.group.clear();
            }
            // Whole groups with something behind them need not be copied first.
            if self.group.is_empty()
                && let Some((group, rest)) = bytes
                    .split_at_checked(GROUP_BYTES)
                    .filter(|(_, rest)| !rest.is_empty())
            {
                self.put(group)?;
                bytes = rest;
                continue;
            }
            let (now, rest) = bytes.split_at(bytes.len().min(GROUP_BYTES - self.group.len()));
            self.group.extend_from_slice(now);
            bytes = rest;
        }
        Ok(())
    }

    fn put(&mut self, group: &[u8]) -> Result<(), BlobError> {
        let part = match &mut self.part {
            Some(p) => p,
            empty => empty.insert(Part::create(
                &self.store,
                self.expected.max(GROUP_BYTES as u64 + 1),
            )?),
        };
        part.write(group, tree::group_hash(part.written(), group))
    }

    /// Closes the blob and makes it visible.
    ///
    /// # Errors
    /// Quota, full disk, I/O.
    pub fn finish(mut self) -> Result<Added, BlobError> {
        if self.part.is_none() {
            return part::put_small(&self.store, &self.group, BlobHash::of(&self.group));
        }
        let group = std::mem::take(&mut self.group);
        if !group.is_empty() {
            self.put(&group)?;
        }
        match self.part {
            Some(part) => part.finish(None),
            None => self.store.add_bytes(&group),
        }
    }
}

fn open_regular(path: &Path) -> Result<(File, Metadata), BlobError> {
    // Not to hang on a named pipe that nobody writes to.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(|e| BlobError::io("open", path, e))?;
    let meta = file.metadata().map_err(|e| BlobError::io("read", path, e))?;
    if meta.is_file() {
        Ok((file, meta))
    } else {
        Err(BlobError::NotAFile {
            path: path.to_path_buf(),
        })
    }
}

fn same(a: &Metadata, b: &Metadata) -> bool {
    a.len() == b.len() && a.mtime() == b.mtime() && a.mtime_nsec() == b.mtime_nsec()
}
