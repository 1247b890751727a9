//! The way of a task when nothing goes wrong.

use crate::{
    submitter::{Effect, Event, JobState},
    testing::{HoldState, PAYER, TestHive},
};
use hive_protocol::{ids::TaskIndex, money::MicroCpt};

fn finished(hive: &TestHive, job: hive_protocol::ids::JobId) -> bool {
    hive.submitter
        .job(job)
        .is_some_and(|j| j.state == JobState::Finished)
}

#[test]
fn a_job_runs_on_all_workers_and_everyone_is_paid() {
    let mut hive = TestHive::new();
    let a = hive.worker(2);
    let b = hive.worker(4);
    let job = hive.submit(TestHive::spec(100));
    assert!(hive.run_until(60_000, |h| finished(h, job)));
    assert!(hive.run_until(60_000, |h| h.submitter.is_settled()));
    hive.run(5_000);
    let view = hive.submitter.job(job).unwrap();
    assert_eq!(view.totals.succeeded, 100);
    assert_eq!(hive.journal[&job].ended.len(), 100);
    // 10^6 fuel a task at 1000 µCPT per Gfuel is one µCPT.
    assert_eq!(view.totals.spent, MicroCpt(100));
    assert_eq!(hive.earned(a).0 + hive.earned(b).0, 100, "paid what was done");
    assert!(hive.earned(a).0 > 10 && hive.earned(b).0 > 30, "shared out");
    assert!(
        hive.authority
            .holds
            .values()
            .all(|h| matches!(h.state, HoldState::Captured(_) | HoldState::Released)),
        "{:?}",
        hive.authority.holds
    );
    assert_eq!(hive.authority.balances[&PAYER], MicroCpt(1_000_000_000_000 - 100));
    assert!(hive.workers.iter().all(|w| w.core.is_settled()));
    assert_eq!(hive.workers[b].peak, 4, "several tasks at once on one node");
    let done = hive
        .effects
        .iter()
        .filter(|e| matches!(e, Effect::Event(Event::JobSettled { .. })))
        .count();
    assert_eq!(done, 1);
    // Journalled before it is said.
    let journalled = hive
        .effects
        .iter()
        .position(|e| matches!(e, Effect::JournalTask { index, .. } if *index == TaskIndex(7)));
    let said = hive
        .effects
        .iter()
        .position(|e| matches!(e, Effect::Event(Event::TaskEnded { index, .. }) if *index == TaskIndex(7)));
    assert!(journalled.unwrap() < said.unwrap());
}

#[test]
fn two_workers_are_kept_busy_to_the_end() {
    let mut hive = TestHive::new();
    for _ in 0..2 {
        let n = hive.worker(1);
        hive.workers[n].task_ms = 50;
    }
    let job = hive.submit(TestHive::spec(200));
    let start = hive.now;
    assert!(hive.run_until(60_000, |h| finished(h, job)));
    let took = hive.now.since(start).0;
    // A bare pool of two takes five seconds.
    assert!(took * 95 <= 5_000 * 100, "{took} ms");
}
