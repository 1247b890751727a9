//! How tasks end, and what they tell on the way.

use crate::guests::{self, NOOP, SPIN, guest};
use crate::support::bed;
use hive_executor::{Captured, Event, Limits, Outcome, Stdin, Stream, SubmitError, TaskRun};
use std::io::Read;

#[tokio::test]
async fn a_noop_succeeds_and_leaves_nothing_on_disk() {
    let mut bed = bed(1).await;
    let run = bed.task(NOOP).await;
    let seen = bed.run(run).await;
    assert_eq!(seen.done.outcome, Outcome::Exited(0));
    assert!(seen.done.usage.fuel < 10, "{:?}", seen.done.usage);
    for dir in ["in", "work"] {
        assert_eq!(std::fs::read_dir(bed.dir.path().join(dir)).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn exit_codes_are_kept_whole() {
    let mut bed = bed(1).await;
    for code in [0, 1, 42, 126, 255, -1] {
        let run = bed.task(&guests::exit(code)).await;
        let seen = bed.run(run).await;
        assert_eq!(seen.done.outcome, Outcome::Exited(code));
        assert_eq!(seen.code(), (code != 0).then_some("task.exit"));
    }
}

#[tokio::test]
async fn standard_streams_are_captured_and_logged() {
    let mut bed = bed(1).await;
    let run = bed.task(&guests::say(1, "hello")).await;
    let seen = bed.run(run).await;
    assert_eq!(seen.stdout(), "hello");
    assert!(seen.logs.is_empty(), "logs were not asked for");
    assert_eq!(seen.done.usage.output_bytes, 5);
    let run = bed.task(&guests::say(2, "oops\\n")).await;
    let seen = bed
        .run(TaskRun {
            stream_logs: true,
            ..run
        })
        .await;
    assert_eq!(seen.done.stderr, Captured::Inline(b"oops\n".to_vec()));
    assert_eq!(seen.logs, [(Stream::Err, b"oops\n".to_vec())]);
}

#[tokio::test]
async fn logs_come_while_the_task_runs() {
    let mut bed = bed(1).await;
    let text = guest(
        "(data (i32.const 1000) \"line\\0apart\") ;; $fd_write
         (func (export \"_start\") (call $put (i32.const 1) (i32.const 1000) (i32.const 9)) (loop (br 0)))",
    );
    let run = bed.task(&text).await;
    let task = run.task;
    bed.handle
        .submit(TaskRun {
            stream_logs: true,
            ..run
        })
        .await
        .unwrap();
    let mut all = Vec::new();
    // An unfinished line comes, too, after a little while.
    while all != b"line\npart" {
        if let Event::Log { bytes, .. } = bed.event().await {
            all.extend(bytes);
        }
    }
    bed.handle.cancel(task);
    assert_eq!(bed.done(task).await.code(), Some("task.cancelled"));
}

#[tokio::test]
async fn large_output_goes_through_a_file() {
    let mut bed = bed(1).await;
    let text = guest(
        ";; $fd_write
         (func (export \"_start\") (local $n i32) (loop
           (call $put (i32.const 1) (i32.const 1000) (i32.const 10000))
           (local.set $n (i32.add (local.get $n) (i32.const 1)))
           (br_if 0 (i32.lt_u (local.get $n) (i32.const 20)))))",
    );
    let run = bed.task(&text).await;
    let task = run.task;
    let seen = bed.run(run).await;
    assert_eq!(seen.done.stdout, Captured::Spooled { bytes: 200_000 });
    let mut bytes = Vec::new();
    bed.handle
        .open_capture(task, Stream::Out)
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    assert_eq!(bytes.len(), 200_000);
    bed.handle.release(task).await;
    assert!(bed.handle.open_capture(task, Stream::Out).is_err());
}

#[tokio::test]
async fn a_trap_names_its_functions() {
    let mut bed = bed(1).await;
    let text = "(module (func $inner unreachable) (func $middle call $inner) (func (export \"_start\") call $middle))";
    let run = bed.task(text).await;
    let seen = bed.run(run).await;
    let Outcome::Failed(failure) = &seen.done.outcome else {
        panic!("{:?}", seen.done.outcome)
    };
    assert_eq!(failure.code, "task.trap");
    assert!(failure.message.contains("unreachable"), "{failure}");
    assert!(failure.message.contains("inner < middle"), "{failure}");
}

#[tokio::test]
async fn deep_recursion_is_a_trap() {
    let mut bed = bed(1).await;
    let run = bed.task("(module (func $f (export \"_start\") call $f))").await;
    let seen = bed.run(run).await;
    let Outcome::Failed(failure) = &seen.done.outcome else {
        panic!("{:?}", seen.done.outcome)
    };
    assert_eq!(failure.code, "task.trap");
    assert!(failure.message.contains("stack"), "{failure}");
    assert!(failure.message.len() < 4096);
}

#[tokio::test]
async fn arguments_environment_and_input_arrive() {
    let mut bed = bed(1).await;
    let text = guest(
        ";; $fd_write
         (func (export \"_start\")
           (drop (call $args_sizes_get (i32.const 100) (i32.const 104)))
           (drop (call $args_get (i32.const 200) (i32.const 1000)))
           (call $put (i32.const 1) (i32.const 1000) (i32.load (i32.const 104)))
           (drop (call $environ_sizes_get (i32.const 100) (i32.const 104)))
           (drop (call $environ_get (i32.const 200) (i32.const 1000)))
           (call $put (i32.const 1) (i32.const 1000) (i32.load (i32.const 104))))",
    );
    let run = bed.task(&text).await;
    let argv = ["render", "--tile", "7"].map(str::to_owned).to_vec();
    let env = vec![("K".to_owned(), "v=w".to_owned())];
    let seen = bed.run(TaskRun { argv, env, ..run }).await;
    assert_eq!(seen.stdout(), "render\0--tile\x007\0K=v=w\0");

    let run = bed.task(&guests::cat(None)).await;
    let seen = bed
        .run(TaskRun {
            stdin: Stdin::Inline(b"inline".to_vec()),
            ..run
        })
        .await;
    assert_eq!(seen.stdout(), "inline");
    let run = bed.task(&guests::cat(None)).await;
    assert_eq!(bed.run(run).await.stdout(), "");
}

#[tokio::test]
async fn random_numbers_and_fixed_clocks_follow_from_the_request() {
    let mut bed = bed(1).await;
    let text = guest(
        ";; $fd_write
         (func (export \"_start\")
           (drop (call $random_get (i32.const 1000) (i32.const 32)))
           (drop (call $clock_time_get (i32.const 0) (i64.const 1) (i32.const 1032)))
           (drop (call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 1040)))
           (call $put (i32.const 1) (i32.const 1000) (i32.const 48)))",
    );
    let mut outputs = Vec::new();
    for seed in [1, 1, 2] {
        let run = bed.task(&text).await;
        let seen = bed
            .run(TaskRun {
                seed: [seed; 32],
                fixed_clock: true,
                ..run
            })
            .await;
        outputs.push(seen.done.stdout);
    }
    assert_eq!(outputs[0], outputs[1]);
    assert_ne!(outputs[0], outputs[2]);
}

#[tokio::test]
async fn every_nan_is_the_same_nan() {
    let mut bed = bed(1).await;
    // 0/0 and inf-inf have different signs on x86 unless they are made canonical.
    let text = guest(
        ";; $fd_write
         (func $zero (result f64) (f64.convert_i32_u (i32.load (i32.const 500))))
         (func (export \"_start\")
           (f64.store (i32.const 1000) (f64.div (call $zero) (call $zero)))
           (f64.store (i32.const 1008) (f64.neg (f64.sqrt (f64.sub (call $zero) (f64.const 1)))))
           (f64.store (i32.const 1016) (f64.sub (f64.const inf) (f64.add (f64.const inf) (call $zero))))
           (call $put (i32.const 1) (i32.const 1000) (i32.const 24)))",
    );
    let run = bed.task(&text).await;
    let seen = bed.run(run).await;
    let Captured::Inline(bytes) = &seen.done.stdout else {
        panic!("spooled")
    };
    let nan = 0x7ff8_0000_0000_0000u64.to_le_bytes();
    assert_eq!(bytes[..8], nan);
    assert_eq!(bytes[16..], nan);
    // Negation only flips the sign of a canonical NaN.
    assert_eq!(bytes[8..16], 0xfff8_0000_0000_0000u64.to_le_bytes());
}

#[tokio::test]
async fn fuel_is_the_same_every_time() {
    let mut bed = bed(2).await;
    let text = "(module (func (export \"_start\") (local i32) (loop
        (local.set 0 (i32.add (local.get 0) (i32.const 1))) (br_if 0 (i32.lt_u (local.get 0) (i32.const 1000))))))";
    let mut fuel = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let run = bed.task(text).await;
        fuel.insert(bed.run(run).await.done.usage.fuel);
    }
    assert_eq!(fuel.len(), 1, "{fuel:?}");
    assert!(fuel.iter().all(|f| (5000..20_000).contains(f)), "{fuel:?}");
}

#[tokio::test]
async fn slots_run_side_by_side() {
    let mut bed = bed(2).await;
    let mut spin = bed.task(SPIN).await;
    // Longer than the others need on any machine.
    spin.limits.wall_ms = 3_600_000;
    let stuck = spin.task;
    bed.handle.submit(spin).await.unwrap();
    bed.started(stuck).await;
    for _ in 0..50 {
        let run = bed.task(NOOP).await;
        assert_eq!(bed.run(run).await.code(), None);
    }
    bed.handle.cancel(stuck);
    assert_eq!(bed.done(stuck).await.code(), Some("task.cancelled"));
}

#[tokio::test]
async fn waiting_running_and_sleeping_tasks_can_be_cancelled() {
    let mut bed = bed(1).await;
    let spin = bed.task(SPIN).await;
    let waiting = bed.task(NOOP).await;
    let (first, second) = (spin.task, waiting.task);
    bed.handle.submit(spin).await.unwrap();
    bed.handle.submit(waiting).await.unwrap();
    bed.started(first).await;
    bed.handle.cancel(second);
    assert_eq!(bed.done(second).await.code(), Some("task.cancelled"));
    bed.handle.cancel(first);
    assert_eq!(bed.done(first).await.code(), Some("task.cancelled"));

    let sleeper = bed.task(&guests::sleep(3_600_000)).await;
    let task = sleeper.task;
    bed.handle
        .submit(TaskRun {
            limits: Limits {
                wall_ms: 7_200_000,
                ..Limits::default()
            },
            ..sleeper
        })
        .await
        .unwrap();
    bed.started(task).await;
    bed.handle.cancel(task);
    assert_eq!(bed.done(task).await.code(), Some("task.cancelled"));
    // An ended task and one that never was: nothing happens.
    bed.handle.cancel(task);
    bed.handle.cancel(999);
    let run = bed.task(&guests::sleep(1)).await;
    assert_eq!(bed.run(run).await.code(), None);
}

#[tokio::test]
async fn what_cannot_be_expressed_is_refused() {
    let mut bed = bed(1).await;
    let good = bed.task(NOOP).await;
    let bad = [
        TaskRun {
            argv: vec!["a\0b".to_owned()],
            ..good.clone()
        },
        TaskRun {
            argv: vec!["x".repeat(300_000)],
            ..good.clone()
        },
        TaskRun {
            env: vec![("A=B".to_owned(), String::new())],
            ..good.clone()
        },
        TaskRun {
            stdin: Stdin::Inline(vec![0; 70_000]),
            ..good.clone()
        },
        TaskRun {
            payload: vec![1],
            ..good.clone()
        },
        TaskRun {
            limits: Limits {
                memory_bytes: 2 << 30,
                ..Limits::default()
            },
            ..good.clone()
        },
    ];
    for run in bad {
        let error = bed.handle.submit(run).await.unwrap_err();
        assert!(matches!(error, SubmitError::Invalid { .. }), "{error}");
    }
    let unknown = TaskRun {
        program: [9; 32],
        ..good.clone()
    };
    assert_eq!(bed.run(unknown).await.code(), Some("module.not_loaded"));
    let spin = bed.task(SPIN).await;
    bed.handle.submit(spin.clone()).await.unwrap();
    assert_eq!(bed.handle.submit(spin).await.unwrap_err().code(), "task.invalid");
}

#[tokio::test]
async fn thousands_of_tasks_end_exactly_once() {
    const TASKS: u64 = 3000;
    let mut bed = bed(2).await;
    let run = bed.task(NOOP).await;
    for n in 0..TASKS {
        bed.handle
            .submit(TaskRun {
                task: 1_000_000 + n,
                ..run.clone()
            })
            .await
            .unwrap();
    }
    let mut ended = std::collections::BTreeSet::new();
    while (ended.len() as u64) < TASKS {
        if let Event::Done(done) = bed.event().await {
            assert_eq!(done.outcome, Outcome::Exited(0));
            assert!(ended.insert(done.task), "{} ended twice", done.task);
        }
    }
    assert_eq!(bed.handle.in_flight(), 0);
}
