//! Calls of the API: quick ones are answered here, slow ones in a task of their own.

use super::{
    Daemon,
    joining::internal,
    nodes::{find_node, unjoined},
    submit::job_pin,
};
use crate::{
    inbox::Inbox,
    jobs::{self, Accepted, Entry, JobMeta, TaskMeta, accept_task, job_view, task_row, task_view},
    port::{
        Call, JobRequest, JobView, Kind, LogChunk, NodeHandle, NodeRow, Refused, Reply, TaskFilter,
        TaskRequest, TaskRow, TaskState, TaskView,
    },
};
use hive_protocol::{
    ids::{JobId, TaskIndex},
    task::{BlobRef, MAX_TASKS_PER_JOB},
};
use hive_scheduler::submitter::Input;
use tokio::sync::mpsc;

/// Most rows of one listing.
const MAX_ROWS: usize = 1000;
/// Pieces of a finished task's log on their way to the reader.
const LOG_PIECES: usize = 16;
/// Size of such a piece in bytes.
const LOG_PIECE: usize = 64 << 10;
/// Tasks added in one call.
const MAX_ADD: usize = 10_000;

impl Daemon {
    pub(super) async fn call(&mut self, call: Call) {
        self.metrics.calls.inc();
        // A caller that has gone does not want its answer: errors of `send` mean that throughout.
        match call {
            Call::Status { reply } => self.status(reply),
            Call::MeshCreate { request, reply } => self.create_mesh(request, reply).await,
            Call::Join { ticket, reply } => self.join(&ticket, reply),
            Call::Invite { request, reply } => self.invite(&request, reply),
            Call::InviteRevoke { invite, reply } => self.revoke(&invite, reply),
            Call::Nodes { reply } => self.nodes(reply, Ok),
            Call::Node { node, reply } => self.nodes(reply, move |rows| find_node(&rows, &node).cloned()),
            Call::JobSubmit { request, reply } => self.submit(request, reply),
            Call::JobAdd { job, tasks, reply } => self.add(&job, tasks, reply),
            Call::JobClose { job, reply } => {
                let answer = self.with_job(&job, |d, id| {
                    d.tell_submitter(Input::CloseJob { job: id });
                    if let Some(entry) = d.book.jobs.get_mut(&id) {
                        entry.standing.open = false;
                    }
                    d.show_job(id)
                });
                let _ = reply.send(answer);
            }
            Call::Jobs { reply } => {
                let mut all: Vec<&Entry> = self.book.jobs.values().collect();
                all.sort_by_key(|e| std::cmp::Reverse((e.submitted, e.job)));
                let _ = reply.send(Ok(all.into_iter().map(job_view).collect()));
            }
            Call::Job { job, reply } => {
                let answer = self.with_job(&job, |d, id| d.show_job(id));
                let _ = reply.send(answer);
            }
            Call::JobTasks { job, filter, reply } => {
                let answer = self.with_job(&job, |d, id| d.rows(id, &filter));
                let _ = reply.send(answer);
            }
            Call::JobWait { job, reply } => match self.job_id(&job) {
                Ok(id) => self.waiters.job(id, reply),
                Err(e) => {
                    let _ = reply.send(Err(e));
                }
            },
            Call::JobStop { job, reply } => {
                let answer = self.with_job(&job, |d, id| {
                    d.tell_submitter(Input::StopJob { job: id });
                    d.drain_submitter();
                    d.show_job(id)
                });
                let _ = reply.send(answer);
            }
            Call::JobRetry { job, reply } => {
                let answer = self.with_job(&job, Self::retry_job);
                let _ = reply.send(answer);
            }
            Call::JobRemove { job, reply } => {
                let answer = self.with_job(&job, Self::remove_job);
                let _ = reply.send(answer);
            }
            Call::Task { task, reply } => {
                let answer = self.with_task(&task, |d, id, index| d.show_task(id, index));
                let _ = reply.send(answer);
            }
            Call::TaskWait { task, reply } => match self.task_id(&task) {
                Ok((id, index)) => self.waiters.task(id, index, reply),
                Err(e) => {
                    let _ = reply.send(Err(e));
                }
            },
            Call::TaskStop { task, reply } => {
                let answer = self.with_task(&task, |d, job, index| {
                    d.tell_submitter(Input::StopTask { job, index });
                    d.settle();
                    d.show_task(job, index)
                });
                let _ = reply.send(answer);
            }
            Call::TaskRetry { task, reply } => {
                let answer = self.with_task(&task, |d, job, index| {
                    d.wake(job)?;
                    d.tell_submitter(Input::RetryTask { job, index });
                    d.settle();
                    d.show_task(job, index)
                });
                let _ = reply.send(answer);
            }
            Call::Explain { subject, reply } => {
                let _ = reply.send(self.explain(&subject));
            }
            Call::Logs { task, follow, reply } => {
                let answer = self.with_task(&task, |d, job, index| d.task_logs(job, index, follow));
                let _ = reply.send(answer);
            }
            Call::Events { reply } => {
                let _ = reply.send(Ok(self.events.watch()));
            }
            Call::Wallet { account, reply } => self.wallet(account.as_deref(), reply),
            Call::WalletHistory { before, limit, reply } => self.history(before, limit, reply),
            Call::WalletSend {
                to,
                amount,
                memo,
                reply,
            } => self.send_money(&to, amount, memo, reply),
            Call::Metrics { reply } => {
                let _ = reply.send(Ok(self.metrics_text()));
            }
            Call::Stop { drain_ms, reply } => self.begin_stop(drain_ms, Some(reply)),
        }
    }

