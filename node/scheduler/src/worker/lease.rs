//! One lease as its worker keeps it: the queue, what runs, what is owed.

use crate::{
    link::Link,
    payment::{self, RECALLED},
};
use hive_protocol::{
    ids::{CommandId, JobId, LeaseId, NodeId, TaskIndex},
    money::{MicroCpt, Price},
    receipt::{Countersigned, HoldGrant},
    task::{Outcome, Program, TaskOrder, TaskResult, Usage},
    time::{Millis, Timestamp},
    work::{MAX_PIPELINE_PER_SLOT, MAX_TASKS_IN_MESSAGE},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// Tasks of one lease whose blobs are being fetched at once; the rest of the queue waits its turn.
pub(super) const MAX_FETCHING: usize = 32;

/// A task that waits.
#[derive(Clone, Debug)]
pub(super) struct Queued {
    pub order: TaskOrder,
    /// Its blobs are being fetched.
    pub fetching: bool,
    /// Its blobs are here.
    pub ready: bool,
}

/// A task handed to the executor.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub attempt: u16,
    /// The order, until the executor says that it has begun: a dead executor's unbegun tasks are kept.
    pub order: Option<TaskOrder>,
    pub cancelled: Option<By>,
}

/// Who wanted a running task stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum By {
    Submitter,
    Worker,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Executor {
    /// Not asked for yet: the slots are still another lease's.
    Waiting,
    Starting,
    Ready,
    /// Not there (any more).
    Gone,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Takes and runs tasks.
    Open,
    /// Starts nothing more; what runs may end, then the last receipt, then `Closed`.
    Ending { code: String, detail: String },
    /// `Closed` is said (or nobody is there to hear it): only the money is left.
    Settling,
}

/// Where the money of an ended lease stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Settle {
    /// Waiting for the last countersignature.
    Waiting,
    /// A capture or release is under way.
    Asked,
    /// It was refused for the moment; again at a timer.
    Paused,
}

#[derive(Clone, Debug)]
pub(super) struct Lease {
    pub id: LeaseId,
    pub job: JobId,
    pub submitter: NodeId,
    pub program: Arc<Program>,
    pub price: Price,
    pub slots: u32,
    /// Slots whose resources are deducted for this lease; fewer than `slots` only for a successor.
    pub granted: u32,
    pub grant: HoldGrant,
    pub link: Link,
    pub phase: Phase,
    pub executor: Executor,
    pub deaths: u32,

    pub queue: BTreeMap<u64, Queued>,
    pub place: BTreeMap<TaskIndex, u64>,
    pub next_place: u64,
    /// Places before this one are for tasks that come back from a dead executor.
    pub front_place: u64,
    pub unfetched: BTreeSet<u64>,
    pub fetching: usize,
    pub ready: BTreeSet<u64>,
    pub running: BTreeMap<TaskIndex, Running>,

    pub started: Vec<(TaskIndex, u16)>,
    pub results: VecDeque<TaskResult>,

    /// Why no task of this program can run here, once the executor has said so.
    pub program_fault: Option<(String, String)>,
    /// Paid tasks and their fuel in all results, said or not.
    pub ended: u64,
    pub burnt: u64,
    /// Paid tasks and their fuel in results already said.
    pub tasks: u64,
    pub fuel: u64,
    /// The same in the last receipt asked to be signed.
    pub receipt_tasks: u64,
    pub receipt_fuel: u64,
    pub sequence: u64,
    pub signing: bool,
    pub countersigned_sequence: u64,
    pub countersigned: Option<Box<Countersigned>>,
    pub secured: MicroCpt,
    pub unsigned_since: Option<Timestamp>,
    /// Microseconds a task takes, smoothed.
    pub average_us: u64,

    pub settle: Settle,
    pub command: CommandId,
    pub pause: Millis,
    /// Nobody will countersign any more.
    pub gone: bool,
    /// The money is settled, well or badly.
    pub paid: bool,
    pub successor: Option<LeaseId>,
    pub predecessor: Option<LeaseId>,
}

impl Lease {
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    pub(super) fn hold(&self) -> MicroCpt {
        self.grant.amount
    }

    /// What is owed for everything reported.
    pub(super) fn owed(&self) -> MicroCpt {
        payment::owed(self.price, self.fuel, self.hold())
    }

    /// Whether receipts are piling up uncountersigned.
    pub(super) fn is_unpaid(&self) -> bool {
        self.sequence.saturating_sub(self.countersigned_sequence)
            >= hive_protocol::work::MAX_UNSIGNED_RECEIPTS
    }

    /// Whether money is left for one more task beside those running, as far as can be told from the average.
    pub(super) fn is_funded(&self) -> bool {
        if self.price.per_gfuel == MicroCpt::ZERO {
            return true;
        }
        let average = self.burnt / self.ended.max(1);
        let expected = self
            .burnt
            .saturating_add(average.saturating_mul(self.running.len() as u64));
        self.price.cost(expected) < self.hold()
    }

    /// Tasks handed over and not yet reported.
    pub(super) fn in_hand(&self) -> usize {
        self.queue.len() + self.running.len() + self.results.len()
    }

    /// Slots for which it has no task, neither running nor waiting.
    pub(super) fn unused(&self) -> u32 {
        let busy = u32::try_from(self.queue.len() + self.running.len()).unwrap_or(u32::MAX);
        self.granted.saturating_sub(busy)
    }

