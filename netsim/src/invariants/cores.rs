//! The cores' own invariants. They assert, so a violation is a panic, which the runner catches and names.

use super::Violation;
use crate::world::World;

/// # Errors
/// None; it panics.
pub fn check(world: &World, n: usize) -> Result<(), Violation> {
    let node = &world.nodes[n];
    if let Some(s) = &node.submitter {
        s.check_invariants();
    }
    if let Some(w) = &node.worker {
        w.check_invariants();
    }
    Ok(())
}

/// What the runner has caught.
#[must_use]
pub fn panicked(text: String) -> Violation {
    Violation::new("cores", text)
}
