//! Content being received: a file with holes, its chaining values, and a map of what is verified.
//!
//! Order of calls: the tree, then a segment's groups, then bytes. A group is hashed, written, and only then counted.

use super::{
    FileStore,
    cvs::{CvList, HEAD},
    error::FilesError,
    finish::Target,
    map::Map,
    rows::Id,
    source::run_mask,
    space::Promise,
    tree::{self, Cv, GROUP_LEN},
};
use crate::budget::Reservation;
use hive_protocol::{
    file::{GROUP, MAX_CONTENT, SEGMENT, group_span, mask_bytes, segments, whole_mask},
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

/// Content being received. Clones are one transfer; all methods may be called from several threads. Dropped, it
/// can be begun again and goes on where it was.
#[derive(Debug, Clone)]
pub struct Partial(pub(super) Arc<Core>);

/// One copy within [`Partial::copy_from`]: bytes of an older version that may be those of this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyRange {
    /// First byte in the old content.
    pub from: u64,
    /// First byte in this content.
    pub to: u64,
    /// How many.
    pub len: u64,
}

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
    /// Set by what ends the transfer; nothing is written after.
    pub closed: AtomicBool,
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

    fn mask(&self, segment: u64) -> u64 {
        let n = usize::try_from(segment).unwrap_or(usize::MAX);
        self.masks.get(n).map_or(0, |m| m.load(Ordering::Acquire))
    }

    fn missing(&self, segment: u64) -> u64 {
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

    fn known(&self, what: &'static str) -> Result<Arc<State>, FilesError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(FilesError::Order {
                hash: self.hash,
                what: "a call after the end",
            });
        }
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
    fn groups(&self, state: &State, segment: u64) -> Result<Option<Arc<Vec<Cv>>>, FilesError> {
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

    fn remember(&self, segment: u64, cvs: &Arc<Vec<Cv>>) {
        let mut cache = lock(&self.cache);
        cache.retain(|(n, _)| *n != segment);
        if cache.len() >= CACHED {
            cache.pop_front();
        }
        cache.push_back((segment, cvs.clone()));
    }

    fn failed(&self, e: io::Error) -> FilesError {
        FilesError::io("write", &self.part, e)
    }

    /// Whether nothing was ever written there: reading gives zeros and costs no room.
    fn is_hole(&self, at: u64, len: u64) -> bool {
        match rustix::fs::seek(&*self.data, SeekFrom::Data(at)) {
            Ok(data) => data >= at + len,
            Err(e) => e == rustix::io::Errno::NXIO,
        }
    }

    /// Counts verified groups of a segment that are in the file now.
    fn count(&self, state: &State, segment: u64, mask: u64) -> Result<(), FilesError> {
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
    fn put(&self, state: &State, segment: u64, mask: u64, bytes: &[u8]) -> Result<u64, FilesError> {
        let size = state.list.size();
        if mask & !whole_mask(size, segment) != 0 || mask_bytes(size, segment, mask) != bytes.len() as u64 {
            return Err(self.corrupt(segment));
        }
        let cvs = self.groups(state, segment)?.ok_or(FilesError::Order {
            hash: self.hash,
            what: "bytes",
        })?;
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

    fn write_map(&self) -> Result<(), FilesError> {
        let Some(state) = self.state() else { return Ok(()) };
        let dirty = std::mem::take(&mut *lock(&self.dirty));
        for n in dirty {
            self.map.set(n, state.mask(n))?;
        }
        Ok(())
    }

    /// Forgets all that came: the tree turned out to be a lie.
    fn start_over(&self) -> Result<(), FilesError> {
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

impl Partial {
    /// Which content.
    #[must_use]
    pub fn hash(&self) -> BlobHash {
        self.0.hash
    }

    /// Its size in bytes; `None` until the tree is set (now or before an interruption).
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.0.size()
    }

    /// Takes size and chaining values of all segments (none for content of at most one), checks them against the
    /// hash, and promises room. The size is only proven when the last group is verified; until then another size
    /// starts everything over.
    ///
    /// # Errors
    /// `file.corrupt`, `file.too_large`, `store.disk_full`, `store.quota`, I/O.
    pub fn set_tree(&self, size: u64, segment_cvs: &[Cv]) -> Result<(), FilesError> {
        let core = &*self.0;
        let limit = core.size_limit.min(MAX_CONTENT);
        if size > limit {
            return Err(FilesError::TooLarge { size, limit });
        }
        if !tree::segments_match(&core.hash, size, segment_cvs) {
            return Err(core.corrupt(0));
        }
        let mut state = core.state.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*state {
            if known.list.size() == size {
                return Ok(());
            }
            let last = segments(known.list.size()) - 1;
            let end = whole_mask(known.list.size(), last);
            if known.mask(last) & !(end >> 1) & end != 0 {
                return Err(core.corrupt(0));
            }
            *state = None;
            core.start_over()?;
        }
        core.reserve(size, 0)?;
        core.data.set_len(size).map_err(|e| core.failed(e))?;
        let failed = |e| FilesError::io("write", &core.cvs, e);
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&core.cvs);
        let file = Arc::new(file.map_err(failed)?);
        let list = CvList::at(file.clone(), &core.cvs, HEAD, core.hash, size);
        list.set_segments(segment_cvs)?;
        // Vouches for the values, so it comes after them.
        CvList::write_head(&file, &core.hash, size).map_err(failed)?;
        let none = vec![0; usize::try_from(segments(size)).unwrap_or_default()];
        *state = Some(Arc::new(State::new(list, &none)));
        Ok(())
    }

    /// Whether the chaining values of a segment's groups are here.
    #[must_use]
    pub fn has_groups(&self, segment: u64) -> bool {
        let known = |s: Arc<State>| self.0.groups(&s, segment).ok().flatten();
        self.0.state().and_then(known).is_some()
    }

    /// Takes the chaining values of a segment's groups, checked against the segment's. Content of one group has none.
    ///
    /// # Errors
    /// `file.corrupt`, `file.order` before the tree, I/O.
    pub fn set_groups(&self, segment: u64, group_cvs: &[Cv]) -> Result<(), FilesError> {
        let state = self.0.known("chaining values of groups")?;
        let size = state.list.size();
        if segment >= segments(size) {
            return Err(self.0.corrupt(segment));
        }
        if !tree::groups_match(&state.list.segment_cv(segment)?, size, segment, group_cvs) {
            return Err(self.0.corrupt(segment));
        }
        if !group_cvs.is_empty() {
            state.list.set_groups(segment, group_cvs)?;
            self.0.remember(segment, &Arc::new(group_cvs.to_vec()));
        }
        Ok(())
    }

    /// The groups of a segment that are still to come; none while the size is unknown.
    #[must_use]
    pub fn missing(&self, segment: u64) -> u64 {
        self.0.missing(segment)
    }

    /// One bit for each segment that is whole, lowest bit of the first byte first.
    #[must_use]
    pub fn bitmap(&self) -> Vec<u8> {
        self.0.bitmap()
    }

    /// Bytes verified. Never falls, unless the tree was a lie.
    #[must_use]
    pub fn bytes_here(&self) -> u64 {
        self.0.state().map_or(0, |s| s.here.load(Ordering::Acquire))
    }

    /// Whether every group is here.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.0.is_whole()
    }

    /// Verifies and writes one group; false when it was here before.
    ///
    /// # Errors
    /// `file.corrupt` (nothing was kept), `file.order`, `store.disk_full` (what is here stays), I/O.
    pub fn write(&self, segment: u64, group: u32, bytes: &[u8]) -> Result<bool, FilesError> {
        let mask = 1u64.checked_shl(group).unwrap_or(0);
        if mask == 0 {
            return Err(self.0.corrupt(segment));
        }
        let state = self.0.known("bytes")?;
        let new = state.missing(segment) & mask != 0;
        self.0.put(&state, segment, mask, bytes)?;
        Ok(new)
    }

    /// As [`Self::write`] for all groups of the mask, back to back. Returns those that were right; the others were
    /// not kept.
    ///
    /// # Errors
    /// `file.corrupt` when none was right or the length is not that of the mask; else as [`Self::write`].
    pub fn write_mask(&self, segment: u64, mask: u64, bytes: &[u8]) -> Result<u64, FilesError> {
        let state = self.0.known("bytes")?;
        self.0.put(&state, segment, mask, bytes)
    }

    /// Takes groups of zeros, which need not be asked for. Looks at the first and last missing group only, unless
    /// one of them is zero: some 30 µs for a segment without zeros. Returns what was taken.
    ///
    /// # Errors
    /// `file.order` before the segment's groups are known; I/O.
    pub fn fill_zeros(&self, segment: u64) -> Result<u64, FilesError> {
        let state = self.0.known("zeros")?;
        let size = state.list.size();
        let Some(cvs) = self.0.groups(&state, segment)? else {
            return Ok(0);
        };
        let zeros = [0; GROUP_LEN];
        let is_zero = |group: u32| {
            let (at, len) = group_span(size, segment, group);
            let piece = zeros
                .get(..usize::try_from(len).unwrap_or_default())
                .unwrap_or_default();
            let right = |cv| tree::group_matches(cv, size, at, piece);
            cvs.get(group as usize).is_some_and(right) && self.0.is_hole(at, len)
        };
        let missing = state.missing(segment);
        if missing == 0 || !(is_zero(missing.trailing_zeros()) || is_zero(63 - missing.leading_zeros())) {
            return Ok(0);
        }
        let (mut rest, mut found) = (missing, 0);
        while rest != 0 {
            let group = rest.trailing_zeros();
            rest &= rest - 1;
            if is_zero(group) {
                found |= 1 << group;
            }
        }
        self.0.count(&state, segment, found)?;
        Ok(found)
    }

    /// Takes from an older version whatever of these ranges makes whole missing groups whose values are known, each
    /// checked as if it had come from a stranger. Returns the bytes taken.
    ///
    /// # Errors
    /// `file.order` before the tree; `store.disk_full`; I/O of the destination. A failing source only yields less.
    pub fn copy_from(&self, old: &super::Source, ranges: &[CopyRange]) -> Result<u64, FilesError> {
        let state = self.0.known("a copy")?;
        let size = state.list.size();
        let mut ranges: Vec<CopyRange> = ranges
            .iter()
            .copied()
            .filter(|r| r.len > 0 && r.to < size)
            .collect();
        ranges.sort_unstable_by_key(|r| r.to);
        let (mut taken, mut buf, mut first) = (0, Vec::with_capacity(GROUP_LEN), 0);
        for segment in 0..segments(size) {
            let start = segment * SEGMENT;
            // Ranges that end before this segment are of no more use.
            while ranges
                .get(first)
                .is_some_and(|r| r.to.saturating_add(r.len) <= start)
            {
                first += 1;
            }
            let Some(next) = ranges.get(first) else { break };
            let mut rest = state.missing(segment);
            if next.to >= start + SEGMENT || rest == 0 || self.0.groups(&state, segment)?.is_none() {
                continue;
            }
            while rest != 0 {
                let group = rest.trailing_zeros();
                rest &= rest - 1;
                let (at, len) = group_span(size, segment, group);
                if !gather(old, ranges.get(first..).unwrap_or_default(), at, len, &mut buf) {
                    continue;
                }
                match self.0.put(&state, segment, 1 << group, &buf) {
                    Ok(_) => taken += len,
                    Err(FilesError::Corrupt { .. }) => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(taken)
    }

    /// Appends bytes `from..to` (cut at the end) that are here, which have been verified.
    ///
    /// # Errors
    /// `file.not_here` when some are not, `file.order` before the tree, I/O.
    pub fn read_range(&self, from: u64, to: u64, out: &mut Vec<u8>) -> Result<(), FilesError> {
        self.0.known("a read")?;
        let source = self.0.store.part_source(self.0.clone());
        source
            .ok_or(FilesError::NotFound { hash: self.0.hash })?
            .read_range(from, to, false, out)
    }

    /// Writes down all that was verified so that a kill of the process loses nothing. Cheap: nothing is synced.
    /// Whole segments are written down as they become whole.
    ///
    /// # Errors
    /// I/O.
    pub fn checkpoint(&self) -> Result<(), FilesError> {
        self.0.write_map()
    }

    /// Forces all that was verified to the disk so that a power cut does not lose it either. As slow as the disk.
    ///
    /// # Errors
    /// I/O.
    pub fn sync(&self) -> Result<(), FilesError> {
        let Some(state) = self.0.state() else {
            return Ok(());
        };
        self.0.write_map()?;
        let masks: Vec<u64> = (0..state.masks.len() as u64).map(|n| state.mask(n)).collect();
        self.0.data.sync_data().map_err(|e| self.0.failed(e))?;
        let cvs = state.list.file().sync_data();
        cvs.map_err(|e| FilesError::io("write", &self.0.cvs, e))?;
        self.0.map.set_synced(&masks)
    }
}

/// Puts the bytes `at..at+len` together from ranges in order of their targets; false when they do not cover it.
fn gather(old: &super::Source, ranges: &[CopyRange], at: u64, len: u64, buf: &mut Vec<u8>) -> bool {
    buf.clear();
    let end = at + len;
    let mut here = at;
    for r in ranges {
        if here >= end || r.to > here {
            break;
        }
        let stop = r.to.saturating_add(r.len).min(end);
        if stop > here {
            let from = r.from + (here - r.to);
            let before = buf.len();
            if old.read_range(from, from + (stop - here), false, buf).is_err()
                || (buf.len() - before) as u64 != stop - here
            {
                return false;
            }
            here = stop;
        }
    }
    here >= end
}

const _: () = assert!(run_mask(64) == u64::MAX && run_mask(1) == 1);

impl State {
    /// Bytes verified.
    pub(super) fn here(&self) -> u64 {
        self.here.load(Ordering::Acquire)
    }
}
