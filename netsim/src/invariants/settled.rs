//! Everything comes to its end: when all is over no hold is open, no core waits for money, no executor runs, and
//! all resources have come back.

use super::Violation;
use crate::world::World;

/// # Errors
/// What is still open.
pub fn check(world: &World) -> Result<(), Violation> {
    let bad = |detail| Err(Violation::new("settled", detail));
    for node in &world.nodes {
        if let Some(s) = &node.submitter
            && !s.is_settled()
        {
            let leases: Vec<_> = s.leases().collect();
            return bad(format!("{} still has {leases:?}", node.name));
        }
        if let Some(w) = &node.worker {
            if !w.is_settled() {
                let leases: Vec<_> = w.leases().collect();
                return bad(format!("{} still waits for money: {leases:?}", node.name));
            }
            let total = &node.terms.capabilities.total;
            if w.free().cpu_milli < total.cpu_milli || w.free().memory_mib < total.memory_mib {
                return bad(format!("{} has only {:?} free", node.name, w.free()));
            }
        }
        if !node.executors.is_empty() {
            return bad(format!("{} still has executors", node.name));
        }
        if let Some((lease, kept)) = node.disk.kept.first_key_value() {
            return bad(format!(
                "{} still keeps the receipt of {lease}, hold {}",
                node.name, kept.hold
            ));
        }
    }
    if let Some((id, hold)) = world.oracle.books.holds.iter().find(|(_, h)| h.open) {
        return bad(format!("hold {id} of {} is open", hold.amount));
    }
    Ok(())
}
