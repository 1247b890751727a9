//! The authority's state agrees with itself, by its own word: its parts belong together and every hold that is open
//! will end.

use super::Violation;
use crate::world::World;

/// # Errors
/// Where it contradicts itself.
pub fn check(world: &World) -> Result<(), Violation> {
    world
        .authority
        .state
        .check_invariants()
        .map_err(|detail| Violation::new("state", detail))
}
