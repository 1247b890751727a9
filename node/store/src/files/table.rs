//! The files of one folder as a table on the disk: hash, stamp and place of each, found by hash in memory.
//!
//! `folders/<manifest>-<path>.dir` has a head, 80 bytes for each file in the order of the manifest, and the paths;
//! `.cvs` beside it has the chaining values of those of more than one group. Written once, then only read.

use super::{cvs, error::FilesError, stamp::Stamp};
use hive_protocol::ids::BlobHash;
use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

const MAGIC: &[u8; 8] = b"HIVEDIR1";
const HEAD: u64 = 64;
const ROW: usize = 80;
/// The longest path in a row (as in a manifest).
const MAX_PATH: usize = hive_protocol::manifest::MAX_PATH;

/// One file of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileRow {
    pub hash: BlobHash,
    pub stamp: Stamp,
    /// Where its chaining values begin in the pack, if it has more than one group.
    pub cvs_at: u64,
    /// Its place in the manifest.
    pub entry: u32,
    /// Relative to the folder.
    pub path: String,
}

/// What is known of each file in memory: enough to say whether it is here and how large.
#[derive(Debug, Clone, Copy)]
struct Key {
    /// First half of the first half of the hash. Two files of one folder never share it but for equal contents:
    /// the chance is 1 in 30 million at a million files, and the row has the whole hash.
    prefix: u64,
    size: u64,
    row: u32,
}

/// The table of one folder. 24 bytes of memory a file.
#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
    keys: Vec<Key>,
    rows: u32,
}

fn prefix(hash: &BlobHash) -> u64 {
    hash.0.first_chunk().map_or(0, |b| u64::from_be_bytes(*b))
}

/// Where the chaining values of each file begin in the pack, and how long the pack is.
pub(super) fn layout(sizes: impl Iterator<Item = u64>) -> (Vec<u64>, u64) {
    let mut at = 0u64;
    let starts = sizes.map(|s| {
        let here = at;
        at = at.saturating_add(cvs::body_len(s));
        here
    });
    let starts = starts.collect();
    (starts, at)
}

/// One file as it goes into a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewRow<'a> {
    pub hash: BlobHash,
    pub stamp: Stamp,
    pub cvs_at: u64,
    pub entry: u32,
    pub path: &'a str,
}

/// Writes a table of `count` rows; it has no name until the caller renames it.
pub(super) fn write<'a>(
    path: &Path,
    count: usize,
    rows: impl Iterator<Item = NewRow<'a>> + Clone,
) -> Result<(), FilesError> {
    let run = || -> io::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 18, File::create(path)?);
        let mut head = Vec::with_capacity(HEAD as usize);
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&(count as u64).to_le_bytes());
        head.resize(HEAD as usize, 0);
        out.write_all(&head)?;
        let mut path_at = HEAD + (count * ROW) as u64;
        for r in rows.clone() {
            out.write_all(&r.hash.0)?;
            out.write_all(&r.stamp.size.to_le_bytes())?;
            out.write_all(&r.stamp.mtime_ns.to_le_bytes())?;
            out.write_all(&r.stamp.ino.to_le_bytes())?;
            out.write_all(&r.cvs_at.to_le_bytes())?;
            out.write_all(&path_at.to_le_bytes())?;
            out.write_all(&(u32::try_from(r.path.len()).unwrap_or_default()).to_le_bytes())?;
            out.write_all(&r.entry.to_le_bytes())?;
            path_at += r.path.len() as u64;
        }
        for r in rows {
            out.write_all(r.path.as_bytes())?;
        }
        out.flush()
    };
    run().map_err(|e| FilesError::io("write", path, e))
}

struct Raw {
    hash: BlobHash,
    stamp: Stamp,
    cvs_at: u64,
    path_at: u64,
    path_len: u32,
    entry: u32,
}

fn parse(row: &[u8; ROW]) -> Option<Raw> {
    let (hash, rest) = row.split_first_chunk::<32>()?;
    let word = |n: usize| {
        rest.get(n * 8..n * 8 + 8)?
            .try_into()
            .ok()
            .map(u64::from_le_bytes)
    };
    let half = |n: usize| {
        rest.get(n * 4..n * 4 + 4)?
            .try_into()
            .ok()
            .map(u32::from_le_bytes)
    };
    Some(Raw {
        hash: BlobHash(*hash),
        stamp: Stamp {
            size: word(0)?,
            mtime_ns: word(1)?.cast_signed(),
            ino: word(2)?,
        },
        cvs_at: word(3)?,
        path_at: word(4)?,
        path_len: half(10)?,
        entry: half(11)?,
    })
}

