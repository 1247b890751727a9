//! Death of the process, of its parent, and of the lease.

use crate::guests::{NOOP, SPIN};
use crate::support::{PATIENCE, bed, child, config, on};
use hive_executor::{
    Event, Executor, LeaseConfig, Limits, Outcome, Registry, SandboxReport, SubmitError, TaskRun, WasmConfig,
    WasmExecutor,
};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// With time enough for whatever is done meanwhile.
fn endless(run: TaskRun) -> TaskRun {
    let limits = Limits {
        wall_ms: 3_600_000,
        ..run.limits
    };
    TaskRun { limits, ..run }
}

fn pid(raw: u32) -> Pid {
    Pid::from_raw(i32::try_from(raw).unwrap()).unwrap()
}

#[tokio::test]
async fn a_killed_process_loses_its_tasks_loudly() {
    for signal in [Signal::KILL, Signal::ABORT, Signal::XCPU, Signal::TERM] {
        let mut bed = bed(2).await;
        let run = bed.task(SPIN).await;
        for task in 1..=5 {
            bed.handle.submit(TaskRun { task, ..run.clone() }).await.unwrap();
        }
        bed.started(1).await;
        kill_process(pid(bed.handle.pid().unwrap()), signal).unwrap();
        let mut lost = Vec::new();
        let reason = loop {
            match bed.event().await {
                Event::Done(done) => {
                    assert_eq!(done.outcome.code(), Some("exec.died"), "{:?}", done.outcome);
                    lost.push(done.task);
                }
                Event::Died { reason } => break reason,
                _ => {}
            }
        };
        assert_eq!(lost, [1, 2, 3, 4, 5]);
        assert!(reason.contains("signal"), "{reason}");
        let end = tokio::time::timeout(PATIENCE, bed.events.recv())
            .await
            .expect("the stream must end");
        assert_eq!(end, None);
        let error = bed.handle.submit(TaskRun { task: 9, ..run }).await.unwrap_err();
        assert!(matches!(error, SubmitError::Died), "{error}");
        assert_eq!(
            bed.handle
                .prepare(crate::support::program(NOOP))
                .await
                .unwrap_err()
                .code,
            "exec.died"
        );
        assert_eq!(bed.handle.probe(hive_executor::Probe::Socket).await, None);
    }
}

#[tokio::test]
async fn dropping_the_lease_ends_the_process() {
    let mut bed = bed(1).await;
    let process = pid(bed.handle.pid().unwrap());
    let run = bed.task(SPIN).await;
    let task = run.task;
    bed.handle.submit(run).await.unwrap();
    bed.started(task).await;
    drop(bed.handle);
    let mut last = None;
    while let Some(event) = tokio::time::timeout(PATIENCE, bed.events.recv())
        .await
        .expect("silent")
    {
        last = Some(event);
    }
    assert!(matches!(last, Some(Event::Died { .. })), "{last:?}");
    assert!(test_kill_process(process).is_err(), "the process must be gone");
}

#[tokio::test]
async fn giving_up_the_events_ends_the_process() {
    // Nothing runs and nothing is asked for: the lease must notice by itself.
    let bed = bed(1).await;
    let process = pid(bed.handle.pid().unwrap());
    drop(bed.events);
    let deadline = Instant::now() + PATIENCE;
    while test_kill_process(process).is_ok() {
        assert!(Instant::now() < deadline, "the process must be gone");
        tokio::task::yield_now().await;
    }
}

/// Runs in a process of its own that is then killed: see the next test.
#[tokio::test]
#[ignore = "started by an_executor_dies_with_its_parent"]
async fn parent_to_be_killed() {
    let mut bed = bed(1).await;
    let run = bed.task(SPIN).await;
    let task = run.task;
    bed.handle.submit(run).await.unwrap();
    bed.started(task).await;
    println!("executor {}", bed.handle.pid().unwrap());
    std::future::pending::<()>().await;
}

#[test]
fn an_executor_dies_with_its_parent() {
    use std::io::{BufRead, BufReader};
    let mut parent = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "process::parent_to_be_killed",
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let executor = lines
        .map_while(Result::ok)
        .find_map(|l| {
            l.split("executor ")
                .nth(1)
                .and_then(|p| p.trim().parse::<u32>().ok())
        })
        .expect("the parent must tell the executor's id");
    assert!(is_alive(executor));
    parent.kill().unwrap();
    parent.wait().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while is_alive(executor) {
        assert!(Instant::now() < deadline, "the executor must die with its parent");
        std::thread::yield_now();
    }
}

/// Whether a process runs; one that waits to be reaped does not.
fn is_alive(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
}

