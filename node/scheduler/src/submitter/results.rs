//! What workers report of tasks, and how a task ends.

use super::{
    Event, Submitter,
    effect::Effect,
    job::{Arriving, LeaseNo, Stage, smooth},
    record::{TaskEnd, TaskRecord},
    users::stage_of,
};
use crate::payment::{self, RECALLED, STOPPED};
use hive_protocol::{
    ids::{JobId, NodeId, TaskIndex},
    money::MicroCpt,
    task::{Outcome, TaskResult},
    work::MAX_TASKS_IN_MESSAGE,
};

/// Code of a task whose workers failed it too often.
pub(super) const LOST: &str = "task.lost";

impl Submitter {
    pub(super) fn on_started(&mut self, no: LeaseNo, started: Vec<(TaskIndex, u16)>) {
        let now = self.now;
        for (index, attempt) in started.into_iter().take(MAX_TASKS_IN_MESSAGE) {
            let Some(lease) = self.leases.get_mut(&no) else {
                return;
            };
            let Some(handed) = lease.assigned.get_mut(&index) else {
                continue;
            };
            if handed.attempt != attempt || handed.started.is_some() {
                continue;
            }
            handed.started = Some(now);
            lease.started += 1;
            let (id, node) = (lease.job, lease.node);
            let Some(job) = self.jobs.get_mut(&id) else {
                continue;
            };
            job.totals.running += 1;
            if job.slot(index).is_some_and(|s| s.has(no)) {
                self.event(Event::TaskStarted {
                    job: id,
                    index,
                    attempt,
                    node,
                });
            }
        }
    }

    pub(super) fn on_results(&mut self, no: LeaseNo, results: Vec<TaskResult>) {
        for result in results.into_iter().take(MAX_TASKS_IN_MESSAGE) {
            self.on_result(no, result);
        }
        let Some(lease) = self.leases.get_mut(&no) else {
            return;
        };
        if lease.assigned.is_empty() {
            lease.idle_since = self.now;
        }
        let id = lease.job;
        if let Some(job) = self.jobs.get_mut(&id) {
            job.refill.insert(no);
        }
        self.dirty_jobs.insert(id);
    }

    fn on_result(&mut self, no: LeaseNo, result: TaskResult) {
        let index = result.index;
        let Some(lease) = self.leases.get_mut(&no) else {
            return;
        };
        match lease.assigned.get(&index) {
            Some(h) if h.attempt == result.attempt => {}
            _ => {
                // Never handed over, or reported before: neither used nor paid.
                self.counters.unexpected_results += 1;
                return;
            }
        }
        let (id, node, price) = (lease.job, lease.node, lease.price);
        let Some(handed) = lease.assigned.remove(&index) else {
            return;
        };
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        if handed.started.is_some() {
            lease.started -= 1;
            job.totals.running = job.totals.running.saturating_sub(1);
        }
        if handed.recalled {
            lease.recalls -= 1;
        }
        let malformed = result.check().err();
        let payable = malformed.is_none() && payment::is_payable(&result.outcome);
        let fuel = payment::payable_fuel(&result, &job.spec.program.limits);
        if payable {
            lease.tasks += 1;
            lease.fuel = lease.fuel.saturating_add(fuel);
        }
        self.counters.results += 1;
        let mine = job
            .slots
            .get_mut(index.0 as usize)
            .is_some_and(|s| s.drop_copy(no));
        if !mine {
            self.counters.late_results += 1;
            return;
        }
        if let Some(e) = malformed {
            self.fault(
                id,
                index,
                node,
                handed.attempt,
                "result.malformed",
                &e.to_string(),
            );
            return;
        }
        match &result.outcome {
            Outcome::Failed { code, .. } if code == RECALLED => {
                if !handed.recalled {
                    lease.draining = true;
                    self.recount_slots(id);
                }
                self.requeue(id, index);
            }
            Outcome::Failed { code, .. } if code == STOPPED => self.requeue(id, index),
            Outcome::Failed {
                code,
                detail,
                retryable: true,
            } => {
                let (code, detail) = (code.clone(), detail.clone());
                self.fault(id, index, node, handed.attempt, &code, &detail);
            }
            _ => {
                lease.average_us = smooth(lease.average_us, result.usage.wall_us.max(1));
                job.measure(result.usage.wall_us, fuel);
                self.accept(no, id, index, Arriving { result, node, price });
            }
        }
    }