    fn nodes<T: Send + 'static>(
        &self,
        reply: Reply<T>,
        pick: impl FnOnce(Vec<NodeRow>) -> Result<T, Refused> + Send + 'static,
    ) {
        let Some(mesh) = self.mesh.as_ref() else {
            let _ = reply.send(Err(unjoined()));
            return;
        };
        let rows = self.node_rows(&[]);
        let net = mesh.net.clone();
        tokio::spawn(async move {
            let peers = net.peers().await;
            let answer = rows.and_then(|mut rows| {
                for row in &mut rows {
                    if let Some(p) = peers.iter().find(|p| p.node.to_string() == row.node) {
                        row.path = if p.direct { "direct" } else { "relay" }.to_owned();
                        row.rtt_us = p.rtt.and_then(|d| u64::try_from(d.as_micros()).ok());
                    }
                }
                pick(rows)
            });
            let _ = reply.send(answer);
        });
    }

    pub(super) fn tell_submitter(&mut self, input: Input) {
        let now = self.clock.now();
        if let Some(mesh) = self.mesh.as_mut() {
            mesh.submitter.handle(now, input);
        }
    }

    fn job_id(&self, text: &str) -> Result<JobId, Refused> {
        self.book.find(text).map_err(|e| lookup("job", text, e))
    }

    fn task_id(&self, text: &str) -> Result<(JobId, TaskIndex), Refused> {
        self.book.find_task(text).map_err(|e| lookup("task", text, e))
    }

    fn with_job<T>(
        &mut self,
        text: &str,
        f: impl FnOnce(&mut Self, JobId) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let job = self.job_id(text)?;
        f(self, job)
    }

    fn with_task<T>(
        &mut self,
        text: &str,
        f: impl FnOnce(&mut Self, JobId, TaskIndex) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let (job, index) = self.task_id(text)?;
        f(self, job, index)
    }

    fn entry(&self, job: JobId) -> Result<&Entry, Refused> {
        self.book
            .jobs
            .get(&job)
            .ok_or_else(|| NodeHandle::not_found("job", &job.to_string()))
    }

    fn show_job(&self, job: JobId) -> Result<JobView, Refused> {
        self.entry(job).map(job_view)
    }

    fn show_task(&self, job: JobId, index: TaskIndex) -> Result<TaskView, Refused> {
        let entry = self.entry(job)?;
        let task = entry
            .tasks
            .get(index.0 as usize)
            .ok_or_else(|| NodeHandle::not_found("task", &job.to_string()))?;
        let (meta, ended) = self.journal.task(job, index).map_err(|e| journal(&e))?;
        Ok(task_view(entry, index, task, meta.as_ref(), ended.as_ref()))
    }

    fn rows(&self, job: JobId, filter: &TaskFilter) -> Result<Vec<TaskRow>, Refused> {
        let entry = self.entry(job)?;
        let limit = usize::try_from(filter.limit)
            .unwrap_or(MAX_ROWS)
            .clamp(1, MAX_ROWS);
        let start = filter.after.map_or(0, |a| a as usize + 1);
        let wanted = entry
            .tasks
            .iter()
            .enumerate()
            .skip(start)
            .filter(|(_, t)| filter.state.is_none_or(|s| s == t.state));
        let mut rows = Vec::with_capacity(limit.min(64));
        for (at, task) in wanted.take(limit) {
            let index = TaskIndex(u32::try_from(at).unwrap_or(u32::MAX));
            let over = matches!(
                task.state,
                TaskState::Succeeded | TaskState::Failed | TaskState::Stopped
            );
            let ended = if over {
                self.journal.ended_task(job, index).map_err(|e| journal(&e))?
            } else {
                None
            };
            rows.push(task_row(entry, index, task, ended.as_ref()));
        }
        Ok(rows)
    }

    fn submit(&mut self, request: Box<JobRequest>, reply: Reply<JobView>) {
        if self.mesh.is_none() {
            let _ = reply.send(Err(unjoined()));
            return;
        }
        let (store, post) = (self.store.clone(), self.post.clone());
        tokio::task::spawn_blocking(move || {
            let accepted = jobs::accept(&store, &request);
            // A blocking thread may wait for a place in the inbox.
            let _ = post.blocking_send(Inbox::JobAccepted(Box::new(accepted), reply));
        });
    }

    /// A job's sources are in the store: into the journal, then to the core, then answered.
    pub(super) fn job_accepted(&mut self, accepted: Result<Accepted, Refused>, reply: Reply<JobView>) {
        let answer = accepted.and_then(|accepted| self.take_job(accepted));
        let _ = reply.send(answer);
    }

    fn take_job(&mut self, accepted: Accepted) -> Result<JobView, Refused> {
        let job = JobId(crate::random().map_err(|e| internal(&e))?);
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

    fn add(&mut self, job: &str, tasks: Vec<TaskRequest>, reply: Reply<Vec<String>>) {
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
            tasks
                .iter()
                .map(|t| accept_task(&store, t))
                .collect::<Result<Vec<_>, _>>()
        };
        // A task or a few without files is converted here: a hand-over to a thread costs more than the work.
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
        let _ = reply.send(answer);
    }

    /// Makes sure that the core has a job that may have been forgotten.
    fn wake(&mut self, job: JobId) -> Result<(), Refused> {
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

    fn retry_job(&mut self, job: JobId) -> Result<JobView, Refused> {
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

    fn remove_job(&mut self, job: JobId) -> Result<(), Refused> {
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

    fn task_logs(
        &mut self,
        job: JobId,
        index: TaskIndex,
        follow: bool,
    ) -> Result<mpsc::Receiver<LogChunk>, Refused> {
        let ended = self.journal.ended_task(job, index).map_err(|e| journal(&e))?;
        let Some(ended) = ended else {
            return Ok(self.logs.read(job, index, follow));
        };
        let (sender, receiver) = mpsc::channel(LOG_PIECES);
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || {
            let Some(result) = ended.result else { return };
            for (stderr, blob) in [(true, result.stderr), (false, result.stdout)] {
                if let Some(blob) = blob
                    && !send_log(&store, &blob, stderr, &sender)
                {
                    return;
                }
            }
        });
        Ok(receiver)
    }
}

/// Sends a finished stream in pieces; false when the reader has gone.
fn send_log(
    store: &hive_store::BlobStore,
    blob: &BlobRef,
    stderr: bool,
    to: &mpsc::Sender<LogChunk>,
) -> bool {
    if let Some(bytes) = &blob.inline {
        return to
            .blocking_send(LogChunk {
                stderr,
                bytes: bytes.clone(),
            })
            .is_ok();
    }
    let Ok(mut file) = store.open_blob(&blob.hash) else {
        return true;
    };
    loop {
        let mut bytes = vec![0; LOG_PIECE];
        match std::io::Read::read(&mut file, &mut bytes) {
            Ok(0) | Err(_) => return true,
            Ok(n) => {
                bytes.truncate(n);
                if to.blocking_send(LogChunk { stderr, bytes }).is_err() {
                    return false;
                }
            }
        }
    }
}

pub(super) fn journal(e: &hive_store::JournalError) -> Refused {
    Refused::new(Kind::Internal, e.code(), e.to_string())
}

fn lookup(what: &str, text: &str, e: jobs::Lookup) -> Refused {
    match e {
        jobs::Lookup::Missing => NodeHandle::not_found(what, text),
        jobs::Lookup::Ambiguous => {
            let text: String = text.chars().take(80).collect();
            Refused::new(
                Kind::Invalid,
                &format!("{what}.ambiguous"),
                format!("several {what}s begin with `{text}`: give more of the id"),
            )
        }
    }
}
