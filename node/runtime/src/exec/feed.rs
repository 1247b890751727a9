//! From the core to the executor: inputs are put in place, then the task is handed over, in order.

use super::{pump::task_number, results, shell::Run};
use hive_executor::{InputFile, LeaseHandle, Stdin, TaskRun};
use hive_protocol::{
    ids::{BlobHash, TaskIndex},
    task::{BlobRef, Outcome, TaskOrder, TaskResult, Usage},
};
use hive_scheduler::worker::Input;
use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};
use tokio::sync::mpsc;

/// What the feeder is told.
pub(super) enum Feed {
    /// Run this.
    Run(Box<TaskOrder>),
    /// End this.
    Cancel(TaskIndex, u16),
}

/// Feeds one executor until the lease ends.
pub(super) async fn feed(run: Arc<Run>, handle: Arc<dyn LeaseHandle>, mut fed: mpsc::Receiver<Feed>) {
    while let Some(feed) = fed.recv().await {
        if run.stopped.load(Ordering::Acquire) {
            return;
        }
        match feed {
            Feed::Cancel(index, attempt) => handle.cancel(task_number(index, attempt)),
            Feed::Run(order) => {
                let (index, attempt) = (order.index, order.attempt);
                let failed = match prepare(&run, *order) {
                    Ok(task) => handle
                        .submit(task)
                        .await
                        .err()
                        .map(|e| (e.code().to_owned(), e.to_string())),
                    Err(failed) => Some(failed),
                };
                let number = task_number(index, attempt);
                if failed.is_none() {
                    run.coming.flow(number, &handle);
                } else {
                    run.coming.end(number);
                }
                if let Some((code, detail)) = failed {
                    // `exec.died` is told by the pump once for all tasks.
                    if code != "exec.died" {
                        let retryable = results::is_workers_fault(&code);
                        let result = failed_result(index, attempt, code, detail, retryable);
                        run.tell(Input::TaskDone {
                            lease: run.lease,
                            result: Box::new(result),
                        })
                        .await;
                    }
                }
            }
        }
    }
}

/// A result of a task that never ran.
pub(super) fn failed_result(
    index: TaskIndex,
    attempt: u16,
    code: String,
    detail: String,
    retryable: bool,
) -> TaskResult {
    TaskResult {
        index,
        attempt,
        outcome: Outcome::Failed {
            code,
            detail: results::cut(detail),
            retryable,
        },
        stdout: None,
        stderr: None,
        outputs: Vec::new(),
        usage: Usage::default(),
    }
}

fn prepare(run: &Run, order: TaskOrder) -> Result<TaskRun, (String, String)> {
    let spec = order.spec;
    let number = task_number(order.index, order.attempt);
    let mut inputs = Vec::with_capacity(spec.inputs.len());
    for (n, input) in spec.inputs.into_iter().enumerate() {
        let path = place(run, &input.blob, number, n)?;
        inputs.push(InputFile {
            name: input.path,
            path,
        });
    }
    let coming = run.coming.size(number);
    let stdin = match (spec.stdin, coming) {
        (None, _) => Stdin::Empty,
        (_, Some(size)) => Stdin::Stream { size },
        (
            Some(BlobRef {
                inline: Some(bytes), ..
            }),
            None,
        ) => Stdin::Inline(bytes),
        (Some(blob), None) => Stdin::File(place(run, &blob, number, hive_protocol::task::MAX_INPUTS)?),
    };
    let mut argv = Vec::with_capacity(spec.args.len() + 1);
    argv.push(run.program.name.clone());
    argv.extend(spec.args);
    let limits = run.program.limits;
    Ok(TaskRun {
        task: number,
        program: run.program.module.hash.0,
        argv,
        env: spec.env,
        stdin,
        inputs,
        out_dir: spec.collect_out,
        tmp_dir: false,
        stream_logs: true,
        seed: seed(&run.program.module.hash, order.index),
        fixed_clock: false,
        limits: hive_executor::Limits {
            fuel: limits.fuel,
            wall_ms: limits.wall_ms,
            memory_bytes: limits.memory,
            output_bytes: limits.output,
            file_bytes: limits.output,
            files: limits.files,
        },
        payload: Vec::new(),
    })
}

/// The same module and task give the same random numbers on every machine and in every try.
fn seed(module: &BlobHash, index: TaskIndex) -> [u8; 32] {
    let mut bytes = module.0.to_vec();
    bytes.extend_from_slice(&index.0.to_le_bytes());
    BlobHash::of(&bytes).0
}

/// The name of a linked input; the pump removes it by the same rule.
pub(super) fn input_name(number: u64, n: usize) -> String {
    format!("{number:x}-{n}")
}

fn place(run: &Run, blob: &BlobRef, number: u64, n: usize) -> Result<PathBuf, (String, String)> {
    let store = &run.places.store;
    let named = |e: hive_store::BlobError| (e.code().to_owned(), e.to_string());
    if let Some(bytes) = &blob.inline {
        store.add_expected(&blob.hash, bytes).map_err(named)?;
    }
    store
        .link_into(&blob.hash, &run.inputs(), &input_name(number, n))
        .map_err(named)
}
