//! Callers that wait for a job or a task to end.

use crate::{
    jobs::{Book, JobJournal, job_view, task_view},
    port::{JobView, Kind, Refused, Reply, TaskState, TaskView},
};
use hive_protocol::ids::{JobId, TaskIndex};
use std::collections::{BTreeMap, BTreeSet};

/// Callers waiting at once, each with an API connection of its own.
const MAX_WAITERS: usize = 4096;

/// Who waits for what.
#[derive(Default)]
pub struct Waiters {
    jobs: BTreeMap<JobId, Vec<Reply<JobView>>>,
    tasks: BTreeMap<(JobId, TaskIndex), Vec<Reply<TaskView>>>,
    count: usize,
    changed: BTreeSet<JobId>,
    ended: BTreeSet<(JobId, TaskIndex)>,
}

fn full() -> Refused {
    Refused::new(
        Kind::Conflict,
        "api.too_many_waiters",
        format!("{MAX_WAITERS} callers wait already"),
    )
    .retryable()
}

impl Waiters {
    /// Waits for the end of a job.
    pub fn job(&mut self, job: JobId, reply: Reply<JobView>) {
        if self.count >= MAX_WAITERS {
            let _ = reply.send(Err(full()));
            return;
        }
        self.count += 1;
        self.jobs.entry(job).or_default().push(reply);
        self.changed.insert(job);
    }

    /// Waits for the end of a task.
    pub fn task(&mut self, job: JobId, index: TaskIndex, reply: Reply<TaskView>) {
        if self.count >= MAX_WAITERS {
            let _ = reply.send(Err(full()));
            return;
        }
        self.count += 1;
        self.tasks.entry((job, index)).or_default().push(reply);
        self.ended.insert((job, index));
    }

    /// Notes that a job may have ended.
    pub fn job_changed(&mut self, job: JobId) {
        if self.jobs.contains_key(&job) {
            self.changed.insert(job);
        }
    }

    /// Notes that a task has ended.
    pub fn task_ended(&mut self, job: JobId, index: TaskIndex) {
        if self.tasks.contains_key(&(job, index)) {
            self.ended.insert((job, index));
        }
    }

    /// Answers those whose wait is over; called after the journal is written.
    pub fn answer(&mut self, book: &Book, journal: &JobJournal) {
        for job in std::mem::take(&mut self.changed) {
            let entry = book.jobs.get(&job);
            if entry.is_some_and(|e| !e.standing.is_final()) {
                continue;
            }
            for reply in self.jobs.remove(&job).unwrap_or_default() {
                self.count = self.count.saturating_sub(1);
                let answer = entry.map(job_view).ok_or_else(|| gone("job", &job.to_string()));
                let _ = reply.send(answer);
            }
        }
        for (job, index) in std::mem::take(&mut self.ended) {
            let found = book
                .jobs
                .get(&job)
                .and_then(|e| Some((e, e.tasks.get(index.0 as usize)?)));
            if let Some((_, task)) = found
                && matches!(
                    task.state,
                    TaskState::Queued | TaskState::Assigned | TaskState::Running
                )
            {
                continue;
            }
            let view = found
                .ok_or_else(|| gone("task", &job.to_string()))
                .and_then(|(entry, task)| {
                    let (meta, ended) = journal
                        .task(job, index)
                        .map_err(|e| Refused::new(Kind::Internal, e.code(), e.to_string()))?;
                    Ok(task_view(entry, index, task, meta.as_ref(), ended.as_ref()))
                });
            for reply in self.tasks.remove(&(job, index)).unwrap_or_default() {
                self.count = self.count.saturating_sub(1);
                let _ = reply.send(view.clone());
            }
        }
    }
}

fn gone(what: &str, id: &str) -> Refused {
    Refused::new(
        Kind::NotFound,
        crate::port::missing(what),
        format!("{what} {id} was removed"),
    )
}
