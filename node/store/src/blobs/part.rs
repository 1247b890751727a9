//! A blob being written: temporary files, the growing tree, the reserved bytes. Gone when dropped unfinished.

use super::{Added, BlobStore, GROUP_BYTES, error::BlobError, outboard_path, tree, tree::TreeBuilder};
use crate::{budget::Reservation, dir};
use hive_protocol::ids::BlobHash;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Read, Write},
    os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// How blobs lie on the disk: readable, writable by nobody.
const BLOB_MODE: u32 = 0o444;
/// From this size on the file system is asked for room before the first byte is written.
const ASK_SPACE_FROM: u64 = 1 << 20;

/// Temporary files that vanish unless published.
#[derive(Debug)]
pub(super) struct Temp {
    pub path: PathBuf,
    outboard: Option<PathBuf>,
    published: bool,
}

impl Temp {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            outboard: None,
            published: false,
        }
    }

    /// It has been renamed: nothing is to be removed.
    pub(super) fn keep(mut self) {
        self.published = true;
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        // What survives a failure here is swept at the next start.
        let _ = fs::remove_file(&self.path);
        if let Some(o) = &self.outboard {
            let _ = fs::remove_file(o);
        }
    }
}

/// A blob of more than one group being written. Groups come in order, verified or hashed by the caller.
#[derive(Debug)]
pub(super) struct Part {
    store: BlobStore,
    temp: Temp,
    /// `None` when the bytes are in place already (a link or a clone of another file).
    file: Option<File>,
    outboard: BufWriter<File>,
    outboard_path: PathBuf,
    builder: TreeBuilder,
    written: u64,
    reservation: Reservation,
}

impl Part {
    /// Starts a blob whose final size is at most `reserve` bytes as far as one knows now.
    pub(super) fn create(store: &BlobStore, reserve: u64) -> Result<Self, BlobError> {
        let reservation = reserve_for(store, reserve)?;
        let path = store.temp("part");
        let file = create(&path)?;
        Self::around(store, Temp::new(path), Some(file), reservation)
    }

