//! Opening content for reading: which of the places that have it is still what it was.

use super::{
    FileStore, add::open_file, core::Core, cvs::CvList, error::FilesError, index::Folder, rows::ReferenceRow,
    source::Source, stamp::Stamp, table::FileRow,
};
use hive_protocol::{file::GROUP, ids::BlobHash};
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

impl FileStore {
    /// Opens content for reading: whole from where it lies, or the parts that have come so far.
    ///
    /// # Errors
    /// Not here; `file.changed` when all there was are files that are not what they were; I/O.
    pub fn source(&self, hash: &BlobHash) -> Result<Source, FilesError> {
        let (references, folders, live) = {
            let index = self.index();
            let listed = index.folders_with(hash).filter(|(f, ..)| f.path.is_some());
            let folders: Vec<_> = listed.map(|(f, ..)| f.clone()).collect();
            (index.references_of(hash), folders, index.live(hash))
        };
        let mut last = None;
        if self.0.blobs.has(hash) {
            match self.blob_source(hash) {
                Ok(source) => return Ok(source),
                Err(e) => last = Some(e),
            }
        }
        for row in references {
            match self.reference_source(&row) {
                Ok(source) => return Ok(source),
                Err(e) => last = Some(e),
            }
        }
        for folder in folders {
            match self.folder_source(&folder, hash) {
                Ok(Some(source)) => return Ok(source),
                Ok(None) => {}
                Err(e) => last = Some(e),
            }
        }
        if let Some(source) = self.live_folder_source(hash) {
            return Ok(source);
        }
        if let Some(source) = live.into_iter().find_map(|core| self.part_source(core)) {
            return Ok(source);
        }
        Err(last.unwrap_or(FilesError::NotFound { hash: *hash }))
    }

    fn blob_source(&self, hash: &BlobHash) -> Result<Source, FilesError> {
        let file = self.0.blobs.open_blob(hash)?;
        let path = PathBuf::from(hash.hex());
        let size = file
            .metadata()
            .map_err(|e| FilesError::io("read", &path, e))?
            .len();
        Ok(self.whole(*hash, size, file, path, None))
    }

    fn whole(&self, hash: BlobHash, size: u64, file: File, path: PathBuf, stamp: Option<Stamp>) -> Source {
        Source {
            store: self.clone(),
            hash,
            size,
            file: Arc::new(file),
            path,
            stamp,
            list: OnceLock::new(),
            part: None,
        }
    }

    fn reference_source(&self, row: &ReferenceRow) -> Result<Source, FilesError> {
        let path = row.path.path();
        let file = self.open_unchanged(&row.hash, &path, row.stamp)?;
        Ok(self.whole(row.hash, row.stamp.size, file, path, Some(row.stamp)))
    }

    fn folder_source(&self, folder: &Folder, hash: &BlobHash) -> Result<Option<Source>, FilesError> {
        let reader = folder.table.reader()?;
        let mut last = None;
        for n in folder.table.rows_of(hash) {
            let Some(row) = reader.row(n)?.filter(|r| r.hash == *hash) else {
                continue;
            };
            match self.row_source(folder, &row) {
                Ok(source) => return Ok(Some(source)),
                Err(e) => last = Some(e),
            }
        }
        last.map_or(Ok(None), Err)
    }

    pub(super) fn row_source(&self, folder: &Folder, row: &FileRow) -> Result<Source, FilesError> {
        let path = folder.path.clone().unwrap_or_default().join(&row.path);
        let file = self.open_unchanged(&row.hash, &path, row.stamp)?;
        let source = self.whole(row.hash, row.stamp.size, file, path, Some(row.stamp));
        if row.stamp.size > GROUP {
            let pack = folder.stem.with_extension("cvs");
            if let Ok(f) = File::open(&pack) {
                let list = CvList::at(Arc::new(f), &pack, row.cvs_at, row.hash, row.stamp.size);
                let _ = source.list.set(list);
            }
        }
        Ok(source)
    }

    /// Opens a file that must still have this stamp; notes it when it has not.
    pub(super) fn open_unchanged(
        &self,
        hash: &BlobHash,
        path: &Path,
        stamp: Stamp,
    ) -> Result<File, FilesError> {
        let opened = open_file(path).and_then(|f| {
            let m = f.metadata()?;
            Ok((Stamp::of(&m) == stamp && m.is_file()).then_some(f))
        });
        match opened {
            Ok(Some(file)) => Ok(file),
            Err(e) if is_shortage(&e) => Err(FilesError::io("open", path, e)),
            Ok(None) | Err(_) => {
                self.note_changed(hash, path);
                Err(FilesError::Changed {
                    hash: *hash,
                    path: path.to_path_buf(),
                })
            }
        }
    }

    pub(super) fn part_source(&self, core: Arc<Core>) -> Option<Source> {
        let (size, list) = core.tree()?;
        Some(Source {
            store: self.clone(),
            hash: core.hash(),
            size,
            file: core.file().clone(),
            path: core.part_path().to_path_buf(),
            stamp: None,
            list: OnceLock::from(list),
            part: Some(core),
        })
    }

    /// A source over a file of a folder that is being received.
    pub(super) fn entry_source(&self, hash: BlobHash, size: u64, file: File, path: PathBuf) -> Source {
        self.whole(hash, size, file, path, None)
    }
}

/// Whether it is the process or the system that is short of something, and not the file that changed.
fn is_shortage(e: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::IO]
        .iter()
        .any(|n| e.raw_os_error() == Some(n.raw_os_error()))
}
