//! What can be asked of the worker core without changing it.

use super::{Worker, lease::Phase};
use hive_protocol::{
    ids::{JobId, LeaseId, NodeId},
    money::{MicroCpt, Price},
    resources::Resources,
};

/// Counts since the core was made; they only grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Demands heard, repeated ones included.
    pub demands_heard: u64,
    /// Offers made.
    pub offers_made: u64,
    /// Leases given.
    pub leases_opened: u64,
    /// Lease requests refused.
    pub leases_refused: u64,
    /// Tasks that have ended in an executor.
    pub tasks_ended: u64,
    /// Executors that died.
    pub executor_deaths: u64,
    /// Receipts signed.
    pub receipts_signed: u64,
    /// Receipts countersigned.
    pub receipts_countersigned: u64,
    /// µCPT captured.
    pub earned: MicroCpt,
    /// Lease messages that came twice.
    pub duplicates: u64,
    /// Lease messages that came too early.
    pub gaps: u64,
    /// Peers that broke the protocol.
    pub broken: u64,
    /// Messages only a worker may say.
    pub misdirected: u64,
}

/// One lease for people and for tests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseView {
    /// The lease.
    pub lease: LeaseId,
    /// The job it is for.
    pub job: JobId,
    /// Who submits.
    pub submitter: NodeId,
    /// Its slots.
    pub slots: u32,
    /// What one task needs.
    pub need: Resources,
    /// The price.
    pub price: Price,
    /// Tasks waiting here.
    pub queued: u32,
    /// Tasks handed to the executor.
    pub running: u32,
    /// Tasks ended that are to be paid.
    pub tasks: u64,
    /// µCPT owed for them.
    pub owed: MicroCpt,
    /// µCPT countersigned.
    pub secured: MicroCpt,
    /// Whether it only waits for its money.
    pub settling: bool,
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl Worker {
    /// Whether this lease is one this core answers for. Messages that both cores know (`Resume`, `Unknown`,
    /// `Ack`) go to the core that owns the lease, to this one if none does.
    #[must_use]
    pub fn owns(&self, lease: &LeaseId) -> bool {
        self.leases.contains_key(lease)
    }

    /// Whether a node may fetch blobs under this lease: it is the lease's submitter and the lease is known.
    #[must_use]
    pub fn is_submitter_of(&self, node: &NodeId, lease: &LeaseId) -> bool {
        self.leases.get(lease).is_some_and(|l| l.submitter == *node)
    }

    /// Free of what is offered.
    #[must_use]
    pub const fn free(&self) -> &Resources {
        &self.free
    }

    /// Tasks in executors, those handed ahead not counted beyond the slots.
    #[must_use]
    pub fn running(&self) -> u32 {
        self.leases
            .values()
            .map(|l| count(l.running.len()).min(l.granted))
            .sum()
    }

    /// Tasks waiting here.
    #[must_use]
    pub fn queued(&self) -> u32 {
        self.leases.values().map(|l| count(l.queue.len())).sum()
    }

    /// Whether no new leases are taken.
    #[must_use]
    pub const fn is_draining(&self) -> bool {
        self.draining
    }

    /// Whether no lease does work any more (money may be on its way).
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.leases.values().all(|l| l.phase == Phase::Settling)
    }

    /// Whether nothing at all is left to be done, money included.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.leases.is_empty() && self.kept.is_empty()
    }

    /// All leases, in id order.
    pub fn leases(&self) -> impl Iterator<Item = LeaseView> {
        self.leases.values().map(|l| LeaseView {
            lease: l.id,
            job: l.job,
            submitter: l.submitter,
            slots: l.slots,
            need: l.program.need.clone(),
            price: l.price,
            queued: count(l.queue.len()),
            running: count(l.running.len()),
            tasks: l.tasks,
            owed: l.owed(),
            secured: l.secured,
            settling: l.phase == Phase::Settling,
        })
    }

    /// Counts since the start.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }
}
