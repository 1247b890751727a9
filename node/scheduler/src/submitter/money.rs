//! Holds: how much is set aside for which lease, and what happens when there is not enough.

use super::{
    Effect, Event, LeaseDraft, MAX_LEASES, Submitter, Timer,
    job::LeaseNo,
    lease::{Accepted, Lease, Phase},
};
use crate::link::Link;
use hive_protocol::{
    command::Refusal,
    ids::{AccountId, DemandId, JobId, LeaseId, NodeId},
    keys::Signed,
    money::{MicroCpt, Price},
    receipt::HoldGrant,
    time::Millis,
};
use std::collections::BTreeMap;

/// Wallet or budget empty: looked at again after this long.
const MONEY_PAUSE: Millis = Millis::secs(5);
/// A lease is replaced this long before its hold expires.
const RENEW_BEFORE: Millis = Millis::mins(5);
/// A refused hold is asked for again at half the amount so many times.
const HALVINGS: u32 = 6;
/// A pause before an authority is asked again grows up to this many times the first.
const MAX_PAUSE_FACTOR: u64 = 16;

impl Submitter {
    /// µCPT of a job that nothing has a claim on.
    pub(super) fn unclaimed(&self, id: JobId) -> MicroCpt {
        let Some(job) = self.jobs.get(&id) else {
            return MicroCpt::ZERO;
        };
        let (mut held, mut owed) = (MicroCpt::ZERO, MicroCpt::ZERO);
        for lease in job.leases.iter().filter_map(|no| self.leases.get(no)) {
            if lease.is_live() {
                held = held.saturating_add(lease.amount);
                owed = owed.saturating_add(lease.accepted.amount);
            }
        }
        job.unclaimed(held, owed)
    }

    /// How much to set aside for a lease of so many slots.
    fn size_hold(&self, id: JobId, price: Price, slots: u32) -> MicroCpt {
        let left = self.unclaimed(id);
        let Some(job) = self.jobs.get(&id) else {
            return MicroCpt::ZERO;
        };
        if price.per_gfuel == MicroCpt::ZERO {
            // Nothing will be owed; the hold is only the lease's ticket.
            return left.min(MicroCpt(1));
        }
        let one = u128::from(price.cost(job.expected_fuel()).0.max(1));
        let slots = u128::from(slots);
        let all = u128::from(job.to_run());
        let share = (all * slots).div_ceil(u128::from(job.live_slots).max(slots).max(1));
        let wish = one * share.max(slots);
        let left128 = u128::from(left.0);
        // No lease takes more than a quarter of what is left, but for one task's worst case a slot.
        let fair = (left128 / 4).max(one * slots).min(left128);
        MicroCpt(u64::try_from(wish.min(fair)).unwrap_or(u64::MAX))
    }

