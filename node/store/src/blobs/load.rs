//! Reading the store's folder at start: fills the table, sweeps what a killed process left behind.

use super::{
    GROUP_BYTES,
    error::BlobError,
    index::{Entry, Index},
    outboard_path, tree,
};
use hive_protocol::ids::BlobHash;
use std::{
    fs::{self, DirBuilder, DirEntry},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::Path,
};

/// What was found when the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadReport {
    /// Blobs in the table.
    pub blobs: usize,
    /// Unfinished files that were removed.
    pub swept: usize,
    /// Blobs whose outboard was missing or cut short and has been made anew.
    pub mended: usize,
    /// Blobs that were not what their name says and have been dropped: to be fetched again.
    pub dropped: usize,
    /// Files that are none of ours; left alone.
    pub strange: usize,
}

type Loaded = (Index, LoadReport, Vec<BlobHash>);

/// Lists the blobs below `root`. The last part names those whose outboard does not fit their size.
pub(super) fn load(root: &Path, tmp: &Path, suspect: bool) -> Result<Loaded, BlobError> {
    let (mut index, mut report, mut to_mend) = (Index::default(), LoadReport::default(), Vec::new());
    make(tmp)?;
    for entry in read_dir(tmp)? {
        let path = entry?.path();
        fs::remove_file(&path).map_err(|e| BlobError::io("remove", &path, e))?;
        report.swept += 1;
    }
    for first in 0..=u8::MAX {
        let dir = root.join(format!("{first:02x}"));
        make(&dir)?;
        for entry in read_dir(&dir)? {
            file(&entry?, first, suspect, &mut index, &mut report, &mut to_mend)?;
        }
    }
    report.blobs = index.len();
    Ok((index, report, to_mend))
}

fn file(
    entry: &DirEntry,
    first: u8,
    suspect: bool,
    index: &mut Index,
    report: &mut LoadReport,
    to_mend: &mut Vec<BlobHash>,
) -> Result<(), BlobError> {
    let (path, name) = (entry.path(), entry.file_name());
    let name = name.to_str().unwrap_or_default();
    if let Some(stem) = name.strip_suffix(".obao") {
        // An outboard is renamed first: alone it is what a kill between the two renames leaves.
        if hash_of(stem, first).is_some() && !path.with_file_name(stem).exists() {
            fs::remove_file(&path).map_err(|e| BlobError::io("remove", &path, e))?;
            report.swept += 1;
        }
        return Ok(());
    }
    let meta = entry.metadata().map_err(|e| BlobError::io("read", &path, e))?;
    let Some(hash) = hash_of(name, first).filter(|_| meta.is_file()) else {
        report.strange += 1;
        tracing::warn!(path = %path.display(), "a file in the blob store that is no blob");
        return Ok(());
    };
    index.check_room()?;
    let len = meta.len();
    let used = u64::try_from(meta.atime())
        .unwrap_or_default()
        .saturating_mul(1_000_000)
        + u64::try_from(meta.atime_nsec()).unwrap_or_default() / 1000;
    index.insert(
        hash,
        Entry {
            len,
            used,
            touched: used,
            suspect,
        },
    );
    if len > tree::MAX_BLOB_BYTES {
        // Cannot have come from us; verifying a tebibyte to say so would hold up the start.
        index.remove(&hash);
        report.strange += 1;
    } else if len > GROUP_BYTES as u64 {
        let have = fs::metadata(outboard_path(&path)).map(|m| m.len()).ok();
        if have != Some(tree::outboard_len(len)) {
            to_mend.push(hash);
        }
    } else if len == 0 && hash != BlobHash::of(&[]) {
        // The commonest trace of a power cut.
        to_mend.push(hash);
    }
    Ok(())
}

fn hash_of(name: &str, first: u8) -> Option<BlobHash> {
    let bytes: [u8; 32] = data_encoding::HEXLOWER
        .decode(name.as_bytes())
        .ok()?
        .try_into()
        .ok()?;
    (bytes.first() == Some(&first)).then_some(BlobHash(bytes))
}

fn make(dir: &Path) -> Result<(), BlobError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| BlobError::io("create", dir, e))
}

fn read_dir(dir: &Path) -> Result<impl Iterator<Item = Result<DirEntry, BlobError>> + '_, BlobError> {
    let entries = fs::read_dir(dir).map_err(|e| BlobError::io("list", dir, e))?;
    Ok(entries.map(move |e| e.map_err(|e| BlobError::io("list", dir, e))))
}
