//! What can be asked of the submitter core without changing it.

use super::{
    JobState, Submitter, TaskEnd, Totals,
    job::{Job, Stage},
    lease::Phase,
};
use hive_protocol::{
    ids::{JobId, LeaseId, NodeId, TaskIndex},
    money::{MicroCpt, Price},
    task::{JobSpec, TaskSpec},
};

/// Counts since the core was made; they only grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Announcements of demands.
    pub demands_published: u64,
    /// Offers heard.
    pub offers_heard: u64,
    /// Offers that came too late, or from workers on pause.
    pub offers_stale: u64,
    /// Offers dropped because too many were waiting.
    pub offers_dropped: u64,
    /// Offers that do not fit.
    pub offers_no_fit: u64,
    /// Offers the trust rules forbid.
    pub offers_rule: u64,
    /// Offers from the wrong place.
    pub offers_location: u64,
    /// Offers that are too dear.
    pub offers_price: u64,
    /// Holds asked for.
    pub holds_asked: u64,
    /// Leases opened because another ran out of money or time.
    pub renewals: u64,
    /// Leases opened.
    pub leases_opened: u64,
    /// Leases refused.
    pub leases_refused: u64,
    /// Leases ended.
    pub leases_ended: u64,
    /// Results reported.
    pub results: u64,
    /// Results of tasks that had ended otherwise by then.
    pub late_results: u64,
    /// Results of tasks never handed over.
    pub unexpected_results: u64,
    /// Tasks ended.
    pub tasks_ended: u64,
    /// Tries gone wrong by a worker's fault.
    pub faults: u64,
    /// Tasks taken back to be run elsewhere.
    pub stolen: u64,
    /// Idle places of one job given up for another that waited.
    pub places_moved: u64,
    /// Stragglers run a second time.
    pub doubled: u64,
    /// Receipts accepted.
    pub receipts: u64,
    /// Receipts refused.
    pub receipts_refused: u64,
    /// Captures asked for.
    pub captures: u64,
    /// Lease messages that came twice.
    pub duplicates: u64,
    /// Lease messages that came too early.
    pub gaps: u64,
    /// Peers that broke the protocol.
    pub broken: u64,
    /// Messages only a submitter may say.
    pub misdirected: u64,
}

/// A job for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobView {
    /// Its id.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: JobState,
    /// Whether tasks may be added.
    pub open: bool,
    /// Its counts.
    pub totals: Totals,
    /// Most µCPT it may cost.
    pub budget: MicroCpt,
    /// Slots that work for it.
    pub slots: u32,
    /// Slots it asks for beyond those.
    pub wanted: u32,
}

/// A task's stage for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TaskStage {
    /// Not with a worker.
    Waiting,
    /// At a worker, not begun as far as is known.
    Queued(NodeId),
    /// A worker says that it runs.
    Running(NodeId),
    /// Its result is on its way.
    Fetching(NodeId),
    /// It has ended.
    Ended(TaskEnd),
}

/// A task for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskView {
    /// Its place in the job.
    pub index: TaskIndex,
    /// Where it stands.
    pub stage: TaskStage,
    /// Tries so far.
    pub attempts: u16,
    /// Tries gone wrong by a worker's fault.
    pub faults: u16,
}

/// A lease for people and for tests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseView {
    /// The lease.
    pub lease: LeaseId,
    /// The job.
    pub job: JobId,
    /// The worker.
    pub node: NodeId,
    /// Its slots (wished, until it is given).
    pub slots: u32,
    /// The price.
    pub price: Price,
    /// `holding`, `requesting`, `active`, `closing` or `settling`.
    pub phase: &'static str,
    /// The money set aside.
    pub hold: MicroCpt,
    /// What is owed by the last receipt accepted.
    pub owed: MicroCpt,
    /// Tasks at the worker.
    pub assigned: u32,
    /// Of these, running.
    pub running: u32,
    /// Tasks reported that are to be paid.
    pub tasks: u64,
}