    /// A result that will be used, as soon as its blobs are here.
    fn accept(&mut self, no: LeaseNo, id: JobId, index: TaskIndex, arriving: Arriving) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let double = job
            .slots
            .get_mut(index.0 as usize)
            .map_or(0, |s| std::mem::take(&mut s.copies)[0]);
        if arriving.result.blobs().any(|b| b.inline.is_none()) {
            job.set_stage(index, Stage::Fetching);
            let result = arriving.result.clone();
            let from = arriving.node;
            job.arriving.insert(index.0, arriving);
            if let Some(lease) = self.leases.get(&no) {
                self.effects.push_back(Effect::FetchResult {
                    from,
                    lease: lease.id,
                    job: id,
                    result: Box::new(result),
                });
            }
        } else {
            self.finish(id, index, arriving);
        }
        if double != 0 {
            self.cancel_at(double, &[index]);
        }
    }

    pub(super) fn on_stored(&mut self, id: JobId, index: TaskIndex, attempt: u16) {
        if let Some(arriving) = self.take_arriving(id, index, attempt) {
            self.finish(id, index, arriving);
        }
    }

    pub(super) fn on_store_failed(
        &mut self,
        id: JobId,
        index: TaskIndex,
        attempt: u16,
        code: String,
        detail: String,
    ) {
        let Some(arriving) = self.take_arriving(id, index, attempt) else {
            return;
        };
        if code == "store.quota" {
            self.end_task(id, index, TaskEnd::Failed { code, detail }, Some(arriving));
            return;
        }
        let node = arriving.node;
        let detail = format!("{code}: {detail}");
        self.fault(id, index, node, attempt, "result.unfetchable", &detail);
    }

    fn take_arriving(&mut self, id: JobId, index: TaskIndex, attempt: u16) -> Option<Arriving> {
        let job = self.jobs.get_mut(&id)?;
        if job.arriving.get(&index.0)?.result.attempt != attempt {
            return None;
        }
        let arriving = job.arriving.remove(&index.0)?;
        // Between stages for a moment: the caller moves it on at once.
        self.dirty_jobs.insert(id);
        Some(arriving)
    }

    /// A result counts: the task has ended by itself.
    fn finish(&mut self, id: JobId, index: TaskIndex, arriving: Arriving) {
        let end = match &arriving.result.outcome {
            Outcome::Exited(0) => TaskEnd::Succeeded,
            Outcome::Exited(code) => TaskEnd::Failed {
                code: "task.exit".to_owned(),
                detail: format!("the program exited with {code}"),
            },
            Outcome::Failed { code, detail, .. } => TaskEnd::Failed {
                code: code.clone(),
                detail: detail.clone(),
            },
        };
        self.end_task(id, index, end, Some(arriving));
    }

    /// A task has ended for good.
    pub(super) fn end_task(&mut self, id: JobId, index: TaskIndex, end: TaskEnd, arriving: Option<Arriving>) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        job.set_stage(index, stage_of(&end));
        job.arriving.remove(&index.0);
        if end != TaskEnd::Succeeded {
            job.ends.insert(index.0, end.clone());
        }
        let attempts = job.slot(index).map_or(0, |s| s.attempt);
        if let Some(slot) = job.slots.get_mut(index.0 as usize) {
            slot.copies = [0; 2];
        }
        let node = arriving.as_ref().map(|a| a.node);
        let (result, cost) = match arriving {
            Some(a) => {
                let fuel = payment::payable_fuel(&a.result, &job.spec.program.limits);
                let sum = &mut job.totals.usage;
                let u = a.result.usage;
                sum.fuel = sum.fuel.saturating_add(u.fuel);
                sum.wall_us = sum.wall_us.saturating_add(u.wall_us);
                sum.cpu_us = sum.cpu_us.saturating_add(u.cpu_us);
                sum.memory = sum.memory.max(u.memory);
                (Some(a.result), a.price.cost(fuel))
            }
            None => (None, MicroCpt::ZERO),
        };
        let attempt = result.as_ref().map_or(attempts, |r| r.attempt);
        self.counters.tasks_ended += 1;
        self.effects.push_back(Effect::JournalTask {
            job: id,
            index,
            record: Box::new(TaskRecord {
                end: end.clone(),
                attempts,
                node,
                result,
                cost,
            }),
        });
        self.event(Event::TaskEnded {
            job: id,
            index,
            end,
            attempt,
            node,
        });
        self.dirty_jobs.insert(id);
    }

    /// A task goes back to the queue without anybody's fault, unless another lease has it too.
    pub(super) fn requeue(&mut self, id: JobId, index: TaskIndex) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        if job
            .slot(index)
            .is_some_and(|s| s.copies == [0, 0] && !s.is_ended())
        {
            job.set_stage(index, Stage::Waiting);
            job.refill.extend(job.leases.iter().copied());
            self.dirty_jobs.insert(id);
        }
    }

    /// A try went wrong by its worker's fault: elsewhere, or given up after too many.
    pub(super) fn fault(
        &mut self,
        id: JobId,
        index: TaskIndex,
        node: NodeId,
        attempt: u16,
        code: &str,
        detail: &str,
    ) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let retries = job.spec.retries;
        let Some(slot) = job.slots.get_mut(index.0 as usize) else {
            return;
        };
        if slot.is_ended() {
            return;
        }
        slot.faults = slot.faults.saturating_add(1);
        let (faults, alone) = (slot.faults, slot.copies == [0, 0]);
        job.keep_away(index, node);
        self.counters.faults += 1;
        if alone && faults > retries {
            self.end_task(
                id,
                index,
                TaskEnd::Failed {
                    code: LOST.to_owned(),
                    detail: format!("given up after {faults} tries; the last: {code}: {detail}"),
                },
                None,
            );
            return;
        }
        self.event(Event::TaskRetried {
            job: id,
            index,
            attempt,
            node,
            code: code.to_owned(),
            detail: detail.to_owned(),
        });
        self.requeue(id, index);
    }
}
