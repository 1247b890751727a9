//! Idle places seen from inside: marks, bounds and counts that no message shows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::{
    submitter::{Input, job::Standing},
    testing::TestHive,
};
use hive_protocol::{ids::DemandId, task::TaskSpec};

/// An open job of so many tasks, of which the first takes ten minutes.
fn with_a_long_task(hive: &mut TestHive, tasks: u32) -> JobId {
    for w in &mut hive.workers {
        w.task_ms = 1_000;
        w.slow.insert(0, 600_000);
    }
    let mut spec = TestHive::spec(tasks);
    spec.open = true;
    hive.submit(spec)
}

fn only_lease(hive: &TestHive) -> LeaseNo {
    assert_eq!(hive.submitter.leases.len(), 1);
    *hive.submitter.leases.keys().next().unwrap()
}

#[test]
fn a_lease_nothing_shuns_any_more_keeps_its_places_for_its_job() {
    let mut hive = TestHive::new();
    hive.worker(2);
    let id = with_a_long_task(&mut hive, 2);
    hive.run(3_000);
    let no = only_lease(&hive);
    let core = &mut hive.submitter;
    assert!(
        core.spare_since(&core.leases[&no]).is_some(),
        "it may give up a place"
    );
    // The job wants more places itself; what would not come here has gone to another lease.
    core.jobs.get_mut(&id).unwrap().demand = Some(Standing {
        id: DemandId([1; 16]),
        slots: 1,
        since: core.now,
    });
    core.leases.get_mut(&no).unwrap().unsuited = true;
    assert_eq!(core.spare_since(&core.leases[&no]), None);
    // And when it is looked at again, that is over.
    core.jobs.get_mut(&id).unwrap().refill.insert(no);
    core.dispatch(id);
    assert!(!core.leases[&no].unsuited);
}

#[test]
fn a_node_with_nothing_left_to_give_is_not_looked_at_again() {
    let mut hive = TestHive::new();
    hive.worker(2);
    with_a_long_task(&mut hive, 2);
    hive.run(3_000);
    let no = only_lease(&hive);
    let node = hive.workers[0].id;
    let other = hive.submit(TestHive::spec(1));
    let core = &mut hive.submitter;
    let mut spare = BTreeMap::from([(node, vec![no]), (NodeId([7; 32]), Vec::new())]);
    core.share_out(other, &mut spare);
    assert_eq!(core.counters.places_moved, 1);
    assert!(spare.is_empty(), "{spare:?}");
}

#[test]
fn a_task_that_also_runs_with_a_closing_lease_needs_the_slot_it_has() {
    let mut hive = TestHive::new();
    hive.worker(1);
    hive.worker(1);
    let id = with_a_long_task(&mut hive, 2);
    assert!(hive.run_until(20_000, |h| h.submitter.counters().doubled == 1));
    hive.run(10);
    let [first, second] = hive.submitter.jobs[&id].slots[0].copies;
    assert!(first != 0 && second != 0);
    hive.submitter.close_lease(first);
    hive.run(10);
    assert_eq!(hive.submitter.job(id).unwrap().slots, 1);
    assert_eq!(hive.submitter.job(id).unwrap().wanted, 0);
    // The one slot left has the long task: the next one needs another.
    hive.input(Input::AddTasks {
        job: id,
        tasks: vec![TaskSpec::default()],
    });
    hive.run(10);
    assert_eq!(hive.submitter.job(id).unwrap().wanted, 1);
    // With a lease that closes too it has its place there, once.
    hive.submitter.close_lease(second);
    let core = &hive.submitter;
    let job = &core.jobs[&id];
    let there: usize = [first, second]
        .iter()
        .map(|no| core.leases[no].assigned.len())
        .sum();
    assert_eq!(core.placed(job) as usize, there - 1);
}