#[tokio::test]
async fn what_is_no_executor_is_found_out() {
    let cache = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let lease = |slots| LeaseConfig {
        dir: dir.path().to_owned(),
        slots,
        memory_bytes: 1 << 20,
        file_bytes: 1 << 20,
    };
    for exe in ["/bin/true", "/bin/false", "/bin/cat"] {
        let executor =
            WasmExecutor::new(WasmConfig::new(PathBuf::from(exe), cache.path().to_owned())).unwrap();
        let error = executor.spawn(lease(1)).await.err().expect("must fail");
        assert_eq!(error.code(), "exec.died", "{exe}: {error}");
    }
    let executor = WasmExecutor::new(WasmConfig::new("/nowhere".into(), cache.path().to_owned())).unwrap();
    assert_eq!(executor.spawn(lease(1)).await.err().unwrap().code(), "exec.spawn");
    let executor = WasmExecutor::new(config(cache.path())).unwrap();
    assert_eq!(
        executor.spawn(lease(0)).await.err().unwrap().code(),
        "exec.config"
    );
    let missing = LeaseConfig {
        dir: "/nowhere".into(),
        ..lease(1)
    };
    assert_eq!(executor.spawn(missing).await.err().unwrap().code(), "exec.spawn");
}

#[test]
fn without_a_parent_it_does_not_start() {
    let output = std::process::Command::new(child())
        .args(["__executor", "1"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(70));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("no parent"),
        "{output:?}"
    );
}

#[tokio::test]
async fn runtimes_are_found_by_name() {
    let cache = tempfile::tempdir().unwrap();
    let mut registry = Registry::default();
    registry.insert(Arc::new(WasmExecutor::new(config(cache.path())).unwrap()));
    assert_eq!(registry.names().collect::<Vec<_>>(), ["wasm"]);
    assert!(registry.get("container").is_none());
    let dir = tempfile::tempdir().unwrap();
    let lease = LeaseConfig {
        dir: dir.path().to_owned(),
        slots: 1,
        memory_bytes: 1 << 20,
        file_bytes: 1 << 20,
    };
    let lease = registry.get("wasm").unwrap().spawn(lease).await.unwrap();
    assert_eq!(lease.handle.in_flight(), 0);
}

#[tokio::test]
async fn a_full_lease_says_so() {
    let mut bed = bed(1).await;
    let run = bed.task(SPIN).await;
    let run = endless(run);
    let mut refused = None;
    for task in 0..=hive_executor::MAX_IN_FLIGHT as u64 {
        if let Err(e) = bed.handle.submit(TaskRun { task, ..run.clone() }).await {
            refused = Some((task, e.code()));
        }
    }
    assert_eq!(refused, Some((hive_executor::MAX_IN_FLIGHT as u64, "exec.busy")));
    bed.handle.kill();
    let mut lost = 0;
    while let Some(event) = tokio::time::timeout(PATIENCE, bed.events.recv())
        .await
        .expect("silent")
    {
        if let Event::Done(done) = event {
            assert!(matches!(done.outcome, Outcome::Failed(f) if f.code == "exec.died"));
            lost += 1;
        }
    }
    assert_eq!(lost, hive_executor::MAX_IN_FLIGHT);
}

#[tokio::test]
async fn a_process_that_stops_responding_is_killed() {
    // The process has to be stopped while its task runs: where this time is too short for that, a longer one is taken.
    const TRIES: u32 = 6;
    for wall_ms in (0..TRIES).map(|n| 300 << n) {
        let cache = tempfile::tempdir().unwrap();
        let grace = std::time::Duration::from_millis(200);
        let config = WasmConfig {
            stuck_grace: grace,
            ..config(cache.path())
        };
        let mut bed = on(&WasmExecutor::new(config).unwrap(), 1, cache).await;
        let run = bed.task(SPIN).await;
        let task = run.task;
        let limits = Limits {
            wall_ms,
            ..Limits::default()
        };
        bed.handle.submit(TaskRun { limits, ..run }).await.unwrap();
        bed.started(task).await;
        kill_process(pid(bed.handle.pid().unwrap()), Signal::STOP).unwrap();
        let Event::Done(done) = bed.event().await else {
            panic!("the task must end first")
        };
        if done.outcome.code() == Some("task.timeout") {
            continue;
        }
        assert_eq!(done.outcome.code(), Some("exec.died"));
        let Event::Died { reason } = bed.event().await else {
            panic!("then the lease")
        };
        assert!(reason.contains("did not end at its time limit"), "{reason}");
        return;
    }
    panic!("the task always ended before its process could be stopped");
}

#[tokio::test]
async fn the_sandbox_can_be_seen_without_a_lease() {
    let cache = tempfile::tempdir().unwrap();
    let report = WasmExecutor::new(config(cache.path()))
        .unwrap()
        .sandbox()
        .await
        .unwrap();
    let lease = bed(1).await.sandbox;
    let active = |r: &SandboxReport| {
        r.layers
            .iter()
            .map(|l| (l.name.clone(), l.active))
            .collect::<Vec<_>>()
    };
    assert_eq!(active(&report), active(&lease));
    assert_eq!(std::fs::read_dir(cache.path().join("build")).unwrap().count(), 0);
}
