//! Standard input that is still coming while the task runs.

use super::{
    guests,
    support::{Bed, bed},
};
use hive_executor::{Event, Outcome, Stdin, Stream, TaskRun};
use std::{fs::File, io::ErrorKind, io::Write, time::Duration};

const PAUSE: Duration = Duration::from_millis(1);

/// A task that echoes what comes, and the end through which it comes.
async fn echo(bed: &mut Bed, size: u64) -> (u64, File) {
    let run = bed.task(&guests::cat(None)).await;
    let task = run.task;
    bed.handle
        .submit(TaskRun {
            stdin: Stdin::Stream { size },
            stream_logs: true,
            ..run
        })
        .await
        .unwrap();
    (task, bed.handle.open_stdin(task).unwrap())
}

/// Waits until the task has echoed so many bytes.
async fn echoed(bed: &mut Bed, task: u64, wanted: usize) {
    let mut seen = 0;
    while seen < wanted {
        match bed.event().await {
            Event::Log {
                task: t,
                stream: Stream::Out,
                bytes,
            } if t == task => seen += bytes.len(),
            Event::Done(done) => panic!("ended after {seen} bytes: {done:?}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_task_computes_before_its_last_input_byte_is_there() {
    let mut bed = bed(1).await;
    let (task, mut pipe) = echo(&mut bed, 11).await;
    pipe.write_all(b"first ").unwrap();
    // The echo of the first half is here while the second has not been written.
    echoed(&mut bed, task, 6).await;
    pipe.write_all(b"later").unwrap();
    let seen = bed.done(task).await;
    assert_eq!(seen.done.outcome, Outcome::Exited(0));
    assert_eq!(seen.stdout(), "first later");
    // The announced size is the end, whether or not the writer is still there.
    drop(pipe);
    assert_eq!(
        bed.handle.open_stdin(task).unwrap_err().kind(),
        ErrorKind::NotFound,
        "once"
    );
    bed.handle.release(task).await;
}

#[tokio::test]
async fn an_input_that_breaks_off_is_no_end_of_file() {
    let mut bed = bed(1).await;
    let (task, mut pipe) = echo(&mut bed, 11).await;
    pipe.write_all(b"first ").unwrap();
    drop(pipe);
    let seen = bed.done(task).await;
    assert_eq!(seen.code(), Some("task.input"));
    let (task, pipe) = echo(&mut bed, 5).await;
    drop(pipe);
    assert_eq!(bed.done(task).await.code(), Some("task.input"), "nothing at all");
}

#[tokio::test]
async fn a_waiting_task_can_be_ended() {
    let mut bed = bed(1).await;
    let (task, mut pipe) = echo(&mut bed, 1 << 40).await;
    pipe.write_all(b"x").unwrap();
    echoed(&mut bed, task, 1).await;
    bed.handle.cancel(task);
    assert_eq!(bed.done(task).await.code(), Some("task.cancelled"));
    let mut run = bed.task(&guests::cat(None)).await;
    let task = run.task;
    run.stdin = Stdin::Stream { size: 1 };
    run.limits.wall_ms = 50;
    bed.handle.submit(run).await.unwrap();
    let _pipe = bed.handle.open_stdin(task).unwrap();
    assert_eq!(bed.done(task).await.code(), Some("task.timeout"));
}

#[tokio::test]
async fn a_stream_larger_than_every_buffer_arrives_whole() {
    let mut bed = bed(1).await;
    let size = 1 << 20;
    let (task, mut pipe) = echo(&mut bed, size).await;
    let sent: Vec<u8> = (0..size).map(|i| b'a' + (i * 7 % 26) as u8).collect();
    let copy = sent.clone();
    let writer = tokio::task::spawn_blocking(move || {
        let mut rest = copy.as_slice();
        while !rest.is_empty() {
            match pipe.write(rest) {
                Ok(n) => rest = &rest[n..],
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    std::thread::sleep(PAUSE); // paced: the pipe is full until the guest reads on
                }
                Err(e) => panic!("{e}"),
            }
        }
    });
    let seen = bed.done(task).await;
    writer.await.unwrap();
    assert_eq!(seen.done.outcome, Outcome::Exited(0));
    let echoed: Vec<u8> = seen
        .logs
        .into_iter()
        .filter(|(stream, _)| *stream == Stream::Out)
        .flat_map(|(_, bytes)| bytes)
        .collect();
    assert_eq!(seen.done.usage.output_bytes, size);
    assert!(
        sent.starts_with(&echoed),
        "the log is a beginning of it, in order"
    );
}
