//! One worker of the test mesh: its core, its executors, its temper.

use crate::worker::{self, Worker};
use hive_protocol::{
    credential::Credential,
    ids::{AccountId, LeaseId, NodeId, TaskIndex},
    keys::SecretKey,
    resources::Resources,
    task::{Outcome, OutputFile, TaskOrder, TaskResult, Usage},
    time::Timestamp,
};
use std::collections::{BTreeMap, VecDeque};

/// A simulated executor process.
#[derive(Debug, Default)]
pub struct Executor {
    /// Most tasks at once.
    pub slots: usize,
    /// What one task needs.
    pub need: Resources,
    /// Waiting in the executor.
    pub queue: VecDeque<TaskOrder>,
    /// Running, and when each ends.
    pub running: BTreeMap<TaskIndex, (u16, Timestamp)>,
}

/// A worker of the test mesh.
#[derive(Debug)]
pub struct WorkerNode {
    /// Its core.
    pub core: Worker,
    /// How its core is made again after a crash.
    pub config: worker::Config,
    /// Its node id.
    pub id: NodeId,
    /// Its account.
    pub account: AccountId,
    /// Its key.
    pub key: SecretKey,
    /// Its credential.
    pub credential: Credential,
    /// Whether the process lives.
    pub alive: bool,
    /// Whether the stream between it and the submitter is up.
    pub connected: bool,
    /// Counts connections: what was in flight on an old one is lost.
    pub epoch: u64,
    /// Executors by lease.
    pub executors: BTreeMap<LeaseId, Executor>,
    /// How long a task takes here, in milliseconds.
    pub task_ms: u64,
    /// Fuel a task burns.
    pub fuel: u64,
    /// Other outcomes than success, by task.
    pub outcomes: BTreeMap<u32, Outcome>,
    /// Tasks that take another time, in milliseconds, by task.
    pub slow: BTreeMap<u32, u64>,
    /// Output files of every task, to be fetched.
    pub outputs: Vec<OutputFile>,
    /// How long it takes to fetch a task's blobs, beside the way there, in milliseconds.
    pub fetch_ms: u64,
    /// Multiplies what its receipts claim: a liar has more than 1.
    pub lie: u64,
    /// Tasks run to their end, by index.
    pub ran: BTreeMap<u32, u32>,
    /// Most tasks it ever ran at once.
    pub peak: usize,
    /// Receipts kept for a restart.
    pub kept: BTreeMap<LeaseId, worker::Input>,
}

impl WorkerNode {
    /// How the task ends here.
    #[must_use]
    pub fn result(&self, index: TaskIndex, attempt: u16) -> TaskResult {
        TaskResult {
            index,
            attempt,
            outcome: self.outcomes.get(&index.0).cloned().unwrap_or(Outcome::Exited(0)),
            stdout: None,
            stderr: None,
            outputs: self.outputs.clone(),
            usage: Usage {
                fuel: self.fuel,
                wall_us: self.time(index) * 1000,
                cpu_us: self.time(index) * 1000,
                memory: 1 << 20,
            },
        }
    }

    /// How long the task takes here.
    #[must_use]
    pub fn time(&self, index: TaskIndex) -> u64 {
        self.slow.get(&index.0).copied().unwrap_or(self.task_ms)
    }

    /// Tasks running now.
    #[must_use]
    pub fn running(&self) -> usize {
        self.executors.values().map(|e| e.running.len()).sum()
    }

    /// Panics if more runs than the machine has.
    pub fn check(&mut self) {
        self.peak = self.peak.max(self.running());
        let mut free = self.config.terms.capabilities.total.clone();
        for e in self.executors.values() {
            let n = u32::try_from(e.running.len()).unwrap_or(u32::MAX);
            match free.checked_sub(&e.need, n) {
                Some(rest) => free = rest,
                None => assert_eq!(0, 1, "worker oversubscribed: {} run", self.running()),
            }
        }
    }
}
