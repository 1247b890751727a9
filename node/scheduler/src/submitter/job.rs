//! One job as its coordinator keeps it: the state of every task, the queue, what may be spent.

use super::record::{JobState, TaskEnd, Totals};
use hive_protocol::{
    credential::Credential,
    ids::{DemandId, JobId, NodeId, TaskIndex},
    money::{MicroCpt, Price},
    task::{JobSpec, Program, TaskResult, TaskSpec},
    time::{Millis, Timestamp},
    work::Offer,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Number of a lease inside this core; 0 is none.
pub(super) type LeaseNo = u32;

/// Results whose blobs are being fetched, per job; beyond it no further tasks are handed out.
pub(super) const MAX_FETCHING: usize = 4096;
/// Nodes a task keeps away from; the oldest is forgotten.
const MAX_AVOIDED: usize = 8;
/// How many waiting tasks are looked at for one that does not avoid the asking node.
const AVOID_SEARCH: usize = 16;
/// Measured tasks after which the average counts for more than the limit.
pub(super) const MEASURED: u64 = 4;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Waiting,
    Assigned,
    Fetching,
    Succeeded,
    Failed,
    Stopped,
}

/// A task's state: small, there may be a million.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub stage: Stage,
    pub attempt: u16,
    pub faults: u16,
    /// Leases that have it; the second is a straggler's double.
    pub copies: [LeaseNo; 2],
}

impl Slot {
    const NEW: Self = Self {
        stage: Stage::Waiting,
        attempt: 0,
        faults: 0,
        copies: [0; 2],
    };
    pub(super) const fn is_ended(&self) -> bool {
        matches!(self.stage, Stage::Succeeded | Stage::Failed | Stage::Stopped)
    }
    pub(super) fn has(&self, no: LeaseNo) -> bool {
        no != 0 && self.copies.contains(&no)
    }
    /// Takes a lease off; whether it had the task.
    pub(super) fn drop_copy(&mut self, no: LeaseNo) -> bool {
        let [a, b] = self.copies;
        match no {
            0 => false,
            n if n == a => {
                self.copies = [b, 0];
                true
            }
            n if n == b => {
                self.copies = [a, 0];
                true
            }
            _ => false,
        }
    }
}

/// A demand that stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub id: DemandId,
    pub slots: u32,
    pub since: Timestamp,
}

/// A result whose blobs are on their way.
#[derive(Clone, Debug)]
pub(super) struct Arriving {
    pub result: TaskResult,
    pub node: NodeId,
    pub price: Price,
}

#[derive(Clone, Debug)]
pub(super) struct Job {
    pub id: JobId,
    pub spec: JobSpec,
    pub program: Arc<Program>,
    pub tasks: Vec<TaskSpec>,
    pub slots: Vec<Slot>,
    /// Tasks from here on have never been handed out (but may have ended).
    fresh: usize,
    /// Tasks before `fresh` that wait again.
    again: BTreeSet<u32>,
    avoid: BTreeMap<u32, Vec<NodeId>>,
    /// Tasks with workers that have been handed out a second time; all that two leases have are among them.
    doubled: BTreeSet<u32>,
    /// How tasks ended that did not succeed.
    pub ends: BTreeMap<u32, TaskEnd>,
    pub arriving: BTreeMap<u32, Arriving>,
    pub totals: Totals,
    pub state: JobState,
    pub open: bool,
    pub stopping: bool,
    pub settled_said: bool,

    pub leases: BTreeSet<LeaseNo>,
    /// Leases that may have room for more.
    pub refill: BTreeSet<LeaseNo>,
    /// Slots of leases that work or are being asked for; heirs and ending leases apart.
    pub live_slots: u32,
    pub demand: Option<Standing>,
    pub offers: BTreeMap<NodeId, (Offer, Credential)>,
    pub offers_heard: u32,
    /// Why no money can be had, and until when it is not asked for again.
    pub money: Option<(String, String, Timestamp)>,

    pub measured: u64,
    pub fuel: u64,
    /// Microseconds a task takes, smoothed.
    pub average_us: u64,
}

impl Job {
    pub(super) fn new(id: JobId, spec: JobSpec, tasks: Vec<TaskSpec>) -> Self {
        let n = u32::try_from(tasks.len()).unwrap_or(u32::MAX);
        let open = spec.open;
        Self {
            id,
            program: Arc::new(spec.program.clone()),
            spec,
            slots: vec![Slot::NEW; tasks.len()],
            tasks,
            fresh: 0,
            again: BTreeSet::new(),
            avoid: BTreeMap::new(),
            doubled: BTreeSet::new(),
            ends: BTreeMap::new(),
            arriving: BTreeMap::new(),
            totals: Totals {
                tasks: n,
                waiting: n,
                ..Totals::default()
            },
            state: JobState::Active,
            open,
            stopping: false,
            settled_said: false,
            leases: BTreeSet::new(),
            refill: BTreeSet::new(),
            live_slots: 0,
            demand: None,
            offers: BTreeMap::new(),
            offers_heard: 0,
            money: None,
            measured: 0,
            fuel: 0,
            average_us: 0,
        }
    }

