//! Many small contents at once: opened, read and closed one after the other, packed back to back.

use super::{
    FileStore, error::FilesError, folder_core::FolderCore, index::Folder, rows::ReferenceRow, stamp::Stamp,
    table::RowReader,
};
use hive_protocol::{file::MAX_SMALL, ids::BlobHash};
use std::{fs::File, os::unix::fs::FileExt, path::Path, sync::Arc};

/// Says in place of a size that this content is not given.
const NOT_GIVEN: u32 = u32::MAX;

enum Place {
    Nowhere,
    Blob,
    Reference(Arc<ReferenceRow>),
    Folder(Arc<Folder>, u32),
    Coming(Arc<FolderCore>, u32),
}

impl FileStore {
    /// Appends small contents back to back to `out` and their sizes to `sizes`, in the order asked, as long as all
    /// of them stay within `cap` bytes. `u32::MAX` stands for those that are not here, have changed, are larger
    /// than [`MAX_SMALL`], or are over the cap. Not verified: each hash is the receiver's check.
    ///
    /// # Errors
    /// I/O that is nobody's fault but this machine's.
    pub fn small(
        &self,
        hashes: &[BlobHash],
        out: &mut Vec<u8>,
        sizes: &mut Vec<u32>,
        cap: u64,
    ) -> Result<(), FilesError> {
        let places: Vec<Place> = {
            let index = self.index();
            let coming = index.live_folders();
            let place = |h: &BlobHash| {
                if let Some((f, _, row)) = index.folders_with(h).find(|(f, ..)| f.path.is_some()) {
                    Place::Folder(f.clone(), row)
                } else if let Some(r) = index.references_of(h).into_iter().next() {
                    Place::Reference(r)
                } else if self.0.blobs.has(h) {
                    Place::Blob
                } else if let Some((f, (entry, _))) = coming.iter().find_map(|f| Some((f, f.has(h)?))) {
                    Place::Coming(f.clone(), entry)
                } else {
                    Place::Nowhere
                }
            };
            hashes.iter().map(place).collect()
        };
        let (start, mut reader) = (out.len() as u64, None);
        for (hash, place) in hashes.iter().zip(places) {
            let left = cap.saturating_sub(out.len() as u64 - start).min(MAX_SMALL);
            let from = out.len();
            let given = self.one_small(hash, &place, left, &mut reader, out)?;
            if !given {
                out.truncate(from);
            }
            let size = u32::try_from(out.len() - from).unwrap_or(NOT_GIVEN);
            sizes.push(if given { size } else { NOT_GIVEN });
        }
        Ok(())
    }

    fn one_small(
        &self,
        hash: &BlobHash,
        place: &Place,
        cap: u64,
        reader: &mut Option<(Arc<Folder>, RowReader)>,
        out: &mut Vec<u8>,
    ) -> Result<bool, FilesError> {
        let opened = match place {
            Place::Nowhere => return Ok(false),
            Place::Blob if self.0.blobs.size(hash).is_none_or(|s| s > cap) => return Ok(false),
            Place::Blob => self
                .0
                .blobs
                .open_blob(hash)
                .map_err(FilesError::from)
                .and_then(|f| {
                    let size = f
                        .metadata()
                        .map_err(|e| FilesError::io("read", Path::new(&hash.hex()), e))?
                        .len();
                    Ok((f, size))
                }),
            Place::Reference(r) if r.stamp.size > cap => return Ok(false),
            Place::Reference(r) => self
                .open_unchanged(hash, &r.path.path(), r.stamp)
                .map(|f| (f, r.stamp.size)),
            Place::Folder(folder, n) => match self.folder_row(folder, *n, hash, reader)? {
                Some((path, stamp)) if stamp.size <= cap => {
                    self.open_unchanged(hash, &path, stamp).map(|f| (f, stamp.size))
                }
                Some(_) | None => return Ok(false),
            },
            Place::Coming(folder, entry) => match folder.open_done(*entry) {
                Some((f, size)) if size <= cap => Ok((f, size)),
                Some(_) | None => return Ok(false),
            },
        };
        match opened {
            Ok((file, size)) => Ok(append(&file, size, out)),
            Err(e @ FilesError::Io { .. }) => Err(e),
            // Another place may have it unchanged.
            Err(_) => match self.source(hash) {
                Ok(s) if s.size() <= cap => Ok(s.read(0, 1, out).is_ok()),
                Ok(_) | Err(_) => Ok(false),
            },
        }
    }

    fn folder_row(
        &self,
        folder: &Arc<Folder>,
        n: u32,
        hash: &BlobHash,
        reader: &mut Option<(Arc<Folder>, RowReader)>,
    ) -> Result<Option<(std::path::PathBuf, Stamp)>, FilesError> {
        let open = match reader {
            Some((f, r)) if Arc::ptr_eq(f, folder) => r,
            other => &mut other.insert((folder.clone(), folder.table.reader()?)).1,
        };
        let row = open.row(n)?.filter(|r| r.hash == *hash);
        let root = folder.path.as_deref().unwrap_or(Path::new(""));
        Ok(row.map(|r| (root.join(&r.path), r.stamp)))
    }
}

/// Appends a file of this size; false when it is another by now.
fn append(file: &File, size: u64, out: &mut Vec<u8>) -> bool {
    let from = out.len();
    out.resize(from + usize::try_from(size).unwrap_or_default(), 0);
    out.get_mut(from..)
        .is_some_and(|buf| file.read_exact_at(buf, 0).is_ok())
}
