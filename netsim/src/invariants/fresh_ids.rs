//! Ids are never used again: a hold's or a lease's id names one, in all lives of its submitter.

use super::Violation;
use crate::oracle::LeaseFacts;
use hive_protocol::ids::{HoldId, JobId, LeaseId};

/// Looks at a hold that is asked for, for the first time or again: who asks, in which life, for which lease.
///
/// # Errors
/// The id was another hold's.
pub fn hold(
    id: &HoldId,
    first: (usize, u64, LeaseId),
    asked: (usize, u64, LeaseId),
) -> Result<(), Violation> {
    if first == asked {
        return Ok(());
    }
    Err(Violation::new("fresh_ids", format!("hold {id} names two holds")))
}

/// Looks at a lease that is asked for, for the first time or again: by whom, in which life, of whom, for which job.
///
/// # Errors
/// The id was another lease's.
pub fn lease(id: &LeaseId, first: &LeaseFacts, asked: (usize, u64, usize, JobId)) -> Result<(), Violation> {
    if (first.submitter, first.life, first.worker, first.job) == asked {
        return Ok(());
    }
    Err(Violation::new(
        "fresh_ids",
        format!("lease {id} names two leases"),
    ))
}
