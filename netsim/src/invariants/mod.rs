//! What must hold, one file for each. Each is looked at as often as it can be broken: after every step of a node,
//! after every entry of the authority, after every restart of it, and when all is over.

pub mod acknowledged;
pub mod balances;
pub mod cores;
pub mod ends_once;
pub mod fresh_ids;
pub mod hold_expiry;
pub mod log_replay;
pub mod oversubscribed;
pub mod paid_for_work;
pub mod paid_twice;
pub mod progress;
pub mod settled;
pub mod state;
pub mod task_lost;
pub mod thrift;

pub use acknowledged::{Ack, ack_of};

use crate::world::World;
use std::fmt;

/// The names of all: each is a file here, and nothing else is.
pub const ALL: [&str; 15] = [
    "acknowledged",
    "balances",
    "cores",
    "ends_once",
    "fresh_ids",
    "hold_expiry",
    "log_replay",
    "oversubscribed",
    "paid_for_work",
    "paid_twice",
    "progress",
    "settled",
    "state",
    "task_lost",
    "thrift",
];

/// An invariant that does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which: the name of its file.
    pub invariant: &'static str,
    /// What was found.
    pub detail: String,
}

impl Violation {
    /// A violation; only the file that it names makes one.
    fn new(invariant: &'static str, detail: impl Into<String>) -> Self {
        Self {
            invariant,
            detail: detail.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.detail)
    }
}

/// What must hold of a node after every step of it.
///
/// # Errors
/// What does not.
pub fn of_a_node(world: &World, n: usize) -> Result<(), Violation> {
    oversubscribed::check(world, n)?;
    cores::check(world, n)
}

/// What must hold of the authority after every entry.
///
/// # Errors
/// What does not.
pub fn of_the_authority(world: &World) -> Result<(), Violation> {
    balances::check(world)?;
    hold_expiry::check(world)?;
    thrift::check(world)?;
    state::check(world)
}

/// What must hold when the authority is back.
///
/// # Errors
/// What does not.
pub fn after_a_restart(world: &World) -> Result<(), Violation> {
    acknowledged::check(world)?;
    balances::check(world)
}

/// Whether everything has ended as it must; looked at again and again in the calm.
///
/// # Errors
/// What has not ended yet.
pub fn all_ended(world: &World) -> Result<(), Violation> {
    task_lost::check(world)?;
    settled::check(world)
}

/// What must hold when all is over.
///
/// # Errors
/// What does not.
pub fn at_the_end(world: &World) -> Result<(), Violation> {
    // Before all others: a hold that is open too long is its fault also when nothing has been entered since.
    hold_expiry::check(world)?;
    all_ended(world)?;
    log_replay::check(world)?;
    acknowledged::check(world)?;
    of_the_authority(world)
}