    pub(super) fn add(&mut self, tasks: Vec<TaskSpec>) {
        let n = u32::try_from(tasks.len()).unwrap_or(u32::MAX);
        self.slots.resize(self.slots.len() + tasks.len(), Slot::NEW);
        self.tasks.extend(tasks);
        self.totals.tasks += n;
        self.totals.waiting += n;
        self.spec.tasks = self.totals.tasks;
    }

    pub(super) fn slot(&self, index: TaskIndex) -> Option<&Slot> {
        self.slots.get(index.0 as usize)
    }

    /// Tasks not yet ended, those whose results arrive apart.
    pub(super) const fn to_run(&self) -> u32 {
        self.totals.waiting + self.totals.assigned
    }

    pub(super) const fn all_ended(&self) -> bool {
        self.totals.ended() == self.totals.tasks
    }

    fn count(&mut self, stage: Stage, up: bool) {
        let t = &mut self.totals;
        let field = match stage {
            Stage::Waiting => &mut t.waiting,
            Stage::Assigned => &mut t.assigned,
            Stage::Fetching => &mut t.fetching,
            Stage::Succeeded => &mut t.succeeded,
            Stage::Failed => &mut t.failed,
            Stage::Stopped => &mut t.stopped,
        };
        *field = if up {
            field.saturating_add(1)
        } else {
            field.saturating_sub(1)
        };
    }

    /// Moves a task to another stage, counts and queue in step.
    pub(super) fn set_stage(&mut self, index: TaskIndex, stage: Stage) {
        let Some(slot) = self.slots.get_mut(index.0 as usize) else {
            return;
        };
        let before = slot.stage;
        if before == stage {
            return;
        }
        slot.stage = stage;
        if before == Stage::Waiting {
            self.again.remove(&index.0);
        }
        if stage == Stage::Waiting && (index.0 as usize) < self.fresh {
            self.again.insert(index.0);
        }
        if slot.is_ended() {
            self.avoid.remove(&index.0);
        }
        if before == Stage::Assigned {
            self.doubled.remove(&index.0);
        }
        self.count(before, false);
        self.count(stage, true);
    }

    /// Whether a task would rather not go to this node again.
    pub(super) fn avoids(&self, index: u32, node: NodeId) -> bool {
        self.avoid.get(&index).is_some_and(|a| a.contains(&node))
    }

    /// Keeps a task away from a node for as long as there is another.
    pub(super) fn keep_away(&mut self, index: TaskIndex, node: NodeId) {
        let list = self.avoid.entry(index.0).or_default();
        if !list.contains(&node) {
            if list.len() >= MAX_AVOIDED {
                list.remove(0);
            }
            list.push(node);
        }
    }

    /// Whether any waiting task keeps away from a node.
    pub(super) fn has_avoiding(&self) -> bool {
        !self.avoid.is_empty()
    }

    /// The next waiting task for a node: one that does not avoid it, unless it avoids all `others` too.
    pub(super) fn next_for(&mut self, node: NodeId, others: &[NodeId]) -> Option<TaskIndex> {
        let again = self
            .again
            .iter()
            .take(AVOID_SEARCH)
            .find(|i| !self.avoids(**i, node) || others.iter().all(|other| self.avoids(**i, *other)))
            .copied();
        if let Some(i) = again {
            return Some(TaskIndex(i));
        }
        while let Some(slot) = self.slots.get(self.fresh) {
            if slot.stage == Stage::Waiting {
                // Stays waiting until the caller hands it out; then the cursor moves past it.
                return u32::try_from(self.fresh).ok().map(TaskIndex);
            }
            self.fresh += 1;
        }
        None
    }

    /// The leases of each task that two of them have.
    pub(super) fn doubles(&self) -> impl Iterator<Item = [LeaseNo; 2]> {
        self.doubled
            .iter()
            .filter_map(|i| self.slots.get(*i as usize))
            .map(|s| s.copies)
            .filter(|[_, b]| *b != 0)
    }