impl Submitter {
    /// Whether this lease is one this core answers for. Messages that both cores know (`Resume`, `Unknown`,
    /// `Ack`) go to the core that owns the lease, to the worker core if none does.
    #[must_use]
    pub fn owns(&self, lease: &LeaseId) -> bool {
        self.by_id.contains_key(lease)
    }

    /// Whether a node may fetch blobs under this lease: it is the lease's worker and the lease is not over.
    #[must_use]
    pub fn is_worker_of(&self, node: &NodeId, lease: &LeaseId) -> bool {
        self.by_id
            .get(lease)
            .and_then(|no| self.leases.get(no))
            .is_some_and(|l| l.node == *node && !l.gone)
    }

    /// All jobs in memory, in id order.
    pub fn jobs(&self) -> impl Iterator<Item = JobView> {
        self.jobs.values().map(view)
    }

    /// One job.
    #[must_use]
    pub fn job(&self, id: JobId) -> Option<JobView> {
        self.jobs.get(&id).map(view)
    }

    /// A job's spec; `tasks` counts all so far.
    #[must_use]
    pub fn spec(&self, id: JobId) -> Option<&JobSpec> {
        self.jobs.get(&id).map(|j| &j.spec)
    }

    /// One task's spec.
    #[must_use]
    pub fn task_spec(&self, id: JobId, index: TaskIndex) -> Option<&TaskSpec> {
        self.jobs.get(&id)?.tasks.get(index.0 as usize)
    }

    /// One task.
    #[must_use]
    pub fn task(&self, id: JobId, index: TaskIndex) -> Option<TaskView> {
        let job = self.jobs.get(&id)?;
        let slot = job.slot(index)?;
        let lease = self.leases.get(&slot.copies[0]);
        let stage = match slot.stage {
            Stage::Waiting => TaskStage::Waiting,
            Stage::Assigned => {
                let lease = lease?;
                let running = lease.assigned.get(&index).is_some_and(|h| h.started.is_some());
                if running {
                    TaskStage::Running(lease.node)
                } else {
                    TaskStage::Queued(lease.node)
                }
            }
            Stage::Fetching => TaskStage::Fetching(job.arriving.get(&index.0)?.node),
            Stage::Succeeded => TaskStage::Ended(TaskEnd::Succeeded),
            Stage::Stopped => TaskStage::Ended(TaskEnd::Stopped),
            Stage::Failed => TaskStage::Ended(job.ends.get(&index.0)?.clone()),
        };
        Some(TaskView {
            index,
            stage,
            attempts: slot.attempt,
            faults: slot.faults,
        })
    }

    /// Tasks of a job from an index on, at most `limit`.
    #[must_use]
    pub fn tasks(&self, id: JobId, from: TaskIndex, limit: u32) -> Vec<TaskView> {
        let end = from.0.saturating_add(limit);
        (from.0..end).map_while(|i| self.task(id, TaskIndex(i))).collect()
    }

    /// All leases, oldest first.
    pub fn leases(&self) -> impl Iterator<Item = LeaseView> {
        self.leases.values().map(|l| LeaseView {
            lease: l.id,
            job: l.job,
            node: l.node,
            slots: l.slots,
            price: l.price,
            phase: match l.phase {
                Phase::Holding => "holding",
                Phase::Requesting => "requesting",
                Phase::Active => "active",
                Phase::Closing => "closing",
                Phase::Settling => "settling",
            },
            hold: l.amount,
            owed: l.accepted.amount,
            assigned: u32::try_from(l.assigned.len()).unwrap_or(u32::MAX),
            running: l.started,
            tasks: l.tasks,
        })
    }

    /// Whether no lease is left and no job is at work.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.leases.is_empty() && self.jobs.values().all(|j| j.all_ended())
    }

    /// Counts since the start.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }
}

fn view(job: &Job) -> JobView {
    JobView {
        job: job.id,
        name: job.spec.name.clone(),
        state: job.state.clone(),
        open: job.open,
        totals: job.totals,
        budget: job.spec.budget,
        slots: job.live_slots,
        wanted: job.demand.map_or(0, |d| d.slots),
    }
}
