//! What users do: stop, retry, add to an open job, follow logs; and results that need fetching.

use super::*;
use crate::{
    submitter::{Input, TaskEnd, TaskStage},
    testing::{Journal, TestHive},
};
use hive_protocol::{
    ids::BlobHash,
    money::MicroCpt,
    task::{BlobRef, Outcome, OutputFile, TaskSpec},
};

#[test]
fn a_stopped_job_stops_everywhere_and_what_is_owed_is_paid() {
    let mut hive = TestHive::new();
    let a = hive.worker(2);
    hive.workers[a].task_ms = 300;
    let job = hive.submit(TestHive::spec(1000));
    assert!(hive.run_until(MINUTE, |h| h.submitter.job(job).unwrap().totals.succeeded >= 10));
    hive.input(Input::StopJob { job });
    assert_eq!(state(&hive, job), JobState::Stopped);
    hive.run(50);
    assert_eq!(hive.workers[a].running(), 0, "running tasks are cancelled");
    ends_and_settles(&mut hive, job, MINUTE);
    let totals = hive.submitter.job(job).unwrap().totals;
    assert_eq!(totals.succeeded + totals.stopped, 1000);
    assert!(hive.earned(a).0 >= u64::from(totals.succeeded));
    assert_eq!(hive.earned(a), totals.spent);
    assert_eq!(open_holds(&hive), 0);
    hive.input(Input::ForgetJob { job });
    assert!(hive.submitter.job(job).is_none());
}

#[test]
fn a_stopped_task_is_final_and_the_rest_goes_on() {
    let mut hive = TestHive::new();
    let a = hive.worker(1);
    hive.workers[a].slow.insert(0, 600_000);
    let job = hive.submit(TestHive::spec(4));
    assert!(hive.run_until(MINUTE, |h| running(h, job) == 1));
    let explain = hive.submitter.explain(job, TaskIndex(0)).unwrap();
    assert_eq!((explain.stage, explain.code.as_str()), ("running", "ok"));
    hive.input(Input::StopTask {
        job,
        index: TaskIndex(0),
    });
    ends_and_settles(&mut hive, job, MINUTE);
    let totals = hive.submitter.job(job).unwrap().totals;
    assert_eq!((totals.succeeded, totals.stopped), (3, 1));
    assert_eq!(
        hive.submitter.task(job, TaskIndex(0)).unwrap().stage,
        TaskStage::Ended(TaskEnd::Stopped)
    );
}

#[test]
fn a_failed_task_is_retried_when_a_user_asks() {
    let mut hive = TestHive::new();
    let a = hive.worker(1);
    hive.workers[a].outcomes.insert(2, Outcome::Exited(7));
    let job = hive.submit(TestHive::spec(4));
    ends_and_settles(&mut hive, job, MINUTE);
    let view = hive.submitter.task(job, TaskIndex(2)).unwrap();
    assert!(matches!(&view.stage, TaskStage::Ended(TaskEnd::Failed { code, .. }) if code == "task.exit"));
    assert_eq!(hive.total_runs(2), 1, "its own failure is final");
    hive.workers[a].outcomes.clear();
    hive.input(Input::RetryTask {
        job,
        index: TaskIndex(2),
    });
    ends_and_settles(&mut hive, job, MINUTE);
    let totals = hive.submitter.job(job).unwrap().totals;
    assert_eq!((totals.succeeded, totals.failed), (4, 0));
    assert_eq!(hive.earned(a), MicroCpt(5), "both tries were work");
}

#[test]
fn an_open_job_keeps_its_lease_and_starts_later_tasks_at_once() {
    let mut hive = TestHive::new();
    let a = hive.worker(1);
    hive.workers[a].task_ms = 5;
    let mut spec = TestHive::spec(0);
    spec.open = true;
    let job = hive.submit(spec);
    hive.run(2_000);
    assert_eq!(state(&hive, job), JobState::Idle);
    for n in 1..=20u32 {
        hive.input(Input::AddTasks {
            job,
            tasks: vec![TaskSpec::default()],
        });
        let start = hive.now;
        assert!(hive.run_until(MINUTE, |h| {
            h.submitter.job(job).unwrap().totals.succeeded == n
        }));
        let took = hive.now.since(start).0;
        if n > 1 {
            assert!(took <= 5 + 2, "a warm task took {took} ms");
        }
        hive.run(1_000);
        assert_eq!(state(&hive, job), JobState::Idle);
    }
    assert_eq!(hive.submitter.counters().leases_opened, 1);
    hive.input(Input::CloseJob { job });
    ends_and_settles(&mut hive, job, MINUTE);
    assert_eq!(hive.earned(a), MicroCpt(20));
}