    /// Gives a task to a lease: its next attempt.
    pub(super) fn hand(&mut self, index: TaskIndex, no: LeaseNo) -> Option<u16> {
        let slot = self.slots.get_mut(index.0 as usize)?;
        slot.attempt = slot.attempt.saturating_add(1);
        let attempt = slot.attempt;
        let [a, b] = slot.copies;
        slot.copies = if a == 0 { [no, b] } else { [a, no] };
        if slot.copies[1] != 0 {
            self.doubled.insert(index.0);
        }
        if attempt > 1 {
            self.totals.retries = self.totals.retries.saturating_add(1);
        }
        self.set_stage(index, Stage::Assigned);
        if index.0 as usize == self.fresh {
            self.fresh += 1;
        }
        Some(attempt)
    }

    /// A task runs again from the beginning (a user's retry).
    pub(super) fn renew(&mut self, index: TaskIndex) {
        if let Some(slot) = self.slots.get_mut(index.0 as usize) {
            slot.faults = 0;
            slot.copies = [0; 2];
        }
        self.ends.remove(&index.0);
        self.set_stage(index, Stage::Waiting);
    }

    pub(super) fn measure(&mut self, us: u64, fuel: u64) {
        self.measured += 1;
        self.fuel = self.fuel.saturating_add(fuel);
        let us = us.max(1);
        self.average_us = smooth(self.average_us, us);
    }

    /// What one task is expected to cost: its limit until some have been measured, then above the average.
    pub(super) fn expected_fuel(&self) -> u64 {
        let limit = self.spec.program.limits.fuel;
        if self.measured < MEASURED {
            return limit;
        }
        let average = self.fuel / self.measured.max(1);
        average.saturating_add(average / 2).saturating_add(1).min(limit)
    }

    /// Slots that would shorten the job, `placed` of whose tasks are not to be thought of.
    pub(super) fn useful_slots(&self, placed: u32, max: u32) -> u32 {
        let open = self.to_run().saturating_sub(placed);
        if self.average_us == 0 {
            return open.min(max);
        }
        // A slot with less than this much to do is not worth a lease.
        let worth = Millis(50).0 * 1000;
        let work = u128::from(open) * u128::from(self.average_us);
        let by_time = u32::try_from(work.div_ceil(u128::from(worth))).unwrap_or(u32::MAX);
        open.min(by_time).min(max)
    }

    pub(super) fn check(&self) {
        assert_eq!(self.slots.len(), self.tasks.len(), "a slot for each task");
        let mut t = Totals {
            tasks: self.totals.tasks,
            running: self.totals.running,
            retries: self.totals.retries,
            spent: self.totals.spent,
            usage: self.totals.usage,
            ..Totals::default()
        };
        for (i, slot) in self.slots.iter().enumerate() {
            match slot.stage {
                Stage::Waiting => t.waiting += 1,
                Stage::Assigned => t.assigned += 1,
                Stage::Fetching => t.fetching += 1,
                Stage::Succeeded => t.succeeded += 1,
                Stage::Failed => t.failed += 1,
                Stage::Stopped => t.stopped += 1,
            }
            let queued = u32::try_from(i).is_ok_and(|n| self.again.contains(&n));
            assert_eq!(
                queued,
                slot.stage == Stage::Waiting && i < self.fresh,
                "task {i} lost from the queue"
            );
            assert_eq!(
                slot.copies != [0, 0],
                slot.stage == Stage::Assigned,
                "task {i}: {slot:?}"
            );
            if slot.copies[1] != 0 {
                let known = u32::try_from(i).is_ok_and(|n| self.doubled.contains(&n));
                assert!(known, "task {i} is doubled unnoticed");
            }
        }
        assert!(
            self.doubled.len() <= self.totals.assigned as usize,
            "doubles of tasks nobody has"
        );
        assert_eq!(t, self.totals, "counts of {:?}", self.id);
        assert_eq!(self.totals.tasks as usize, self.tasks.len());
        assert_eq!(self.arriving.len(), self.totals.fetching as usize);
    }
}

/// An average smoothed over about eight values; in u128 because a peer's number may be anything.
pub(super) fn smooth(average: u64, value: u64) -> u64 {
    if average == 0 {
        return value;
    }
    let sum = u128::from(average) * 7 + u128::from(value);
    u64::try_from(sum / 8).unwrap_or(u64::MAX)
}

impl Job {
    /// µCPT that no hold and no receipt has a claim on.
    pub(super) fn unclaimed(&self, held: MicroCpt, owed_of_held: MicroCpt) -> MicroCpt {
        let settled = self.totals.spent.saturating_sub(owed_of_held);
        self.spec.budget.saturating_sub(settled).saturating_sub(held)
    }
}
