//! What of the content is here, on its way, or open.

use super::bits::{Bits, ones};
use hive_protocol::file::{MAX_CONTENT, group_span, mask_bytes, segments, whole_mask};
use std::collections::BTreeMap;

/// The content's segments. Made once the size is known, so its tables are bounded by `MAX_CONTENT`.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    size: u64,
    count: u32,
    missing: Vec<u64>,
    left: u64,
    short: u32,
    hashes: Bits,
    /// Union of the masks asked of anybody; bounded by `MAX_ASKS_ALL`.
    flight: BTreeMap<u32, u64>,
    /// Segments with groups that are missing and asked of nobody.
    open: Bits,
    /// Open segments of which a peer has given something: finished first, so that they can be given on.
    begun: Bits,
}

impl Content {
    pub(crate) fn new(size: u64) -> Self {
        let size = size.min(MAX_CONTENT);
        // At most MAX_CONTENT / SEGMENT = 2^18.
        let count = segments(size) as u32;
        let missing: Vec<u64> = (0..u64::from(count)).map(|s| whole_mask(size, s)).collect();
        Self {
            size,
            count,
            missing,
            left: size,
            short: count,
            hashes: Bits::new(count),
            flight: BTreeMap::new(),
            open: Bits::full(count),
            begun: Bits::new(count),
        }
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }
    /// Bytes not here.
    pub(crate) const fn left(&self) -> u64 {
        self.left
    }
    /// Segments not whole here.
    pub(crate) const fn short(&self) -> u32 {
        self.short
    }
    pub(crate) const fn open(&self) -> &Bits {
        &self.open
    }
    pub(crate) const fn begun(&self) -> &Bits {
        &self.begun
    }
    pub(crate) fn hashes(&self, segment: u32) -> bool {
        self.hashes.get(segment)
    }
    pub(crate) fn missing(&self, segment: u32) -> u64 {
        self.missing.get(segment as usize).copied().unwrap_or(0)
    }
    /// Groups missing and asked of nobody.
    pub(crate) fn free(&self, segment: u32) -> u64 {
        self.missing(segment) & !self.flight.get(&segment).copied().unwrap_or(0)
    }
    pub(crate) fn bytes(&self, segment: u32, mask: u64) -> u64 {
        mask_bytes(self.size, u64::from(segment), mask)
    }
    /// Groups that are here now; how many bytes of them are new. Empty content has one group of no bytes.
    pub(crate) fn here(&mut self, segment: u32, mask: u64) -> u64 {
        let size = self.size;
        let Some(missing) = self.missing.get_mut(segment as usize) else {
            return 0;
        };
        let new = *missing & mask;
        if new == 0 {
            return 0;
        }
        *missing &= !mask;
        if *missing == 0 {
            self.short -= 1;
        }
        let bytes = ones(new)
            .map(|g| group_span(size, u64::from(segment), g).1)
            .sum::<u64>();
        self.left -= bytes;
        self.refresh(segment);
        bytes
    }

    /// Groups that are not here after all.
    pub(crate) fn lost(&mut self, segment: u32, mask: u64) {
        let lost = whole_mask(self.size, u64::from(segment)) & mask & !self.missing(segment);
        if lost == 0 {
            return;
        }
        let bytes = self.bytes(segment, lost);
        if let Some(missing) = self.missing.get_mut(segment as usize) {
            if *missing == 0 {
                self.short += 1;
            }
            *missing |= lost;
            self.left += bytes;
        }
        self.refresh(segment);
    }

    pub(crate) fn knows_hashes(&mut self, segment: u32) {
        self.hashes.set(segment, true);
    }

    pub(crate) fn begin(&mut self, segment: u32) {
        if self.missing(segment) != 0 {
            self.begun.set(segment, true);
        }
    }

    /// What is asked of anybody for a segment is now this.
    pub(crate) fn set_flight(&mut self, segment: u32, mask: u64) {
        if mask == 0 {
            self.flight.remove(&segment);
        } else {
            self.flight.insert(segment, mask);
        }
        self.refresh(segment);
    }

    fn refresh(&mut self, segment: u32) {
        let free = self.free(segment) != 0;
        self.open.set(segment, free);
        if self.missing(segment) == 0 {
            self.begun.set(segment, false);
        }
    }

    pub(crate) fn flights(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.flight.iter().map(|(s, m)| (*s, *m))
    }

    /// Whether the counts agree with the masks.
    pub(crate) fn check(&self) {
        let mut left = 0;
        let mut short = 0;
        for segment in 0..self.count {
            let missing = self.missing(segment);
            assert_eq!(missing & !whole_mask(self.size, u64::from(segment)), 0);
            left += self.bytes(segment, missing);
            short += u32::from(missing != 0);
            assert_eq!(self.open.get(segment), self.free(segment) != 0, "open {segment}");
        }
        assert_eq!((left, short), (self.left, self.short), "counts");
        assert!(self.flight.values().all(|m| *m != 0), "an empty flight");
    }
}
