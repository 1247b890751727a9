//! Content open for reading: chaining values from lists, bytes by pread. Nothing is hashed to serve it.

use super::{
    FileStore,
    add::open_file,
    core::Core,
    cvs::{self, CvList},
    error::FilesError,
    index::Folder,
    rows::ReferenceRow,
    stamp::Stamp,
    table::FileRow,
    tree::{self, Cv, GROUP_LEN},
};
use hive_protocol::{
    file::{GROUP, SEGMENT, group_span, segments, whole_mask},
    ids::BlobHash,
};
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, atomic::AtomicBool},
};

/// Content open for reading. Stays readable when it is removed from the store.
#[derive(Debug, Clone)]
pub struct Source {
    store: FileStore,
    hash: BlobHash,
    size: u64,
    file: Arc<File>,
    path: PathBuf,
    /// What the file must still be like; `None` for files of the store itself.
    stamp: Option<Stamp>,
    list: OnceLock<CvList>,
    part: Option<Arc<Core>>,
}

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

impl Source {
    /// Which content.
    #[must_use]
    pub fn hash(&self) -> BlobHash {
        self.hash
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether all these groups of a segment are here.
    #[must_use]
    pub fn has(&self, segment: u64, mask: u64) -> bool {
        let all = whole_mask(self.size, segment);
        mask & !all == 0 && self.part.as_ref().is_none_or(|p| mask & p.missing(segment) == 0)
    }

    fn not_here(&self, segment: u64) -> FilesError {
        FilesError::NotHere {
            hash: self.hash,
            segment,
        }
    }

    /// The list of chaining values: where it was put when the content came, or made now by reading all of it.
    fn list(&self) -> Result<&CvList, FilesError> {
        if let Some(list) = self.list.get() {
            return Ok(list);
        }
        let list = match self.cached()? {
            Some(list) => list,
            None => self.make_list()?,
        };
        Ok(self.list.get_or_init(|| list))
    }

    fn cached(&self) -> Result<Option<CvList>, FilesError> {
        let path = self.store.0.places.cvs_of(&self.hash);
        let Ok(file) = File::open(&path) else {
            return Ok(None);
        };
        let list =
            CvList::with_head(file, &path, &self.hash).map_err(|e| FilesError::io("read", &path, e))?;
        Ok(list.filter(|l| l.size() == self.size))
    }

    fn make_list(&self) -> Result<CvList, FilesError> {
        let found =
            self.store
                .hash_cached(&self.file, &self.path, self.size, None, &AtomicBool::new(false))?;
        if found != self.hash {
            return Err(self.changed());
        }
        self.cached()?.ok_or_else(|| FilesError::Damaged {
            hash: self.hash,
            path: self.path.clone(),
        })
    }

    /// The bytes are not what they were.
    fn changed(&self) -> FilesError {
        if self.stamp.is_some() {
            self.store.note_changed(&self.hash, &self.path);
        }
        FilesError::Changed {
            hash: self.hash,
            path: self.path.clone(),
        }
    }

    /// Runs with the list, making it anew once if it turns out damaged.
    fn with_list<T>(
        &self,
        work: impl Fn(&CvList) -> Result<Option<T>, FilesError>,
    ) -> Result<Option<T>, FilesError> {
        match work(self.list()?) {
            Err(FilesError::Damaged { .. }) | Ok(None) if self.part.is_none() => work(&self.make_list()?),
            other => other,
        }
    }

    /// The chaining values of all segments; none for content of at most one segment.
    ///
    /// # Errors
    /// I/O; `file.changed` when the list had to be made anew and the file is another.
    pub fn segment_cvs(&self) -> Result<Vec<Cv>, FilesError> {
        if segments(self.size) == 1 {
            return Ok(Vec::new());
        }
        self.with_list(|l| l.segment_cvs().map(Some))?
            .ok_or_else(|| self.not_here(0))
    }

    /// The chaining values of a segment's groups; none for content of at most one group.
    ///
    /// # Errors
    /// `file.not_here` for a segment there is not, or not yet; else as [`Self::segment_cvs`].
    pub fn group_cvs(&self, segment: u64) -> Result<Vec<Cv>, FilesError> {
        if segment >= segments(self.size) {
            return Err(self.not_here(segment));
        }
        if self.size <= GROUP {
            return Ok(Vec::new());
        }
        self.with_list(|l| l.group_cvs(segment))?
            .ok_or_else(|| self.not_here(segment))
    }

    /// Appends the bytes of these groups of a segment. Not verified: the receiver does.
    ///
    /// # Errors
    /// `file.not_here`; `file.changed`; I/O. `out` may have been appended to then.
    pub fn read(&self, segment: u64, mask: u64, out: &mut Vec<u8>) -> Result<(), FilesError> {
        if !self.has(segment, mask) {
            return Err(self.not_here(segment));
        }
        let mut rest = mask;
        while rest != 0 {
            // Neighbours in one read.
            let first = rest.trailing_zeros();
            let run = (rest >> first).trailing_ones();
            let (at, _) = group_span(self.size, segment, first);
            let (last_at, last_len) = group_span(self.size, segment, first + run - 1);
            self.pread(at, last_at + last_len - at, out)?;
            rest &= !(run_mask(run) << first);
        }
        self.check_unchanged()
    }

    fn check_unchanged(&self) -> Result<(), FilesError> {
        let Some(stamp) = self.stamp else { return Ok(()) };
        let m = self
            .file
            .metadata()
            .map_err(|e| FilesError::io("read", &self.path, e))?;
        if Stamp::of(&m) == stamp {
            Ok(())
        } else {
            Err(self.changed())
        }
    }

    fn pread(&self, at: u64, len: u64, out: &mut Vec<u8>) -> Result<(), FilesError> {
        let want = usize::try_from(len).unwrap_or_default();
        let (end, mut at) = (out.len() + want, at);
        out.reserve(want);
        // Into spare room, which need not be zeroed first; a vector may have more of it than was asked for.
        while out.len() < end {
            match rustix::io::pread(&*self.file, rustix::buffer::spare_capacity(out), at) {
                Ok(0) => return Err(self.changed()),
                Ok(n) => at += n as u64,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(FilesError::io("read", &self.path, e.into())),
            }
        }
        out.truncate(end);
        Ok(())
    }

    /// Appends bytes `from..to` (cut at the end of the content), checked against the tree when `verified`.
    ///
    /// # Errors
    /// `file.not_here`, `file.changed` (also when the check fails), I/O.
    pub fn read_range(
        &self,
        from: u64,
        to: u64,
        verified: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), FilesError> {
        let to = to.min(self.size);
        let (mut at, mut group, mut buf) = (from, (u64::MAX, Vec::new()), Vec::with_capacity(GROUP_LEN));
        while at < to {
            let (segment, n) = (
                at / SEGMENT,
                u32::try_from(at % SEGMENT / GROUP).unwrap_or_default(),
            );
            let (start, len) = group_span(self.size, segment, n);
            buf.clear();
            self.read(segment, 1 << n, &mut buf)?;
            // What was received has been checked when it came.
            if verified && self.part.is_none() {
                if group.0 != segment {
                    group = (segment, self.group_cvs(segment)?);
                }
                let expected = group.1.get(n as usize).unwrap_or(&self.hash.0);
                if !tree::group_matches(expected, self.size, start, &buf) {
                    return Err(self.changed());
                }
            }
            let skip = usize::try_from(at - start).unwrap_or_default();
            let end = usize::try_from((start + len).min(to) - start).unwrap_or_default();
            out.extend_from_slice(buf.get(skip..end).unwrap_or_default());
            at = start + len;
        }
        Ok(())
    }

    /// Reads all of it and compares it with its hash.
    pub(super) fn verify(&self, cancel: &AtomicBool) -> Result<(), FilesError> {
        let job = super::hash::Job {
            file: &self.file,
            path: &self.path,
            size: self.size,
            progress: None,
            cancel,
        };
        match job.run(None, super::hash::hashers()) {
            Ok(h) if h == self.hash => self.check_unchanged(),
            Ok(_) | Err(FilesError::Unsteady { .. }) => Err(self.changed()),
            Err(e) => Err(e),
        }
    }

    /// Whether all of it is here.
    pub(super) fn is_whole(&self) -> bool {
        self.part.as_ref().is_none_or(|p| p.is_whole())
    }
}

/// The lowest `n` bits.
pub(super) const fn run_mask(n: u32) -> u64 {
    if n >= 64 { u64::MAX } else { (1 << n) - 1 }
}

const _: () = assert!(cvs::HEAD % 32 == 0, "values stay aligned");
