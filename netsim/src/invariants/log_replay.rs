//! The log is the state: replayed from the first record it gives the state in memory.

use super::Violation;
use crate::world::World;

/// # Errors
/// How they differ.
pub fn check(world: &World) -> Result<(), Violation> {
    world
        .authority
        .check_replay()
        .map_err(|detail| Violation::new("log_replay", detail))
}

/// What the log of a restarting authority could not be replayed for.
#[must_use]
pub fn refused(detail: String) -> Violation {
    Violation::new("log_replay", detail)
}
