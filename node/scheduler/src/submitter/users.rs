//! What users ask: submit, add, stop, retry, forget.

use super::{
    Event, MAX_JOBS, MAX_TASKS, Submitter, Timer,
    effect::Effect,
    job::{Job, Stage},
    record::{JobState, TaskEnd},
};
use hive_protocol::{
    ids::{JobId, TaskIndex},
    money::MicroCpt,
    task::{JobSpec, MAX_TASKS_PER_JOB, TaskSpec},
    time::Millis,
};

/// How often a job that is not at rest is looked at.
pub(super) const REVIEW_EVERY: Millis = Millis(1000);

impl Submitter {
    fn reject(&mut self, job: JobId, code: &'static str) {
        self.event(Event::JobRejected { job, code });
    }

    fn admit(&mut self, id: JobId, spec: &JobSpec, tasks: &[TaskSpec]) -> bool {
        let code = if self.jobs.contains_key(&id) {
            "job.exists"
        } else if self.jobs.len() >= MAX_JOBS {
            "job.too_many_jobs"
        } else if self.task_count + tasks.len() > MAX_TASKS || tasks.len() > MAX_TASKS_PER_JOB as usize {
            "job.too_many_tasks"
        } else if spec.tasks as usize != tasks.len() {
            "job.shape"
        } else {
            return true;
        };
        self.reject(id, code);
        false
    }

    pub(super) fn on_submit(&mut self, id: JobId, spec: JobSpec, tasks: Vec<TaskSpec>) {
        if !self.admit(id, &spec, &tasks) {
            return;
        }
        self.start(Job::new(id, spec, tasks));
    }

    fn start(&mut self, job: Job) {
        let id = job.id;
        self.task_count += job.tasks.len();
        let state = job.state.clone();
        self.jobs.insert(id, job);
        self.event(Event::JobState { job: id, state });
        self.timers.set(Timer::Review(id), self.now + REVIEW_EVERY);
        self.dirty_jobs.insert(id);
    }

    pub(super) fn on_restore(
        &mut self,
        id: JobId,
        spec: JobSpec,
        tasks: Vec<TaskSpec>,
        ended: Vec<(TaskIndex, TaskEnd)>,
        spent: MicroCpt,
    ) {
        if !self.admit(id, &spec, &tasks) {
            return;
        }
        let mut job = Job::new(id, spec, tasks);
        job.totals.spent = spent;
        for (index, end) in ended {
            if job.slot(index).is_none() {
                continue;
            }
            job.set_stage(index, stage_of(&end));
            if end != TaskEnd::Succeeded {
                job.ends.insert(index.0, end);
            }
        }
        self.start(job);
    }

    pub(super) fn on_add(&mut self, id: JobId, tasks: Vec<TaskSpec>) {
        let full = self.task_count + tasks.len() > MAX_TASKS;
        let code = match self.jobs.get_mut(&id) {
            None => "job.unknown",
            Some(job) if !job.open => "job.closed",
            Some(job) if full || job.tasks.len() + tasks.len() > MAX_TASKS_PER_JOB as usize => {
                "job.too_many_tasks"
            }
            Some(job) => {
                self.task_count += tasks.len();
                job.add(tasks);
                job.refill.extend(job.leases.iter().copied());
                self.dirty_jobs.insert(id);
                self.timers
                    .set_earlier(Timer::Review(id), self.now + REVIEW_EVERY);
                return;
            }
        };
        self.reject(id, code);
    }

    pub(super) fn on_close_job(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id)
            && job.open
        {
            job.open = false;
            job.spec.open = false;
            self.journal_job(id);
            self.dirty_jobs.insert(id);
        }
    }

    pub(super) fn on_stop_job(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else {
            self.reject(id, "job.unknown");
            return;
        };
        if job.state.is_final() {
            return;
        }
        job.open = false;
        job.spec.open = false;
        job.stopping = true;
        let open: Vec<TaskIndex> = (0..job.totals.tasks)
            .map(TaskIndex)
            .filter(|i| job.slot(*i).is_some_and(|s| !s.is_ended()))
            .collect();
        for index in open {
            self.end_task(id, index, TaskEnd::Stopped, None);
        }
        self.cancel_unwanted(id);
        self.journal_job(id);
        self.dirty_jobs.insert(id);
    }

    pub(super) fn on_stop_task(&mut self, id: JobId, index: TaskIndex) {
        let open = self
            .jobs
            .get(&id)
            .and_then(|j| j.slot(index))
            .is_some_and(|s| !s.is_ended());
        if open {
            self.end_task(id, index, TaskEnd::Stopped, None);
            self.cancel_unwanted(id);
        }
    }

    pub(super) fn on_retry(&mut self, id: JobId, index: TaskIndex) {
        let Some(job) = self.jobs.get_mut(&id) else {
            self.reject(id, "job.unknown");
            return;
        };
        if !job.slot(index).is_some_and(super::job::Slot::is_ended) {
            return;
        }
        job.renew(index);
        job.stopping = false;
        job.settled_said = false;
        job.refill.extend(job.leases.iter().copied());
        let was_final = job.state.is_final();
        self.effects.push_back(Effect::UnjournalTask { job: id, index });
        if was_final {
            self.set_state(id, JobState::Active);
        }
        self.timers
            .set_earlier(Timer::Review(id), self.now + REVIEW_EVERY);
        self.dirty_jobs.insert(id);
    }

    pub(super) fn on_forget(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        if !job.state.is_final() || !job.leases.is_empty() {
            return;
        }
        self.task_count -= job.tasks.len();
        if let Some(demand) = &job.demand {
            self.by_demand.remove(&demand.id);
        }
        self.jobs.remove(&id);
        self.dirty_jobs.remove(&id);
        for timer in [
            Timer::Demand(id),
            Timer::Offers(id),
            Timer::Review(id),
            Timer::Balance(id),
        ] {
            self.timers.clear(timer);
        }
    }
}

/// The stage of a task that has ended so.
pub(super) const fn stage_of(end: &TaskEnd) -> Stage {
    match end {
        TaskEnd::Succeeded => Stage::Succeeded,
        TaskEnd::Failed { .. } => Stage::Failed,
        TaskEnd::Stopped => Stage::Stopped,
    }
}
