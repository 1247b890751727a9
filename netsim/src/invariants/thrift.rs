//! The cores do not run in circles: money is set aside a few times for each task at most. Found missing when one
//! task that avoided a worker made its submitter lease that worker anew 25 times a second.

use super::Violation;
use crate::world::World;

/// Holds a seed may need whatever its size: crashes and partitions end leases.
const HOLDS_AT_LEAST: u64 = 100;

/// # Errors
/// Too many holds for so few tasks.
pub fn check(world: &World) -> Result<(), Violation> {
    let holds = world.oracle.books.holds.len() as u64;
    let tasks = world.oracle.figures.get("tasks").copied().unwrap_or(0);
    if holds > HOLDS_AT_LEAST + tasks {
        return Err(Violation::new(
            "thrift",
            format!("{holds} holds for {tasks} tasks"),
        ));
    }
    Ok(())
}
