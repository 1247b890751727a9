//! Balances, budgets, holds that run out, receipts that claim too much, authorities that are away.

use super::*;
use crate::testing::TestHive;
use hive_protocol::{money::MicroCpt, time::Millis};

#[test]
fn with_a_balance_too_small_the_job_waits_and_says_so() {
    let mut hive = TestHive::new();
    hive.worker(2);
    hive.fund(MicroCpt(0));
    let job = hive.submit(TestHive::spec(10));
    hive.run(10_000);
    assert!(
        matches!(state(&hive, job), JobState::Waiting { ref code, .. } if code == "wallet.insufficient"),
        "{:?}",
        state(&hive, job)
    );
    let explain = hive.submitter.explain(job, TaskIndex(0)).unwrap();
    assert_eq!(explain.code, "wallet.insufficient");
    hive.fund(MicroCpt::cpt(10));
    ends_and_settles(&mut hive, job, MINUTE);
}

#[test]
fn a_small_balance_gets_a_smaller_hold() {
    let mut hive = TestHive::new();
    let a = hive.worker(2);
    // One task's worst case is 1000 µCPT; 10 tasks really cost 10.
    hive.fund(MicroCpt(700));
    let job = hive.submit(TestHive::spec(10));
    ends_and_settles(&mut hive, job, MINUTE);
    assert_eq!(hive.submitter.job(job).unwrap().totals.succeeded, 10);
    assert_eq!(hive.earned(a), MicroCpt(10));
}

#[test]
fn the_budget_is_never_exceeded() {
    let mut hive = TestHive::new();
    let a = hive.worker(2);
    let b = hive.worker(2);
    for w in &mut hive.workers {
        w.fuel = 100_000_000; // 100 µCPT a task
    }
    let mut spec = TestHive::spec(100);
    spec.budget = MicroCpt(3_000);
    let job = hive.submit(spec);
    hive.run(2 * MINUTE);
    assert!(
        matches!(state(&hive, job), JobState::Waiting { ref code, .. } if code == "job.budget"),
        "{:?} {:?}",
        hive.submitter.job(job),
        hive.submitter.leases().collect::<Vec<_>>()
    );
    let view = hive.submitter.job(job).unwrap();
    assert!(view.totals.spent <= MicroCpt(3_000));
    assert!(view.totals.succeeded >= 20, "{:?}", view.totals);
    let paid = hive.earned(a).0 + hive.earned(b).0;
    assert_eq!(paid, view.totals.spent.0);
    hive.input(crate::submitter::Input::StopJob { job });
    ends_and_settles(&mut hive, job, MINUTE);
}

#[test]
fn a_hold_that_runs_out_is_followed_by_another_without_a_break() {
    let mut hive = TestHive::new();
    let a = hive.worker(2);
    hive.workers[a].fuel = 500_000_000; // 500 µCPT of at most 1000
    hive.workers[a].task_ms = 50;
    let mut spec = TestHive::spec(400);
    spec.budget = MicroCpt(250_000);
    let job = hive.submit(spec);
    let start = hive.now;
    ends_and_settles(&mut hive, job, 10 * MINUTE);
    let view = hive.submitter.job(job).unwrap();
    assert_eq!(view.totals.succeeded, 400);
    assert_eq!(view.totals.spent, MicroCpt(200_000));
    assert_eq!(hive.earned(a), MicroCpt(200_000));
    assert!(
        hive.submitter.counters().renewals > 0,
        "{:?}",
        hive.submitter.counters()
    );
    let took = hive.now.since(start).0;
    assert!(took < 13_000, "400 tasks of 50 ms on 2 slots took {took} ms");
}

#[test]
fn a_lease_is_replaced_before_its_hold_expires() {
    let mut hive = TestHive::new();
    let a = hive.worker(2);
    hive.workers[a].task_ms = 10_000;
    // Ten seconds each, two at a time: almost an hour, with holds of half an hour.
    let job = hive.submit(TestHive::spec(600));
    ends_and_settles(&mut hive, job, 70 * MINUTE);
    let view = hive.submitter.job(job).unwrap();
    assert!(hive.submitter.counters().renewals > 0);
    assert_eq!(view.totals.succeeded, 600);
    assert_eq!(hive.earned(a), MicroCpt(600));
    assert!(
        hive.authority
            .holds
            .values()
            .all(|h| !matches!(h.state, HoldState::Expired | HoldState::Open)),
        "{:?}",
        hive.authority.holds
    );
    assert!((0..600).all(|i| hive.total_runs(i) == 1));
}

