//! Time passes: nobody keeps a moment busy for ever, neither with timers that are due again at once nor with two
//! cores that answer one another.

use super::Violation;
use crate::world::World;

/// Steps within one millisecond at most; more means that somebody runs in circles.
const MAX_STEPS: u64 = 5_000;

/// Looks at how many steps one moment has taken so far.
///
/// # Errors
/// Too many.
pub fn moment(world: &World, steps: u64) -> Result<(), Violation> {
    if steps <= MAX_STEPS {
        return Ok(());
    }
    let due = world
        .nodes
        .iter()
        .filter(|n| n.due().is_some_and(|t| t <= world.now));
    let busy: Vec<_> = due.map(|n| n.name.as_str()).collect();
    Err(Violation::new(
        "progress",
        format!("no time passes at {} ms; due: {busy:?}", world.now),
    ))
}

/// Looks at how often a node's cores have answered one another within one step.
///
/// # Errors
/// Too often.
pub fn talk(world: &World, n: usize, rounds: u64) -> Result<(), Violation> {
    if rounds <= MAX_STEPS {
        return Ok(());
    }
    Err(Violation::new(
        "progress",
        format!(
            "the cores of {} talk without end at {} ms",
            world.nodes[n].name, world.now
        ),
    ))
}
