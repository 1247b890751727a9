//! Deaths, restarts, lost and doubled messages, slow workers, dying executors.

use super::*;
use crate::testing::TestHive;
use hive_protocol::{money::MicroCpt, task::Outcome};
use std::{cell::Cell, rc::Rc};

#[test]
fn a_dead_workers_tasks_run_elsewhere() {
    let mut hive = TestHive::new();
    let a = hive.worker(2);
    let b = hive.worker(2);
    for w in &mut hive.workers {
        w.task_ms = 500;
    }
    let job = hive.submit(TestHive::spec(40));
    assert!(hive.run_until(MINUTE, |h| running(h, job) == 4));
    hive.kill(a);
    ends_and_settles(&mut hive, job, 5 * MINUTE);
    let totals = hive.submitter.job(job).unwrap().totals;
    assert_eq!(totals.succeeded, 40);
    assert!(totals.retries > 0);
    assert!(hive.events(|e| matches!(e, Event::LeaseEnded { code, .. } if code == "lease.lost")) == 1);
    for i in 0..40 {
        assert_eq!(hive.journalled(job, i), 1, "task {i} counted once");
    }
    assert!(hive.earned(b) > MicroCpt(30));
    assert!(hive.earned(a) <= MicroCpt(4));
}

#[test]
fn without_another_worker_the_tasks_wait_for_its_return() {
    let mut hive = TestHive::new();
    let a = hive.worker(1);
    hive.workers[a].task_ms = 1000;
    let job = hive.submit(TestHive::spec(5));
    assert!(hive.run_until(MINUTE, |h| running(h, job) == 1));
    hive.kill(a);
    hive.announce(a);
    hive.run(40_000);
    assert!(
        matches!(state(&hive, job), JobState::Waiting { ref code, .. } if code == "place.no_worker"),
        "{:?}",
        state(&hive, job)
    );
    hive.revive(a);
    hive.announce(a);
    ends_and_settles(&mut hive, job, 5 * MINUTE);
    assert_eq!(hive.submitter.job(job).unwrap().totals.succeeded, 5);
}

#[test]
fn a_restarted_worker_does_not_know_its_leases_and_says_so() {
    let mut hive = TestHive::new();
    let a = hive.worker(2);
    hive.workers[a].task_ms = 300;
    let job = hive.submit(TestHive::spec(30));
    assert!(hive.run_until(MINUTE, |h| h.submitter.job(job).unwrap().totals.succeeded >= 10));
    let t = hive.now;
    hive.kill(a);
    hive.revive(a);
    ends_and_settles(&mut hive, job, 5 * MINUTE);
    assert!(hive.now.since(t).0 < 15_000, "no need to wait for the grace time");
    let view = hive.submitter.job(job).unwrap();
    assert_eq!(view.totals.succeeded, 30);
    assert_eq!(hive.earned(a), view.totals.spent, "kept receipts are paid");
}

#[test]
fn a_restarted_submitter_goes_on_where_its_journal_ends() {
    let mut hive = TestHive::new();
    let a = hive.worker(2);
    let b = hive.worker(2);
    for w in &mut hive.workers {
        w.task_ms = 200;
    }
    let job = hive.submit(TestHive::spec(60));
    assert!(hive.run_until(MINUTE, |h| h.journal[&job].ended.len() >= 20));
    hive.restart_submitter();
    ends_and_settles(&mut hive, job, 5 * MINUTE);
    assert_eq!(hive.journal[&job].ended.len(), 60);
    for i in 0..60 {
        assert_eq!(hive.journalled(job, i), 1, "task {i}");
    }
    let view = hive.submitter.job(job).unwrap();
    let paid = hive.earned(a).0 + hive.earned(b).0;
    assert_eq!(paid, view.totals.spent.0, "spent is what was paid");
    assert!((20..=70).contains(&paid), "none paid twice: {paid}");
    assert_eq!(open_holds(&hive), 0);
}

#[test]
fn a_doubled_message_is_used_once() {
    let mut hive = TestHive::new();
    let a = hive.worker(2);
    let again = Rc::new(Cell::new(None));
    let keep = again.clone();
    hive.filter = Box::new(move |_, up, m| {
        if up && matches!(lease_body(m), Some(LeaseBody::Results(_))) {
            keep.set(Some(m.clone()));
        }
        true
    });
    let job = hive.submit(TestHive::spec(20));
    for _ in 0..200 {
        hive.run(3);
        if let Some(message) = again.take() {
            let from = hive.workers[a].id;
            hive.input(crate::submitter::Input::Message { from, message });
        }
    }
    ends_and_settles(&mut hive, job, MINUTE);
    assert!(hive.submitter.counters().duplicates > 0);
    assert_eq!(hive.submitter.job(job).unwrap().totals.succeeded, 20);
    assert_eq!(hive.earned(a), MicroCpt(20));
}

