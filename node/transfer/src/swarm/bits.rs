//! A set of segment numbers, one bit each.

/// Bits `0..len`, with a running count of those set.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Bits {
    words: Vec<u64>,
    len: u32,
    ones: u32,
}

impl Bits {
    pub(crate) fn new(len: u32) -> Self {
        Self {
            words: vec![0; len.div_ceil(64) as usize],
            len,
            ones: 0,
        }
    }

    pub(crate) fn full(len: u32) -> Self {
        let mut bits = Self::new(len);
        bits.words.fill(u64::MAX);
        bits.trim();
        bits
    }

    /// From wire form, lowest bit of the first byte first; what is beyond `len` is ignored, what is short is unset.
    pub(crate) fn from_bytes(len: u32, bytes: &[u8]) -> Self {
        let mut bits = Self::new(len);
        for (word, chunk) in bits.words.iter_mut().zip(bytes.chunks(8)) {
            let mut eight = [0u8; 8];
            for (to, from) in eight.iter_mut().zip(chunk) {
                *to = *from;
            }
            *word = u64::from_le_bytes(eight);
        }
        bits.trim();
        bits
    }

    fn trim(&mut self) {
        let over = self.len % 64;
        if over != 0
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << over) - 1;
        }
        self.ones = self.words.iter().map(|w| w.count_ones()).sum();
    }

    pub(crate) const fn count(&self) -> u32 {
        self.ones
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.ones == 0
    }

    pub(crate) fn get(&self, at: u32) -> bool {
        self.words
            .get((at / 64) as usize)
            .is_some_and(|w| w >> (at % 64) & 1 == 1)
    }

    pub(crate) fn set(&mut self, at: u32, on: bool) {
        if at >= self.len || self.get(at) == on {
            return;
        }
        if let Some(word) = self.words.get_mut((at / 64) as usize) {
            *word ^= 1 << (at % 64);
            self.ones = if on { self.ones + 1 } else { self.ones - 1 };
        }
    }

    /// Adds all of another set of the same length.
    pub(crate) fn add(&mut self, other: &Self) {
        for (to, from) in self.words.iter_mut().zip(&other.words) {
            *to |= from;
        }
        self.trim();
    }

    /// Adds what of another set is not in a third.
    pub(crate) fn add_but(&mut self, other: &Self, but: &Self) {
        for (i, to) in self.words.iter_mut().enumerate() {
            *to |= other.word(i) & !but.word(i);
        }
        self.trim();
    }

    pub(crate) fn word(&self, index: usize) -> u64 {
        self.words.get(index).copied().unwrap_or(0)
    }

    pub(crate) fn words(&self) -> usize {
        self.words.len()
    }

    /// How many are set in `from..to`.
    pub(crate) fn count_in(&self, from: u32, to: u32) -> u32 {
        let (from, to) = (from.min(self.len), to.min(self.len));
        let mut sum = 0;
        let mut at = from;
        while at < to {
            let end = ((at / 64 + 1) * 64).min(to);
            sum += (self.word((at / 64) as usize) & span(at % 64, end - at)).count_ones();
            at = end;
        }
        sum
    }
}

/// `len` bits from bit `from` on.
const fn span(from: u32, len: u32) -> u64 {
    let mask = if len >= 64 { u64::MAX } else { (1 << len) - 1 };
    mask << from
}

/// The bits of a word, lowest first.
pub(crate) fn ones(mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        if word == 0 {
            return None;
        }
        let at = word.trailing_zeros();
        word &= word - 1;
        Some(at)
    })
}

/// The lowest `n` bits that are set.
pub(crate) fn lowest(mask: u64, n: u32) -> u64 {
    ones(mask).take(n as usize).fold(0, |sum, b| sum | 1 << b)
}

/// The highest `n` bits that are set.
pub(crate) fn highest(mask: u64, n: u32) -> u64 {
    mask & !lowest(mask, mask.count_ones().saturating_sub(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_keep_count_and_bounds() {
        for len in [0u32, 1, 63, 64, 65, 200] {
            let full = Bits::full(len);
            assert_eq!(full.count(), len);
            assert_eq!(full.count_in(0, u32::MAX), len);
            assert_eq!(full.count_in(len / 3, len / 2), len / 2 - len / 3);
            assert!(!full.get(len));
            let mut bits = Bits::new(len);
            bits.set(len, true);
            assert!(bits.is_empty());
            if len > 0 {
                bits.set(len - 1, true);
                bits.set(len - 1, true);
                assert_eq!(bits.count(), 1);
                bits.add(&full);
                assert_eq!(bits, full);
                bits.set(0, false);
                assert_eq!(bits.count(), len - 1);
            }
        }
        let wire = Bits::from_bytes(11, &[0b101, 0xff, 0xff, 0xff]);
        assert_eq!(wire.word(0), 0b111_0000_0101);
        assert_eq!(Bits::from_bytes(100, &[1]).count(), 1);
    }

    #[test]
    fn lowest_and_highest_take_that_many() {
        assert_eq!(lowest(0b1011_0100, 2), 0b1_0100);
        assert_eq!(highest(0b1011_0100, 2), 0b1010_0000);
        assert_eq!(lowest(u64::MAX, 64), u64::MAX);
        assert_eq!(highest(u64::MAX, 1), 1 << 63);
        assert_eq!(highest(0b11, 9), 0b11);
    }
}
