//! A task ends once: its end is written down for a task that was submitted, and again only after its user has
//! asked for it again.

use super::Violation;
use crate::oracle::JobFacts;
use hive_protocol::ids::{JobId, TaskIndex};
use hive_scheduler::submitter::TaskEnd;

/// Looks at an end that goes to the journal.
///
/// # Errors
/// The task is none, or has ended before.
pub fn check(job: &JobId, facts: &JobFacts, index: TaskIndex, end: &TaskEnd) -> Result<(), Violation> {
    let bad = |detail| Err(Violation::new("ends_once", detail));
    if index.0 >= facts.tasks {
        return bad(format!(
            "task {} of job {job} ends and was never submitted",
            index.0
        ));
    }
    if let Some(before) = facts.ended.get(&index) {
        return bad(format!(
            "task {} of job {job} ends twice: {before:?}, then {end:?}",
            index.0
        ));
    }
    Ok(())
}
