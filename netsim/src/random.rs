//! The simulator's only source of chance: xoshiro256++ fed by SplitMix64, so that a seed is a whole run.

/// A stream of numbers decided by its seed.
#[derive(Clone, Debug)]
pub struct Random([u64; 4]);

const fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    /// The stream of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        let mut s = seed;
        Self([
            split_mix(&mut s),
            split_mix(&mut s),
            split_mix(&mut s),
            split_mix(&mut s),
        ])
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let out = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let t = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= t;
        *d = d.rotate_left(45);
        out
    }

    /// A number below `n`; 0 when `n` is 0. The bias over 64 bits does not matter here.
    pub const fn below(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        self.next() % n
    }

    /// A number from `from` to `to`, both included.
    pub const fn range(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from).saturating_add(1))
    }

    /// An index below `n`; 0 when `n` is 0.
    pub fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).unwrap_or(0)
    }

    /// True in `n` of 10,000 cases.
    pub const fn chance(&mut self, n: u32) -> bool {
        self.below(10_000) < n as u64
    }

    /// True once in `n` cases; never when `n` is 0.
    pub const fn once_in(&mut self, n: u64) -> bool {
        n > 0 && self.below(n) == 0
    }

    /// 32 bytes.
    pub fn bytes(&mut self) -> [u8; 32] {
        let mut out = [0; 32];
        for part in out.chunks_mut(8) {
            part.copy_from_slice(&self.next().to_le_bytes());
        }
        out
    }

    /// 16 bytes.
    pub fn id(&mut self) -> [u8; 16] {
        let mut out = [0; 16];
        for part in out.chunks_mut(8) {
            part.copy_from_slice(&self.next().to_le_bytes());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_stream() {
        let (mut a, mut b, mut c) = (Random::new(1), Random::new(1), Random::new(2));
        let first: Vec<u64> = (0..100).map(|_| a.next()).collect();
        assert!(first.iter().all(|n| *n == b.next()));
        assert!(first.iter().any(|n| *n != c.next()));
        assert_eq!(a.bytes(), b.bytes());
        assert!((0..1000).all(|_| (3..=5).contains(&a.range(3, 5))));
        assert_eq!(a.below(0), 0);
    }
}
