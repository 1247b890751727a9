//! Calls that make, change or remove jobs.

use super::{Daemon, calls::journal, joining::internal, nodes::unjoined, submit::job_pin};
use crate::{
    inbox::Inbox,
    jobs::{self, Accepted, Entry, Intake, JobMeta, TaskMeta, accept_task},
    port::{JobRequest, JobView, Kind, NodeHandle, Refused, Reply, TaskRequest, TaskState},
};
use hive_protocol::{
    ids::{JobId, TaskIndex},
    task::MAX_TASKS_PER_JOB,
};
use hive_scheduler::submitter::Input;

/// Tasks added in one call.
const MAX_ADD: usize = 10_000;

impl Daemon {
    pub(super) fn submit(&mut self, request: Box<JobRequest>, reply: Reply<JobView>) {
        if self.mesh.is_none() {
            let _ = reply.send(Err(unjoined()));
            return;
        }
        let job = match crate::random() {
            Ok(id) => JobId(id),
            Err(e) => {
                let _ = reply.send(Err(internal(&e)));
                return;
            }
        };
        let (store, post) = (self.store.clone(), self.post.clone());
        tokio::task::spawn_blocking(move || {
            let owner = job_pin(job);
            let intake = Intake {
                store: &store,
                owner: &owner,
            };
            let accepted = jobs::accept(job, intake, &request);
            if accepted.is_err() {
                store.unpin_all(&owner);
            }
            // A blocking thread may wait for a place in the inbox.
            let _ = post.blocking_send(Inbox::JobAccepted(Box::new(accepted), reply));
        });
    }

    /// A job's sources are in the store: into the journal, then to the core, then answered.
    pub(super) fn job_accepted(&mut self, accepted: Result<Accepted, Refused>, reply: Reply<JobView>) {
        let answer = accepted.and_then(|accepted| {
            let job = accepted.job;
            let taken = self.take_job(accepted);
            self.let_go_unless_kept(job);
            taken
        });
        let _ = reply.send(answer);
    }

    /// What was taken into the store for a job that is not there (any more) may go.
    fn let_go_unless_kept(&self, job: JobId) {
        if !self.book.jobs.contains_key(&job) {
            self.store.unpin_all(&job_pin(job));
        }
    }

    fn take_job(&mut self, accepted: Accepted) -> Result<JobView, Refused> {
        let job = accepted.job;
        let meta = JobMeta {
            job,
            spec: accepted.spec,
            submitted: self.clock.now(),
        };
        let mut entry = Entry::new(&meta);
        self.journal.put_job(&meta).map_err(|e| journal(&e))?;
        self.put_tasks(job, 0, &accepted.tasks, &mut entry)?;
        self.journal.commit().map_err(|e| journal(&e))?;
        entry.in_core = true;
        self.pin(&entry);
        self.book.jobs.insert(job, entry);
        self.book.last = Some(job);
        let tasks = accepted.tasks.into_iter().map(|t| t.spec).collect();
        self.tell_submitter(Input::Submit {
            job,
            spec: Box::new(meta.spec),
            tasks,
        });
        self.metrics.jobs.inc();
        self.events
            .say("job.submitted", job, format!("job {} submitted", job.short()));
        self.drain_submitter();
        self.show_job(job)
    }

    fn put_tasks(
        &mut self,
        job: JobId,
        first: u32,
        tasks: &[TaskMeta],
        entry: &mut Entry,
    ) -> Result<(), Refused> {
        for (n, task) in tasks.iter().enumerate() {
            let index = TaskIndex(first.saturating_add(u32::try_from(n).unwrap_or(u32::MAX)));
            self.journal.put_task(job, index, task).map_err(|e| journal(&e))?;
            entry.push(&task.label);
            entry.pins.extend(task.spec.blobs().map(|b| b.hash));
        }
        Ok(())
    }

    /// Keeps what a job reads from being collected.
    pub(super) fn pin(&self, entry: &Entry) {
        let owner = job_pin(entry.job);
        for hash in &entry.pins {
            if let Err(e) = self.store.pin(*hash, &owner, None) {
                tracing::warn!(target: "hive_runtime::job", code = e.code(), "cannot pin an input: {e}");
            }
        }
    }

