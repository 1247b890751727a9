//! Where a core's ids come from: a seed given once and a counter, so that a run can be replayed.

use hive_protocol::ids::{BlobHash, CommandId, DemandId, HoldId, LeaseId};

/// Entropy for one life of a core. The shell draws it fresh at every start (ids must never repeat after a
/// restart); the simulator derives it from its own seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Seed(pub [u8; 32]);

/// Makes ids from a seed; the same seed gives the same ids in the same order.
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    seed: [u8; 32],
    counter: u64,
}

impl Ids {
    pub(crate) const fn new(seed: Seed) -> Self {
        Self {
            seed: seed.0,
            counter: 0,
        }
    }

    fn next(&mut self) -> [u8; 16] {
        self.counter = self.counter.wrapping_add(1);
        let mut bytes = [0u8; 40];
        let (a, b) = bytes.split_at_mut(32);
        a.copy_from_slice(&self.seed);
        b.copy_from_slice(&self.counter.to_le_bytes());
        let mut id = [0u8; 16];
        for (to, from) in id.iter_mut().zip(BlobHash::of(&bytes).0) {
            *to = from;
        }
        id
    }

    pub(crate) fn lease(&mut self) -> LeaseId {
        LeaseId(self.next())
    }
    pub(crate) fn demand(&mut self) -> DemandId {
        DemandId(self.next())
    }
    pub(crate) fn hold(&mut self) -> HoldId {
        HoldId(self.next())
    }
    pub(crate) fn command(&mut self) -> CommandId {
        CommandId(self.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_ids_and_ids_differ() {
        let (mut a, mut b) = (Ids::new(Seed([1; 32])), Ids::new(Seed([1; 32])));
        let first = a.lease();
        assert_eq!(first, b.lease());
        assert_ne!(first, a.lease());
        assert_ne!(first, Ids::new(Seed([2; 32])).lease());
    }
}
