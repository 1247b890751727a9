//! The journal's own book-keeping: how many records there are, the sum of their tags, the number of the last batch. Written in every batch,
//! compared at every open, so that sled cannot lose or bring back a record unnoticed.

use super::record::{TAG_BYTES, Tag};

/// Count and tag sum of all records, and how many batches made them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Check {
    count: u64,
    // Wrapping addition, not xor: the same record twice does not cancel out.
    sum: u128,
    batch: u64,
}

const CHECK_BYTES: usize = 8 + TAG_BYTES + 8;

impl Check {
    pub(super) fn add(&mut self, tag: Tag) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(u128::from_le_bytes(tag));
    }

    pub(super) fn take(&mut self, tag: Tag) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(u128::from_le_bytes(tag));
    }

    /// Counts one more batch.
    pub(super) fn advance(&mut self) {
        self.batch = self.batch.wrapping_add(1);
    }

    /// The number of the last batch.
    pub(super) fn batch(self) -> u64 {
        self.batch
    }

    /// True when both stand for the same records.
    pub(super) fn same_records(self, other: Self) -> bool {
        (self.count, self.sum) == (other.count, other.sum)
    }

    pub(super) fn count(self) -> u64 {
        self.count
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut b = Vec::with_capacity(CHECK_BYTES);
        b.extend_from_slice(&self.count.to_le_bytes());
        b.extend_from_slice(&self.sum.to_le_bytes());
        b.extend_from_slice(&self.batch.to_le_bytes());
        b
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk::<8>()?;
        let (sum, batch) = rest.split_first_chunk::<TAG_BYTES>()?;
        Some(Self {
            count: u64::from_le_bytes(*count),
            sum: u128::from_le_bytes(*sum),
            batch: u64::from_le_bytes(batch.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn order_does_not_matter_and_content_does() {
        let (mut a, mut b) = (Check::default(), Check::default());
        a.add([1; 16]);
        a.add([2; 16]);
        b.add([2; 16]);
        b.add([3; 16]);
        b.take([3; 16]);
        assert_ne!(a, b);
        b.add([1; 16]);
        assert_eq!(a, b);
        b.advance();
        assert!(a.same_records(b) && a != b);
        assert_eq!(Check::from_bytes(&b.to_bytes()), Some(b));
        assert_eq!(Check::from_bytes(&a.to_bytes()), Some(a));
        assert_eq!(Check::from_bytes(&[0; 31]), None);
    }
}
