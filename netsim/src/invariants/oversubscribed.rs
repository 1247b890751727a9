//! Leases never oversubscribe a node, counted twice: by what its executors truly run, and by what its core says
//! it has given. Both against what the machine truly has, which the core only believes to know.

use super::Violation;
use crate::world::World;
use hive_protocol::resources::Resources;
use std::collections::BTreeMap;

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
    // A lease and its successor share slots: of one job's leases only the largest is counted.
    let mut given: BTreeMap<_, (u32, Resources)> = BTreeMap::new();
    for lease in worker.leases().filter(|l| !l.settling) {
        let entry = given
            .entry((lease.submitter, lease.job))
            .or_insert((0, lease.need));
        entry.0 = entry.0.max(lease.slots);
    }
    let mut left = Some(total.clone());
    for (slots, need) in given.values() {
        left = left.and_then(|l| l.checked_sub(need, *slots));
    }
    if left.is_none() {
        return bad("it has promised more than it has");
    }
    Ok(())
}
