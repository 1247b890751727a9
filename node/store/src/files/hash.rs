//! Hashing a file with several threads: each takes a segment at a time, and the values go to the list at once.

use super::{
    cvs::CvList,
    error::FilesError,
    tree::{self, Cv, GROUP_LEN},
};
use hive_protocol::{
    file::{GROUP, SEGMENT, group_span, groups_of, segments},
    ids::BlobHash,
};
use rustix::fs::SeekFrom;
use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

/// Threads that hash at most: beyond four the memory, not the processor, is what is waited for.
pub(super) const MAX_HASHERS: usize = 4;
/// Bytes read at once: four groups, which stay in the processor's cache until they are hashed.
const PIECE: usize = 4 * GROUP_LEN;
static ZEROS: [u8; GROUP_LEN] = [0; GROUP_LEN];

/// How many threads hash.
pub(super) fn hashers() -> usize {
    thread::available_parallelism().map_or(1, |n| n.get().min(MAX_HASHERS))
}

/// One file to hash, and who watches.
pub(super) struct Job<'a> {
    pub(super) file: &'a File,
    pub(super) path: &'a Path,
    pub(super) size: u64,
    pub(super) progress: Option<&'a (dyn Fn(u64) + Sync)>,
    pub(super) cancel: &'a AtomicBool,
}

impl Job<'_> {
    fn failed(&self, e: io::Error) -> FilesError {
        match e.kind() {
            // Shorter than it was a moment ago.
            io::ErrorKind::UnexpectedEof => FilesError::Unsteady {
                path: self.path.to_path_buf(),
            },
            _ => FilesError::io("read", self.path, e),
        }
    }

    fn done(&self, bytes: u64) {
        if let Some(f) = self.progress {
            f(bytes);
        }
    }

    /// The hash of the file; `list(hash unknown)` gets the values of segments and groups.
    pub(super) fn run(&self, list: Option<&CvList>, threads: usize) -> Result<BlobHash, FilesError> {
        if self.size <= GROUP {
            let mut buf = vec![0; usize::try_from(self.size).unwrap_or_default()];
            self.file.read_exact_at(&mut buf, 0).map_err(|e| self.failed(e))?;
            self.done(self.size);
            return Ok(BlobHash::of(&buf));
        }
        let n = segments(self.size);
        let sparse = self.is_sparse()?;
        let cvs = Mutex::new(vec![[0; 32]; usize::try_from(n).unwrap_or_default()]);
        let (next, failed) = (AtomicU64::new(0), Mutex::new(None));
        let work = || {
            let mut buf = vec![0; PIECE];
            loop {
                let segment = next.fetch_add(1, Ordering::Relaxed);
                if segment >= n || lock(&failed).is_some() {
                    return;
                }
                match self.segment(segment, sparse, &mut buf, list) {
                    Ok(cv) => {
                        if let Some(to) = lock(&cvs).get_mut(usize::try_from(segment).unwrap_or_default()) {
                            *to = cv;
                        }
                    }
                    Err(e) => {
                        lock(&failed).get_or_insert(e);
                        return;
                    }
                }
            }
        };
        let helpers = threads
            .saturating_sub(1)
            .min(usize::try_from(n - 1).unwrap_or(usize::MAX));
        thread::scope(|scope| {
            for _ in 0..helpers {
                // A system without a thread to spare is slower, not wrong.
                let _ = thread::Builder::new()
                    .name("file-hash".into())
                    .spawn_scoped(scope, work);
            }
            work();
        });
        if let Some(e) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(e);
        }
        let cvs = cvs.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = list.filter(|_| n > 1) {
            list.set_segments(&cvs)?;
        }
        tree::merge(&cvs, true).map(BlobHash).ok_or(FilesError::Cancelled)
    }

    fn is_sparse(&self) -> Result<bool, FilesError> {
        let m = self.file.metadata().map_err(|e| self.failed(e))?;
        Ok(m.blocks().saturating_mul(512) < self.size)
    }

    /// First byte at or after `at` that may be other than zero.
    fn data_from(&self, at: u64) -> u64 {
        match rustix::fs::seek(self.file, SeekFrom::Data(at)) {
            Ok(n) => n,
            Err(rustix::io::Errno::NXIO) => u64::MAX,
            // A file system that cannot tell: all of it is read.
            Err(_) => at,
        }
    }

    fn segment(
        &self,
        segment: u64,
        sparse: bool,
        buf: &mut [u8],
        list: Option<&CvList>,
    ) -> Result<Cv, FilesError> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(FilesError::Cancelled);
        }
        let start = segment * SEGMENT;
        let end = self.size.min(start + SEGMENT);
        let mut cvs: Vec<Cv> = Vec::with_capacity(groups_of(self.size, segment) as usize);
        let mut at = start;
        let mut data = if sparse { self.data_from(start) } else { start };
        while at < end {
            if data >= at + GROUP || data >= end {
                let len = usize::try_from((end - at).min(GROUP)).unwrap_or(GROUP_LEN);
                cvs.push(tree::group_cv(at, ZEROS.get(..len).unwrap_or_default()));
                at += len as u64;
                continue;
            }
            let len = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            let piece = buf.get_mut(..len).unwrap_or_default();
            self.file.read_exact_at(piece, at).map_err(|e| self.failed(e))?;
            for group in piece.chunks(GROUP_LEN) {
                cvs.push(tree::group_cv(at, group));
                at += group.len() as u64;
            }
            data = if sparse && at < end {
                self.data_from(at)
            } else {
                at
            };
        }
        debug_assert_eq!(group_span(self.size, segment, 0).0, start);
        if let Some(list) = list {
            list.set_groups(segment, &cvs)?;
        }
        self.done(end - start);
        tree::merge(&cvs, segments(self.size) == 1).ok_or(FilesError::Cancelled)
    }
}

fn lock<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Plain values, written in one step.
    m.lock().unwrap_or_else(PoisonError::into_inner)
}
