//! The files of one transfer: a file with holes, its chaining values, and the map of what is verified.
//!
//! A group is hashed, written, and only then counted. Hashing and writing keep only the end waiting.

use super::{
    FileStore,
    cvs::CvList,
    error::FilesError,
    finish::Target,
    map::Map,
    rows::Id,
    space::Promise,
    tree::{self, Cv, GROUP_LEN},
};
use crate::budget::Reservation;
use hive_protocol::{
    file::{GROUP, group_span, mask_bytes, segments, whole_mask},
    ids::BlobHash,
};
use rustix::fs::SeekFrom;
use std::{
    collections::{BTreeSet, VecDeque},
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Segments whose groups' values are kept in memory: more than there are segments under way at once.
const CACHED: usize = 64;

/// The files of one transfer.
#[derive(Debug)]
pub(super) struct Core {
    pub store: FileStore,
    pub id: Id,
    pub hash: BlobHash,
    pub target: Target,
    pub data: Arc<File>,
    /// Where `data` lies, for messages.
    pub part: PathBuf,
    pub cvs: PathBuf,
    pub map_path: PathBuf,
    pub map: Map,
    pub size_limit: u64,
    pub state: RwLock<Option<Arc<State>>>,
    pub cache: Mutex<VecDeque<(u64, Arc<Vec<Cv>>)>>,
    /// Segments with verified groups the map does not have yet.
    pub dirty: Mutex<BTreeSet<u64>>,
    pub promise: Mutex<Option<Promise>>,
    pub quota: Mutex<Option<Reservation>>,
    /// Set by what ends the transfer; nothing is written after. See [`Core::end`].
    pub closed: AtomicBool,
    /// Held by all who write, together, and alone by what ends the transfer.
    pub writing: RwLock<()>,
    /// Alive as long as this is: says that the row is open.
    pub _token: Arc<()>,
}

/// What is known once the tree is.
#[derive(Debug)]
pub(super) struct State {
    pub list: CvList,
    pub masks: Vec<AtomicU64>,
    /// Bytes verified.
    pub here: AtomicU64,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    // Tables changed in single steps.
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    pub(super) fn new(list: CvList, masks: &[u64]) -> Self {
        let here = (0..)
            .zip(masks)
            .map(|(n, m)| mask_bytes(list.size(), n, *m))
            .sum();
        Self {
            masks: masks.iter().map(|m| AtomicU64::new(*m)).collect(),
            here: AtomicU64::new(here),
            list,
        }
    }

    pub(super) fn mask(&self, segment: u64) -> u64 {
        let n = usize::try_from(segment).unwrap_or(usize::MAX);
        self.masks.get(n).map_or(0, |m| m.load(Ordering::Acquire))
    }

    pub(super) fn missing(&self, segment: u64) -> u64 {
        whole_mask(self.list.size(), segment) & !self.mask(segment)
    }
}

impl Core {
    pub(super) fn hash(&self) -> BlobHash {
        self.hash
    }

    pub(super) fn file(&self) -> &Arc<File> {
        &self.data
    }

    pub(super) fn part_path(&self) -> &Path {
        &self.part
    }

    pub(super) fn state(&self) -> Option<Arc<State>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the transfer, unless it has ended; says whether this did. Whoever writes at the moment is waited for: of two
    /// who bring the same bytes the second may still be at it when the first has made the content whole, and what is
    /// finished is its owner's, who may have changed it by then.
    pub(super) fn end(&self) -> bool {
        let _nobody_writes = self.writing.write().unwrap_or_else(PoisonError::into_inner);
        !self.closed.swap(true, Ordering::AcqRel)
    }

    fn check_open(&self) -> Result<(), FilesError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(FilesError::Order {
                hash: self.hash,
                what: "a call after the end",
            });
        }
        Ok(())
    }

    pub(super) fn known(&self, what: &'static str) -> Result<Arc<State>, FilesError> {
        self.check_open()?;
        self.state().ok_or(FilesError::Order {
            hash: self.hash,
            what,
        })
    }

    /// Size and chaining values, once known.
    pub(super) fn tree(&self) -> Option<(u64, CvList)> {
        self.state().map(|s| (s.list.size(), s.list.clone()))
    }

    pub(super) fn size(&self) -> Option<u64> {
        self.state().map(|s| s.list.size())
    }

    pub(super) fn missing(&self, segment: u64) -> u64 {
        self.state().map_or(0, |s| s.missing(segment))
    }

    pub(super) fn is_whole(&self) -> bool {
        let whole = |s: Arc<State>| (0..segments(s.list.size())).all(|n| s.missing(n) == 0);
        self.state().is_some_and(whole)
    }

    pub(super) fn bitmap(&self) -> Vec<u8> {
        let Some(state) = self.state() else {
            return Vec::new();
        };
        let mut bits = vec![0u8; state.masks.len().div_ceil(8)];
        for n in 0..state.masks.len() {
            if state.missing(n as u64) == 0
                && let Some(b) = bits.get_mut(n / 8)
            {
                *b |= 1 << (n % 8);
            }
        }
        bits
    }

    pub(super) fn corrupt(&self, segment: u64) -> FilesError {
        FilesError::Corrupt {
            hash: self.hash,
            segment,
        }
    }

    /// The values of a segment's groups; `None` when they have not come. One value for content of one group.
    pub(super) fn groups(&self, state: &State, segment: u64) -> Result<Option<Arc<Vec<Cv>>>, FilesError> {
        if let Some((_, cvs)) = lock(&self.cache).iter().find(|(n, _)| *n == segment) {
            return Ok(Some(cvs.clone()));
        }
        if segment >= segments(state.list.size()) {
            return Ok(None);
        }
        let cvs = if state.list.size() <= GROUP {
            vec![self.hash.0]
        } else {
            match state.list.group_cvs(segment)? {
                Some(cvs) => cvs,
                None => return Ok(None),
            }
        };
        let cvs = Arc::new(cvs);
        self.remember(segment, &cvs);
        Ok(Some(cvs))
    }

    pub(super) fn remember(&self, segment: u64, cvs: &Arc<Vec<Cv>>) {
        let mut cache = lock(&self.cache);
        cache.retain(|(n, _)| *n != segment);
        if cache.len() >= CACHED {
            cache.pop_front();
        }
        cache.push_back((segment, cvs.clone()));
    }

    pub(super) fn failed(&self, e: io::Error) -> FilesError {
        FilesError::io("write", &self.part, e)
    }

    /// Whether nothing was ever written there: reading gives zeros and costs no room.
    pub(super) fn is_hole(&self, at: u64, len: u64) -> bool {
        match rustix::fs::seek(&*self.data, SeekFrom::Data(at)) {
            Ok(data) => data >= at + len,
            Err(e) => e == rustix::io::Errno::NXIO,
        }
    }

    /// Counts verified groups of a segment that are in the file now.
    pub(super) fn count(&self, state: &State, segment: u64, mask: u64) -> Result<(), FilesError> {
        let Some(word) = state.masks.get(usize::try_from(segment).unwrap_or(usize::MAX)) else {
            return Ok(());
        };
        let before = word.fetch_or(mask, Ordering::AcqRel);
        let bytes = mask_bytes(state.list.size(), segment, mask & !before);
        state.here.fetch_add(bytes, Ordering::AcqRel);
        if let Some(p) = lock(&self.promise).as_mut() {
            p.used(bytes);
        }
        let now = before | mask;
        if now == whole_mask(state.list.size(), segment) {
            self.map.set(segment, now)?;
            lock(&self.dirty).remove(&segment);
        } else {
            lock(&self.dirty).insert(segment);
        }
        Ok(())
    }

    /// Verifies and writes groups that lie back to back in `bytes`. Returns those that were right.
    pub(super) fn put(
        &self,
        state: &State,
        segment: u64,
        mask: u64,
        bytes: &[u8],
    ) -> Result<u64, FilesError> {
        let size = state.list.size();
        if mask & !whole_mask(size, segment) != 0 || mask_bytes(size, segment, mask) != bytes.len() as u64 {
            return Err(self.corrupt(segment));
        }
        let cvs = self.groups(state, segment)?.ok_or(FilesError::Order {
            hash: self.hash,
            what: "bytes",
        })?;
        // Until it is counted, too: then the end may come.
        let _writes = self.writing.read().unwrap_or_else(PoisonError::into_inner);
        self.check_open()?;
        let missing = state.missing(segment);
        let (mut right, mut written, mut left) = (0, 0, bytes);
        // Groups waiting to be written together: neighbours in the file and in memory.
        let mut run: Option<(u64, usize)> = None;
        let mut rest = mask;
        while rest != 0 {
            let group = rest.trailing_zeros();
            rest &= rest - 1;
            let (at, len) = group_span(size, segment, group);
            let Some((piece, after)) = left.split_at_checked(usize::try_from(len).unwrap_or(usize::MAX))
            else {
                break;
            };
            let offset = bytes.len() - left.len();
            left = after;
            let Some(expected) = cvs.get(group as usize) else {
                break;
            };
            if missing & (1 << group) == 0 {
                right |= 1 << group;
                self.flush(&mut run, offset, bytes)?;
                continue;
            }
            if !tree::group_matches(expected, size, at, piece) {
                self.flush(&mut run, offset, bytes)?;
                continue;
            }
            right |= 1 << group;
            written |= 1 << group;
            let zero = tree::is_zero(piece) && self.is_hole(at, len);
            let follows = run.is_some_and(|(start, from)| start + (offset - from) as u64 == at);
            if zero || !follows {
                self.flush(&mut run, offset, bytes)?;
                run = (!zero).then_some((at, offset));
            }
        }
        self.flush(&mut run, bytes.len() - left.len(), bytes)?;
        if written != 0 {
            self.count(state, segment, written)?;
        }
        if right == 0 && mask != 0 {
            return Err(self.corrupt(segment));
        }
        Ok(right)
    }

    fn flush(&self, run: &mut Option<(u64, usize)>, to: usize, bytes: &[u8]) -> Result<(), FilesError> {
        let Some((at, from)) = run.take() else {
            return Ok(());
        };
        let piece = bytes.get(from..to).unwrap_or_default();
        self.data.write_all_at(piece, at).map_err(|e| self.failed(e))
    }

    /// Counts what is in the file already and right: after a kill, the groups since the map was last written.
    pub(super) fn recheck(&self) -> Result<(), FilesError> {
        let Some(state) = self.state() else { return Ok(()) };
        let size = state.list.size();
        let mut buf = vec![0; GROUP_LEN];
        for segment in 0..segments(size) {
            let missing = state.missing(segment);
            if missing == 0 {
                continue;
            }
            let Some(cvs) = self.groups(&state, segment)? else {
                continue;
            };
            let (mut rest, mut found) = (missing, 0);
            while rest != 0 {
                let group = rest.trailing_zeros();
                rest &= rest - 1;
                let (at, len) = group_span(size, segment, group);
                let piece = buf
                    .get_mut(..usize::try_from(len).unwrap_or_default())
                    .unwrap_or_default();
                let there = !self.is_hole(at, len.max(1)) && self.data.read_exact_at(piece, at).is_ok();
                let right = |cv| tree::group_matches(cv, size, at, piece);
                if (there || len == 0) && cvs.get(group as usize).is_some_and(right) {
                    found |= 1 << group;
                }
            }
            if found != 0 {
                self.count(&state, segment, found)?;
            }
        }
        Ok(())
    }

    pub(super) fn write_map(&self) -> Result<(), FilesError> {
        let Some(state) = self.state() else { return Ok(()) };
        let dirty = std::mem::take(&mut *lock(&self.dirty));
        for n in dirty {
            self.map.set(n, state.mask(n))?;
        }
        Ok(())
    }

    /// Forgets all that came: the tree turned out to be a lie.
    pub(super) fn start_over(&self) -> Result<(), FilesError> {
        let ino = self.map.ino(&self.hash).unwrap_or_default();
        self.map.reset(&self.hash, ino)?;
        self.data.set_len(0).map_err(|e| self.failed(e))?;
        lock(&self.cache).clear();
        lock(&self.dirty).clear();
        *lock(&self.promise) = None;
        *lock(&self.quota) = None;
        Ok(())
    }

    /// Promises room for what is still to come, here and in the quota.
    pub(super) fn reserve(&self, size: u64, here: u64) -> Result<(), FilesError> {
        let room = self.target.room(self);
        *lock(&self.promise) = Some(self.store.0.space.promise(&room, size.saturating_sub(here))?);
        if self.target.is_blob() {
            let charge = crate::blobs::charge(size);
            *lock(&self.quota) = Some(self.store.0.blobs.budget().reserve(charge)?);
        }
        Ok(())
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if !self.closed.load(Ordering::Acquire)
            && let Err(e) = self.write_map()
        {
            tracing::debug!(hash = %self.hash, error = %e, "the last groups of a transfer will be checked again");
        }
    }
}

impl State {
    /// Bytes verified.
    pub(super) fn here(&self) -> u64 {
        self.here.load(Ordering::Acquire)
    }
}
