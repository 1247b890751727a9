//! What people do: submit, add, close, stop, retry, drain.

use super::{Happen, JournalJob, World};
use crate::plan::JobPlan;
use hive_protocol::{
    ids::{JobId, TaskIndex},
    money::MicroCpt,
    resources::Resources,
    task::{BlobRef, InputFile, JobSpec, Limits, Placement, Program, RuntimeKind, TaskSpec},
};
use hive_scheduler::{
    submitter::{Input, JobState, TaskEnd},
    worker,
};
use std::collections::BTreeMap;

/// Fuel no task may exceed.
const FUEL_LIMIT: u64 = 2_000_000_000;
/// In the calm, a job without money is stopped by its user after this many virtual milliseconds.
const PATIENCE: u64 = 10 * 60_000;

impl World {
    fn task(&mut self, plan: &JobPlan, index: u32) -> TaskSpec {
        let nature = if plan.failing > 0 && self.rng.once_in(plan.failing) {
            ["exit", "fuel"][self.rng.index(2)]
        } else {
            "ok"
        };
        let fuel = self.rng.range(1_000_000, 1_500_000_000);
        let mut inputs = Vec::new();
        if plan.blobs {
            inputs.push(InputFile {
                path: "in".into(),
                blob: BlobRef {
                    inline: None,
                    ..BlobRef::of(&index.to_le_bytes())
                },
            });
        }
        TaskSpec {
            args: vec![plan.task_ms.to_string(), fuel.to_string(), nature.into()],
            inputs,
            collect_out: plan.blobs,
            ..TaskSpec::default()
        }
    }

    fn spec(plan: &JobPlan) -> JobSpec {
        let half = plan.half_cores;
        JobSpec {
            name: "job".into(),
            program: Program {
                runtime: RuntimeKind::Wasm,
                module: BlobRef::of(b"\0asm"),
                need: Resources::cpu(half * 500, u64::from(half) * 300, 10),
                limits: Limits {
                    fuel: FUEL_LIMIT,
                    ..Limits::default()
                },
                name: if plan.broken { "broken" } else { "work" }.into(),
            },
            placement: Placement::default(),
            max_price: MicroCpt(3000),
            budget: MicroCpt(plan.budget),
            retries: plan.retries,
            tasks: plan.tasks,
            open: plan.open,
        }
    }

    pub(super) fn user_submits(&mut self, number: usize) {
        let plan = self.plan.jobs[number].clone();
        let n = plan.node;
        if !self.nodes[n].alive {
            // The command line says so, and its user tries again.
            self.later(1000, Happen::Submit { job: number });
            return;
        }
        let job = JobId(self.rng.id());
        let tasks: Vec<_> = (0..plan.tasks).map(|i| self.task(&plan, i)).collect();
        let spec = Self::spec(&plan);
        self.oracle.submitted(job, n, number, &spec);
        self.nodes[n].disk.jobs.insert(
            job,
            JournalJob {
                spec: spec.clone(),
                tasks: tasks.clone(),
                ended: BTreeMap::new(),
                spent: MicroCpt::ZERO,
                stopped: false,
            },
        );
        self.note(n, format_args!("submit job {number} of {}", plan.tasks));
        self.tell_submitter(
            n,
            Input::Submit {
                job,
                spec: Box::new(spec),
                tasks,
            },
        );
    }

    pub(super) fn whim(&mut self) {
        if self.calm {
            return;
        }
        let next = self.rng.range(1, self.plan.weather.whim_every * 2);
        self.later(next, Happen::Whim);
        let jobs: Vec<(JobId, usize, usize)> = self.oracle.jobs().collect();
        if jobs.is_empty() {
            return;
        }
        let (job, n, number) = jobs[self.rng.index(jobs.len())];
        let node = &self.nodes[n];
        let Some(j) = node.disk.jobs.get(&job).filter(|_| node.alive) else {
            return;
        };
        let (open, stopped, count) = (j.spec.open, j.stopped, j.tasks.len());
        let failed: Vec<TaskIndex> = j
            .ended
            .iter()
            .filter(|(_, e)| **e != TaskEnd::Succeeded)
            .map(|(i, _)| *i)
            .collect();
        match self.rng.below(12) {
            0..3 if open && count < 200 => {
                let plan = self.plan.jobs[number].clone();
                let more: Vec<_> = (0..self.rng.range(1, 8)).map(|_| self.task(&plan, 0)).collect();
                self.add(n, job, more);
            }
            3 if open => self.close(n, job),
            4 if self.rng.once_in(4) && !stopped => self.stop(n, job),
            5 | 6 if count > 0 => {
                let index = TaskIndex(u32::try_from(self.rng.index(count)).unwrap_or(0));
                self.note(n, format_args!("user stops task {}", index.0));
                self.tell_submitter(n, Input::StopTask { job, index });
            }
            7 | 8 if !failed.is_empty() && !stopped => {
                let index = failed[self.rng.index(failed.len())];
                self.note(n, format_args!("user retries task {}", index.0));
                self.tell_submitter(n, Input::RetryTask { job, index });
            }
            9 => {
                let w = self.rng.index(self.nodes.len());
                let on = self.rng.once_in(2);
                self.tell_worker(w, worker::Input::Drain(on));
            }
            10 => {
                let w = self.rng.index(self.nodes.len());
                let milli = u32::try_from(self.rng.below(1000)).unwrap_or(0);
                self.tell_worker(w, worker::Input::Load { milli });
            }
            _ => {}
        }
    }

    fn add(&mut self, n: usize, job: JobId, more: Vec<TaskSpec>) {
        let added = more.len();
        self.note(n, format_args!("user adds {added} tasks"));
        if let Some(j) = self.nodes[n].disk.jobs.get_mut(&job) {
            j.tasks.extend(more.iter().cloned());
            j.spec.tasks = u32::try_from(j.tasks.len()).unwrap_or(u32::MAX);
        }
        self.oracle.added(job, u32::try_from(added).unwrap_or(0));
        self.tell_submitter(n, Input::AddTasks { job, tasks: more });
    }

    fn close(&mut self, n: usize, job: JobId) {
        self.note(n, format_args!("user closes a job"));
        if let Some(j) = self.nodes[n].disk.jobs.get_mut(&job) {
            j.spec.open = false;
        }
        self.tell_submitter(n, Input::CloseJob { job });
    }

    fn stop(&mut self, n: usize, job: JobId) {
        self.note(n, format_args!("user stops a job"));
        self.oracle.count("jobs_stopped");
        if let Some(j) = self.nodes[n].disk.jobs.get_mut(&job) {
            j.stopped = true;
            j.spec.open = false;
        }
        self.tell_submitter(n, Input::StopJob { job });
    }

    /// In the calm users close what they left open.
    pub(super) fn close_all(&mut self) {
        let jobs: Vec<(JobId, usize, usize)> = self.oracle.jobs().collect();
        for (job, n, _) in jobs {
            self.close(n, job);
        }
    }

    /// Users whose budget was planned to be tight give up in the end.
    pub(super) fn give_up_unaffordable(&mut self) {
        if self.now < crate::plan::STORM + PATIENCE {
            return;
        }
        let jobs: Vec<(JobId, usize, usize)> = self.oracle.jobs().collect();
        for (job, n, number) in jobs {
            let broke = self.nodes[n]
                .submitter
                .as_ref()
                .and_then(|s| s.job(job))
                .is_some_and(|j| matches!(&j.state, JobState::Waiting { code, .. } if code == "job.budget"));
            if broke && self.plan.jobs[number].tight {
                self.stop(n, job);
            }
        }
    }
}
