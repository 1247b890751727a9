//! Which groups of a content being received are here, on the disk: two words for each segment.
//!
//! The first says what was verified and handed to the operating system: it holds as long as the machine does not
//! restart, whatever becomes of the process. The second says what was forced to the disk before: it always holds.
//! Bits are only ever set, each after what it stands for, so that a kill at any instant leaves less, never wrong.

use super::error::FilesError;
use hive_protocol::ids::BlobHash;
use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::OnceLock,
};

const MAGIC: &[u8; 8] = b"HIVEMAP1";
const HEAD: u64 = 64;
const ROW: u64 = 16;

#[derive(Debug)]
pub(super) struct Map {
    file: File,
    path: PathBuf,
}

/// This start of the machine; random when the system does not say, so that nothing is trusted.
fn boot() -> [u8; 8] {
    static BOOT: OnceLock<[u8; 8]> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let mut id = [0; 8];
        match std::fs::read("/proc/sys/kernel/random/boot_id") {
            Ok(text) if !text.is_empty() => blake3::Hasher::new().update(&text).finalize_xof().fill(&mut id),
            Ok(_) | Err(_) => {
                let _ = getrandom::fill(&mut id);
            }
        }
        id
    })
}

impl Map {
    /// Opens or makes the file.
    pub(super) fn open(path: &Path) -> Result<Self, FilesError> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|e| FilesError::io("create", path, e))?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
        })
    }

    fn failed(&self, e: io::Error) -> FilesError {
        FilesError::io("write", &self.path, e)
    }

    /// Starts over, for this content in the file of this inode.
    pub(super) fn reset(&self, hash: &BlobHash, ino: u64) -> Result<(), FilesError> {
        self.file.set_len(0).map_err(|e| self.failed(e))?;
        self.write_head(hash, ino)
    }

    fn write_head(&self, hash: &BlobHash, ino: u64) -> Result<(), FilesError> {
        let mut head = Vec::with_capacity(HEAD as usize);
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&hash.0);
        head.extend_from_slice(&ino.to_le_bytes());
        head.extend_from_slice(&boot());
        head.resize(HEAD as usize, 0);
        self.file.write_all_at(&head, 0).map_err(|e| self.failed(e))
    }

    fn head(&self, hash: &BlobHash) -> Option<(u64, [u8; 8])> {
        let mut head = [0; HEAD as usize];
        self.file.read_exact_at(&mut head, 0).ok()?;
        let ours = head.starts_with(MAGIC) && head.get(8..40)? == hash.0;
        let ino = head.get(40..48)?.try_into().ok().map(u64::from_le_bytes)?;
        ours.then_some((ino, head.get(48..56)?.try_into().ok()?))
    }

    /// The inode of the file the bits speak of; `None` when there are none for this content.
    pub(super) fn ino(&self, hash: &BlobHash) -> Option<u64> {
        self.head(hash).map(|h| h.0)
    }

    /// What is here of `n` segments, to be trusted after whatever happened since; from now on in this boot.
    pub(super) fn load(&self, hash: &BlobHash, n: u64) -> Result<Vec<u64>, FilesError> {
        let Some((ino, before)) = self.head(hash) else {
            return Ok(vec![0; usize::try_from(n).unwrap_or_default()]);
        };
        let mut bytes = vec![0; usize::try_from(n * ROW).unwrap_or_default()];
        let mut have = 0;
        while let Some(rest) = bytes.get_mut(have..).filter(|r| !r.is_empty()) {
            match self.file.read_at(rest, HEAD + have as u64) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(FilesError::io("read", &self.path, e)),
            }
        }
        let same = before == boot();
        let word = |row: &[u8], at: usize| {
            row.get(at..at + 8)
                .and_then(|b| b.try_into().ok())
                .map_or(0, u64::from_le_bytes)
        };
        let masks: Vec<u64> = bytes
            .chunks_exact(ROW as usize)
            .map(|row| {
                if same {
                    word(row, 0) | word(row, 8)
                } else {
                    word(row, 8)
                }
            })
            .collect();
        if !same {
            // The first words go before the new boot is noted: a kill in between must not make them hold again.
            for (n, mask) in (0..).zip(&masks) {
                self.set(n, *mask)?;
            }
            self.write_head(hash, ino)?;
        }
        Ok(masks)
    }

    /// These groups of a segment are with the operating system.
    pub(super) fn set(&self, segment: u64, mask: u64) -> Result<(), FilesError> {
        self.file
            .write_all_at(&mask.to_le_bytes(), HEAD + segment * ROW)
            .map_err(|e| self.failed(e))
    }

    /// These groups of all segments are on the disk.
    pub(super) fn set_synced(&self, masks: &[u64]) -> Result<(), FilesError> {
        for (n, mask) in (0..).zip(masks).filter(|(_, m)| **m != 0) {
            self.file
                .write_all_at(&mask.to_le_bytes(), HEAD + n * ROW + 8)
                .map_err(|e| self.failed(e))?;
        }
        self.file.sync_data().map_err(|e| self.failed(e))
    }
}
