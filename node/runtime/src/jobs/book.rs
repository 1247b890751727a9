//! The book of jobs: what people see of them while the cores do the deciding. Results stay in the journal.

use super::records::{EndedTask, JobMeta, JobStanding};
use crate::port::TaskState;
use hive_protocol::{
    ids::{BlobHash, JobId, NodeId, TaskIndex},
    money::MicroCpt,
    task::JobSpec,
    time::Timestamp,
};
use std::collections::BTreeMap;

/// Ended jobs kept in the journal; the oldest beyond are removed (their results with them) and it is said.
pub const MAX_KEPT_JOBS: usize = 1000;

/// One task in the book: 32 bytes and its label.
#[derive(Debug, Clone)]
pub struct TaskEntry {
    /// What it is about.
    pub label: Box<str>,
    /// Where it stands.
    pub state: TaskState,
    /// Tries so far.
    pub attempt: u16,
    /// The worker of the last try, by its place in [`Entry::nodes`].
    pub node: Option<u16>,
}

/// One job in the book.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its id.
    pub job: JobId,
    /// What it is.
    pub spec: JobSpec,
    /// When it was submitted.
    pub submitted: Timestamp,
    /// Where it stands.
    pub standing: JobStanding,
    /// Its tasks.
    pub tasks: Vec<TaskEntry>,
    /// Workers that have run tasks of it.
    pub nodes: Vec<NodeId>,
    /// Tasks ended well and µCPT in countersigned receipts, by worker.
    pub by_worker: BTreeMap<NodeId, (u32, MicroCpt)>,
    /// Tries that were lost and repeated.
    pub retried: u64,
    /// Fuel in all used results.
    pub fuel: u64,
    /// Bytes of all used results.
    pub bytes: u64,
    /// Whether the submitter core has it.
    pub in_core: bool,
    /// Whether all its leases are settled.
    pub settled: bool,
    /// Counts by state, in the order of [`TaskState`].
    pub counts: [u32; 6],
    /// Blobs its tasks read, with the module: kept from being collected while it lives.
    pub pins: Vec<BlobHash>,
}

const fn place(state: TaskState) -> usize {
    match state {
        TaskState::Queued => 0,
        TaskState::Assigned => 1,
        TaskState::Running => 2,
        TaskState::Succeeded => 3,
        TaskState::Failed => 4,
        TaskState::Stopped => 5,
    }
}

impl Entry {
    /// A job without tasks yet.
    #[must_use]
    pub fn new(meta: &JobMeta) -> Self {
        let open = meta.spec.open;
        Self {
            job: meta.job,
            spec: meta.spec.clone(),
            submitted: meta.submitted,
            standing: JobStanding {
                state: "active".into(),
                waiting: Default::default(),
                open,
                spent: MicroCpt::ZERO,
                ended: Timestamp(0),
            },
            tasks: Vec::new(),
            nodes: Vec::new(),
            by_worker: BTreeMap::new(),
            retried: 0,
            fuel: 0,
            bytes: 0,
            in_core: false,
            settled: false,
            counts: [0; 6],
            pins: vec![meta.spec.program.module.hash],
        }
    }

    /// Adds a task at the end.
    pub fn push(&mut self, label: &str) {
        self.tasks.push(TaskEntry {
            label: label.into(),
            state: TaskState::Queued,
            attempt: 0,
            node: None,
        });
        self.counts[0] += 1;
    }

    /// Number of tasks in this state.
    #[must_use]
    pub const fn count(&self, state: TaskState) -> u32 {
        self.counts[place(state)]
    }

    /// Moves a task to a state.
    pub fn set(&mut self, index: TaskIndex, state: TaskState, attempt: Option<u16>, node: Option<NodeId>) {
        let node = node.and_then(|n| self.node_place(n));
        let Some(task) = self.tasks.get_mut(index.0 as usize) else {
            return;
        };
        let (from, to) = (place(task.state), place(state));
        self.counts[from] = self.counts[from].saturating_sub(1);
        self.counts[to] += 1;
        task.state = state;
        task.attempt = attempt.unwrap_or(task.attempt);
        if node.is_some() {
            task.node = node;
        }
    }

    fn node_place(&mut self, node: NodeId) -> Option<u16> {
        let at = self.nodes.iter().position(|n| *n == node).unwrap_or_else(|| {
            self.nodes.push(node);
            self.nodes.len() - 1
        });
        u16::try_from(at).ok()
    }

