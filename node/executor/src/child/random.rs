//! The guest's random source: BLAKE3 in output mode over the task's seed. The same seed gives the same
//! numbers on every machine and version, which comparing results of two workers needs.

use blake3::OutputReader;
use std::convert::Infallible;

const DOMAIN: &str = "hivenode 2026-11 guest random source";

pub(super) struct Seeded {
    seed: [u8; 32],
    /// Made on first use: most tasks never ask.
    reader: Option<OutputReader>,
}

impl Seeded {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self { seed, reader: None }
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        let seed = &self.seed;
        let reader = self.reader.get_or_insert_with(|| {
            let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
            hasher.update(seed);
            hasher.finalize_xof()
        });
        reader.fill(bytes);
    }
}

impl rand_core::TryRng for Seeded {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.fill(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_numbers_whatever_the_portions() {
        let (mut a, mut b, mut c) = (Seeded::new([7; 32]), Seeded::new([7; 32]), Seeded::new([8; 32]));
        let mut whole = [0; 100];
        a.fill(&mut whole);
        let mut parts = [0; 100];
        let (head, tail) = parts.split_at_mut(33);
        b.fill(head);
        b.fill(tail);
        assert_eq!(whole, parts);
        let mut other = [0; 100];
        c.fill(&mut other);
        assert_ne!(whole, other);
    }
}
