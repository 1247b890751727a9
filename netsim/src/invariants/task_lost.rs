//! No task is lost: when all is over every submitted task has ended exactly once, in its job's totals and in its
//! journal alike, and every job has.

use super::Violation;
use crate::world::World;

/// # Errors
/// The first task or job that has not ended, or not alike everywhere.
pub fn check(world: &World) -> Result<(), Violation> {
    let bad = |detail| Err(Violation::new("task_lost", detail));
    if world.oracle.job_facts().count() < world.plan.jobs.len() {
        return bad("a job has not been submitted".into());
    }
    for (id, facts) in world.oracle.job_facts() {
        let node = &world.nodes[facts.node];
        let Some(job) = node.submitter.as_ref().and_then(|s| s.job(*id)) else {
            return bad(format!("job {id} is not known to its submitter"));
        };
        let what = format!("job {} ({id}) of {}", facts.number, node.name);
        if !job.state.is_final() {
            let leases: Vec<_> = node
                .submitter
                .iter()
                .flat_map(|s| s.leases())
                .filter(|l| l.job == *id)
                .collect();
            return bad(format!(
                "{what} has not ended: {:?}, {:?}, {leases:?}",
                job.state, job.totals
            ));
        }
        let totals = job.totals;
        if totals.tasks != facts.tasks || totals.ended() != facts.tasks {
            return bad(format!(
                "{what} had {} tasks, its totals are {totals:?}",
                facts.tasks
            ));
        }
        let journal = node.disk.jobs.get(id).map_or(0, |j| j.ended.len());
        if journal != facts.tasks as usize || facts.ended.len() != journal {
            return bad(format!(
                "{what} had {} tasks, its journal has the ends of {journal}",
                facts.tasks
            ));
        }
        let succeeded = facts
            .ended
            .values()
            .filter(|e| matches!(e, hive_scheduler::submitter::TaskEnd::Succeeded));
        if succeeded.count() != totals.succeeded as usize {
            return bad(format!("{what}: journal and totals differ on successes"));
        }
    }
    Ok(())
}
