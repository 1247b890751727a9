//! One simulated machine: its keys, its two cores, its executors, and the disk that survives a crash.

use super::executor::Executor;
use crate::plan::NodePlan;
use hive_protocol::{
    credential::Credential,
    ids::{AccountId, HoldId, JobId, LeaseId, NodeId, TaskIndex},
    keys::{SecretKey, Signed},
    money::MicroCpt,
    receipt::Countersigned,
    task::{JobSpec, TaskSpec},
    time::Timestamp,
    work::WorkMsg,
};
use hive_scheduler::{
    submitter::{Submitter, TaskEnd},
    worker::{Terms, Worker},
};
use std::collections::{BTreeMap, VecDeque};

/// When the simulation begins, by a right clock.
pub const START: u64 = 1_700_000_000_000;

/// A job in the journal.
#[derive(Clone, Debug)]
pub struct JournalJob {
    /// What it is.
    pub spec: JobSpec,
    /// All its tasks so far.
    pub tasks: Vec<TaskSpec>,
    /// Those that have ended.
    pub ended: BTreeMap<TaskIndex, TaskEnd>,
    /// What was spent.
    pub spent: MicroCpt,
    /// A user has stopped it.
    pub stopped: bool,
}

/// A countersigned receipt on disk.
#[derive(Clone, Debug)]
pub struct KeptReceipt {
    /// Its hold.
    pub hold: HoldId,
    /// The hold's end.
    pub expires: Timestamp,
    /// The receipt.
    pub receipt: Box<Countersigned>,
}

/// What survives a crash.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// The journal of jobs.
    pub jobs: BTreeMap<JobId, JournalJob>,
    /// Receipts not captured yet.
    pub kept: BTreeMap<LeaseId, KeptReceipt>,
}

/// What a call to the authority was for.
#[derive(Clone, Copy, Debug)]
pub enum CallFor {
    /// A submitter's hold.
    Hold(LeaseId),
    /// A submitter's capture.
    SubmitterCapture(LeaseId),
    /// A worker's capture.
    WorkerCapture(LeaseId),
    /// A worker's release.
    Release(LeaseId),
    /// A new credential; also tells whether anybody answers.
    Renew,
}

/// Which of a node's cores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The submitter core.
    Submitter,
    /// The worker core.
    Worker,
}

/// One machine.
#[derive(Debug)]
pub struct Node {
    /// Its name in the trace.
    pub name: String,
    /// What it is like.
    pub plan: NodePlan,
    /// Its key.
    pub key: SecretKey,
    /// Its id.
    pub id: NodeId,
    /// Its account.
    pub account: AccountId,
    /// The account's key.
    pub owner: SecretKey,
    /// Whether the process runs.
    pub alive: bool,
    /// Counts its starts: what belongs to a former life is void.
    pub life: u64,
    /// The coordinator of its users' jobs.
    pub submitter: Option<Submitter>,
    /// The answerer for its resources.
    pub worker: Option<Worker>,
    /// What it truly offers.
    pub terms: Terms,
    /// Its credential as signed, kept on disk.
    pub credential: Option<(Signed<Credential>, Credential)>,
    /// Executors by lease.
    pub executors: BTreeMap<LeaseId, Executor>,
    /// What survives.
    pub disk: Disk,
    /// Calls under way.
    pub calls: BTreeMap<u64, CallFor>,
    /// Whether it thinks that an authority answers.
    pub authority_up: bool,
    /// Messages of one core to the other.
    pub loopback: VecDeque<(Side, WorkMsg)>,
    /// Something was handed in since effects were last drained.
    pub touched: bool,
}

impl Node {
    /// Its clock at a moment of the simulation.
    #[must_use]
    pub const fn clock(&self, ms: u64) -> Timestamp {
        Timestamp((START + ms).saturating_add_signed(self.plan.offset))
    }

    /// The moment of the simulation at which its clock shows this; 0 for what is past.
    #[must_use]
    pub const fn moment(&self, at: Timestamp) -> u64 {
        at.0.saturating_add_signed(-self.plan.offset)
            .saturating_sub(START)
    }

    /// When one of its cores wants to be called.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        if !self.alive {
            return None;
        }
        let a = self.submitter.as_ref().and_then(Submitter::poll_timeout);
        let b = self.worker.as_ref().and_then(Worker::poll_timeout);
        let first = match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        first.map(|t| self.moment(t))
    }

    /// Whether its worker lies, as long as the storm lasts.
    #[must_use]
    pub const fn is_honest_worker(&self) -> bool {
        !self.plan.lies.as_worker()
    }
}