    /// Starts the tree of bytes that are at `temp` already.
    pub(super) fn around(
        store: &BlobStore,
        mut temp: Temp,
        file: Option<File>,
        reservation: Reservation,
    ) -> Result<Self, BlobError> {
        let outboard_path = store.temp("obao");
        let outboard = BufWriter::new(create(&outboard_path)?);
        temp.outboard = Some(outboard_path.clone());
        let builder = TreeBuilder::default();
        Ok(Self {
            store: store.clone(),
            temp,
            file,
            outboard,
            outboard_path,
            builder,
            written: 0,
            reservation,
        })
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Writes the next group, whose hash is known. All groups but the last are full.
    pub(super) fn write(&mut self, group: &[u8], hash: [u8; 32]) -> Result<(), BlobError> {
        self.reservation
            .grow_to(tree::charge(self.written + group.len() as u64))?;
        if let Some(f) = &mut self.file {
            f.write_all(group)
                .map_err(|e| BlobError::io("write", &self.temp.path, e))?;
        }
        self.builder
            .push(hash, &mut self.outboard)
            .map_err(|e| BlobError::io("write", &self.outboard_path, e))?;
        self.written += group.len() as u64;
        Ok(())
    }

    /// Closes the blob and makes it visible. `expected` is checked against the tree that was written.
    pub(super) fn finish(self, expected: Option<BlobHash>) -> Result<Added, BlobError> {
        let Self {
            store,
            mut temp,
            file,
            mut outboard,
            outboard_path,
            builder,
            written,
            reservation,
        } = self;
        let broken = |e| BlobError::io("write", &outboard_path, e);
        let hash = builder.finish(&mut outboard).map_err(broken)?;
        if expected.is_some_and(|e| e != hash) {
            return Err(BlobError::Corrupt {
                hash: expected.unwrap_or(hash),
                offset: 0,
            });
        }
        read_only(
            &outboard.into_inner().map_err(|e| broken(e.into_error()))?,
            &outboard_path,
        )?;
        match file {
            Some(f) => read_only(&f, &temp.path)?,
            None => fs::set_permissions(&temp.path, fs::Permissions::from_mode(BLOB_MODE))
                .map_err(|e| BlobError::io("protect", &temp.path, e))?,
        }
        let new = store.publish(&temp.path, Some(&outboard_path), hash, written)?;
        if new {
            reservation.settle(tree::charge(written));
            temp.published = true;
        }
        Ok(Added {
            hash,
            size: written,
            new,
        })
    }
}

/// Writes a blob of at most one group whose hash has been computed: one file, one rename.
pub(super) fn put_small(store: &BlobStore, bytes: &[u8], hash: BlobHash) -> Result<Added, BlobError> {
    let size = bytes.len() as u64;
    if store.has(&hash) {
        store.note_use(&hash, false);
        return Ok(Added {
            hash,
            size,
            new: false,
        });
    }
    let reservation = store.budget().reserve(tree::charge(size))?;
    let mut temp = Temp::new(store.temp("part"));
    let mut file = create(&temp.path)?;
    file.write_all(bytes)
        .map_err(|e| BlobError::io("write", &temp.path, e))?;
    read_only(&file, &temp.path)?;
    let new = store.publish(&temp.path, None, hash, size)?;
    if new {
        reservation.settle(tree::charge(size));
        temp.published = true;
    }
    Ok(Added { hash, size, new })
}

/// Reserves what a blob of `size` bytes takes; large ones also need that much room in the file system.
pub(super) fn reserve_for(store: &BlobStore, size: u64) -> Result<Reservation, BlobError> {
    let bytes = tree::charge(size);
    let reservation = store.budget().reserve(bytes)?;
    if size >= ASK_SPACE_FROM {
        let tmp = &store.0.tmp;
        let space = dir::disk_space(tmp).map_err(|e| BlobError::io("measure", tmp, e))?;
        if space.available < bytes {
            return Err(BlobError::DiskFull { path: tmp.clone() });
        }
    }
    Ok(reservation)
}

/// Hashes a stored blob and makes its outboard anew if it is not right; false when the bytes are not those of
/// `hash`.
pub(super) fn check_and_mend(
    store: &BlobStore,
    hash: &BlobHash,
    file: &File,
    len: u64,
) -> Result<bool, BlobError> {
    let data = store.path(hash);
    let actual = file
        .metadata()
        .map_err(|e| BlobError::io("read", &data, e))?
        .len();
    if actual != len {
        return Ok(false);
    }
    if len <= GROUP_BYTES as u64 {
        let mut group = vec![0; GROUP_BYTES];
        let n = read_group(&mut { file }, &mut group).map_err(|e| BlobError::io("read", &data, e))?;
        return Ok(BlobHash::of(group.get(..n).unwrap_or_default()) == *hash);
    }
    let target = outboard_path(&data);
    let mut compared = Compare {
        with: File::open(&target).ok(),
        at: 0,
    };
    if hash_tree(file, &data, len, &mut compared, &target)? != *hash {
        return Ok(false);
    }
    if compared.equal() {
        return Ok(true);
    }
    let mut temp = Temp::new(store.temp("obao"));
    let mut out = BufWriter::new(create(&temp.path)?);
    if hash_tree(file, &data, len, &mut out, &temp.path)? != *hash {
        return Ok(false);
    }
    let out = out
        .into_inner()
        .map_err(|e| BlobError::io("write", &temp.path, e.into_error()))?;
    read_only(&out, &temp.path)?;
    let index = store.index();
    if index.get(hash).is_some() {
        fs::rename(&temp.path, &target).map_err(|e| BlobError::io("rename", &target, e))?;
        temp.published = true;
    }
    drop(index);
    Ok(true)
}

fn hash_tree(
    file: &File,
    data: &Path,
    len: u64,
    out: &mut impl Write,
    out_path: &Path,
) -> Result<BlobHash, BlobError> {
    let (mut builder, mut offset, mut group) = (TreeBuilder::default(), 0, vec![0; GROUP_BYTES]);
    while offset < len {
        let n = usize::try_from(len - offset)
            .unwrap_or(usize::MAX)
            .min(GROUP_BYTES);
        let buf = group.get_mut(..n).unwrap_or_default();
        file.read_exact_at(buf, offset)
            .map_err(|e| BlobError::io("read", data, e))?;
        builder
            .push(tree::group_hash(offset, buf), out)
            .map_err(|e| BlobError::io("write", out_path, e))?;
        offset += n as u64;
    }
    builder
        .finish(out)
        .map_err(|e| BlobError::io("write", out_path, e))
}

/// Compares what is written to it with a file.
struct Compare {
    /// `None` once they differ.
    with: Option<File>,
    at: u64,
}

impl Compare {
    fn equal(&self) -> bool {
        self.with
            .as_ref()
            .and_then(|f| f.metadata().ok())
            .is_some_and(|m| m.len() == self.at)
    }
}

impl Write for Compare {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut there = vec![0; bytes.len()];
        self.with = self
            .with
            .take()
            .filter(|f| f.read_exact_at(&mut there, self.at).is_ok() && there == bytes);
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads until the buffer is full or the source ends; returns how much there is.
pub(super) fn read_group(from: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while let Some(rest) = buf.get_mut(have..).filter(|r| !r.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(have)
}

pub(super) fn create(path: &Path) -> Result<File, BlobError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| BlobError::io("create", path, e))
}

fn read_only(file: &File, path: &Path) -> Result<(), BlobError> {
    file.set_permissions(fs::Permissions::from_mode(BLOB_MODE))
        .map_err(|e| BlobError::io("protect", path, e))
}
