//! Every limit of a task, met by a guest that tries.

use crate::guests::{self, NOOP, OPEN, SPIN, guest};
use crate::support::{Bed, bed};
use hive_executor::{Captured, Limits, Outcome, TaskRun};
use std::time::{Duration, Instant};

/// What a guest sleeps that is to be ended long before.
const NAP: Duration = Duration::from_secs(60);

/// The lease still works after what was done to it.
async fn still_works(bed: &mut Bed) {
    let run = bed.task(NOOP).await;
    assert_eq!(bed.run(run).await.code(), None);
}

#[tokio::test]
async fn fuel_runs_out() {
    let mut bed = bed(1).await;
    let seen = bed
        .limited(
            SPIN,
            Limits {
                fuel: 1_000_000,
                ..Limits::default()
            },
        )
        .await;
    assert_eq!(seen.code(), Some("task.fuel"));
    assert_eq!(seen.done.usage.fuel, 1_000_000);
    still_works(&mut bed).await;
}

#[tokio::test]
async fn time_runs_out_in_a_loop_and_in_a_sleep() {
    let mut bed = bed(1).await;
    for text in [SPIN.to_owned(), guests::sleep(NAP.as_millis() as u64)] {
        let start = Instant::now();
        let seen = bed
            .limited(
                &text,
                Limits {
                    wall_ms: 50,
                    ..Limits::default()
                },
            )
            .await;
        assert_eq!(seen.code(), Some("task.timeout"));
        // Neither ends by itself so soon; compiling and a machine that stands still for a while are in it.
        assert!(start.elapsed() < NAP / 2, "{:?}", start.elapsed());
        assert!(seen.done.usage.wall_us >= 50_000);
    }
    still_works(&mut bed).await;
}

#[tokio::test]
async fn memory_is_bounded() {
    let mut bed = bed(1).await;
    let hog = "(module (memory (export \"memory\") 1) (func (export \"_start\")
        (loop (drop (memory.grow (i32.const 16))) (br 0))))";
    let seen = bed
        .limited(
            hog,
            Limits {
                memory_bytes: 8 << 20,
                ..Limits::default()
            },
        )
        .await;
    assert_eq!(seen.code(), Some("task.memory"));
    let peak = seen.done.usage.peak_memory;
    assert!((7 << 20..=8 << 20).contains(&peak), "{peak}");

    let big = "(module (memory (export \"memory\") 1000) (func (export \"_start\")))";
    let seen = bed
        .limited(
            big,
            Limits {
                memory_bytes: 8 << 20,
                ..Limits::default()
            },
        )
        .await;
    assert_eq!(seen.code(), Some("task.memory"));

    let table = "(module (table 1 funcref) (func (export \"_start\")
        (drop (table.grow (ref.null func) (i32.const 100000000)))))";
    let seen = bed
        .limited(
            table,
            Limits {
                memory_bytes: 8 << 20,
                ..Limits::default()
            },
        )
        .await;
    assert_eq!(seen.code(), Some("task.memory"));

    // The module's own maximum is an ordinary failed grow.
    let own = "(module (memory (export \"memory\") 1 2) (func (export \"_start\")
        (if (i32.ne (memory.grow (i32.const 5)) (i32.const -1)) (then unreachable))))";
    assert_eq!(bed.limited(own, Limits::default()).await.code(), None);
    still_works(&mut bed).await;
}

#[tokio::test]
async fn a_log_flood_ends_at_the_output_limit() {
    let mut bed = bed(1).await;
    let limits = Limits {
        output_bytes: 1 << 20,
        ..Limits::default()
    };
    let run = bed.task(&guests::flood()).await;
    let seen = bed
        .run(TaskRun {
            limits,
            stream_logs: true,
            ..run
        })
        .await;
    assert_eq!(seen.code(), Some("task.output_limit"));
    assert_eq!(seen.done.stdout, Captured::Spooled { bytes: 1 << 20 });
    let logged: usize = seen.logs.iter().map(|l| l.1.len()).sum();
    assert_eq!(logged, 1 << 20);
    still_works(&mut bed).await;
}

#[tokio::test]
async fn a_hundred_thousand_files_end_at_the_files_limit() {
    let mut bed = bed(1).await;
    let seen = bed
        .limited(
            &guests::many_files(100_000),
            Limits {
                files: 100,
                ..Limits::default()
            },
        )
        .await;
    assert_eq!(seen.code(), Some("task.files_limit"));
    assert!(seen.done.files.is_empty());
    bed.handle.release(seen.done.task).await;
    assert_eq!(std::fs::read_dir(bed.dir.path().join("work")).unwrap().count(), 0);
    // Within the limit all of them are listed.
    let seen = bed
        .limited(
            &guests::many_files(90),
            Limits {
                files: 100,
                ..Limits::default()
            },
        )
        .await;
    assert_eq!(seen.done.outcome, Outcome::Exited(0));
    assert_eq!(seen.done.files.len(), 90);
}

