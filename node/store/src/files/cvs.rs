//! Lists of chaining values on the disk: those of all segments, then those of all groups, 32 bytes each.
//!
//! A list has a file of its own with a head, or lies at an offset of the pack of a folder. What is read is checked
//! against the hash, or against the segment's value, so that damage here can never spread.

use super::{
    error::FilesError,
    tree::{self, Cv},
};
use hive_protocol::{
    file::{GROUP, GROUPS_PER_SEGMENT, groups_of, segments},
    ids::BlobHash,
};
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

const MAGIC: &[u8; 8] = b"HIVECVS1";
/// Bytes before the values in a file of its own.
pub(super) const HEAD: u64 = 64;
const CV: u64 = 32;

/// How many values of segments are in the list: none for content of at most one segment.
fn listed_segments(size: u64) -> u64 {
    match segments(size) {
        1 => 0,
        n => n,
    }
}

/// Bytes of the list of content of this size.
pub(super) fn body_len(size: u64) -> u64 {
    if size <= GROUP {
        return 0;
    }
    (listed_segments(size) + size.div_ceil(GROUP)) * CV
}

/// Values of one content on the disk.
#[derive(Debug, Clone)]
pub(super) struct CvList {
    file: Arc<File>,
    path: PathBuf,
    base: u64,
    hash: BlobHash,
    size: u64,
}

impl CvList {
    /// The list at `base` of a file.
    pub(super) fn at(file: Arc<File>, path: &Path, base: u64, hash: BlobHash, size: u64) -> Self {
        Self {
            file,
            path: path.to_path_buf(),
            base,
            hash,
            size,
        }
    }

    /// The list in a file of its own. `None` when its head is not (or not yet) that of this content.
    pub(super) fn with_head(file: File, path: &Path, hash: &BlobHash) -> io::Result<Option<Self>> {
        let mut head = [0; HEAD as usize];
        match file.read_exact_at(&mut head, 0) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let size = head
            .get(8..16)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u64::from_le_bytes);
        let ours = head.starts_with(MAGIC) && head.get(16..48) == Some(hash.0.as_slice());
        Ok(ours.then(|| Self::at(Arc::new(file), path, HEAD, *hash, size)))
    }

    /// Writes the head, after the values it vouches for.
    pub(super) fn write_head(file: &File, hash: &BlobHash, size: u64) -> io::Result<()> {
        let mut head = [0; HEAD as usize];
        for (to, from) in [(0, MAGIC.as_slice()), (8, &size.to_le_bytes()), (16, &hash.0)] {
            if let Some(b) = head.get_mut(to..to + from.len()) {
                b.copy_from_slice(from);
            }
        }
        file.write_all_at(&head, 0)
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The file the list is in.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    fn segments_at(&self, segment: u64) -> u64 {
        self.base + segment * CV
    }

    fn groups_at(&self, segment: u64) -> u64 {
        self.base + (listed_segments(self.size) + segment * u64::from(GROUPS_PER_SEGMENT)) * CV
    }

    fn read(&self, at: u64, n: usize) -> Result<Vec<Cv>, FilesError> {
        let mut bytes = vec![0; n * CV as usize];
        match self.file.read_exact_at(&mut bytes, at) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(self.damaged()),
            other => other.map_err(|e| FilesError::io("read", &self.path, e))?,
        }
        Ok(bytes
            .chunks_exact(CV as usize)
            .filter_map(|c| c.try_into().ok())
            .collect())
    }

    fn write(&self, at: u64, cvs: &[Cv]) -> Result<(), FilesError> {
        self.file
            .write_all_at(cvs.as_flattened(), at)
            .map_err(|e| FilesError::io("write", &self.path, e))
    }

    fn damaged(&self) -> FilesError {
        FilesError::Damaged {
            hash: self.hash,
            path: self.path.clone(),
        }
    }

    /// The values of all segments, checked; empty for content of one segment.
    pub(super) fn segment_cvs(&self) -> Result<Vec<Cv>, FilesError> {
        let n = usize::try_from(listed_segments(self.size)).unwrap_or(usize::MAX);
        let cvs = self.read(self.segments_at(0), n)?;
        if tree::segments_match(&self.hash, self.size, &cvs) {
            Ok(cvs)
        } else {
            Err(self.damaged())
        }
    }

    /// The value of one segment (the hash itself for content of one segment); trusted once the list was checked.
    pub(super) fn segment_cv(&self, segment: u64) -> Result<Cv, FilesError> {
        if segments(self.size) == 1 {
            return Ok(self.hash.0);
        }
        let cv = self.read(self.segments_at(segment), 1)?;
        cv.first().copied().ok_or_else(|| self.damaged())
    }

    /// The values of a segment's groups if they are there and right; empty for content of one group.
    pub(super) fn group_cvs(&self, segment: u64) -> Result<Option<Vec<Cv>>, FilesError> {
        if self.size <= GROUP {
            return Ok(Some(Vec::new()));
        }
        let n = groups_of(self.size, segment) as usize;
        let cvs = match self.read(self.groups_at(segment), n) {
            Ok(cvs) => cvs,
            // Not written up to here yet.
            Err(FilesError::Damaged { .. }) => return Ok(None),
            Err(e) => return Err(e),
        };
        if cvs.first().is_none_or(|c| *c == [0; 32]) {
            return Ok(None);
        }
        let right = tree::groups_match(&self.segment_cv(segment)?, self.size, segment, &cvs);
        Ok(right.then_some(cvs))
    }

    /// Writes the values of all segments; they have been checked.
    pub(super) fn set_segments(&self, cvs: &[Cv]) -> Result<(), FilesError> {
        self.write(self.segments_at(0), cvs)
    }

    /// Writes the values of a segment's groups; they have been checked.
    pub(super) fn set_groups(&self, segment: u64, cvs: &[Cv]) -> Result<(), FilesError> {
        self.write(self.groups_at(segment), cvs)
    }
}

/// Copies the list of content of this size between files; false when it is not to be had.
pub(super) fn copy_body(from: &File, mut src: u64, to: &File, mut dst: u64, size: u64) -> bool {
    let mut left = body_len(size);
    let mut buf = [0; 16 << 10];
    while left > 0 {
        let n = usize::try_from(left).unwrap_or(buf.len()).min(buf.len());
        let Some(piece) = buf.get_mut(..n) else {
            return false;
        };
        if from.read_exact_at(piece, src).is_err() || to.write_all_at(piece, dst).is_err() {
            return false;
        }
        (left, src, dst) = (left - n as u64, src + n as u64, dst + n as u64);
    }
    true
}
