//! Content-defined chunks: boundaries that stay where they are when bytes are put in before them. A hint for
//! finding bytes of one version in another; what is found that way is checked like everything else.

use super::{FileStore, error::FilesError, source::Source, tree::Cv};
use fastcdc::v2020::StreamCDC;
use hive_protocol::{
    file::{CHUNK_ROW, MAX_CHUNKS},
    ids::BlobHash,
};
use std::{
    fs,
    io::{self, Read},
    path::Path,
};

/// Smallest chunk in bytes, but for the last. These three are part of what is compared between nodes: nodes with
/// others find nothing in common.
const MIN: usize = 16 << 10;
/// Chunks are about this long, in bytes.
const AVERAGE: usize = 64 << 10;
/// Largest chunk in bytes.
const MAX: usize = 256 << 10;
/// Bytes read at once.
const PIECE: u64 = 1 << 20;

impl FileStore {
    /// Hash and length of each chunk of content that is here whole, in order. Computed once.
    ///
    /// # Errors
    /// Not here whole; `file.too_large` beyond 256 GiB, or 4,194,304 chunks; `file.changed`; I/O.
    pub fn chunks(&self, hash: &BlobHash) -> Result<Vec<(Cv, u32)>, FilesError> {
        let path = self.0.places.chunks.join(hash.hex());
        if let Some(known) = read(&path) {
            return Ok(known);
        }
        let source = self.source(hash)?;
        if !source.is_whole() {
            return Err(FilesError::Incomplete { hash: *hash });
        }
        let limit = u64::from(MAX_CHUNKS) * AVERAGE as u64;
        if source.size() > limit {
            return Err(FilesError::TooLarge {
                size: source.size(),
                limit,
            });
        }
        let list = cut(&source)?;
        let temp = self.temp("chunks");
        let mut bytes = Vec::with_capacity(list.len() * CHUNK_ROW + 32);
        for (cv, len) in &list {
            bytes.extend_from_slice(cv);
            bytes.extend_from_slice(&len.to_le_bytes());
        }
        // A torn list after a power cut is told from a whole one.
        let check = BlobHash::of(&bytes);
        bytes.extend_from_slice(&check.0);
        fs::write(&temp, &bytes).map_err(|e| FilesError::io("write", &temp, e))?;
        fs::rename(&temp, &path).map_err(|e| FilesError::io("rename", &path, e))?;
        Ok(list)
    }
}

fn read(path: &Path) -> Option<Vec<(Cv, u32)>> {
    let bytes = fs::read(path).ok()?;
    let (rows, check) = bytes.split_last_chunk::<32>()?;
    if BlobHash::of(rows).0 != *check {
        return None;
    }
    rows.chunks_exact(CHUNK_ROW)
        .map(|row| {
            let (cv, len) = row.split_first_chunk::<32>()?;
            Some((*cv, u32::from_le_bytes(len.try_into().ok()?)))
        })
        .collect()
}

fn cut(source: &Source) -> Result<Vec<(Cv, u32)>, FilesError> {
    let mut failed = None;
    let reader = Bytes {
        source,
        at: 0,
        buf: Vec::new(),
        taken: 0,
        failed: &mut failed,
    };
    let mut list = Vec::new();
    for chunk in StreamCDC::new(reader, MIN, AVERAGE, MAX) {
        let Ok(chunk) = chunk else { break };
        if list.len() == MAX_CHUNKS as usize {
            return Err(FilesError::TooLarge {
                size: source.size(),
                limit: chunk.offset,
            });
        }
        let len = u32::try_from(chunk.data.len()).unwrap_or(u32::MAX);
        list.push((BlobHash::of(&chunk.data).0, len));
    }
    match failed {
        Some(e) => Err(e),
        None if list.iter().map(|c| u64::from(c.1)).sum::<u64>() == source.size() => Ok(list),
        None => Err(FilesError::Incomplete { hash: source.hash() }),
    }
}

/// A source as a reader; what went wrong is kept with its name.
struct Bytes<'a> {
    source: &'a Source,
    at: u64,
    buf: Vec<u8>,
    taken: usize,
    failed: &'a mut Option<FilesError>,
}

impl Read for Bytes<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.buf.len() {
            self.buf.clear();
            self.taken = 0;
            if let Err(e) = self
                .source
                .read_range(self.at, self.at + PIECE, false, &mut self.buf)
            {
                *self.failed = Some(e);
                return Err(io::Error::other("the source failed"));
            }
            self.at += self.buf.len() as u64;
        }
        let from = self.buf.get(self.taken..).unwrap_or_default();
        let n = from.len().min(to.len());
        if let (Some(to), Some(from)) = (to.get_mut(..n), from.get(..n)) {
            to.copy_from_slice(from);
        }
        self.taken += n;
        Ok(n)
    }
}
