//! Leases never oversubscribe a node, counted twice: by what its executors truly run, and by that together
//! with what its core still calls free. Both against what the machine truly has, which the core only believes to know.

use super::Violation;
use crate::world::World;

/// # Errors
/// More is in use or promised than there is.
pub fn check(world: &World, n: usize) -> Result<(), Violation> {
    let node = &world.nodes[n];
    let bad = |what: &str| {
        Err(Violation::new(
            "oversubscribed",
            format!("{} at {} ms: {what}", node.name, world.now),
        ))
    };
    let total = &node.terms.capabilities.total;
    let mut left = Some(total.clone());
    for e in node.executors.values() {
        let running = u32::try_from(e.running.len()).unwrap_or(u32::MAX);
        left = left.and_then(|l| l.checked_sub(&e.need, running));
        if e.running.len() > e.slots {
            return bad("an executor runs more tasks than it has slots");
        }
    }
    if left.is_none() {
        return bad("its executors run more than it has");
    }
    let Some(worker) = &node.worker else {
        return Ok(());
    };
    // What runs and what the core still calls free must fit side by side.
    let free = worker.free();
    let fits = left.is_some_and(|l| {
        free.cpu_milli <= l.cpu_milli && free.memory_mib <= l.memory_mib && free.disk_mib <= l.disk_mib
    });
    if !fits {
        return bad("its core calls free what is in use, or is not there");
    }
    Ok(())
}
