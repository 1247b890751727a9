//! The executor's side: what runs, what has ended, what died.

use super::{
    Effect, Event, Worker,
    lease::{By, Executor, Lease, MAX_FETCHING, Phase, Running, failure},
};
use crate::payment::{RECALLED, STOPPED};
use hive_protocol::{
    ids::{LeaseId, TaskIndex},
    task::{BlobRef, Outcome, TaskResult},
    work::{LeaseBody, MAX_LOG_CHUNK, MAX_LOG_UNACKED, MAX_UNACKED, WorkMsg},
};

impl Worker {
    pub(super) fn on_executor_ready(&mut self, id: LeaseId) {
        if let Some(lease) = self.leases.get_mut(&id)
            && lease.executor == Executor::Starting
        {
            lease.executor = Executor::Ready;
            self.dirty.insert(id);
        }
    }

    pub(super) fn on_executor_failed(&mut self, id: LeaseId, code: &str, detail: &str, retryable: bool) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        if lease.phase == Phase::Settling {
            return;
        }
        lease.executor = Executor::Gone;
        if retryable {
            give_back_all(lease, code, detail);
            self.end(id, code, detail, true);
            return;
        }
        lease.program_fault = Some((code.to_owned(), detail.to_owned()));
        for (_, queued) in std::mem::take(&mut lease.queue) {
            let (index, attempt) = (queued.order.index, queued.order.attempt);
            lease.report(failure(index, attempt, code, detail, false));
        }
        lease.place.clear();
        lease.unfetched.clear();
        lease.ready.clear();
        lease.fetching = 0;
        self.dirty.insert(id);
    }

    pub(super) fn on_executor_died(&mut self, id: LeaseId, detail: &str) {
        let restarts = self.config.executor_restarts;
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        if lease.phase == Phase::Settling || lease.executor == Executor::Gone {
            return;
        }
        lease.deaths += 1;
        let deaths = lease.deaths;
        give_back_all(lease, "exec.died", detail);
        lease.executor = Executor::Waiting;
        self.counters.executor_deaths += 1;
        self.event(Event::ExecutorDied {
            lease: id,
            deaths,
            detail: detail.to_owned(),
        });
        if deaths > restarts {
            if let Some(lease) = self.leases.get_mut(&id) {
                lease.executor = Executor::Gone;
            }
            self.end(id, "exec.died", detail, true);
        } else {
            self.start_executor(id);
        }
        self.dirty.insert(id);
    }

    pub(super) fn on_task_started(&mut self, id: LeaseId, index: TaskIndex, attempt: u16) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let Some(running) = lease.running.get_mut(&index) else {
            return;
        };
        if running.attempt != attempt || running.order.take().is_none() {
            return;
        }
        lease.started.push((index, attempt));
        let job = lease.job;
        self.dirty.insert(id);
        self.event(Event::TaskStarted {
            lease: id,
            job,
            index,
        });
    }

    pub(super) fn on_task_done(&mut self, id: LeaseId, mut result: TaskResult) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let index = result.index;
        match lease.running.get(&index) {
            Some(r) if r.attempt == result.attempt => {}
            _ => return,
        }
        let Some(running) = lease.running.remove(&index) else {
            return;
        };
        if let (Some(by), Outcome::Failed { code, retryable, .. }) = (running.cancelled, &mut result.outcome)
        {
            // Whatever the executor calls it: it was stopped, and by whom decides whether it is paid.
            *code = match by {
                // Not even begun: nobody's fault, and nothing to pay.
                _ if running.order.is_some() => RECALLED.to_owned(),
                By::Submitter => STOPPED.to_owned(),
                By::Worker => "task.given_up".to_owned(),
            };
            *retryable = true;
        }
        lease.measure(result.usage.wall_us);
        let code = match &result.outcome {
            Outcome::Exited(0) => "ok".to_owned(),
            Outcome::Exited(_) => "task.exit".to_owned(),
            Outcome::Failed { code, .. } => code.clone(),
        };
        lease.report(result);
        let job = lease.job;
        self.counters.tasks_ended += 1;
        self.dirty.insert(id);
        self.event(Event::TaskEnded {
            lease: id,
            job,
            index,
            code,
        });
    }

    pub(super) fn on_task_log(
        &mut self,
        id: LeaseId,
        index: TaskIndex,
        attempt: u16,
        stderr: bool,
        mut bytes: Vec<u8>,
    ) {
        bytes.truncate(MAX_LOG_CHUNK);
        let now = self.now;
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let to = lease.submitter;
        // What the other side is slow to take streams by as it always may: it must not fill the conversation.
        let kept = lease.phase != Phase::Settling
            && lease.link.room() > MAX_UNACKED / 2
            && lease.link.logs() + bytes.len() <= MAX_LOG_UNACKED;
        let message = if kept {
            lease.link.say(
                now,
                LeaseBody::Log {
                    index,
                    attempt,
                    stderr,
                    bytes,
                },
            )
        } else {
            WorkMsg::Log {
                lease: id,
                index,
                attempt,
                stderr,
                bytes,
            }
        };
        self.send(to, message);
        self.link_timer(id);
    }

    pub(super) fn on_blobs(
        &mut self,
        id: LeaseId,
        index: TaskIndex,
        attempt: u16,
        failed: Option<(String, String)>,
    ) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let Some(place) = lease.place.get(&index).copied() else {
            return;
        };
        let Some(queued) = lease.queue.get_mut(&place) else {
            return;
        };
        if !queued.fetching || queued.order.attempt != attempt {
            return;
        }
        if let Some((code, detail)) = failed {
            lease.dequeue(place);
            lease.report(failure(index, attempt, &code, &detail, true));
        } else {
            queued.fetching = false;
            queued.ready = true;
            lease.fetching = lease.fetching.saturating_sub(1);
            lease.ready.insert(place);
        }
        self.dirty.insert(id);
    }

    /// Starts what can be started, and fetches what will be needed next.
    pub(super) fn fill(&mut self, id: LeaseId) {
        let max_ahead = self.config.max_ahead;
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        if lease.phase == Phase::Settling {
            return;
        }
        while lease.fetching < MAX_FETCHING {
            let Some(place) = lease.unfetched.pop_first() else {
                break;
            };
            let Some(queued) = lease.queue.get_mut(&place) else {
                continue;
            };
            queued.fetching = true;
            lease.fetching += 1;
            let spec = &queued.order.spec;
            let apart = |b: &&BlobRef| b.inline.is_none();
            let blobs: Vec<BlobRef> = spec
                .inputs
                .iter()
                .map(|i| &i.blob)
                .filter(apart)
                .cloned()
                .collect();
            let stdin = spec.stdin.as_ref().filter(apart).cloned();
            self.effects.push_back(Effect::FetchBlobs {
                lease: id,
                from: lease.submitter,
                index: queued.order.index,
                attempt: queued.order.attempt,
                blobs,
                stdin,
            });
        }
        if lease.executor != Executor::Ready || lease.is_unpaid() {
            return;
        }
        let room = lease.executor_room(max_ahead);
        while lease.running.len() < room {
            let Some(place) = lease.ready.first().copied() else {
                return;
            };
            if !lease.is_funded() {
                if lease.running.is_empty() {
                    self.end(id, "lease.budget", "the hold is used up", false);
                }
                return;
            }
            let Some(order) = lease.dequeue(place) else {
                return;
            };
            lease.running.insert(
                order.index,
                Running {
                    attempt: order.attempt,
                    order: Some(order.clone()),
                    cancelled: None,
                },
            );
            self.effects.push_back(Effect::RunTask {
                lease: id,
                order: Box::new(order),
            });
        }
    }
}

/// The executor is gone: what had begun is reported, what had not goes back to the head of the queue.
fn give_back_all(lease: &mut Lease, code: &str, detail: &str) {
    for (index, running) in std::mem::take(&mut lease.running).into_iter().rev() {
        match running.order {
            Some(order) if running.cancelled.is_none() => lease.enqueue_first(order),
            _ => {
                let code = if running.cancelled == Some(By::Submitter) {
                    STOPPED
                } else {
                    code
                };
                lease.report(failure(index, running.attempt, code, detail, true));
            }
        }
    }
}
