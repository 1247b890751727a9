//! What the simulator knows for itself, apart from every core: who was handed what, what was truly burnt, what
//! was promised, and a second, naive set of books. Invariants compare the cores with it.

use crate::invariants::{Ack, Violation, ends_once, fresh_ids, paid_for_work, paid_twice};
use hive_protocol::{
    ids::{AccountId, HoldId, JobId, LeaseId, TaskIndex},
    money::{MicroCpt, Price},
    task::JobSpec,
    time::Timestamp,
};
use hive_scheduler::submitter::{LeaseDraft, TaskEnd};
use hive_state::{Event, State};
use std::collections::{BTreeMap, BTreeSet};

/// A try of a task.
type Try = (TaskIndex, u16);

/// A lease as seen from outside.
#[derive(Clone, Debug)]
pub struct LeaseFacts {
    /// Whose job it is for.
    pub submitter: usize,
    /// In which life of its submitter it was asked for.
    pub life: u64,
    /// Who works.
    pub worker: usize,
    /// The job.
    pub job: JobId,
    /// The price agreed on.
    pub price: Price,
    /// Fuel limit of a task.
    pub limit: u64,
    /// Tries the submitter has handed over.
    pub handed: BTreeSet<Try>,
    /// Fuel truly burnt, by try.
    pub executed: BTreeMap<Try, u64>,
    /// Fuel the worker has reported, by try.
    pub reported: BTreeMap<Try, u64>,
}

/// A job as its user knows it.
#[derive(Clone, Debug)]
pub struct JobFacts {
    /// Whose.
    pub node: usize,
    /// Its place in the plan.
    pub number: usize,
    /// Tasks so far.
    pub tasks: u32,
    /// Ends written to the journal.
    pub ended: BTreeMap<TaskIndex, TaskEnd>,
    /// µCPT the journal says are spent.
    pub spent: MicroCpt,
    /// Most µCPT it may cost.
    pub budget: MicroCpt,
}

/// A hold in the naive books.
#[derive(Clone, Copy, Debug)]
pub struct HoldFacts {
    /// The lease.
    pub lease: LeaseId,
    /// Who pays.
    pub payer: AccountId,
    /// How much.
    pub amount: MicroCpt,
    /// When it ends.
    pub expires: Timestamp,
    /// Whether it is still open.
    pub open: bool,
    /// What was paid out of it.
    pub paid: MicroCpt,
}

/// The naive books.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Free money by account.
    pub available: BTreeMap<AccountId, MicroCpt>,
    /// All holds ever.
    pub holds: BTreeMap<HoldId, HoldFacts>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Oracle {
    /// What was minted.
    pub minted: MicroCpt,
    /// The books now.
    pub books: Books,
    founding: Books,
    /// What was acknowledged to somebody.
    pub acks: BTreeMap<HoldId, Ack>,
    /// Figures for the summary.
    pub figures: BTreeMap<&'static str, u64>,
    leases: BTreeMap<LeaseId, LeaseFacts>,
    asked: BTreeMap<HoldId, (usize, u64, LeaseId)>,
    jobs: BTreeMap<JobId, JobFacts>,
    liars: BTreeSet<usize>,
}

impl Oracle {
    /// Knows what the founding has left.
    #[must_use]
    pub fn new(state: &State, liars: BTreeSet<usize>) -> Self {
        let accounts = state.ledger().accounts();
        let founding = Books {
            available: accounts.map(|(id, a)| (*id, a.available)).collect(),
            holds: BTreeMap::new(),
        };
        Self {
            minted: state.founding().minted,
            books: founding.clone(),
            founding,
            acks: BTreeMap::new(),
            figures: BTreeMap::new(),
            leases: BTreeMap::new(),
            asked: BTreeMap::new(),
            jobs: BTreeMap::new(),
            liars,
        }
    }

    /// Whether a worker's word on what it burnt is worth nothing.
    #[must_use]
    pub fn is_liar(&self, node: usize) -> bool {
        self.liars.contains(&node)
    }

    /// Counts something for the summary.
    pub fn count(&mut self, what: &'static str) {
        *self.figures.entry(what).or_default() += 1;
    }

    /// A user has submitted a job.
    pub fn submitted(&mut self, job: JobId, node: usize, number: usize, spec: &JobSpec) {
        let tasks = spec.tasks;
        self.count("jobs");
        *self.figures.entry("tasks").or_default() += u64::from(tasks);
        let facts = JobFacts {
            node,
            number,
            tasks,
            ended: BTreeMap::new(),
            spent: MicroCpt::ZERO,
            budget: spec.budget,
        };
        self.jobs.insert(job, facts);
    }

    /// A user has added tasks.
    pub fn added(&mut self, job: JobId, tasks: u32) {
        *self.figures.entry("tasks").or_default() += u64::from(tasks);
        if let Some(j) = self.jobs.get_mut(&job) {
            j.tasks += tasks;
        }
    }

    /// All jobs: id, node, place in the plan.
    pub fn jobs(&self) -> impl Iterator<Item = (JobId, usize, usize)> {
        self.jobs.iter().map(|(id, j)| (*id, j.node, j.number))
    }

    /// All jobs with what is known of them.
    pub fn job_facts(&self) -> impl Iterator<Item = (&JobId, &JobFacts)> {
        self.jobs.iter()
    }

