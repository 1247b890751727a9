//! A finished task's streams and files become blobs that its submitter may fetch.

use super::{
    feed::{failed_result, input_name},
    shell::{Run, pin_name},
};
use hive_executor::{Captured, LeaseHandle, Outcome as ExecOutcome, Stream, TaskDone};
use hive_protocol::{
    ids::TaskIndex,
    task::{
        BlobRef, MAX_DETAIL, MAX_INLINE, MAX_INPUTS, MAX_OUTPUTS, Outcome, OutputFile, TaskResult, Usage,
        check_path,
    },
};
use std::{io::Read, sync::Arc};

/// Whether a failure is this machine's and not the program's: the task may do better elsewhere.
pub(super) fn is_workers_fault(code: &str) -> bool {
    ["exec.", "store.", "blob.", "task.input"]
        .iter()
        .any(|prefix| code.starts_with(prefix))
}

/// Cuts a text to what a result may carry.
pub(super) fn cut(mut text: String) -> String {
    if text.len() > MAX_DETAIL {
        let mut end = MAX_DETAIL;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

type Named = (String, String);

fn store_error(e: &hive_store::BlobError) -> Named {
    (e.code().to_owned(), e.to_string())
}

fn keep(run: &Run, mut file: std::fs::File, size: u64) -> Result<BlobRef, Named> {
    let io = |e: std::io::Error| ("exec.output".to_owned(), e.to_string());
    if size <= MAX_INLINE as u64 {
        let mut bytes = Vec::with_capacity(MAX_INLINE);
        file.by_ref()
            .take(MAX_INLINE as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(io)?;
        if bytes.len() <= MAX_INLINE {
            return Ok(BlobRef::of(&bytes));
        }
        return Err((
            "exec.output".to_owned(),
            "an output grew after its task had ended".to_owned(),
        ));
    }
    let added = run
        .places
        .store
        .add_reader(&mut file, run.program.limits.output)
        .map_err(|e| store_error(&e))?;
    Ok(BlobRef::by_hash(added.hash, added.size))
}

fn stream(
    run: &Run,
    handle: &Arc<dyn LeaseHandle>,
    task: u64,
    which: Stream,
    captured: Captured,
) -> Result<Option<BlobRef>, Named> {
    match captured {
        Captured::Inline(bytes) if bytes.is_empty() => Ok(None),
        Captured::Inline(bytes) if bytes.len() <= MAX_INLINE => Ok(Some(BlobRef::of(&bytes))),
        Captured::Inline(bytes) => {
            let added = run.places.store.add_bytes(&bytes).map_err(|e| store_error(&e))?;
            Ok(Some(BlobRef::by_hash(added.hash, added.size)))
        }
        Captured::Spooled { bytes } => {
            let file = handle
                .open_capture(task, which)
                .map_err(|e| ("exec.output".to_owned(), e.to_string()))?;
            keep(run, file, bytes).map(Some)
        }
    }
}

/// Collects everything of a finished task. What cannot be kept (full disk, quota) makes the try the worker's fault.
pub(super) async fn collect(
    run: &Arc<Run>,
    handle: &Arc<dyn LeaseHandle>,
    index: TaskIndex,
    attempt: u16,
    done: TaskDone,
) -> TaskResult {
    let number = done.task;
    // Anything on disk is read and hashed: not on a thread that drives the network.
    let on_disk = !done.files.is_empty()
        || [&done.stdout, &done.stderr]
            .iter()
            .any(|c| !matches!(c, Captured::Inline(b) if b.len() <= MAX_INLINE));
    let gather = || gather(run, handle, index, attempt, done);
    let result = if on_disk {
        tokio::task::block_in_place(gather)
    } else {
        gather()
    };
    let submitter = run.submitter;
    let hashes: Vec<_> = result
        .blobs()
        .filter(|b| b.inline.is_none())
        .map(|b| b.hash)
        .collect();
    for hash in &hashes {
        if let Err(e) = run.places.store.pin(*hash, &pin_name(run.lease), None) {
            tracing::warn!(target: "hive_runtime::exec", code = e.code(), "cannot pin a result: {e}");
        }
    }
    if !hashes.is_empty() {
        run.places.grants.allow(run.lease, submitter, hashes);
    }
    run.coming.end(number);
    handle.release(number).await;
    for n in 0..=MAX_INPUTS {
        // Inputs are linked from 0 on; the one after the last possible is standard input.
        if std::fs::remove_file(run.inputs().join(input_name(number, n))).is_err() {
            break;
        }
    }
    let _ = std::fs::remove_file(run.inputs().join(input_name(number, MAX_INPUTS)));
    result
}

fn gather(
    run: &Run,
    handle: &Arc<dyn LeaseHandle>,
    index: TaskIndex,
    attempt: u16,
    done: TaskDone,
) -> TaskResult {
    let usage = Usage {
        fuel: done.usage.fuel,
        wall_us: done.usage.wall_us,
        cpu_us: done.usage.cpu_us,
        memory: done.usage.peak_memory,
    };
    let outcome = match done.outcome {
        ExecOutcome::Exited(code) => Outcome::Exited(code),
        ExecOutcome::Failed(f) => {
            let retryable = is_workers_fault(&f.code);
            Outcome::Failed {
                code: f.code,
                detail: cut(f.message),
                retryable,
            }
        }
    };
    let parts = || -> Result<_, Named> {
        let stdout = stream(run, handle, done.task, Stream::Out, done.stdout)?;
        let stderr = stream(run, handle, done.task, Stream::Err, done.stderr)?;
        let mut outputs = Vec::with_capacity(done.files.len());
        if done.files.len() > MAX_OUTPUTS {
            let detail = format!(
                "{} output files are over the limit of {MAX_OUTPUTS} of one result",
                done.files.len()
            );
            return Err(("task.files_limit".to_owned(), detail));
        }
        for file in &done.files {
            if let Err(e) = check_path(&file.path) {
                return Err(("task.output_name".to_owned(), e.to_string()));
            }
            let open = handle.open_output(done.task, &file.path);
            let open = open.map_err(|e| ("exec.output".to_owned(), e.to_string()))?;
            outputs.push(OutputFile {
                path: file.path.clone(),
                blob: keep(run, open, file.bytes)?,
            });
        }
        Ok((stdout, stderr, outputs))
    };
    match parts() {
        Ok((stdout, stderr, outputs)) => TaskResult {
            index,
            attempt,
            outcome,
            stdout,
            stderr,
            outputs,
            usage,
        },
        Err((code, detail)) => {
            let retryable = is_workers_fault(&code);
            TaskResult {
                usage,
                ..failed_result(index, attempt, code, detail, retryable)
            }
        }
    }
}
