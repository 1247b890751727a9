//! Calls of the API: quick ones are answered here, slow ones in a task of their own.

use super::{
    Daemon,
    nodes::{find_node, unjoined},
    paths,
};
use crate::{
    inbox::Asking,
    jobs::{self, Entry, job_view, task_row, task_view},
    port::{
        Call, JobView, Kind, LogChunk, NodeHandle, NodeRow, Refused, Reply, TaskFilter, TaskRow, TaskState,
        TaskView,
    },
};
use hive_protocol::{
    ids::{JobId, TaskIndex},
    task::BlobRef,
};
use hive_scheduler::submitter::Input;
use tokio::sync::mpsc;

/// Most rows of one listing.
const MAX_ROWS: usize = 1000;
/// Pieces of a finished task's log on their way to the reader.
const LOG_PIECES: usize = 16;
/// Size of such a piece in bytes.
const LOG_PIECE: usize = 64 << 10;

impl Daemon {
    pub(super) async fn call(&mut self, call: Call) {
        self.metrics.calls.inc();
        match call {
            Call::MeshCreate { request, reply } => self.create_mesh(request, reply).await,
            call if self.wants_to_know(&call) => self.ask_who(Asking::Call(Box::new(call))),
            call => self.answer(call),
        }
    }

    /// Answers a call with what is known now.
    pub(super) fn answer(&mut self, call: Call) {
        // A caller that has gone does not want its answer: errors of `send` mean that throughout.
        match call {
            Call::Status { reply } => self.status(reply),
            // The one call that is waited for: see above.
            Call::MeshCreate { .. } => {}
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
                let _ = reply.send(Ok(all.into_iter().map(|e| self.job_shown(e)).collect()));
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
            Call::Metrics { reply } => self.metrics_text(reply),
            Call::Net(call) => self.net_call(call),
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
        let rows = self.node_rows();
        let (net, names) = (mesh.net.clone(), self.names());
        tokio::spawn(async move {
            let paths = paths::all(&net, &names).await;
            let answer = rows.and_then(|mut rows| {
                paths::into_rows(&mut rows, paths);
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

    pub(super) fn job_id(&self, text: &str) -> Result<JobId, Refused> {
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

    pub(super) fn entry(&self, job: JobId) -> Result<&Entry, Refused> {
        self.book
            .jobs
            .get(&job)
            .ok_or_else(|| NodeHandle::not_found("job", &job.to_string()))
    }

    pub(super) fn show_job(&self, job: JobId) -> Result<JobView, Refused> {
        self.entry(job).map(|entry| self.job_shown(entry))
    }

    /// The job; when it waits for want of an authority or its word, and this node's clock is why, that is the reason.
    fn job_shown(&self, entry: &Entry) -> JobView {
        let mut view = job_view(entry);
        if let Some(waiting) = &mut view.waiting
            && matches!(
                waiting.code.as_str(),
                "credential.missing" | "authority.unreachable"
            )
            && let Some(clock) = self.clock_problem()
        {
            *waiting = clock;
        }
        view
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
                if what == "task" {
                    "task.ambiguous"
                } else {
                    "job.ambiguous"
                },
                format!("several {what}s begin with `{text}`: give more of the id"),
            )
        }
    }
}
