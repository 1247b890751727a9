//! Bytes that need not be asked for: zeros, and what an older version has.

use super::{
    error::FilesError,
    partial::Partial,
    source::{Source, run_mask},
    tree::{self, GROUP_LEN},
};
use hive_protocol::file::{GROUP, SEGMENT, group_span, mask_bytes, segments};

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

impl Partial {
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
    pub fn copy_from(&self, old: &Source, ranges: &[CopyRange]) -> Result<u64, FilesError> {
        let state = self.0.known("a copy")?;
        let size = state.list.size();
        let mut ranges: Vec<CopyRange> = ranges
            .iter()
            .copied()
            .filter(|r| r.len > 0 && r.to < size)
            .collect();
        ranges.sort_unstable_by_key(|r| r.to);
        let (mut taken, mut buf, mut first) = (0, Vec::new(), 0);
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
            let left = ranges.get(first..).unwrap_or_default();
            let mut rest = state.missing(segment);
            if next.to >= start + SEGMENT || rest == 0 || self.0.groups(&state, segment)?.is_none() {
                continue;
            }
            buf.clear();
            let mut mask = 0;
            while rest != 0 {
                // Neighbours in one go where one range has them all, else group by group.
                let first_group = rest.trailing_zeros();
                let (at, _) = group_span(size, segment, first_group);
                let run = whole_groups(left, at, (rest >> first_group).trailing_ones(), size);
                let (last_at, last_len) = group_span(size, segment, first_group + run - 1);
                let bits = run_mask(run) << first_group;
                if gather(old, left, at, last_at + last_len - at, &mut buf) {
                    mask |= bits;
                }
                rest &= !bits;
            }
            match self.0.put(&state, segment, mask, &buf) {
                Ok(right) => taken += mask_bytes(size, segment, right),
                Err(FilesError::Corrupt { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(taken)
    }
}

/// How many of `most` groups from byte `at` on the range there has whole; at least one, to be tried.
fn whole_groups(ranges: &[CopyRange], at: u64, most: u32, size: u64) -> u32 {
    let here = |r: &&CopyRange| r.to <= at && r.to.saturating_add(r.len) > at;
    let Some(r) = ranges.iter().take_while(|r| r.to <= at).find(here) else {
        return 1;
    };
    let end = r.to.saturating_add(r.len);
    let whole = if end >= size {
        u64::from(most)
    } else {
        (end - at) / GROUP
    };
    u32::try_from(whole).unwrap_or(most).clamp(1, most)
}

/// Appends the bytes `at..at+len` put together from ranges in order of their targets; false, with nothing appended,
/// when they do not cover it or the source fails.
fn gather(old: &Source, ranges: &[CopyRange], at: u64, len: u64, buf: &mut Vec<u8>) -> bool {
    let (start, end) = (buf.len(), at + len);
    let mut here = at;
    for r in ranges {
        if here >= end || r.to > here {
            break;
        }
        let stop = r.to.saturating_add(r.len).min(end);
        if stop > here {
            let from = r.from.saturating_add(here - r.to);
            if old.read_raw(from, stop - here, buf).is_err() {
                buf.truncate(start);
                return false;
            }
            here = stop;
        }
    }
    if here < end {
        buf.truncate(start);
    }
    here >= end
}