#[test]
fn lost_messages_are_sent_again() {
    let mut hive = TestHive::new();
    let a = hive.worker(2);
    let n = Rc::new(Cell::new(0u32));
    let count = n.clone();
    hive.filter = Box::new(move |_, _, m| {
        if lease_body(m).is_none() {
            return true;
        }
        // A third of them, in no pattern that resending could fall into step with.
        let n = count.get() + 1;
        count.set(n);
        !(n.wrapping_mul(2_654_435_761) >> 7).is_multiple_of(3)
    });
    let job = hive.submit(TestHive::spec(100));
    ends_and_settles(&mut hive, job, 10 * MINUTE);
    assert!(n.get() > 30, "messages were lost");
    assert!(hive.submitter.counters().gaps > 0 || hive.workers[a].core.counters().gaps > 0);
    let totals = hive.submitter.job(job).unwrap().totals;
    assert_eq!((totals.succeeded, totals.retries), (100, 0));
    assert_eq!(hive.earned(a), MicroCpt(100));
    assert!((0..100).all(|i| hive.total_runs(i) == 1), "each ran once");
}

#[test]
fn even_requests_and_answers_may_be_lost() {
    let mut hive = TestHive::new();
    hive.worker(2);
    let n = Rc::new(Cell::new(0u32));
    hive.filter = Box::new(move |_, _, m| {
        n.set(n.get() + 1);
        let answer = matches!(
            m,
            WorkMsg::LeaseRequest(_) | WorkMsg::LeaseAccept { .. } | WorkMsg::Offer(_)
        );
        !(answer && n.get() < 4)
    });
    let job = hive.submit(TestHive::spec(5));
    ends_and_settles(&mut hive, job, MINUTE);
    assert_eq!(open_holds(&hive), 0);
}

#[test]
fn a_lease_is_resumed_on_a_new_connection() {
    let mut hive = TestHive::new();
    let a = hive.worker(2);
    hive.workers[a].task_ms = 400;
    let job = hive.submit(TestHive::spec(30));
    for _ in 0..4 {
        assert!(hive.run_until(MINUTE, |h| running(h, job) == 2));
        hive.cut(a);
        hive.run(3_000);
        hive.connect(a);
        hive.run(500);
    }
    ends_and_settles(&mut hive, job, MINUTE);
    let totals = hive.submitter.job(job).unwrap().totals;
    assert_eq!((totals.succeeded, totals.retries), (30, 0));
    assert_eq!(hive.submitter.counters().leases_opened, 1, "one lease");
    assert!((0..30).all(|i| hive.total_runs(i) == 1), "each ran once");
    assert_eq!(hive.earned(a), MicroCpt(30));
}

#[test]
fn work_goes_on_while_the_connection_is_away() {
    let mut hive = TestHive::new();
    let a = hive.worker(2);
    hive.workers[a].task_ms = 50;
    let job = hive.submit(TestHive::spec(200));
    hive.run(500);
    let before = hive.workers[a].ran.len();
    hive.cut(a);
    hive.run(5_000);
    assert!(hive.workers[a].ran.len() > before + 2, "the queue went on");
    hive.connect(a);
    ends_and_settles(&mut hive, job, MINUTE);
    assert!((0..200).all(|i| hive.total_runs(i) == 1));
}

#[test]
fn a_submitter_that_stays_away_ends_the_lease_and_what_was_signed_is_paid() {
    let mut hive = TestHive::new();
    let a = hive.worker(2);
    hive.workers[a].task_ms = 100;
    hive.submit(TestHive::spec(1000));
    hive.run(3_000);
    hive.cut(a);
    hive.run(30_000);
    let view: Vec<_> = hive.workers[a].core.leases().collect();
    assert!(view.is_empty(), "{view:?}");
    assert!(hive.workers[a].executors.is_empty(), "executor stopped");
    assert!(hive.earned(a) > MicroCpt(20));
    assert_eq!(
        hive.worker_events(
            a,
            |e| matches!(e, worker::Event::LeaseEnded { code, .. } if code == "lease.lost")
        ),
        1
    );
    assert_eq!(hive.workers[a].core.free().cpu_milli, 2000, "all given back");
}

#[test]
fn a_slow_workers_last_tasks_are_taken_back_or_doubled() {
    let mut hive = TestHive::new();
    let slow = hive.worker(2);
    let fast = hive.worker(2);
    hive.workers[slow].task_ms = 20_000;
    hive.workers[fast].task_ms = 100;
    let job = hive.submit(TestHive::spec(40));
    let start = hive.now;
    ends(&mut hive, job, 5 * MINUTE);
    let took = hive.now.since(start).0;
    assert!(took < 15_000, "did not wait for the slow one: {took} ms");
    let c = *hive.submitter.counters();
    assert!(c.stolen + c.doubled > 0, "{c:?}");
    for i in 0..40 {
        assert_eq!(hive.journalled(job, i), 1, "first result used, task {i}");
    }
    assert!((0..40).all(|i| hive.total_runs(i) <= 2));
    ends_and_settles(&mut hive, job, MINUTE);
}

