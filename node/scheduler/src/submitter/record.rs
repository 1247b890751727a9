//! What the journal keeps of a job and its tasks, and the states people see.

use hive_protocol::{
    ids::NodeId,
    money::MicroCpt,
    task::{TaskResult, Usage},
};

/// How a task ended for good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TaskEnd {
    /// It exited with 0.
    Succeeded,
    /// It failed by itself or was given up. `code` is stable: `task.exit` for an exit code that is not 0,
    /// the worker's code (`task.fuel`, …), or `task.lost` after too many workers' faults.
    Failed {
        /// Stable code.
        code: String,
        /// One line for people.
        detail: String,
    },
    /// A user stopped it.
    Stopped,
}

/// The whole record of an ended task.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskRecord {
    /// How it ended.
    pub end: TaskEnd,
    /// Tries made, the last one included.
    pub attempts: u16,
    /// Who ran the last try; `None` if it never ran.
    pub node: Option<NodeId>,
    /// The result with its blobs, where one came (inline bytes included; others are in the store).
    pub result: Option<TaskResult>,
    /// µCPT the last try cost at its lease's price (before the receipt's rounding over all tasks).
    pub cost: MicroCpt,
}

/// Where a job stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum JobState {
    /// Tasks wait or run.
    Active,
    /// Nothing runs and something is missing. Codes: `place.no_worker`, `place.no_fit`, `place.rule`,
    /// `place.location`, `place.price`, `place.busy`, `wallet.insufficient`, `job.budget`,
    /// `authority.unreachable`, `credential.missing`.
    Waiting {
        /// Stable code.
        code: String,
        /// One line for people.
        detail: String,
    },
    /// Open, with all tasks so far ended.
    Idle,
    /// All tasks have ended.
    Finished,
    /// A user stopped it; all tasks have ended.
    Stopped,
}

impl JobState {
    /// Whether nothing more will happen unless a user asks for a retry.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Finished | Self::Stopped)
    }
    /// The name used in output.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Waiting { .. } => "waiting",
            Self::Idle => "idle",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
        }
    }
}

/// Counts of a job's tasks and what it has cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// All tasks so far.
    pub tasks: u32,
    /// Not yet handed to a worker.
    pub waiting: u32,
    /// Handed to a worker (queued there or running).
    pub assigned: u32,
    /// Of the assigned, those their worker says are running.
    pub running: u32,
    /// Result reported, its blobs on their way.
    pub fetching: u32,
    /// Ended well.
    pub succeeded: u32,
    /// Ended badly.
    pub failed: u32,
    /// Stopped by a user.
    pub stopped: u32,
    /// Tries beyond the first.
    pub retries: u32,
    /// µCPT countersigned so far.
    pub spent: MicroCpt,
    /// Sum over all results used.
    pub usage: Usage,
}

impl Totals {
    /// Tasks that have ended.
    #[must_use]
    pub const fn ended(&self) -> u32 {
        self.succeeded + self.failed + self.stopped
    }
}

/// What the journal keeps of a job besides its spec and tasks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobRecord {
    /// Where it stands.
    pub state: JobState,
    /// Whether tasks may still be added.
    pub open: bool,
    /// µCPT spent; never decreases.
    pub spent: MicroCpt,
}