    /// Takes the end of a task.
    pub fn ended(&mut self, index: TaskIndex, ended: &EndedTask) {
        let state = match ended.end {
            super::records::Ended::Succeeded => TaskState::Succeeded,
            super::records::Ended::Failed { .. } => TaskState::Failed,
            super::records::Ended::Stopped => TaskState::Stopped,
        };
        self.set(index, state, Some(ended.attempts), ended.node);
        if let Some(result) = &ended.result {
            self.fuel = self.fuel.saturating_add(result.usage.fuel);
            self.bytes = self.bytes.saturating_add(result.blobs().map(|b| b.size).sum());
        }
        if let (TaskState::Succeeded, Some(node)) = (state, ended.node) {
            self.by_worker.entry(node).or_default().0 += 1;
        }
    }

    /// The worker of a task's last try.
    #[must_use]
    pub fn node_of(&self, task: &TaskEntry) -> Option<NodeId> {
        task.node.and_then(|at| self.nodes.get(usize::from(at)).copied())
    }

    /// The state as the API names it.
    #[must_use]
    pub fn state_name(&self) -> &'static str {
        let (ok, bad) = (self.count(TaskState::Succeeded), self.count(TaskState::Failed));
        match self.standing.state.as_str() {
            "stopped" => "stopped",
            "finished" if bad == 0 => "succeeded",
            "finished" if ok == 0 => "failed",
            "finished" => "partial",
            "waiting" => "waiting",
            "idle" => "open",
            _ => "running",
        }
    }
}

/// All jobs of this daemon, by id.
#[derive(Debug, Default)]
pub struct Book {
    /// The jobs.
    pub jobs: BTreeMap<JobId, Entry>,
    /// The one submitted last, for `last`.
    pub last: Option<JobId>,
}

/// Why an id does not lead to one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// None has it.
    Missing,
    /// Several begin like this.
    Ambiguous,
}

impl Book {
    /// Finds a job by id, by an unambiguous beginning of it, by name, or `last`.
    ///
    /// # Errors
    /// None, or several.
    pub fn find(&self, text: &str) -> Result<JobId, Lookup> {
        if text == "last" {
            return self.last.ok_or(Lookup::Missing);
        }
        if let Ok(job) = text.parse::<JobId>() {
            return self.jobs.contains_key(&job).then_some(job).ok_or(Lookup::Missing);
        }
        let body = text
            .strip_prefix(JobId::PREFIX)
            .or_else(|| text.strip_prefix("t_"));
        let mut found = self.jobs.values().filter(|e| match body {
            Some(body) if body.len() >= 3 => e
                .job
                .to_string()
                .get(JobId::PREFIX.len()..)
                .is_some_and(|whole| whole.starts_with(body)),
            _ => e.spec.name == text,
        });
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one.job),
            (None, _) => Err(Lookup::Missing),
            _ => Err(Lookup::Ambiguous),
        }
    }

    /// Finds a task by `t_JOB.N`, `JOB.N` with any job text, or `last` (the last task of the last job).
    ///
    /// # Errors
    /// None, or several.
    pub fn find_task(&self, text: &str) -> Result<(JobId, TaskIndex), Lookup> {
        if text == "last" {
            let job = self.last.ok_or(Lookup::Missing)?;
            let tasks = self.jobs.get(&job).map_or(0, |e| e.tasks.len());
            let index = u32::try_from(tasks)
                .ok()
                .and_then(|n| n.checked_sub(1))
                .ok_or(Lookup::Missing)?;
            return Ok((job, TaskIndex(index)));
        }
        let (job, index) = text.rsplit_once('.').ok_or(Lookup::Missing)?;
        let index: u32 = index.parse().map_err(|_| Lookup::Missing)?;
        let job = match job.strip_prefix("t_") {
            Some(body) => self.find(&format!("{}{body}", JobId::PREFIX))?,
            None => self.find(job)?,
        };
        let known = self
            .jobs
            .get(&job)
            .is_some_and(|e| (index as usize) < e.tasks.len());
        if known {
            Ok((job, TaskIndex(index)))
        } else {
            Err(Lookup::Missing)
        }
    }

    /// The oldest ended and settled jobs beyond what is kept.
    #[must_use]
    pub fn surplus(&self) -> Vec<JobId> {
        let mut ended: Vec<_> = self
            .jobs
            .values()
            .filter(|e| e.standing.is_final())
            .map(|e| (e.submitted, e.job))
            .collect();
        ended.sort();
        let over = ended.len().saturating_sub(MAX_KEPT_JOBS);
        ended.into_iter().take(over).map(|(_, job)| job).collect()
    }
}