impl Table {
    /// Reads the table's keys. `None` when it is not there or not whole.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, FilesError> {
        let failed = |e| FilesError::io("read", path, e);
        let file = match File::open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed)?,
        };
        let len = file.metadata().map_err(failed)?.len();
        let mut reader = BufReader::with_capacity(1 << 18, file);
        let mut head = [0; HEAD as usize];
        if len < HEAD {
            return Ok(None);
        }
        reader.read_exact(&mut head).map_err(failed)?;
        let count = head
            .get(8..16)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u64::from_le_bytes);
        if !head.starts_with(MAGIC) || count > u64::from(u32::MAX) || HEAD + count * ROW as u64 > len {
            return Ok(None);
        }
        let mut keys = Vec::with_capacity(usize::try_from(count).unwrap_or_default());
        let mut row = [0; ROW];
        for n in 0..count {
            reader.read_exact(&mut row).map_err(failed)?;
            let Some(raw) = parse(&row) else { return Ok(None) };
            if raw.path_at.saturating_add(u64::from(raw.path_len)) > len {
                return Ok(None);
            }
            keys.push(Key {
                prefix: prefix(&raw.hash),
                size: raw.stamp.size,
                row: u32::try_from(n).unwrap_or_default(),
            });
        }
        keys.sort_unstable_by_key(|k| (k.prefix, k.row));
        Ok(Some(Self {
            path: path.to_path_buf(),
            rows: u32::try_from(keys.len()).unwrap_or_default(),
            keys,
        }))
    }

    fn with_prefix(&self, hash: &BlobHash) -> &[Key] {
        let p = prefix(hash);
        let from = self.keys.partition_point(|k| k.prefix < p);
        let to = self.keys.partition_point(|k| k.prefix <= p);
        self.keys.get(from..to).unwrap_or_default()
    }

    /// The size of this content if it is listed, in memory, and the row of its first file.
    pub(super) fn find(&self, hash: &BlobHash) -> Option<(u64, u32)> {
        self.with_prefix(hash).first().map(|k| (k.size, k.row))
    }

    /// The rows of all files with this content.
    pub(super) fn rows_of(&self, hash: &BlobHash) -> impl Iterator<Item = u32> {
        self.with_prefix(hash).iter().map(|k| k.row)
    }

    /// Opens the table for reading rows.
    pub(super) fn reader(&self) -> Result<RowReader, FilesError> {
        let file = File::open(&self.path).map_err(|e| FilesError::io("open", &self.path, e))?;
        Ok(RowReader {
            file,
            path: self.path.clone(),
            rows: self.rows,
        })
    }

    /// All rows in the manifest's order, one after the other.
    pub(super) fn stream(&self) -> Result<impl Iterator<Item = Result<FileRow, FilesError>>, FilesError> {
        let fail = |e| FilesError::io("read", &self.path, e);
        let mut rows = BufReader::with_capacity(1 << 18, File::open(&self.path).map_err(fail)?);
        rows.seek(SeekFrom::Start(HEAD)).map_err(fail)?;
        let mut paths = BufReader::with_capacity(1 << 18, File::open(&self.path).map_err(fail)?);
        paths
            .seek(SeekFrom::Start(HEAD + u64::from(self.rows) * ROW as u64))
            .map_err(fail)?;
        let path = self.path.clone();
        Ok((0..self.rows).map(move |_| {
            let mut row = [0; ROW];
            let mut next = || -> io::Result<FileRow> {
                rows.read_exact(&mut row)?;
                let raw = parse(&row).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
                let mut name = vec![0; (raw.path_len as usize).min(MAX_PATH)];
                paths.read_exact(&mut name)?;
                let path = String::from_utf8(name).map_err(io::Error::other)?;
                Ok(raw.row(path))
            };
            next().map_err(|e| FilesError::io("read", &path, e))
        }))
    }
}

impl Raw {
    fn row(self, path: String) -> FileRow {
        FileRow {
            hash: self.hash,
            stamp: self.stamp,
            cvs_at: self.cvs_at,
            entry: self.entry,
            path,
        }
    }
}

/// Reads rows of an open table.
#[derive(Debug)]
pub(super) struct RowReader {
    file: File,
    path: PathBuf,
    rows: u32,
}

impl RowReader {
    /// One row; `None` when the table is shorter or is not one.
    pub(super) fn row(&self, n: u32) -> Result<Option<FileRow>, FilesError> {
        if n >= self.rows {
            return Ok(None);
        }
        let fail = |e| FilesError::io("read", &self.path, e);
        let mut row = [0; ROW];
        self.file
            .read_exact_at(&mut row, HEAD + u64::from(n) * ROW as u64)
            .map_err(fail)?;
        let Some(raw) = parse(&row) else { return Ok(None) };
        let mut name = vec![0; (raw.path_len as usize).min(MAX_PATH)];
        self.file.read_exact_at(&mut name, raw.path_at).map_err(fail)?;
        Ok(String::from_utf8(name).ok().map(|path| raw.row(path)))
    }
}
