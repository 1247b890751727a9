//! Content being received, as its receiver sees it.
//!
//! Order of calls: the tree, then a segment's groups, then bytes.

use super::{
    core::{Core, State},
    cvs::{CvList, HEAD},
    error::FilesError,
    tree::{self, Cv},
};
use hive_protocol::{
    file::{MAX_CONTENT, segments, whole_mask},
    ids::BlobHash,
};
use std::{
    fs::File,
    sync::{Arc, PoisonError, atomic::Ordering},
};

/// Content being received. Clones are one transfer; all methods may be called from several threads. Dropped, it
/// can be begun again and goes on where it was.
#[derive(Debug, Clone)]
pub struct Partial(pub(super) Arc<Core>);

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

    /// The chaining values of all segments, as they were set; none for content of at most one segment.
    ///
    /// # Errors
    /// `file.order` before the tree; I/O.
    pub fn segment_cvs(&self) -> Result<Vec<Cv>, FilesError> {
        let state = self.0.state().ok_or(FilesError::Order {
            hash: self.0.hash,
            what: "a look at the tree",
        })?;
        if segments(state.list.size()) == 1 {
            return Ok(Vec::new());
        }
        state.list.segment_cvs()
    }

    /// The chaining values of a segment's groups, if they are here; none for content of at most one group.
    ///
    /// # Errors
    /// `file.not_here`; `file.order` before the tree; I/O.
    pub fn group_cvs(&self, segment: u64) -> Result<Vec<Cv>, FilesError> {
        let source = self.0.store.part_source(self.0.clone());
        source
            .ok_or(FilesError::Order {
                hash: self.0.hash,
                what: "a look at the tree",
            })?
            .group_cvs(segment)
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
