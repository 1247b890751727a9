//! Places one job holds and does not use, while another job of the same submitter waits.

use super::*;
use crate::submitter::Input;
use hive_protocol::{
    ids::NodeId,
    resources::Resources,
    task::{BlobRef, TaskSpec},
};

/// How long the other job may wait for places that lie idle: a quarter of a second of patience, the authority, the worker.
const PROMPTLY: u64 = 400;

/// A worker of so many cores with one task that takes a minute, all places of which are one job's.
fn one_long_task(cores: u32) -> (TestHive, JobId) {
    let mut hive = TestHive::new();
    let a = hive.worker(cores);
    hive.workers[a].slow.insert(0, MINUTE);
    let job = hive.submit(TestHive::spec(cores));
    assert!(
        hive.run_until(5_000, |h| h.submitter.job(job).unwrap().totals.succeeded
            == cores - 1)
    );
    hive.workers[a].slow.clear();
    hive.run(2_000);
    assert_eq!(
        hive.submitter.leases().count(),
        1,
        "nobody waits: the lease stays as it is"
    );
    assert_eq!(hive.submitter.leases().next().unwrap().phase, "active");
    (hive, job)
}

fn leases_of(hive: &TestHive, job: JobId) -> Vec<&'static str> {
    hive.submitter
        .leases()
        .filter(|l| l.job == job)
        .map(|l| l.phase)
        .collect()
}

fn succeeded(hive: &TestHive, job: JobId) -> u32 {
    hive.submitter.job(job).unwrap().totals.succeeded
}

fn add(hive: &mut TestHive, job: JobId) {
    hive.input(Input::AddTasks {
        job,
        tasks: vec![TaskSpec::default()],
    });
}

#[test]
fn places_beside_a_long_task_go_to_the_job_that_waits() {
    let (mut hive, long) = one_long_task(4);
    let start = hive.now;
    let short = hive.submit(TestHive::spec(30));
    ends(&mut hive, short, PROMPTLY + 30 * 10);
    assert_eq!(running(&hive, long), 1, "the long one runs on where it is");
    assert_eq!(hive.total_runs(0), 1, "of the other job: it was not begun again");
    assert_eq!(hive.submitter.counters().places_moved, 3);
    // And so on: each job that comes has them.
    let next = hive.submit(TestHive::spec(3));
    ends(&mut hive, next, PROMPTLY);
    // All the while nothing is leased for what has its place.
    assert_eq!(leases_of(&hive, long), ["closing"]);
    assert_eq!(hive.submitter.counters().leases_opened, 3);
    assert_eq!(hive.workers[0].peak, 4);
    ends_and_settles(&mut hive, long, 2 * MINUTE);
    assert!(hive.now.since(start).0 > 50_000);
    assert_eq!(hive.earned(0).0, 4 + 30 + 3, "everybody was paid");
    assert_eq!(hive.workers[0].core.free().cpu_milli, 4000);
}

#[test]
fn tasks_of_a_closing_lease_that_is_lost_get_a_place_again() {
    let (mut hive, long) = one_long_task(2);
    let short = hive.submit(TestHive::spec(1));
    ends(&mut hive, short, PROMPTLY);
    // The worker goes and comes back without a memory.
    hive.kill(0);
    hive.run(2_000);
    hive.revive(0);
    ends_and_settles(&mut hive, long, 3 * MINUTE);
    assert_eq!(succeeded(&hive, long), 2);
}

#[test]
fn an_open_job_at_rest_gives_its_places_and_gets_others_when_it_wakes() {
    let mut hive = TestHive::new();
    let a = hive.worker(2);
    hive.workers[a].task_ms = 1_000;
    let mut spec = TestHive::spec(2);
    spec.open = true;
    let open = hive.submit(spec);
    assert!(hive.run_until(10_000, |h| succeeded(h, open) == 2));
    hive.run(10_000);
    assert_eq!(leases_of(&hive, open), ["active"]);
    let other = hive.submit(TestHive::spec(1));
    ends(&mut hive, other, 1_000 + PROMPTLY);
    // What comes later finds places as the first task did.
    add(&mut hive, open);
    assert!(hive.run_until(3_500, |h| succeeded(h, open) == 3));
    hive.input(Input::CloseJob { job: open });
    ends_and_settles(&mut hive, open, MINUTE);
}

#[test]
fn a_job_whose_tasks_keep_coming_keeps_its_lease() {
    let mut hive = TestHive::new();
    let a = hive.worker(2);
    let mut spec = TestHive::spec(2);
    spec.open = true;
    let open = hive.submit(spec);
    hive.run(1_000);
    // A tenth of the time a task, nine tenths nothing; never more than one place of the two.
    add(&mut hive, open);
    let other = hive.submit(TestHive::spec(1));
    for _ in 0..30 {
        hive.run(100);
        add(&mut hive, open);
    }
    assert_eq!(hive.submitter.counters().leases_opened, 1, "the one it had");
    assert_eq!(succeeded(&hive, other), 0);
    // It pauses: now the other has its turn.
    ends(&mut hive, other, PROMPTLY);
    assert_eq!(succeeded(&hive, open), 33);
    hive.input(Input::CloseJob { job: open });
    ends_and_settles(&mut hive, open, MINUTE);
    assert_eq!(hive.workers[a].peak, 2);
}

