//! Inputs and outputs of tasks.

use crate::guests::{self, OPEN, guest};
use crate::support::bed;
use hive_executor::{InputFile, Outcome, OutputFile, Stdin, SubmitError, TaskRun};
use std::io::Read;

#[tokio::test]
async fn inputs_are_seen_read_only_and_outputs_come_back() {
    let mut bed = bed(1).await;
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    std::fs::write(&source, "some data").unwrap();
    let input = |name: &str| {
        vec![InputFile {
            name: name.to_owned(),
            path: source.clone(),
        }]
    };

    let run = bed.task(&guests::cat(Some("deep/a.txt"))).await;
    let task = run.task;
    let seen = bed
        .run(TaskRun {
            inputs: input("deep/a.txt"),
            ..run
        })
        .await;
    assert_eq!(seen.stdout(), "some data");
    bed.handle.release(task).await;

    let run = bed.task(&guests::cat(None)).await;
    let seen = bed
        .run(TaskRun {
            stdin: Stdin::File(source.clone()),
            ..run
        })
        .await;
    assert_eq!(seen.stdout(), "some data");

    // Writing to /in traps in this guest because opening fails.
    let run = bed.task(&guests::write_file("a.txt", "overwritten")).await;
    let seen = bed
        .run(TaskRun {
            inputs: input("a.txt"),
            ..run
        })
        .await;
    assert_eq!(seen.code(), Some("task.trap"));
    assert_eq!(std::fs::read(&source).unwrap(), b"some data");

    let run = bed.task(&guests::write_file("result", "the result")).await;
    let task = run.task;
    let seen = bed.run(TaskRun { out_dir: true, ..run }).await;
    assert_eq!(seen.done.outcome, Outcome::Exited(0));
    assert_eq!(
        seen.done.files,
        [OutputFile {
            path: "result".to_owned(),
            bytes: 10
        }]
    );
    assert_eq!(seen.done.usage.output_bytes, 10);
    let mut text = String::new();
    bed.handle
        .open_output(task, "result")
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "the result");
    bed.handle.release(task).await;
    assert!(bed.handle.open_output(task, "result").is_err());
    for dir in ["in", "work"] {
        let left = std::fs::read_dir(bed.dir.path().join(dir)).unwrap().count();
        assert_eq!(left, if dir == "in" { 2 } else { 0 }, "{dir}");
    }
}

#[tokio::test]
async fn a_guest_cannot_leave_its_directories() {
    let mut bed = bed(1).await;
    for path in ["../secret", "/etc/passwd", "x/../../y", "../../2/out/x"] {
        let run = bed.task(&guests::cat(Some(path))).await;
        let seen = bed.run(TaskRun { out_dir: true, ..run }).await;
        assert_eq!(seen.done.outcome, Outcome::Exited(44), "{path}");
    }
    // A link out of the directory can neither be followed by the guest nor by us.
    let text = guest(&format!(
        "(data (i32.const 1000) \"../../../in\") (data (i32.const 1100) \"link\") {OPEN}
         (func (export \"_start\")
           (drop (call $path_symlink (i32.const 1000) (i32.const 11) (i32.const 3) (i32.const 1100) (i32.const 4)))
           (call $open (i32.const 1100) (i32.const 4)))"
    ));
    let run = bed.task(&text).await;
    let task = run.task;
    let seen = bed.run(TaskRun { out_dir: true, ..run }).await;
    assert_eq!(seen.code(), Some("task.trap"));
    assert!(seen.done.files.is_empty());
    assert!(bed.handle.open_output(task, "link").is_err());
}

#[tokio::test]
async fn temporary_files_are_not_results() {
    let mut bed = bed(1).await;
    let run = bed.task(&guests::write_file("scratch", "abc")).await;
    let seen = bed.run(TaskRun { tmp_dir: true, ..run }).await;
    assert_eq!(seen.done.outcome, Outcome::Exited(0));
    assert!(seen.done.files.is_empty());
    assert_eq!(seen.done.usage.output_bytes, 3);
}

#[tokio::test]
async fn bad_inputs_are_refused_and_leave_nothing() {
    let mut bed = bed(1).await;
    let run = bed.task(guests::NOOP).await;
    let with = |name: &str, path: &str| TaskRun {
        inputs: vec![InputFile {
            name: name.to_owned(),
            path: path.into(),
        }],
        ..run.clone()
    };
    for name in ["../x", "/x", "", "a//b"] {
        let error = bed.handle.submit(with(name, "/etc/hostname")).await.unwrap_err();
        assert!(matches!(error, SubmitError::Invalid { .. }), "{error}");
    }
    for path in ["/nowhere", "/tmp", "/dev/null"] {
        let error = bed.handle.submit(with("x", path)).await.unwrap_err();
        assert_eq!(error.code(), "task.input", "{error}");
    }
    assert_eq!(std::fs::read_dir(bed.dir.path().join("in")).unwrap().count(), 0);
}
