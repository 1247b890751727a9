//! The cases issue 2 names, each played through in virtual time with every effect looked at.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod chaos;
mod faults;
mod flow;
mod greedy;
mod money;
mod place;
mod places;
mod users;

use crate::{
    submitter::{Effect, Event, JobState},
    testing::{HoldState, TestHive},
    worker,
};
use hive_protocol::{
    ids::{JobId, TaskIndex},
    work::{LeaseBody, WorkMsg},
};

const MINUTE: u64 = 60_000;

fn state(hive: &TestHive, job: JobId) -> JobState {
    hive.submitter.job(job).unwrap().state
}

fn ends(hive: &mut TestHive, job: JobId, ms: u64) {
    let done = hive.run_until(ms, |h| state(h, job).is_final());
    assert!(
        done,
        "job did not end: {:?} {:?}",
        hive.submitter.job(job),
        hive.submitter.leases().collect::<Vec<_>>()
    );
}

/// The job ends, and everything is settled on both sides with no hold left open.
fn ends_and_settles(hive: &mut TestHive, job: JobId, ms: u64) {
    ends(hive, job, ms);
    let settled = hive.run_until(2 * MINUTE, |h| {
        h.submitter.is_settled() && h.workers.iter().all(|w| !w.alive || w.core.is_settled())
    });
    assert!(
        settled,
        "not settled: {:?} {:?}",
        hive.submitter.leases().collect::<Vec<_>>(),
        hive.workers
            .iter()
            .map(|w| w.core.leases().collect::<Vec<_>>())
            .collect::<Vec<_>>()
    );
    assert!(
        hive.events(|e| matches!(e, Event::JobSettled { job: j, .. } if *j == job)) > 0,
        "settled but not said"
    );
}

fn open_holds(hive: &TestHive) -> usize {
    hive.authority
        .holds
        .values()
        .filter(|h| h.state == HoldState::Open)
        .count()
}

fn lease_body(message: &WorkMsg) -> Option<&LeaseBody> {
    match message {
        WorkMsg::Lease { body, .. } => Some(body),
        _ => None,
    }
}

fn running(hive: &TestHive, job: JobId) -> u32 {
    hive.submitter.job(job).unwrap().totals.running
}

impl TestHive {
    /// How many events of the submitter this holds for.
    fn events(&self, f: impl Fn(&Event) -> bool) -> usize {
        self.effects
            .iter()
            .filter(|e| matches!(e, Effect::Event(e) if f(e)))
            .count()
    }

    fn worker_events(&self, n: usize, f: impl Fn(&worker::Event) -> bool) -> usize {
        self.worker_effects
            .iter()
            .filter(|(w, e)| *w == n && matches!(e, worker::Effect::Event(e) if f(e)))
            .count()
    }

    fn total_runs(&self, index: u32) -> u32 {
        self.workers.iter().filter_map(|w| w.ran.get(&index)).sum()
    }

    fn journalled(&self, job: JobId, index: u32) -> usize {
        self.effects
            .iter()
            .filter(|e| {
                matches!(e, Effect::JournalTask { job: j, index: i, .. }
                    if *j == job && *i == TaskIndex(index))
            })
            .count()
    }
}