#[tokio::test]
async fn a_sparse_file_counts_in_full() {
    let mut bed = bed(1).await;
    let sparse = |bytes: u64| {
        guest(&format!(
            "(data (i32.const 1000) \"sparse\") {OPEN}
             (func (export \"_start\") (call $open (i32.const 1000) (i32.const 6))
               (drop (call $fd_filestat_set_size (i32.load (i32.const 4)) (i64.const {bytes}))))"
        ))
    };
    let limits = || Limits {
        output_bytes: 10 << 20,
        file_bytes: 20 << 20,
        ..Limits::default()
    };
    let seen = bed.limited(&sparse(11 << 20), limits()).await;
    assert_eq!(seen.code(), Some("task.output_limit"));
    let seen = bed.limited(&sparse(9 << 20), limits()).await;
    assert_eq!(seen.done.outcome, Outcome::Exited(0));
    // 1 TB is over what the process may write at all: the guest gets an error and nothing is made.
    let seen = bed.limited(&sparse(1 << 40), limits()).await;
    assert_eq!(seen.done.files.iter().map(|f| f.bytes).sum::<u64>(), 0);
    still_works(&mut bed).await;
}

/// Writes 64 KiB portions to one file without end; with `unlink` the file is deleted first.
fn fill(unlink: bool) -> String {
    let unlink = if unlink {
        "(drop (call $path_unlink_file (i32.const 3) (i32.const 1000) (i32.const 4)))"
    } else {
        ""
    };
    guest(&format!(
        "(data (i32.const 1000) \"fill\") {OPEN}
         (func (export \"_start\") (call $open (i32.const 1000) (i32.const 4)) {unlink}
           (i32.store (i32.const 8) (i32.const 2000)) (i32.store (i32.const 12) (i32.const 65000))
           (loop (br_if 0 (i32.eqz
             (call $fd_write (i32.load (i32.const 4)) (i32.const 8) (i32.const 1) (i32.const 16)))))
           (loop (br 0)))"
    ))
}

#[tokio::test]
async fn files_are_bounded_while_they_grow() {
    let mut bed = bed(1).await;
    for limits in [
        Limits {
            output_bytes: 4 << 20,
            ..Limits::default()
        },
        Limits {
            file_bytes: 4 << 20,
            output_bytes: 1 << 40,
            ..Limits::default()
        },
    ] {
        let seen = bed.limited(&fill(false), limits).await;
        assert_eq!(seen.code(), Some("task.output_limit"));
        bed.handle.release(seen.done.task).await;
    }
}

#[tokio::test]
async fn a_deleted_file_still_counts() {
    let mut bed = bed(1).await;
    let limits = Limits {
        output_bytes: 4 << 20,
        ..Limits::default()
    };
    let seen = bed.limited(&fill(true), limits).await;
    assert_eq!(seen.code(), Some("task.output_limit"));
}

#[tokio::test]
async fn deep_directories_end_at_the_files_limit_and_are_removed() {
    let mut bed = bed(1).await;
    // Moves the tree one level down again and again: mkdir b; rename a -> b/a; rename b -> a.
    let text = guest(
        "(data (i32.const 1000) \"a\") (data (i32.const 1010) \"b\") (data (i32.const 1020) \"b/a\")
         (func (export \"_start\")
           (drop (call $path_create_directory (i32.const 3) (i32.const 1000) (i32.const 1)))
           (loop
             (if (call $path_create_directory (i32.const 3) (i32.const 1010) (i32.const 1)) (then unreachable))
             (if (call $path_rename (i32.const 3) (i32.const 1000) (i32.const 1) (i32.const 3) (i32.const 1020) (i32.const 3))
               (then unreachable))
             (if (call $path_rename (i32.const 3) (i32.const 1010) (i32.const 1) (i32.const 3) (i32.const 1000) (i32.const 1))
               (then unreachable))
             (br 0)))",
    );
    let seen = bed
        .limited(
            &text,
            Limits {
                files: 10_000,
                ..Limits::default()
            },
        )
        .await;
    assert_eq!(seen.code(), Some("task.files_limit"));
    bed.handle.release(seen.done.task).await;
    assert_eq!(std::fs::read_dir(bed.dir.path().join("work")).unwrap().count(), 0);
}