    pub(super) fn add(&mut self, job: &str, tasks: Vec<TaskRequest>, reply: Reply<Vec<String>>) {
        let checked = self.job_id(job).and_then(|id| {
            let entry = self.entry(id)?;
            let room = (MAX_TASKS_PER_JOB as usize).saturating_sub(entry.tasks.len());
            if tasks.len() > MAX_ADD.min(room) {
                let message = format!(
                    "{} tasks at once; a call takes at most {MAX_ADD}, a job {MAX_TASKS_PER_JOB}",
                    tasks.len()
                );
                return Err(Refused::new(Kind::Invalid, "job.too_many_tasks", message));
            }
            if !entry.standing.open {
                let message = format!("job {} takes no more tasks: it is closed", id.short());
                return Err(Refused::new(Kind::Conflict, "job.closed", message));
            }
            Ok(id)
        });
        let id = match checked {
            Ok(id) => id,
            Err(e) => {
                let _ = reply.send(Err(e));
                return;
            }
        };
        let store = self.store.clone();
        let convert = move || {
            let owner = job_pin(id);
            let intake = Intake {
                store: &store,
                owner: &owner,
            };
            let accepted = tasks.iter().map(|t| accept_task(intake, t));
            accepted.collect::<Result<Vec<_>, _>>()
        };
        // Sources are files of any size: read and hashed on a thread of their own, not in the loop.
        let post = self.post.clone();
        tokio::task::spawn_blocking(move || {
            let _ = post.blocking_send(Inbox::TasksAccepted(id, Box::new(convert()), reply));
        });
    }

    /// Further tasks' sources are in the store.
    pub(super) fn tasks_accepted(
        &mut self,
        job: JobId,
        accepted: Result<Vec<TaskMeta>, Refused>,
        reply: Reply<Vec<String>>,
    ) {
        let answer = accepted.and_then(|tasks| {
            let mut entry = self
                .book
                .jobs
                .remove(&job)
                .ok_or_else(|| NodeHandle::not_found("job", &job.to_string()))?;
            let first = u32::try_from(entry.tasks.len()).unwrap_or(u32::MAX);
            let before = entry.pins.len();
            let put = self
                .put_tasks(job, first, &tasks, &mut entry)
                .and_then(|()| self.journal.commit().map_err(|e| journal(&e)));
            let owner = job_pin(job);
            for hash in entry.pins.iter().skip(before) {
                let _ = self.store.pin(*hash, &owner, None);
            }
            self.book.jobs.insert(job, entry);
            put?;
            let ids = (0..tasks.len())
                .map(|n| {
                    let index = TaskIndex(first.saturating_add(u32::try_from(n).unwrap_or(u32::MAX)));
                    hive_protocol::ids::TaskId { job, index }.to_string()
                })
                .collect();
            self.tell_submitter(Input::AddTasks {
                job,
                tasks: tasks.into_iter().map(|t| t.spec).collect(),
            });
            Ok(ids)
        });
        self.let_go_unless_kept(job);
        let _ = reply.send(answer);
    }

    /// Makes sure that the core has a job that may have been forgotten.
    pub(super) fn wake(&mut self, job: JobId) -> Result<(), Refused> {
        if self.entry(job)?.in_core {
            return Ok(());
        }
        let (all, _) = self.journal.jobs().map_err(|e| journal(&e))?;
        let found = all.into_iter().find(|(meta, _)| meta.job == job);
        let (meta, standing) = found.ok_or_else(|| NodeHandle::not_found("job", &job.to_string()))?;
        let restored = jobs::restore(&self.journal, &meta, standing, true).map_err(|e| journal(&e))?;
        self.book.jobs.insert(job, restored.entry);
        if let Some(input) = restored.input {
            self.tell_submitter(input);
        }
        Ok(())
    }

    pub(super) fn retry_job(&mut self, job: JobId) -> Result<JobView, Refused> {
        self.wake(job)?;
        let again: Vec<TaskIndex> = self
            .entry(job)?
            .tasks
            .iter()
            .enumerate()
            .filter(|(_, t)| matches!(t.state, TaskState::Failed | TaskState::Stopped))
            .filter_map(|(at, _)| u32::try_from(at).ok().map(TaskIndex))
            .collect();
        for index in again {
            self.tell_submitter(Input::RetryTask { job, index });
        }
        self.settle();
        self.show_job(job)
    }

    pub(super) fn remove_job(&mut self, job: JobId) -> Result<(), Refused> {
        let entry = self.entry(job)?;
        if !entry.standing.is_final() {
            let message = format!("job {} has not ended", job.short());
            let refused = Refused::new(Kind::Conflict, "job.running", message);
            return Err(refused.hint(format!("hivenode job stop {}", job.short())));
        }
        self.drop_job(job).map_err(|e| journal(&e))
    }

    /// Removes a job with everything that was kept for it.
    pub(super) fn drop_job(&mut self, job: JobId) -> Result<(), hive_store::JournalError> {
        self.tell_submitter(Input::ForgetJob { job });
        self.journal.remove_job(job)?;
        self.book.jobs.remove(&job);
        if self.book.last == Some(job) {
            self.book.last = self.book.jobs.values().max_by_key(|e| e.submitted).map(|e| e.job);
        }
        self.store.unpin_all(&job_pin(job));
        self.waiters.job_changed(job);
        Ok(())
    }
}