    pub(super) fn capacity(&self) -> usize {
        self.slots as usize * MAX_PIPELINE_PER_SLOT as usize
    }

    /// How many tasks the executor may have at once: its slots, and a few ahead when tasks are short.
    pub(super) fn executor_room(&self, max_ahead: u32) -> usize {
        let slots = self.granted as usize;
        if self.granted < self.slots {
            // The executor has more threads than this lease has slots yet.
            return slots;
        }
        let ahead = match self.average_us {
            us if us > 0 && us < 1_000 => max_ahead,
            us if us > 0 && us < 20_000 => 2,
            // One more each hides the round trip to the executor, however long tasks are.
            _ => 1,
        };
        slots + slots * (ahead.min(max_ahead) as usize)
    }

    pub(super) fn enqueue(&mut self, order: TaskOrder) {
        let place = self.next_place;
        self.next_place += 1;
        self.enqueue_at(place, order);
    }

    /// Puts a task back before all others; its blobs were here already.
    pub(super) fn enqueue_first(&mut self, order: TaskOrder) {
        self.front_place -= 1;
        let place = self.front_place;
        self.place.insert(order.index, place);
        self.ready.insert(place);
        self.queue.insert(
            place,
            Queued {
                order,
                fetching: false,
                ready: true,
            },
        );
    }

    fn enqueue_at(&mut self, place: u64, order: TaskOrder) {
        self.place.insert(order.index, place);
        let needs = order.spec.blobs().any(|b| b.inline.is_none());
        if needs {
            self.unfetched.insert(place);
        } else {
            self.ready.insert(place);
        }
        self.queue.insert(
            place,
            Queued {
                order,
                fetching: false,
                ready: !needs,
            },
        );
    }

    pub(super) fn dequeue(&mut self, place: u64) -> Option<TaskOrder> {
        let queued = self.queue.remove(&place)?;
        self.place.remove(&queued.order.index);
        self.unfetched.remove(&place);
        self.ready.remove(&place);
        if queued.fetching {
            self.fetching = self.fetching.saturating_sub(1);
        }
        Some(queued.order)
    }

    /// Gives every task not handed to the executor back to the submitter.
    pub(super) fn recall_queue(&mut self, why: &str) {
        for (_, queued) in std::mem::take(&mut self.queue) {
            let (index, attempt) = (queued.order.index, queued.order.attempt);
            self.report(failure(index, attempt, RECALLED, why, true));
        }
        self.place.clear();
        self.unfetched.clear();
        self.ready.clear();
        self.fetching = 0;
    }

    /// A task's end, to be said with the next flush.
    pub(super) fn report(&mut self, result: TaskResult) {
        if payment::is_payable(&result.outcome) {
            self.ended += 1;
            self.burnt = self
                .burnt
                .saturating_add(payment::payable_fuel(&result, &self.program.limits));
        }
        self.results.push_back(result);
    }

    pub(super) fn measure(&mut self, us: u64) {
        let us = us.max(1);
        self.average_us = if self.average_us == 0 {
            us
        } else {
            // Smoothed over about eight tasks; in u128 because a peer's number may be anything.
            let sum = u128::from(self.average_us) * 7 + u128::from(us);
            u64::try_from(sum / 8).unwrap_or(u64::MAX)
        };
    }

    pub(super) fn check(&self) {
        self.link.check();
        assert_eq!(self.queue.len(), self.place.len(), "queue and its index");
        assert!(
            self.in_hand() <= self.capacity() + MAX_TASKS_IN_MESSAGE * 2,
            "more tasks in hand than a lease may have"
        );
        assert!(self.granted <= self.slots, "more slots than agreed");
        assert!(
            self.running.len() <= self.slots as usize * 33,
            "executor overfilled"
        );
        assert!(self.receipt_tasks <= self.tasks && self.receipt_fuel <= self.fuel);
        assert!(self.secured <= self.hold(), "more countersigned than held");
        for index in self.place.keys() {
            assert!(!self.running.contains_key(index), "{index:?} twice");
        }
        let fetching = self.queue.values().filter(|q| q.fetching).count();
        assert_eq!(fetching, self.fetching, "fetch count");
        for (place, q) in &self.queue {
            assert_eq!(q.ready, self.ready.contains(place), "ready set");
            assert_eq!(
                !q.ready && !q.fetching,
                self.unfetched.contains(place),
                "unfetched set"
            );
        }
        if self.phase == Phase::Settling {
            assert!(self.queue.is_empty() && self.granted == 0, "settled but busy");
        }
    }
}

/// A result that says why a task was not (or not wholly) run.
pub(super) fn failure(
    index: TaskIndex,
    attempt: u16,
    code: &str,
    detail: &str,
    retryable: bool,
) -> TaskResult {
    let mut detail: String = detail.to_owned();
    if detail.len() > hive_protocol::task::MAX_DETAIL {
        let mut cut = hive_protocol::task::MAX_DETAIL;
        while !detail.is_char_boundary(cut) {
            cut -= 1;
        }
        detail.truncate(cut);
    }
    TaskResult {
        index,
        attempt,
        outcome: Outcome::Failed {
            code: code.to_owned(),
            detail,
            retryable,
        },
        stdout: None,
        stderr: None,
        outputs: Vec::new(),
        usage: Usage::default(),
    }
}
