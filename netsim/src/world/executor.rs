//! Simulated executor processes: they take time, burn fuel, fail, are cancelled, and die.

use super::{Happen, World};
use crate::{fault::Fault, plant::Plant};
use hive_protocol::{
    ids::{JobId, LeaseId, TaskIndex},
    resources::Resources,
    task::{BlobRef, Limits, Outcome, OutputFile, Program, TaskOrder, TaskResult, Usage},
};
use hive_scheduler::worker::{self, Input};
use std::collections::{BTreeMap, VecDeque};

/// How an executor reports what it was told to stop.
const CANCELLED: &str = "task.cancelled";

/// One executor process.
#[derive(Debug)]
pub struct Executor {
    /// Told apart from the one before it under the same lease.
    pub number: u64,
    /// Its module is compiled.
    pub ready: bool,
    /// Most tasks at once.
    pub slots: usize,
    /// What a task needs.
    pub need: Resources,
    /// Limits of a task.
    pub limits: Limits,
    /// Handed over, waiting.
    pub queue: VecDeque<TaskOrder>,
    /// Running: the try, when it began, when it will end.
    pub running: BTreeMap<TaskIndex, (u16, u64, u64)>,
}

fn failed(code: &str, retryable: bool) -> Outcome {
    Outcome::Failed {
        code: code.into(),
        detail: String::new(),
        retryable,
    }
}

impl World {
    pub(super) fn start_executor(&mut self, n: usize, lease: LeaseId, slots: u32, program: &Program) {
        self.number += 1;
        let number = self.number;
        let slots = slots as usize;
        let executor = Executor {
            number,
            ready: false,
            slots,
            need: program.need.clone(),
            limits: program.limits,
            queue: VecDeque::new(),
            running: BTreeMap::new(),
        };
        self.nodes[n].executors.insert(lease, executor);
        let after = self.rng.range(2, 400);
        let input = if program.name == "broken" {
            Input::ExecutorFailed {
                lease,
                code: "module.not_wasm".into(),
                detail: "not a module".into(),
                retryable: false,
            }
        } else if self.faulty(self.plan.weather.fault) {
            Input::ExecutorFailed {
                lease,
                code: "exec.spawn".into(),
                detail: "no more processes".into(),
                retryable: true,
            }
        } else {
            Input::ExecutorReady { lease }
        };
        let life = self.nodes[n].life;
        self.later(
            after,
            Happen::Executor {
                node: n,
                life,
                number,
                input: Box::new(input),
            },
        );
    }

    /// An executor's word, unless it is gone by now.
    pub(super) fn executor_says(&mut self, n: usize, life: u64, number: u64, input: Input) {
        let node = &mut self.nodes[n];
        if !node.alive || node.life != life {
            return;
        }
        let lease = match &input {
            Input::ExecutorReady { lease } | Input::ExecutorFailed { lease, .. } => *lease,
            _ => return,
        };
        let Some(e) = node.executors.get_mut(&lease).filter(|e| e.number == number) else {
            return;
        };
        match input {
            Input::ExecutorReady { .. } => e.ready = true,
            _ => {
                node.executors.remove(&lease);
            }
        }
        self.tell_worker(n, input);
    }

    pub(super) fn run_task(&mut self, n: usize, lease: LeaseId, order: TaskOrder) {
        let Some(e) = self.nodes[n].executors.get_mut(&lease) else {
            // The shell answers for an executor that is gone.
            let result = TaskResult {
                index: order.index,
                attempt: order.attempt,
                outcome: failed("exec.gone", true),
                stdout: None,
                stderr: None,
                outputs: Vec::new(),
                usage: Usage::default(),
            };
            self.worker_later(
                n,
                0,
                Input::TaskDone {
                    lease,
                    result: Box::new(result),
                },
            );
            return;
        };
        e.queue.push_back(order);
        self.start_tasks(n, lease);
    }

    fn start_tasks(&mut self, n: usize, lease: LeaseId) {
        let (now, life) = (self.now, self.nodes[n].life);
        let slow = self.nodes[n].plan.slowness;
        loop {
            let over = usize::from(self.plant == Some(Plant::OverfullExecutor)) * 2;
            let Some(e) = self.nodes[n].executors.get_mut(&lease) else {
                return;
            };
            if e.running.len() >= e.slots + over {
                return;
            }
            let Some(order) = e.queue.pop_front() else {
                return;
            };
            let number = e.number;
            let (index, attempt) = (order.index, order.attempt);
            let base = order
                .spec
                .args
                .first()
                .and_then(|a| a.parse().ok())
                .unwrap_or(100);
            let ms = self.rng.range(base / 2, base * 3 / 2) * slow / 100;
            if let Some(e) = self.nodes[n].executors.get_mut(&lease) {
                e.running.insert(index, (attempt, now, now + ms));
            }
            self.worker_later(
                n,
                0,
                Input::TaskStarted {
                    lease,
                    index,
                    attempt,
                },
            );
            self.later(
                ms,
                Happen::TaskEnds {
                    node: n,
                    life,
                    number,
                    lease,
                    order: Box::new(order),
                },
            );
        }
    }

