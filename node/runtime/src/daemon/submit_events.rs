//! What the submitter core tells people: into the book, the metrics and the stream of events.

use super::Daemon;
use crate::port::TaskState;
use hive_protocol::{ids::JobId, work::RESUME_GRACE};
use hive_scheduler::submitter::{Event, JobState};

/// How long a worker may still fetch inputs after its lease ended (a task may just be starting).
const INPUTS_STAY_MS: u64 = RESUME_GRACE.0;

impl Daemon {
    pub(super) fn submitter_event(&mut self, event: Event) {
        match event {
            Event::JobRejected { job, code } => {
                self.events.say(
                    "job.rejected",
                    job,
                    format!("job {} was not taken: {code}", job.short()),
                );
            }
            Event::JobState { job, state } => {
                if let JobState::Waiting { code, detail } = &state {
                    self.events.say("job.waiting", job, format!("{code}: {detail}"));
                }
                if let Some(entry) = self.book.jobs.get_mut(&job) {
                    entry.standing.state = state.name().to_owned();
                    entry.standing.waiting = match state {
                        JobState::Waiting { code, detail } => (code, detail),
                        _ => Default::default(),
                    };
                }
                self.waiters.job_changed(job);
            }
            Event::JobFinished { job, totals } => {
                let text = format!(
                    "{} succeeded, {} failed, {} stopped",
                    totals.succeeded, totals.failed, totals.stopped
                );
                self.events.say("job.ended", job, text);
                self.metrics.jobs_ended.inc();
                self.waiters.job_changed(job);
            }
            Event::JobSettled { job, totals } => {
                if let Some(entry) = self.book.jobs.get_mut(&job) {
                    entry.settled = true;
                }
                self.events
                    .say("job.settled", job, format!("paid {} in all", totals.spent));
            }
            Event::TaskStarted {
                job,
                index,
                attempt,
                node,
            } => {
                if let Some(entry) = self.book.jobs.get_mut(&job) {
                    entry.set(index, TaskState::Running, Some(attempt), Some(node));
                }
                if self.events.is_watched() {
                    let who = self.node_label(&node);
                    self.events.say(
                        "task.started",
                        task_id(job, index),
                        format!("try {attempt} on {who}"),
                    );
                }
            }
            Event::TaskEnded {
                job,
                index,
                end,
                attempt,
                node,
            } => {
                if self.events.is_watched() {
                    let who = node.map_or_else(|| "no worker".to_owned(), |n| self.node_label(&n));
                    let text = format!("try {attempt} on {who}: {}", end_text(&end));
                    self.events.say("task.ended", task_id(job, index), text);
                }
            }
            Event::TaskRetried {
                job,
                index,
                attempt,
                node,
                code,
                detail,
            } => {
                self.metrics.retries.inc();
                if let Some(entry) = self.book.jobs.get_mut(&job) {
                    entry.retried += 1;
                    entry.set(index, TaskState::Queued, Some(attempt), Some(node));
                }
                let who = self.node_label(&node);
                self.events.say(
                    "task.retried",
                    task_id(job, index),
                    format!("try {attempt} on {who}: {code}: {detail}"),
                );
            }
            Event::LeaseOpened {
                lease,
                node,
                slots,
                price,
                hold,
                ..
            } => {
                let who = self.node_label(&node);
                let text = format!("{slots} slots on {who} at {}/Gfuel, {hold} held", price.per_gfuel);
                self.events.say("lease.opened", lease, text);
            }
            Event::LeaseRefused {
                lease,
                node,
                code,
                detail,
                ..
            } => {
                let who = self.node_label(&node);
                self.events
                    .say("lease.refused", lease, format!("{who}: {code}: {detail}"));
            }
            Event::LeaseEnded {
                job,
                lease,
                node,
                code,
                detail,
                tasks,
                owed,
            } => {
                if let Some(entry) = self.book.jobs.get_mut(&job) {
                    let paid = &mut entry.by_worker.entry(node).or_default().1;
                    *paid = paid.saturating_add(owed);
                }
                let who = self.node_label(&node);
                self.events.say(
                    "lease.closed",
                    lease,
                    format!("{who}: {code} {detail}: {tasks} tasks, {owed}"),
                );
                if let Some(mesh) = self.mesh.as_ref() {
                    let grants = mesh.grants.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(std::time::Duration::from_millis(INPUTS_STAY_MS)).await;
                        grants.end(&lease);
                    });
                }
            }
            Event::ReceiptRefused {
                lease,
                node,
                code,
                detail,
            } => {
                self.metrics.receipts_refused.inc();
                let who = self.node_label(&node);
                self.events
                    .say("receipt.refused", lease, format!("{who}: {code}: {detail}"));
            }
        }
    }
}

fn task_id(job: JobId, index: hive_protocol::ids::TaskIndex) -> hive_protocol::ids::TaskId {
    hive_protocol::ids::TaskId { job, index }
}

fn end_text(end: &hive_scheduler::submitter::TaskEnd) -> String {
    use hive_scheduler::submitter::TaskEnd;
    match end {
        TaskEnd::Succeeded => "succeeded".to_owned(),
        TaskEnd::Failed { code, detail } => format!("{code}: {detail}"),
        TaskEnd::Stopped => "stopped".to_owned(),
    }
}