#[test]
fn an_executor_that_dies_is_started_again_and_its_task_retried() {
    let mut hive = TestHive::new();
    let a = hive.worker(2);
    hive.workers[a].task_ms = 300;
    let job = hive.submit(TestHive::spec(10));
    assert!(hive.run_until(MINUTE, |h| running(h, job) == 2));
    hive.kill_executor(a);
    ends_and_settles(&mut hive, job, MINUTE);
    let totals = hive.submitter.job(job).unwrap().totals;
    assert_eq!((totals.succeeded, totals.retries), (10, 2));
    assert_eq!(
        hive.events(|e| matches!(e, Event::TaskRetried { code, .. } if code == "exec.died")),
        2
    );
}

#[test]
fn a_task_that_kills_every_executor_is_given_up() {
    let mut hive = TestHive::new();
    hive.worker(1);
    hive.worker(1);
    for w in &mut hive.workers {
        w.outcomes.insert(
            3,
            Outcome::Failed {
                code: "exec.died".into(),
                detail: "signal 9".into(),
                retryable: true,
            },
        );
    }
    let job = hive.submit(TestHive::spec(8));
    ends_and_settles(&mut hive, job, MINUTE);
    let view = hive.submitter.job(job).unwrap();
    assert_eq!((view.totals.succeeded, view.totals.failed), (7, 1));
    assert_eq!(hive.total_runs(3), 4, "first try and three retries");
    let task = hive.submitter.task(job, TaskIndex(3)).unwrap();
    let crate::submitter::TaskStage::Ended(end) = task.stage else {
        panic!("{task:?}")
    };
    assert!(
        matches!(&end, crate::submitter::TaskEnd::Failed { code, detail }
            if code == "task.lost" && detail.contains("exec.died")),
        "{end:?}"
    );
    let paid: u64 = (0..2).map(|n| hive.earned(n).0).sum();
    assert_eq!(paid, 7, "the worker's fault is not paid");
}

#[test]
fn a_retry_avoids_the_worker_that_failed() {
    let mut hive = TestHive::new();
    let bad = hive.worker(2);
    let good = hive.worker(2);
    for i in 0..20 {
        hive.workers[bad].outcomes.insert(
            i,
            Outcome::Failed {
                code: "blob.unavailable".into(),
                detail: String::new(),
                retryable: true,
            },
        );
    }
    let mut spec = TestHive::spec(20);
    spec.retries = 1;
    let job = hive.submit(spec);
    ends_and_settles(&mut hive, job, MINUTE);
    assert_eq!(hive.submitter.job(job).unwrap().totals.succeeded, 20);
    assert_eq!(hive.workers[good].ran.len(), 20);
}

#[test]
fn a_draining_worker_gives_its_queue_back_and_finishes_what_runs() {
    let mut hive = TestHive::new();
    let a = hive.worker(2);
    let b = hive.worker(2);
    for w in &mut hive.workers {
        w.task_ms = 2_000;
    }
    let job = hive.submit(TestHive::spec(12));
    assert!(hive.run_until(MINUTE, |h| running(h, job) == 4));
    hive.tell(a, worker::Input::Drain(true));
    assert!(hive.run_until(5_000, |h| h.workers[a].core.is_idle()));
    assert_eq!(hive.workers[a].ran.len(), 2, "what ran was finished");
    ends_and_settles(&mut hive, job, MINUTE);
    let totals = hive.submitter.job(job).unwrap().totals;
    assert_eq!(totals.succeeded, 12);
    assert!((0..12).all(|i| hive.total_runs(i) == 1));
    assert_eq!(hive.earned(a), MicroCpt(2));
    assert_eq!(hive.workers[b].ran.len(), 10);
}

#[test]
fn of_two_results_of_one_task_the_first_is_used_and_both_are_paid() {
    let mut hive = TestHive::new();
    let a = hive.worker(1);
    let b = hive.worker(1);
    // So far away that the cancellation of the second copy crosses its result.
    hive.latency = hive_protocol::time::Millis(400);
    for (n, ms) in [(a, 4_000), (b, 1_500)] {
        hive.workers[n].slow = [(0, 1), (1, ms)].into();
    }
    let job = hive.submit(TestHive::spec(2));
    ends_and_settles(&mut hive, job, MINUTE);
    assert_eq!(hive.submitter.counters().doubled, 1);
    assert_eq!(hive.submitter.counters().late_results, 1);
    assert_eq!(hive.total_runs(1), 2);
    assert_eq!(hive.journalled(job, 1), 1);
    assert_eq!(hive.earned(a).0 + hive.earned(b).0, 3, "both were work");
}