#[test]
fn an_open_jobs_leases_end_when_idle_for_long() {
    let mut hive = TestHive::new();
    hive.worker(1);
    let mut spec = TestHive::spec(1);
    spec.open = true;
    let job = hive.submit(spec);
    hive.run(2_000);
    assert_eq!(hive.submitter.leases().count(), 1);
    hive.run(6 * MINUTE);
    assert_eq!(hive.submitter.leases().count(), 0);
    assert_eq!(open_holds(&hive), 0);
    hive.input(Input::AddTasks {
        job,
        tasks: vec![TaskSpec::default()],
    });
    assert!(hive.run_until(MINUTE, |h| h.submitter.job(job).unwrap().totals.succeeded == 2));
}

fn with_output(hive: &mut TestHive, n: usize) {
    hive.workers[n].outputs = vec![OutputFile {
        path: "out.png".into(),
        blob: BlobRef::by_hash(BlobHash([3; 32]), 1 << 20),
    }];
}

#[test]
fn a_result_counts_only_when_its_blobs_are_here() {
    let mut hive = TestHive::new();
    let a = hive.worker(1);
    with_output(&mut hive, a);
    let job = hive.submit(TestHive::spec(3));
    ends_and_settles(&mut hive, job, MINUTE);
    let fetched = hive
        .effects
        .iter()
        .position(|e| matches!(e, Effect::FetchResult { result, .. } if result.index == TaskIndex(1)));
    let journalled = hive
        .effects
        .iter()
        .position(|e| matches!(e, Effect::JournalTask { index, .. } if *index == TaskIndex(1)));
    assert!(fetched.unwrap() < journalled.unwrap());
}

#[test]
fn a_result_that_cannot_be_fetched_is_run_again() {
    let mut hive = TestHive::new();
    let a = hive.worker(1);
    with_output(&mut hive, a);
    hive.fetch_fails = Some("blob.unavailable".into());
    let mut spec = TestHive::spec(1);
    spec.retries = 2;
    let job = hive.submit(spec);
    ends_and_settles(&mut hive, job, MINUTE);
    assert_eq!(hive.total_runs(0), 3);
    assert_eq!(hive.submitter.job(job).unwrap().totals.failed, 1);
    assert_eq!(
        hive.events(|e| matches!(e, Event::TaskRetried { code, .. } if code == "result.unfetchable")),
        2
    );
}

#[test]
fn a_full_disk_here_ends_the_task_with_its_name() {
    let mut hive = TestHive::new();
    let a = hive.worker(1);
    with_output(&mut hive, a);
    hive.fetch_fails = Some("store.quota".into());
    let job = hive.submit(TestHive::spec(1));
    ends_and_settles(&mut hive, job, MINUTE);
    assert_eq!(hive.total_runs(0), 1);
    assert!(matches!(
        &hive.journal[&job].ended[&TaskIndex(0)],
        TaskEnd::Failed { code, .. } if code == "store.quota"
    ));
}

#[test]
fn bad_jobs_are_rejected_by_name() {
    let mut hive = TestHive::new();
    let job = hive.submit(TestHive::spec(1));
    let rejected = |hive: &TestHive, code: &str| {
        hive.events(|e| matches!(e, Event::JobRejected { code: c, .. } if *c == code))
    };
    hive.input(Input::Submit {
        job,
        spec: Box::new(TestHive::spec(1)),
        tasks: vec![TaskSpec::default()],
    });
    assert_eq!(rejected(&hive, "job.exists"), 1);
    hive.input(Input::AddTasks {
        job,
        tasks: vec![TaskSpec::default()],
    });
    assert_eq!(rejected(&hive, "job.closed"), 1);
    hive.input(Input::Submit {
        job: JobId([77; 16]),
        spec: Box::new(TestHive::spec(2)),
        tasks: vec![TaskSpec::default()],
    });
    assert_eq!(rejected(&hive, "job.shape"), 1);
}

#[test]
fn a_program_that_cannot_run_fails_every_task_with_its_code() {
    let mut hive = TestHive::new();
    let a = hive.worker(1);
    hive.filter = Box::new(|_, _, _| true);
    let job = hive.submit(TestHive::spec(50));
    // The executor answers in a millisecond; the refusal comes first.
    assert!(hive.run_until(MINUTE, |h| !h.workers[a].executors.is_empty()));
    let lease = *hive.workers[a].executors.keys().next().unwrap();
    hive.tell(
        a,
        worker::Input::ExecutorFailed {
            lease,
            code: "module.unknown_imports".into(),
            detail: "env.frobnicate".into(),
            retryable: false,
        },
    );
    ends_and_settles(&mut hive, job, MINUTE);
    let journal: &Journal = &hive.journal[&job];
    assert!(
        journal
            .ended
            .values()
            .all(|e| matches!(e, TaskEnd::Failed { code, detail }
            if code == "module.unknown_imports" && detail == "env.frobnicate"))
    );
    assert_eq!(hive.total_runs(0), 0);
    assert_eq!(open_holds(&hive), 0, "nothing owed, the hold is given back");
}
