//! From the executor to the core: what becomes of the tasks, many events at a time.

use super::{results, shell::Run};
use crate::inbox::Inbox;
use hive_executor::{Event, LeaseHandle, Outcome, Stream};
use hive_protocol::{ids::TaskIndex, work::MAX_LOG_CHUNK};
use hive_scheduler::worker::Input;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Events turned into inputs at once.
const BATCH: usize = 256;

/// The executor's number of a try: attempt in the low 16 bits.
pub(super) fn task_number(index: TaskIndex, attempt: u16) -> u64 {
    (u64::from(index.0) << 16) | u64::from(attempt)
}

fn task_of(number: u64) -> (TaskIndex, u16) {
    let index = u32::try_from(number >> 16).unwrap_or(u32::MAX);
    (TaskIndex(index), u16::try_from(number & 0xffff).unwrap_or(0))
}

/// Passes events on until the executor is gone; answers why.
pub(super) async fn pump(
    run: &Arc<Run>,
    handle: &Arc<dyn LeaseHandle>,
    mut events: mpsc::Receiver<Event>,
) -> String {
    let mut batch = Vec::with_capacity(BATCH);
    let lease = run.lease;
    loop {
        batch.clear();
        if events.recv_many(&mut batch, BATCH).await == 0 {
            return "its events ended".to_owned();
        }
        let mut inputs = Vec::with_capacity(batch.len());
        let mut died = None;
        for event in batch.drain(..) {
            match event {
                Event::Ready { sandbox } => {
                    let missing: Vec<_> = sandbox.missing().map(|l| l.name.clone()).collect();
                    tracing::info!(target: "hive_runtime::exec", ?lease, ?missing, "executor ready");
                }
                Event::Started { task } => {
                    let (index, attempt) = task_of(task);
                    inputs.push(Input::TaskStarted {
                        lease,
                        index,
                        attempt,
                    });
                }
                Event::Log { task, stream, bytes } => {
                    let (index, attempt) = task_of(task);
                    let stderr = stream == Stream::Err;
                    for chunk in bytes.chunks(MAX_LOG_CHUNK) {
                        inputs.push(Input::TaskLog {
                            lease,
                            index,
                            attempt,
                            stderr,
                            bytes: chunk.to_vec(),
                        });
                    }
                }
                // The core is told once, by ExecutorDied, and knows which tasks that concerns.
                Event::Done(done) if matches!(&done.outcome, Outcome::Failed(f) if f.code == "exec.died") => {
                }
                Event::Done(done) => {
                    let (index, attempt) = task_of(done.task);
                    let result = results::collect(run, handle, index, attempt, *done).await;
                    inputs.push(Input::TaskDone {
                        lease,
                        result: Box::new(result),
                    });
                }
                Event::Died { reason } => died = Some(reason),
            }
        }
        if !inputs.is_empty() && run.inbox.send(Inbox::WorkerMany(inputs)).await.is_err() {
            return "the daemon is stopping".to_owned();
        }
        if let Some(reason) = died {
            return reason;
        }
    }
}
