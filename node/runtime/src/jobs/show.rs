//! Jobs and tasks as the API shows them.

use super::{
    book::{Entry, TaskEntry},
    records::{Ended, EndedTask, TaskMeta},
};
use crate::port::{JobView, OutputView, Problem, TaskRow, TaskState, TaskView};
use data_encoding::BASE64;
use hive_protocol::{
    ids::{TaskId, TaskIndex},
    task::{BlobRef, Outcome},
};

/// A job.
#[must_use]
pub fn job_view(entry: &Entry) -> JobView {
    let (code, detail) = &entry.standing.waiting;
    JobView {
        job: entry.job.to_string(),
        name: entry.spec.name.clone(),
        state: entry.state_name().to_owned(),
        waiting: (!code.is_empty()).then(|| Problem {
            code: code.clone(),
            message: detail.clone(),
            hint: Some(format!("hivenode job explain {}", entry.job.short())),
        }),
        submitted: entry.submitted.0,
        ended: entry.standing.ended.0,
        tasks: u32::try_from(entry.tasks.len()).unwrap_or(u32::MAX),
        queued: entry.count(TaskState::Queued),
        assigned: entry.count(TaskState::Assigned),
        running: entry.count(TaskState::Running),
        succeeded: entry.count(TaskState::Succeeded),
        failed: entry.count(TaskState::Failed),
        stopped: entry.count(TaskState::Stopped),
        retried: entry.retried,
        cost: entry.standing.spent.0,
        budget: entry.spec.budget.0,
        fuel: entry.fuel,
        bytes_in: entry.bytes,
        by_worker: entry
            .by_worker
            .iter()
            .map(|(node, (n, paid))| (node.to_string(), *n, paid.0))
            .collect(),
        module: entry.spec.program.module.hash.to_string(),
        limits: entry.spec.program.limits,
    }
}

/// A stream or file of a result.
#[must_use]
pub fn output_view(path: &str, blob: &BlobRef) -> OutputView {
    OutputView {
        path: path.to_owned(),
        blob: blob.hash.to_string(),
        size: blob.size,
        inline: blob.inline.as_ref().map(|bytes| BASE64.encode(bytes)),
    }
}

/// One line of a listing.
#[must_use]
pub fn task_row(entry: &Entry, index: TaskIndex, task: &TaskEntry, ended: Option<&EndedTask>) -> TaskRow {
    let result = ended.and_then(|e| e.result.as_ref());
    let failure = ended.and_then(|e| match &e.end {
        Ended::Failed { code, detail } => Some(Problem {
            code: code.clone(),
            message: detail.clone(),
            hint: None,
        }),
        _ => None,
    });
    let exit_code = result.and_then(|r| match r.outcome {
        Outcome::Exited(code) => Some(code),
        Outcome::Failed { .. } => None,
    });
    TaskRow {
        task: TaskId {
            job: entry.job,
            index,
        }
        .to_string(),
        index: index.0,
        label: task.label.to_string(),
        state: task.state,
        attempt: task.attempt,
        node: entry.node_of(task).map(|n| n.to_string()),
        exit_code,
        failure,
        fuel: result.map_or(0, |r| r.usage.fuel),
        wall_us: result.map_or(0, |r| r.usage.wall_us),
        stdout: result.and_then(|r| r.stdout.as_ref()).map(|b| output_view("", b)),
        stderr: result.and_then(|r| r.stderr.as_ref()).map(|b| output_view("", b)),
        outputs: result.map_or_else(Vec::new, |r| {
            r.outputs.iter().map(|o| output_view(&o.path, &o.blob)).collect()
        }),
    }
}

/// A task in full.
#[must_use]
pub fn task_view(
    entry: &Entry,
    index: TaskIndex,
    task: &TaskEntry,
    meta: Option<&TaskMeta>,
    ended: Option<&EndedTask>,
) -> TaskView {
    let usage = ended
        .and_then(|e| e.result.as_ref())
        .map(|r| r.usage)
        .unwrap_or_default();
    TaskView {
        row: task_row(entry, index, task, ended),
        job: entry.job.to_string(),
        args: meta.map_or_else(Vec::new, |m| m.spec.args.clone()),
        cpu_us: usage.cpu_us,
        memory: usage.memory,
    }
}