#[test]
fn while_its_own_tasks_wait_a_job_gives_nothing() {
    let mut hive = TestHive::new();
    for _ in 0..2 {
        let n = hive.worker(2);
        hive.workers[n].task_ms = 20;
    }
    let large = hive.submit(TestHive::spec(1_000));
    hive.run(500);
    let small = hive.submit(TestHive::spec(50));
    assert!(hive.run_until(MINUTE, |h| h.submitter.job(large).unwrap().totals.waiting == 0));
    assert_eq!(hive.submitter.counters().places_moved, 0);
    assert_eq!(succeeded(&hive, small), 0);
    ends_and_settles(&mut hive, large, MINUTE);
    ends_and_settles(&mut hive, small, MINUTE);
    // A lease for each job and worker, whatever went from hand to hand.
    assert!(hive.submitter.counters().leases_opened <= 4);
}

#[test]
fn nothing_is_given_up_for_a_job_that_could_not_go_there() {
    let (mut hive, long) = one_long_task(3);
    let mut far = TestHive::spec(1);
    far.placement.require_location = "elsewhere".into();
    let mut dear = TestHive::spec(1);
    dear.max_price = hive_protocol::money::MicroCpt(1);
    let mut large = TestHive::spec(1);
    large.program.need = Resources::cpu(4000, 512, 10);
    let mut proud = TestHive::spec(1);
    proud.placement.min_score = 99;
    // As it knows from its heartbeats, two places of its three were free if nobody had them.
    hive.announce(0);
    for spec in [far, dear, large, proud] {
        hive.submit(spec);
    }
    hive.run(10_000);
    assert_eq!(leases_of(&hive, long), ["active"]);
    assert_eq!(hive.submitter.counters().places_moved, 0);
    assert_eq!(
        hive.submitter.counters().holds_asked,
        1,
        "nor any money set aside"
    );
}

#[test]
fn a_worker_that_says_no_is_not_asked_over_and_over() {
    let (mut hive, _long) = one_long_task(2);
    // Its owner wants nobody any more.
    hive.tell(0, worker::Input::Drain(true));
    hive.workers[0].core.check_invariants();
    let node: NodeId = hive.workers[0].id;
    hive.submit(TestHive::spec(1));
    hive.run(10_000);
    let asked = hive
        .effects
        .iter()
        .filter(|e| matches!(e, Effect::RequestLease { to, .. } if *to == node))
        .count();
    assert!(asked <= 2, "asked {asked} times");
}

#[test]
fn the_one_without_any_place_comes_first() {
    let mut hive = TestHive::new();
    let a = hive.worker(3);
    hive.workers[a].task_ms = 3_000;
    hive.workers[a].slow.extend([(0, MINUTE), (1, 1_000), (2, 1_000)]);
    let long = hive.submit(TestHive::spec(2));
    hive.run(500);
    // It has the third place, and more tasks than places.
    let greedy = hive.submit(TestHive::spec(6));
    hive.run(100);
    let modest = hive.submit(TestHive::spec(1));
    hive.workers[a].slow.remove(&0);
    hive.workers[a].slow.insert(0, 1_000);
    ends(&mut hive, modest, 1_000 + PROMPTLY + 1_000);
    assert_eq!(running(&hive, long), 1);
    assert!(!state(&hive, greedy).is_final());
}

#[test]
fn slots_a_lease_leaves_idle_are_its_heirs() {
    let mut hive = TestHive::new();
    let a = hive.worker(4);
    hive.workers[a].slow.extend([(0, 27 * MINUTE), (1, 27 * MINUTE)]);
    let mut spec = TestHive::spec(4);
    spec.open = true;
    let open = hive.submit(spec);
    // Just before the hold is replaced a task comes whose input is long on its way.
    hive.run(25 * MINUTE - 5_000);
    hive.workers[a].fetch_ms = 30_000;
    hive.input(Input::AddTasks {
        job: open,
        tasks: vec![TaskSpec {
            stdin: Some(BlobRef {
                inline: None,
                ..BlobRef::of(b"large")
            }),
            ..TaskSpec::default()
        }],
    });
    assert!(hive.run_until(10_000, |h| leases_of(h, open) == ["closing", "active"]));
    hive.run(10);
    let queued: u32 = hive.workers[a].core.leases().map(|l| l.queued).sum();
    assert_eq!(queued, 1, "it is still on its way");
    // Of four slots three have a task. The fourth is nobody else's, and at once at work.
    assert_eq!(hive.workers[a].core.free().cpu_milli, 0);
    add(&mut hive, open);
    assert!(hive.run_until(1_000, |h| succeeded(h, open) == 3));
    assert_eq!(running(&hive, open), 2);
    hive.input(Input::CloseJob { job: open });
    ends_and_settles(&mut hive, open, 20 * MINUTE);
    assert_eq!(hive.workers[a].core.free().cpu_milli, 4000);
}
