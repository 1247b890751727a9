//! How fast bytes may go: limits of the node, of a class and of a peer, by the hour, and who is served next.
//!
//! [`Limits`] says how many bytes may move now (one for each direction); [`SendQueue`] says which waiting request a
//! provider answers next. Must not know what the bytes are.

mod bucket;
mod gate;
mod hours;
mod queue;
#[cfg(test)]
mod tests;

pub use gate::{Limits, LimitsConfig, MAX_BUCKETS, MAX_WAITERS, MIN_GRANT, Verdict};
pub use hours::{BadHours, Hours, MAX_HOURS, Schedule};
pub use queue::{Full, Job, MAX_QUEUE, MAX_QUEUE_PEER, SendQueue};

/// What bytes are for. The order is the priority: the first goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    /// Words that keep the mesh going; counted, never held back.
    Control,
    /// Small contents, where the wait is all there is.
    Small,
    /// Somebody waits for it: a reader, a task's input.
    Interactive,
    /// All else.
    Bulk,
}

impl Class {
    /// All, most urgent first.
    pub const ALL: [Self; 4] = [Self::Control, Self::Small, Self::Interactive, Self::Bulk];

    /// Its share when all classes want more than there is: the next lower one gets a tenth, so that a flood above
    /// slows what is below but never stops it.
    pub(crate) const fn weight(self) -> u64 {
        match self {
            Self::Control => 1000,
            Self::Small => 100,
            Self::Interactive => 10,
            Self::Bulk => 1,
        }
    }

    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Control => 0,
            Self::Small => 1,
            Self::Interactive => 2,
            Self::Bulk => 3,
        }
    }
}
