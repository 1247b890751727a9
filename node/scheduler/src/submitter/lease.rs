//! One lease as its submitter keeps it.

use super::job::LeaseNo;
use crate::link::Link;
use hive_protocol::{
    ids::{AccountId, CommandId, DemandId, HoldId, JobId, LeaseId, NodeId, TaskIndex},
    keys::Signed,
    money::{MicroCpt, Price},
    receipt::{Countersigned, HoldGrant},
    time::{Millis, Timestamp},
    work::{MAX_PIPELINE_PER_SLOT, MAX_UNSIGNED_RECEIPTS},
};
use std::collections::BTreeMap;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Money is being set aside.
    Holding,
    /// The worker has been asked.
    Requesting,
    /// Tasks flow.
    Active,
    /// `Close` is said: what was handed over still comes back.
    Closing,
    /// No task is with it any more; only the money is left.
    Settling,
}

/// A task with a worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handed {
    pub attempt: u16,
    pub at: Timestamp,
    pub started: Option<Timestamp>,
    pub recalled: bool,
}

/// What the last accepted receipt says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Accepted {
    pub sequence: u64,
    pub tasks: u64,
    pub fuel: u64,
    pub amount: MicroCpt,
}

#[derive(Clone, Debug)]
pub(super) struct Lease {
    pub id: LeaseId,
    pub no: LeaseNo,
    pub job: JobId,
    pub node: NodeId,
    pub account: AccountId,
    pub phase: Phase,
    pub slots: u32,
    pub price: Price,
    pub demand: DemandId,

    pub hold: HoldId,
    pub command: CommandId,
    pub amount: MicroCpt,
    pub expires: Timestamp,
    pub grant: Option<Signed<HoldGrant>>,
    pub hold_asked: bool,
    pub tries: u32,
    pub pause: Millis,

    pub link: Link,
    pub connected: bool,
    pub assigned: BTreeMap<TaskIndex, Handed>,
    pub started: u32,
    /// Tasks whose recall has not been answered.
    pub recalls: u32,
    pub average_us: u64,
    pub idle_since: Timestamp,
    /// Since when there have been places without any task for them, and none has come.
    pub spare_since: Option<Timestamp>,
    /// What waits would rather run elsewhere.
    pub unsuited: bool,
    /// The worker gives tasks back: no more are sent.
    pub draining: bool,
    pub successor: Option<LeaseNo>,
    pub predecessor: Option<LeaseNo>,
    /// No heir is asked for before.
    pub renew_after: Timestamp,

    /// Paid tasks and fuel in the results it has reported.
    pub tasks: u64,
    pub fuel: u64,
    pub accepted: Accepted,
    /// Receipts at the shell for signing, at most [`MAX_UNSIGNED_RECEIPTS`] and a final one.
    pub signing: u32,
    pub countersigned: Option<Box<Countersigned>>,
    pub countersigned_sequence: u64,
    pub capture: CommandId,
    pub capturing: bool,
    /// The money is settled as far as this side can.
    pub paid: bool,
    /// The worker is not spoken to any more.
    pub gone: bool,
}

impl Lease {
    /// Whether it takes tasks.
    pub(super) fn takes(&self) -> bool {
        self.phase == Phase::Active && !self.draining
    }

    /// Places without a task.
    pub(super) fn spare(&self) -> u32 {
        let busy = u32::try_from(self.assigned.len()).unwrap_or(u32::MAX);
        self.slots.saturating_sub(busy)
    }

    /// Whether money may still be claimed from its hold.
    pub(super) fn is_live(&self) -> bool {
        self.phase != Phase::Settling
    }

    /// Whether its slots count as working or soon to be.
    pub(super) fn counts(&self) -> bool {
        matches!(self.phase, Phase::Holding | Phase::Requesting | Phase::Active)
            && !self.draining
            // An heir counts from the moment it takes the old lease's place.
            && (self.predecessor.is_none() || self.phase == Phase::Active)
    }

    /// Tasks it should have in hand: enough to be busy for `queue_ms`, never more than the worker takes.
    pub(super) fn depth(&self, job_average_us: u64, queue_ms: u64) -> u64 {
        let us = if self.average_us > 0 {
            self.average_us
        } else {
            job_average_us
        };
        let per_slot = match us {
            // Nothing measured: one running and one waiting for each slot.
            0 => 2,
            us => (queue_ms.saturating_mul(1000) / us + 1).clamp(2, u64::from(MAX_PIPELINE_PER_SLOT)),
        };
        u64::from(self.slots) * per_slot
    }

    /// How many tasks more the hold can pay for, by what one is expected to burn.
    pub(super) fn affordable(&self, expected_fuel: u64) -> u64 {
        if self.price.per_gfuel == MicroCpt::ZERO {
            return u64::MAX;
        }
        let one = self.price.cost(expected_fuel).0.max(1);
        let used = self.price.cost(self.fuel);
        let left = self.amount.saturating_sub(used).0;
        let total = left / one;
        let in_hand = self.assigned.len() as u64;
        if total == 0 && left > 0 && in_hand == 0 {
            // Less than one task's worst case is left: one may still be tried, the hold caps what it costs.
            return 1;
        }
        total.saturating_sub(in_hand)
    }

    pub(super) fn check(&self) {
        self.link.check();
        assert!(
            self.assigned.len() <= self.slots as usize * MAX_PIPELINE_PER_SLOT as usize,
            "more tasks handed over than a worker takes"
        );
        let started = self.assigned.values().filter(|h| h.started.is_some()).count();
        assert_eq!(started, self.started as usize, "running count of a lease");
        let recalled = self.assigned.values().filter(|h| h.recalled).count();
        assert_eq!(recalled, self.recalls as usize, "recalled count of a lease");
        assert!(self.accepted.amount <= self.amount, "more owed than held");
        assert!(self.accepted.tasks <= self.tasks && self.accepted.fuel <= self.fuel);
        assert!(
            u64::from(self.signing) <= MAX_UNSIGNED_RECEIPTS * 4,
            "too many receipts at once"
        );
        if self.phase == Phase::Settling {
            assert!(self.assigned.is_empty(), "settling with tasks");
        }
    }
}
