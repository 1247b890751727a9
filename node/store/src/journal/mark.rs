//! The high-water mark: a small file that says up to which batch the journal was handed to the operating system.
//!
//! sled takes damage in its log for the end of the log and forgets what follows; only somebody else's note tells.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

const MAGIC: [u8; 8] = *b"hivejrn1";
const TAG_BYTES: usize = 16;
const MARK_BYTES: usize = 8 + 8 + TAG_BYTES;

/// The open mark file.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    batch: u64,
}

/// What the mark file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// No file: there was never a journal, or somebody removed it.
    Nothing,
    /// Not the bytes of a mark.
    Unreadable,
    /// All batches up to this one were handed over.
    Batch(u64),
}

fn encode(batch: u64) -> [u8; MARK_BYTES] {
    let mut out = [0; MARK_BYTES];
    let (head, tag) = out.split_at_mut(MARK_BYTES - TAG_BYTES);
    let (magic, number) = head.split_at_mut(MAGIC.len());
    magic.copy_from_slice(&MAGIC);
    number.copy_from_slice(&batch.to_le_bytes());
    blake3::Hasher::new().update(head).finalize_xof().fill(tag);
    out
}

/// Reads the mark at `path`.
pub(super) fn read(path: &Path) -> io::Result<Noted> {
    let file = match File::open(path) {
        Ok(f) => f,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Noted::Nothing),
        Err(e) => return Err(e),
    };
    let mut bytes = [0; MARK_BYTES];
    match file.read_exact_at(&mut bytes, 0) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(Noted::Unreadable),
        other => other?,
    }
    let batch = bytes
        .get(MAGIC.len()..)
        .and_then(|b| b.first_chunk())
        .copied()
        .map_or(0, u64::from_le_bytes);
    Ok(if bytes == encode(batch) {
        Noted::Batch(batch)
    } else {
        Noted::Unreadable
    })
}

impl Mark {
    /// Opens or makes the file and sets it to `batch`. Synced, so that a power cut does not leave an empty file.
    pub(super) fn set(path: &Path, batch: u64) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        file.write_all_at(&encode(batch), 0)?;
        file.sync_all()?;
        Ok(Self { file, batch })
    }

    /// Notes that everything up to `batch` was handed over. One small write, never backwards.
    pub(super) fn raise(&mut self, batch: u64) -> io::Result<()> {
        if batch > self.batch {
            self.file.write_all_at(&encode(batch), 0)?;
            self.batch = batch;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_mark_only_rises_and_damage_is_noticed() {
        let t = tempfile::tempdir().unwrap();
        let p = t.path().join("mark");
        assert_eq!(read(&p).unwrap(), Noted::Nothing);
        let mut m = Mark::set(&p, 3).unwrap();
        m.raise(9).unwrap();
        m.raise(5).unwrap();
        assert_eq!(read(&p).unwrap(), Noted::Batch(9));
        let good = std::fs::read(&p).unwrap();
        for i in 0..good.len() {
            let mut bad = good.clone();
            bad[i] ^= 1;
            std::fs::write(&p, bad).unwrap();
            assert_eq!(read(&p).unwrap(), Noted::Unreadable);
            std::fs::write(&p, &good[..i]).unwrap();
            assert_eq!(read(&p).unwrap(), Noted::Unreadable);
        }
    }
}