    /// Begins a lease: money first. False if none can be had.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn open_lease(
        &mut self,
        id: JobId,
        node: NodeId,
        account: AccountId,
        price: Price,
        slots: u32,
        demand: DemandId,
        predecessor: Option<LeaseNo>,
    ) -> bool {
        let amount = self.size_hold(id, price, slots);
        if amount == MicroCpt::ZERO && price.per_gfuel > MicroCpt::ZERO {
            self.no_money(
                id,
                "job.budget",
                "the job's budget is spent or set aside; raise it to go on",
            );
            return false;
        }
        if self.leases.len() >= MAX_LEASES || self.next_no == LeaseNo::MAX {
            return false;
        }
        let no = self.next_no;
        self.next_no += 1;
        let lease_id = self.ids.lease();
        let lease = Lease {
            id: lease_id,
            no,
            job: id,
            node,
            account,
            phase: Phase::Holding,
            slots,
            price,
            demand,
            hold: self.ids.hold(),
            command: self.ids.command(),
            amount,
            expires: self.now + self.config.hold_life,
            grant: None,
            hold_asked: false,
            tries: 0,
            pause: self.config.authority_pause,
            link: Link::new(lease_id),
            connected: true,
            assigned: BTreeMap::new(),
            started: 0,
            recalls: 0,
            average_us: 0,
            idle_since: self.now,
            spare_since: None,
            unsuited: false,
            draining: false,
            successor: None,
            predecessor,
            renew_after: self.now,
            tasks: 0,
            fuel: 0,
            accepted: Accepted::default(),
            signing: 0,
            countersigned: None,
            countersigned_sequence: 0,
            capture: self.ids.command(),
            capturing: false,
            paid: false,
            gone: false,
        };
        self.leases.insert(no, lease);
        self.by_id.insert(lease_id, no);
        self.peers.entry(node).or_default().leases.insert(no);
        if let Some(job) = self.jobs.get_mut(&id) {
            job.leases.insert(no);
        }
        if let Some(old) = predecessor.and_then(|p| self.leases.get_mut(&p)) {
            old.successor = Some(no);
            old.renew_after = self.now + MONEY_PAUSE;
        }
        self.ask_hold(no);
        true
    }

    /// Asks the authority for a lease's hold, again with the same ids.
    pub(super) fn ask_hold(&mut self, no: LeaseNo) {
        let Some(lease) = self.leases.get_mut(&no) else {
            return;
        };
        if lease.phase != Phase::Holding || lease.hold_asked {
            return;
        }
        lease.hold_asked = true;
        self.counters.holds_asked += 1;
        let effect = Effect::RequestHold {
            lease: lease.id,
            job: lease.job,
            hold: lease.hold,
            command: lease.command,
            payee: lease.account,
            amount: lease.amount,
            expires: lease.expires,
        };
        self.effects.push_back(effect);
    }

    pub(super) fn on_hold_granted(&mut self, id: LeaseId, grant: &HoldGrant, signed: Signed<HoldGrant>) {
        let Some(no) = self.by_id.get(&id).copied() else {
            return;
        };
        let Some(lease) = self.leases.get_mut(&no) else {
            return;
        };
        if lease.phase != Phase::Holding || grant.lease != id || grant.hold != lease.hold {
            return;
        }
        lease.amount = grant.amount.min(lease.amount);
        lease.expires = grant.expires;
        lease.grant = Some(signed);
        lease.phase = Phase::Requesting;
        let (job, expires) = (lease.job, lease.expires);
        if let Some(job) = self.jobs.get_mut(&job) {
            job.money = None;
        }
        // A short hold is renewed at two thirds of its life.
        let life = expires.since(self.now);
        let before = Millis(RENEW_BEFORE.0.min(life.0 / 3));
        self.timers.set(Timer::Renew(no), expires - before);
        self.request_lease(no);
    }

    /// Asks the worker for the lease (again).
    pub(super) fn request_lease(&mut self, no: LeaseNo) {
        let Some(lease) = self.leases.get_mut(&no) else {
            return;
        };
        let Some(grant) = lease.grant.clone() else {
            return;
        };
        let Some(job) = self.jobs.get(&lease.job) else {
            return;
        };
        lease.tries += 1;
        let effect = Effect::RequestLease {
            to: lease.node,
            request: Box::new(LeaseDraft {
                lease: lease.id,
                demand: lease.demand,
                job: lease.job,
                slots: lease.slots,
                price: lease.price,
                hold: grant,
                program: job.program.clone(),
            }),
        };
        self.effects.push_back(effect);
        self.timers
            .set(Timer::Answer(no), self.now + self.config.lease_answer);
    }

    pub(super) fn on_hold_refused(&mut self, id: LeaseId, refusal: &Refusal) {
        let Some(no) = self.by_id.get(&id).copied() else {
            return;
        };
        let longest = self.config.authority_pause.0.saturating_mul(MAX_PAUSE_FACTOR);
        let Some(lease) = self.leases.get_mut(&no) else {
            return;
        };
        if lease.phase != Phase::Holding || !std::mem::take(&mut lease.hold_asked) {
            return;
        }
        if is_away(refusal) {
            let pause = lease.pause;
            lease.pause = Millis((pause.0 * 2).min(longest));
            self.timers.set(Timer::Hold(no), self.now + pause);
            return;
        }
        lease.tries += 1;
        let (job, node, amount) = (lease.job, lease.node, lease.amount);
        if refusal.code == "wallet.insufficient" && lease.tries <= HALVINGS && amount.0 > 1 {
            // Something smaller may still be had. New ids: the old ones stand for the old amount.
            lease.amount = MicroCpt(amount.0 / 2);
            lease.hold = self.ids.hold();
            lease.command = self.ids.command();
            self.ask_hold(no);
            return;
        }
        self.event(Event::LeaseRefused {
            job,
            lease: id,
            node,
            code: refusal.code.clone(),
            detail: refusal.detail.clone(),
        });
        if is_about_payee(refusal) {
            self.pause_worker(node, 1);
        } else {
            self.no_money(job, &refusal.code, &refusal.detail);
        }
        self.drop_lease(no);
    }

    /// No further holds for this job for a while.
    pub(super) fn no_money(&mut self, id: JobId, code: &str, detail: &str) {
        let until = self.now + MONEY_PAUSE;
        if let Some(job) = self.jobs.get_mut(&id) {
            job.money = Some((code.to_owned(), detail.to_owned(), until));
            self.dirty_jobs.insert(id);
            // The next review says so, and after the pause it is tried again.
            self.timers.set_earlier(Timer::Review(id), self.now + Millis(100));
        }
    }

    /// Opens another lease on the same worker, because this one's hold runs out of money or time.
    pub(super) fn renew(&mut self, no: LeaseNo) {
        let Some(lease) = self.leases.get(&no) else {
            return;
        };
        if lease.successor.is_some() || lease.predecessor.is_some() || !lease.takes() {
            return;
        }
        let (id, node, account) = (lease.job, lease.node, lease.account);
        let (price, slots, demand) = (lease.price, lease.slots, lease.demand);
        let now = self.now;
        if lease.renew_after > now {
            return;
        }
        let barred = self
            .jobs
            .get(&id)
            .is_none_or(|j| j.money.as_ref().is_some_and(|(_, _, until)| *until > now));
        if barred || !self.authority_up {
            return;
        }
        self.counters.renewals += 1;
        self.open_lease(id, node, account, price, slots, demand, Some(no));
    }
}

/// Whether the authority could not be asked, as against having refused.
pub(super) fn is_away(refusal: &Refusal) -> bool {
    refusal.code.starts_with("authority.")
}

/// Whether a refused hold is the payee's matter, so that another worker may well be paid.
fn is_about_payee(refusal: &Refusal) -> bool {
    matches!(refusal.code.as_str(), "wallet.unknown_account" | "hold.exists")
}
