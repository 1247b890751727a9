//! What stands in the journal, version 1. A reader refuses what it does not know instead of guessing.

use hive_protocol::{
    ids::{JobId, NodeId},
    money::MicroCpt,
    task::{JobSpec, TaskResult, TaskSpec},
    time::Timestamp,
};
use hive_scheduler::submitter::{JobRecord, JobState, TaskEnd, TaskRecord};
use serde::{Deserialize, Serialize};

/// Version of all records of this file.
pub const SCHEMA: u16 = 1;

/// A job as it was submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobMeta {
    /// Its id.
    pub job: JobId,
    /// What it is; `tasks` and `open` as they were at first.
    pub spec: JobSpec,
    /// When it was submitted.
    pub submitted: Timestamp,
}

/// A task as it was submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskMeta {
    /// What it is about.
    pub label: String,
    /// What to run.
    pub spec: TaskSpec,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// Exit code 0.
    Succeeded,
    /// Failed for good.
    Failed {
        /// Stable code.
        code: String,
        /// One line for people.
        detail: String,
    },
    /// Stopped by its owner.
    Stopped,
}

/// An ended task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedTask {
    /// How.
    pub end: Ended,
    /// Tries made.
    pub attempts: u16,
    /// Who ran the last one.
    pub node: Option<NodeId>,
    /// The result, where one came.
    pub result: Option<TaskResult>,
    /// µCPT the last try cost.
    pub cost: MicroCpt,
}

impl EndedTask {
    /// As the core gave it.
    #[must_use]
    pub fn of(record: &TaskRecord) -> Self {
        let end = match &record.end {
            TaskEnd::Succeeded => Ended::Succeeded,
            TaskEnd::Failed { code, detail } => Ended::Failed {
                code: code.clone(),
                detail: detail.clone(),
            },
            TaskEnd::Stopped => Ended::Stopped,
        };
        let (attempts, node, cost) = (record.attempts, record.node, record.cost);
        Self {
            end,
            attempts,
            node,
            result: record.result.clone(),
            cost,
        }
    }

    /// As the core takes it back.
    #[must_use]
    pub fn task_end(&self) -> TaskEnd {
        match &self.end {
            Ended::Succeeded => TaskEnd::Succeeded,
            Ended::Failed { code, detail } => TaskEnd::Failed {
                code: code.clone(),
                detail: detail.clone(),
            },
            Ended::Stopped => TaskEnd::Stopped,
        }
    }
}

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStanding {
    /// `active`, `waiting`, `idle`, `finished`, `stopped`.
    pub state: String,
    /// Why it waits: code and text; empty unless it waits.
    pub waiting: (String, String),
    /// Whether tasks may still be added.
    pub open: bool,
    /// µCPT spent.
    pub spent: MicroCpt,
    /// When it ended; 0 while it has not.
    pub ended: Timestamp,
}

impl JobStanding {
    /// As the core gave it.
    #[must_use]
    pub fn of(record: &JobRecord, ended: Timestamp) -> Self {
        let waiting = match &record.state {
            JobState::Waiting { code, detail } => (code.clone(), detail.clone()),
            _ => Default::default(),
        };
        Self {
            state: record.state.name().to_owned(),
            waiting,
            open: record.open,
            spent: record.spent,
            ended,
        }
    }

    /// Whether nothing more happens by itself.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self.state.as_str(), "finished" | "stopped")
    }
}