    /// One lease.
    #[must_use]
    pub fn lease(&self, id: &LeaseId) -> Option<&LeaseFacts> {
        self.leases.get(id)
    }

    /// All leases ever asked for.
    #[must_use]
    pub fn lease_ids(&self) -> Vec<LeaseId> {
        self.leases.keys().copied().collect()
    }

    /// A submitter asks for a hold, for the first time or again.
    ///
    /// # Errors
    /// When the id was another hold's.
    pub fn hold_asked(
        &mut self,
        submitter: usize,
        life: u64,
        hold: HoldId,
        lease: LeaseId,
    ) -> Result<(), Violation> {
        let asked = (submitter, life, lease);
        fresh_ids::hold(&hold, *self.asked.entry(hold).or_insert(asked), asked)
    }

    /// A submitter asks a worker for a lease, for the first time or again.
    ///
    /// # Errors
    /// When the id was another lease's.
    pub fn lease_asked(
        &mut self,
        submitter: usize,
        worker: usize,
        life: u64,
        draft: &LeaseDraft,
    ) -> Result<(), Violation> {
        let facts = self.leases.entry(draft.lease).or_insert_with(|| LeaseFacts {
            submitter,
            life,
            worker,
            job: draft.job,
            price: draft.price,
            limit: draft.program.limits.fuel,
            handed: BTreeSet::new(),
            executed: BTreeMap::new(),
            reported: BTreeMap::new(),
        });
        fresh_ids::lease(&draft.lease, facts, (submitter, life, worker, draft.job))
    }

    /// A submitter has handed a try over.
    pub fn handed(&mut self, lease: LeaseId, index: TaskIndex, attempt: u16) {
        if let Some(l) = self.leases.get_mut(&lease) {
            l.handed.insert((index, attempt));
        }
    }

    /// An executor has burnt fuel that is to be paid.
    pub fn executed(&mut self, lease: LeaseId, index: TaskIndex, attempt: u16, fuel: u64) {
        if let Some(l) = self.leases.get_mut(&lease) {
            *self.figures.entry("tries").or_default() += 1;
            let limit = l.limit;
            let burnt = l.executed.entry((index, attempt)).or_default();
            *burnt = (*burnt).max(fuel.min(limit));
        }
    }

    /// A worker has put a result on the wire.
    pub fn reported(&mut self, lease: LeaseId, index: TaskIndex, attempt: u16, fuel: u64) {
        if let Some(l) = self.leases.get_mut(&lease) {
            let limit = l.limit;
            let said = l.reported.entry((index, attempt)).or_default();
            *said = (*said).max(fuel.min(limit));
        }
    }

    /// An end goes to the journal.
    ///
    /// # Errors
    /// When the task has ended before.
    pub fn task_ended(&mut self, job: JobId, index: TaskIndex, end: &TaskEnd) -> Result<(), Violation> {
        let Some(j) = self.jobs.get_mut(&job) else {
            return Ok(());
        };
        ends_once::check(&job, j, index, end)?;
        j.ended.insert(index, end.clone());
        Ok(())
    }

    /// A user wants an ended task again.
    pub fn task_again(&mut self, job: JobId, index: TaskIndex) {
        if let Some(j) = self.jobs.get_mut(&job) {
            j.ended.remove(&index);
        }
    }

    /// What is spent goes to the journal.
    ///
    /// # Errors
    /// When it is less than before.
    pub fn job_spent(&mut self, job: JobId, spent: MicroCpt) -> Result<(), Violation> {
        let Some(j) = self.jobs.get_mut(&job) else {
            return Ok(());
        };
        paid_for_work::spent(&job, j, spent)?;
        j.spent = spent;
        Ok(())
    }

    /// An answer has left the authority.
    pub fn acknowledged(&mut self, ack: Ack) {
        self.count("acknowledged");
        self.acks.insert(ack.hold(), ack);
    }

    /// Something has moved money; the naive books follow.
    ///
    /// # Errors
    /// What the event breaks by itself.
    pub fn money_moved(&mut self, event: &Event, time: Timestamp, state: &State) -> Result<(), Violation> {
        paid_twice::follow(&mut self.books, event, time, state)?;
        if let Event::Captured { hold, .. } = event {
            self.count("captures");
            paid_for_work::captured(self, hold)?;
        }
        Ok(())
    }

    /// What was captured for a job so far.
    #[must_use]
    pub fn captured_for(&self, job: &JobId) -> MicroCpt {
        self.books
            .holds
            .values()
            .filter(|h| self.leases.get(&h.lease).is_some_and(|l| l.job == *job))
            .fold(MicroCpt::ZERO, |sum, h| sum.saturating_add(h.paid))
    }

    /// One job.
    #[must_use]
    pub fn job(&self, id: &JobId) -> Option<&JobFacts> {
        self.jobs.get(id)
    }

    /// The authority has forgotten what was not on disk: the books are made anew from what was.
    ///
    /// # Errors
    /// As [`Oracle::money_moved`].
    pub fn restarted(&mut self, events: &[(Event, Timestamp)], state: &State) -> Result<(), Violation> {
        self.books = self.founding.clone();
        for (event, time) in events {
            paid_twice::follow(&mut self.books, event, *time, state)?;
        }
        Ok(())
    }
}