#[test]
fn a_receipt_that_claims_too_much_is_refused_and_not_paid() {
    let mut hive = TestHive::new();
    let liar = hive.worker(2);
    let honest = hive.worker(2);
    hive.workers[liar].lie = 3;
    for w in &mut hive.workers {
        w.task_ms = 100;
    }
    let job = hive.submit(TestHive::spec(100));
    ends_and_settles(&mut hive, job, 5 * MINUTE);
    assert_eq!(hive.submitter.job(job).unwrap().totals.succeeded, 100);
    assert!(
        hive.events(|e| matches!(e, Event::ReceiptRefused { code, .. } if *code == "receipt.too_much")) > 0
    );
    assert_eq!(hive.earned(liar), MicroCpt(0));
    assert!(hive.earned(honest) > MicroCpt(50));
    assert!(
        hive.worker_events(
            liar,
            |e| matches!(e, worker::Event::LeaseEnded { code, .. } if code == "lease.unpaid")
        ) > 0
    );
    for i in 0..100 {
        assert_eq!(hive.journalled(job, i), 1, "task {i}");
    }
}

#[test]
fn held_leases_run_on_while_the_authority_is_away() {
    let mut hive = TestHive::new();
    let a = hive.worker(2);
    hive.workers[a].task_ms = 500;
    let job = hive.submit(TestHive::spec(40));
    hive.run(1_000);
    hive.authority.up = false;
    hive.input(crate::submitter::Input::AuthorityDown);
    ends(&mut hive, job, MINUTE);
    assert_eq!(hive.submitter.job(job).unwrap().totals.succeeded, 40);
    hive.run(20_000);
    assert_eq!(hive.earned(a), MicroCpt(0), "nobody to pay out yet");
    let second = hive.submit(TestHive::spec(4));
    hive.run(5_000);
    assert!(
        matches!(state(&hive, second), JobState::Waiting { ref code, .. } if code == "authority.unreachable")
    );
    hive.authority.up = true;
    hive.input(crate::submitter::Input::AuthorityUp);
    hive.tell(a, worker::Input::AuthorityUp);
    ends_and_settles(&mut hive, second, MINUTE);
    hive.run(20_000);
    assert_eq!(hive.earned(a), MicroCpt(44));
    assert_eq!(open_holds(&hive), 0);
}

#[test]
fn a_worker_stops_when_receipts_are_not_countersigned() {
    let mut hive = TestHive::new();
    let a = hive.worker(2);
    hive.workers[a].task_ms = 10;
    hive.filter = Box::new(|_, up, m| {
        up || !matches!(
            lease_body(m),
            Some(LeaseBody::Countersign(_) | LeaseBody::RefuseReceipt { .. })
        )
    });
    hive.submit(TestHive::spec(100_000));
    hive.run(30_000);
    let ran: u32 = hive.workers[a].ran.values().sum();
    assert!(
        ran < 1200,
        "four receipts of half a second each, then no more: {ran}"
    );
}

#[test]
fn a_free_worker_needs_no_money_and_its_hold_comes_back() {
    let mut hive = TestHive::new();
    let a = hive.worker_with(2, 50, 0, |_| {});
    let job = hive.submit(TestHive::spec(20));
    ends_and_settles(&mut hive, job, MINUTE);
    hive.run(1_000);
    assert_eq!(hive.earned(a), MicroCpt(0));
    assert_eq!(open_holds(&hive), 0, "{:?}", hive.authority.holds);
}

#[test]
fn a_worker_never_starts_beyond_its_hold() {
    let mut hive = TestHive::new();
    let a = hive.worker(1);
    hive.workers[a].fuel = 1_000_000_000; // every task costs all it may: 1000 µCPT
    hive.latency = Millis(5);
    let mut spec = TestHive::spec(50);
    spec.budget = MicroCpt(10_500);
    let job = hive.submit(spec);
    hive.run(MINUTE);
    let ran: u32 = hive.workers[a].ran.values().sum();
    let spent = hive.submitter.job(job).unwrap().totals.spent;
    assert!(spent <= MicroCpt(10_500));
    assert!(ran <= 12, "unpaid work is at most a task: {ran}");
    assert!(ran >= 8, "{ran}");
}