    /// A task's time is over, if it still runs.
    pub(super) fn task_ends(&mut self, n: usize, life: u64, number: u64, lease: LeaseId, order: &TaskOrder) {
        let now = self.now;
        let node = &mut self.nodes[n];
        if !node.alive || node.life != life {
            return;
        }
        let Some(e) = node.executors.get_mut(&lease).filter(|e| e.number == number) else {
            return;
        };
        let Some(&(attempt, began, end)) = e.running.get(&order.index) else {
            return;
        };
        if attempt != order.attempt || end > now {
            return;
        }
        e.running.remove(&order.index);
        let limits = e.limits;
        let outcome = self.outcome(order);
        let result = self.result(n, lease, order, outcome, now - began, &limits, 100);
        self.start_tasks(n, lease);
        if self.plant == Some(Plant::LostResult) && self.rng.once_in(40) {
            return;
        }
        self.tell_worker(
            n,
            Input::TaskDone {
                lease,
                result: Box::new(result),
            },
        );
    }

    /// How a task ends: its own nature is in its arguments, its worker's fault is chance.
    fn outcome(&mut self, order: &TaskOrder) -> Outcome {
        if self.faulty(self.plan.weather.fault) {
            let code = ["store.quota", "exec.memory", "blob.unavailable"][self.rng.index(3)];
            return failed(code, true);
        }
        match order.spec.args.get(2).map(String::as_str) {
            Some("exit") => Outcome::Exited(3),
            Some("fuel") => failed("task.fuel", false),
            _ => Outcome::Exited(0),
        }
    }

    /// The result of a try that ran for so long, `done` percent of it.
    #[allow(clippy::too_many_arguments)]
    fn result(
        &mut self,
        n: usize,
        lease: LeaseId,
        order: &TaskOrder,
        outcome: Outcome,
        ms: u64,
        limits: &Limits,
        done: u64,
    ) -> TaskResult {
        let whole: u64 = order.spec.args.get(1).and_then(|a| a.parse().ok()).unwrap_or(0);
        let burnt = (whole / 100 * done).min(limits.fuel);
        let paid = match &outcome {
            Outcome::Exited(_) => true,
            Outcome::Failed { code, retryable, .. } => !retryable || code == CANCELLED,
        };
        if paid {
            self.oracle.executed(lease, order.index, order.attempt, burnt);
        }
        let lies = !self.calm && self.nodes[n].plan.lies.fuel;
        if lies && burnt > 0 && paid {
            self.faults.count(Fault::InflatedFuel);
        }
        let said = if self.plant == Some(Plant::Overcharge) {
            burnt * 2
        } else if lies {
            burnt * 3
        } else {
            burnt
        };
        let mut outputs = Vec::new();
        if order.spec.collect_out && outcome.is_success() {
            let bytes = [&order.index.0.to_le_bytes()[..], b"out"].concat();
            outputs.push(OutputFile {
                path: "out".into(),
                blob: BlobRef {
                    inline: None,
                    ..BlobRef::of(&bytes)
                },
            });
        }
        TaskResult {
            index: order.index,
            attempt: order.attempt,
            outcome,
            stdout: None,
            stderr: None,
            outputs,
            usage: Usage {
                fuel: said,
                wall_us: ms * 1000,
                cpu_us: ms * 1000,
                memory: 1 << 20,
            },
        }
    }

    pub(super) fn cancel_task(&mut self, n: usize, lease: LeaseId, index: TaskIndex, attempt: u16) {
        let now = self.now;
        let Some(e) = self.nodes[n].executors.get_mut(&lease) else {
            return;
        };
        let limits = e.limits;
        let (order, done, ms) = if let Some(&(a, began, end)) = e.running.get(&index) {
            if a != attempt {
                return;
            }
            e.running.remove(&index);
            let ms = now - began;
            let done = ms * 100 / (end - began).max(1);
            let spec = self.task_spec_of(lease, index);
            (TaskOrder { index, attempt, spec }, done, ms)
        } else if let Some(at) = e.queue.iter().position(|o| o.index == index) {
            let Some(order) = e.queue.remove(at) else { return };
            (order, 0, 0)
        } else {
            return;
        };
        let outcome = failed(CANCELLED, true);
        let result = self.result(n, lease, &order, outcome, ms, &limits, done.min(100));
        let after = self.rng.below(20);
        self.worker_later(
            n,
            after,
            Input::TaskDone {
                lease,
                result: Box::new(result),
            },
        );
        self.start_tasks(n, lease);
    }

    /// One of a node's executors is killed.
    pub(super) fn kill_executor(&mut self, n: usize) {
        if !self.nodes[n].alive {
            return;
        }
        let ready: Vec<LeaseId> = self.nodes[n]
            .executors
            .iter()
            .filter(|(_, e)| e.ready)
            .map(|(l, _)| *l)
            .collect();
        if ready.is_empty() {
            return;
        }
        let lease = ready[self.rng.index(ready.len())];
        self.nodes[n].executors.remove(&lease);
        self.faults.count(Fault::ExecutorDied);
        self.note(n, format_args!("executor of {} dies", lease.short()));
        self.tell_worker(
            n,
            worker::Input::ExecutorDied {
                lease,
                detail: "killed by signal 9".into(),
            },
        );
    }

    fn task_spec_of(&self, lease: LeaseId, index: TaskIndex) -> hive_protocol::task::TaskSpec {
        let spec =
            |job: JobId, node: usize| self.nodes[node].disk.jobs.get(&job)?.tasks.get(index.0 as usize);
        self.oracle
            .lease(&lease)
            .and_then(|l| spec(l.job, l.submitter))
            .cloned()
            .unwrap_or_default()
    }
}
