//! Content open for reading: chaining values from lists, bytes by pread. Nothing is hashed to serve it.

use super::{
    FileStore,
    core::Core,
    cvs::CvList,
    error::FilesError,
    stamp::Stamp,
    tree::{self, Cv, GROUP_LEN},
};
use hive_protocol::{
    file::{GROUP, SEGMENT, group_span, segments, whole_mask},
    ids::BlobHash,
};
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{Arc, OnceLock, atomic::AtomicBool},
};

/// Content open for reading. Stays readable when it is removed from the store.
#[derive(Debug, Clone)]
pub struct Source {
    pub(super) store: FileStore,
    pub(super) hash: BlobHash,
    pub(super) size: u64,
    pub(super) file: Arc<File>,
    pub(super) path: PathBuf,
    /// What the file must still be like; `None` for files of the store itself.
    pub(super) stamp: Option<Stamp>,
    pub(super) list: OnceLock<CvList>,
    pub(super) part: Option<Arc<Core>>,
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
        let (from, mut at) = (out.len(), at);
        out.reserve(want);
        if out.capacity() - from > want + want / 4 {
            // Much more room than is wanted: reading into all of it would cost more than zeroing.
            out.resize(from + want, 0);
            return match self
                .file
                .read_exact_at(out.get_mut(from..).unwrap_or_default(), at)
            {
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(self.changed()),
                other => other.map_err(|e| FilesError::io("read", &self.path, e)),
            };
        }
        while out.len() < from + want {
            match rustix::io::pread(&*self.file, rustix::buffer::spare_capacity(out), at) {
                Ok(0) => return Err(self.changed()),
                Ok(n) => at += n as u64,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(FilesError::io("read", &self.path, e.into())),
            }
        }
        out.truncate(from + want);
        Ok(())
    }

    /// Appends `len` bytes from byte `from` on, unchecked: whoever takes them checks them.
    pub(super) fn read_raw(&self, from: u64, len: u64, out: &mut Vec<u8>) -> Result<(), FilesError> {
        let to = from.saturating_add(len);
        if to > self.size {
            return Err(self.not_here(to / SEGMENT));
        }
        if self.part.is_some() {
            return self.read_range(from, to, false, out);
        }
        self.pread(from, len, out)
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
