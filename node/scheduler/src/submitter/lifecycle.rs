//! A lease from the worker's yes to its end, and what that means for its job.

use super::{
    Effect, Event, Submitter, Timer,
    job::LeaseNo,
    lease::Phase,
    record::{JobRecord, JobState},
    users::REVIEW_EVERY,
};
use hive_protocol::{
    ids::{JobId, LeaseId, NodeId},
    money::Price,
    time::Millis,
    work::{LeaseBody, RESUME_GRACE, WorkMsg},
};

/// A worker's pause doubles with every strike up to this many times.
const MAX_STRIKES: u32 = 5;
/// A worker with no task left that does not close its lease within this time counts as lost.
pub(super) const CLOSE_GRACE: Millis = Millis::secs(30);

impl Submitter {
    pub(super) fn on_accept(&mut self, from: NodeId, id: LeaseId, slots: u32, price: Price) {
        let Some(no) = self.lease_of(from, id) else {
            // Given up meanwhile: say so, the worker gives slots and hold back.
            self.send(from, WorkMsg::Unknown { lease: id });
            return;
        };
        let Some(lease) = self.leases.get_mut(&no) else {
            return;
        };
        if lease.phase != Phase::Requesting {
            return;
        }
        if slots == 0 || slots > lease.slots || price != lease.price {
            self.send(from, WorkMsg::Unknown { lease: id });
            self.refused(no, "lease.broken", "the worker changed what was agreed", true);
            return;
        }
        lease.phase = Phase::Active;
        lease.slots = slots;
        lease.idle_since = self.now;
        let (job, hold, heir_of) = (lease.job, lease.amount, lease.predecessor);
        self.timers.clear(Timer::Answer(no));
        self.event(Event::LeaseOpened {
            job,
            lease: id,
            node: from,
            slots,
            price,
            hold,
        });
        self.counters.leases_opened += 1;
        if let Some(old) = heir_of {
            // From now on this one gets the tasks; the old one's slots follow as they come free.
            self.close_lease(old);
        }
        self.recount_slots(job);
        let finished = self.jobs.get(&job).is_none_or(|j| j.state.is_final());
        if finished {
            self.close_lease(no);
        }
    }

    /// The lease a peer speaks of, if it is its own.
    pub(super) fn lease_of(&self, from: NodeId, id: LeaseId) -> Option<LeaseNo> {
        let no = self.by_id.get(&id).copied()?;
        self.leases.get(&no).filter(|l| l.node == from).map(|l| l.no)
    }

    /// The worker said no, or nothing, or nonsense.
    pub(super) fn refused(&mut self, no: LeaseNo, code: &str, detail: &str, strike: bool) {
        let Some(lease) = self.leases.get(&no) else {
            return;
        };
        let (job, id, node) = (lease.job, lease.id, lease.node);
        self.counters.leases_refused += 1;
        self.event(Event::LeaseRefused {
            job,
            lease: id,
            node,
            code: code.to_owned(),
            detail: detail.to_owned(),
        });
        self.pause_worker(node, u32::from(strike));
        self.drop_lease(no);
    }

    /// Leaves a worker alone for a while; longer with every strike.
    pub(super) fn pause_worker(&mut self, node: NodeId, strikes: u32) {
        let now = self.now;
        let first = self.config.worker_pause;
        let peer = self.peers.entry(node).or_default();
        peer.strikes = (peer.strikes + strikes).min(MAX_STRIKES);
        let pause = Millis(first.0 << peer.strikes);
        peer.pause_until = peer.pause_until.max(now + pause);
    }

    /// Forgets a lease that never began.
    pub(super) fn drop_lease(&mut self, no: LeaseNo) {
        if let Some(lease) = self.leases.get_mut(&no) {
            lease.phase = Phase::Settling;
            lease.paid = true;
            lease.gone = true;
            let job = lease.job;
            self.unlink_heirs(no);
            self.recount_slots(job);
            self.forget_lease(no);
        }
    }

    /// Ties of inheritance end when either side does.
    fn unlink_heirs(&mut self, no: LeaseNo) {
        let Some(lease) = self.leases.get_mut(&no) else {
            return;
        };
        let (heir, old) = (lease.successor.take(), lease.predecessor.take());
        if let Some(heir) = heir.and_then(|h| self.leases.get_mut(&h)) {
            heir.predecessor = None;
        }
        if let Some(old) = old.and_then(|o| self.leases.get_mut(&o)) {
            old.successor = None;
        }
    }

    /// Says that no more tasks will come.
    pub(super) fn close_lease(&mut self, no: LeaseNo) {
        let Some(lease) = self.leases.get_mut(&no) else {
            return;
        };
        let job = lease.job;
        match lease.phase {
            Phase::Active => {
                lease.phase = Phase::Closing;
                self.timers.set(Timer::Close(no), self.now + CLOSE_GRACE);
                self.say(no, LeaseBody::Close);
                self.recount_slots(job);
            }
            // The answers decide: an accepted lease of a job that needs none is closed at once, and its
            // worker gives the hold back; dropped here it would stand until it expires.
            Phase::Holding | Phase::Requesting | Phase::Closing | Phase::Settling => {}
        }
    }

    /// No task is with this lease any more: what it had goes back, and the money is settled.
    pub(super) fn over(&mut self, no: LeaseNo, code: &str, detail: &str, fault: bool) {
        let Some(lease) = self.leases.get_mut(&no) else {
            return;
        };
        if lease.phase == Phase::Settling {
            return;
        }
        lease.phase = Phase::Settling;
        let (id, job_id, node) = (lease.id, lease.job, lease.node);
        let assigned = std::mem::take(&mut lease.assigned);
        let (tasks, owed) = (lease.accepted.tasks, lease.accepted.amount);
        lease.recalls = 0;
        lease.started = 0;
        self.counters.leases_ended += 1;
        for timer in [
            Timer::Answer(no),
            Timer::Renew(no),
            Timer::Hold(no),
            Timer::Close(no),
        ] {
            self.timers.clear(timer);
        }
        for (index, handed) in assigned {
            let Some(job) = self.jobs.get_mut(&job_id) else {
                break;
            };
            if handed.started.is_some() {
                job.totals.running = job.totals.running.saturating_sub(1);
            }
            let had = job
                .slots
                .get_mut(index.0 as usize)
                .is_some_and(|s| s.drop_copy(no));
            if !had {
                continue;
            }
            if fault && handed.started.is_some() {
                self.fault(job_id, index, node, handed.attempt, code, detail);
            } else {
                self.requeue(job_id, index);
            }
        }
        self.unlink_heirs(no);
        self.event(Event::LeaseEnded {
            job: job_id,
            lease: id,
            node,
            code: code.to_owned(),
            detail: detail.to_owned(),
            tasks,
            owed,
        });
        self.recount_slots(job_id);
        self.timers.set(Timer::Grace(no), self.now + RESUME_GRACE);
        self.timers.clear(Timer::Connect(no));
        self.settle(no);
        self.dirty_leases.insert(no);
    }

    /// The worker is gone for good: nothing more is said to it under this lease.
    pub(super) fn lose(&mut self, no: LeaseNo, detail: &str) {
        let Some(lease) = self.leases.get_mut(&no) else {
            return;
        };
        if matches!(lease.phase, Phase::Holding | Phase::Requesting) {
            self.refused(no, "lease.lost", detail, true);
            return;
        }
        lease.gone = true;
        let node = lease.node;
        if lease.phase != Phase::Settling {
            self.pause_worker(node, 1);
            self.over(no, "lease.lost", detail, true);
        }
        self.settle(no);
        self.dirty_leases.insert(no);
    }

    /// Removes a lease with neither money nor words left.
    pub(super) fn forget_lease(&mut self, no: LeaseNo) {
        let Some(lease) = self.leases.get(&no) else {
            return;
        };
        if lease.phase != Phase::Settling || !lease.paid {
            return;
        }
        if !lease.gone && !lease.link.is_clear() {
            return;
        }
        let (id, job_id, node) = (lease.id, lease.job, lease.node);
        self.leases.remove(&no);
        self.by_id.remove(&id);
        for timer in [
            Timer::Link(no),
            Timer::Answer(no),
            Timer::Hold(no),
            Timer::Capture(no),
            Timer::Grace(no),
            Timer::Connect(no),
            Timer::Renew(no),
            Timer::Close(no),
        ] {
            self.timers.clear(timer);
        }
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.leases.remove(&no);
        }
        self.tidy_peer(node);
        if let Some(job) = self.jobs.get_mut(&job_id) {
            job.leases.remove(&no);
            job.refill.remove(&no);
        }
        self.dirty_jobs.insert(job_id);
        self.say_settled(job_id);
    }

    /// Says when a finished job has cost all that it will.
    pub(super) fn say_settled(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        let done = job.state.is_final()
            && !job.settled_said
            && job
                .leases
                .iter()
                .filter_map(|no| self.leases.get(no))
                .all(|l| l.phase == Phase::Settling && l.paid);
        if done {
            let totals = job.totals;
            if let Some(job) = self.jobs.get_mut(&id) {
                job.settled_said = true;
            }
            self.journal_job(id);
            self.event(Event::JobSettled { job: id, totals });
        }
    }

    pub(super) fn journal_job(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get(&id) {
            self.effects.push_back(Effect::JournalJob {
                job: id,
                record: Box::new(JobRecord {
                    state: job.state.clone(),
                    open: job.open,
                    spent: job.totals.spent,
                }),
            });
        }
    }

    pub(super) fn set_state(&mut self, id: JobId, state: JobState) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        if job.state == state {
            return;
        }
        job.state = state.clone();
        self.journal_job(id);
        self.event(Event::JobState { job: id, state });
    }

    /// Sees whether a job has ended or come to rest, or has work again.
    pub(super) fn conclude(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        if job.state.is_final() {
            self.say_settled(id);
            return;
        }
        if !job.all_ended() {
            if job.state == JobState::Idle
                || (job.totals.assigned > 0 && matches!(job.state, JobState::Waiting { .. }))
            {
                self.set_state(id, JobState::Active);
                self.timers
                    .set_earlier(Timer::Review(id), self.now + REVIEW_EVERY);
            }
            return;
        }
        if job.open {
            self.set_state(id, JobState::Idle);
            return;
        }
        let state = if job.stopping {
            JobState::Stopped
        } else {
            JobState::Finished
        };
        let totals = job.totals;
        let leases: Vec<LeaseNo> = job.leases.iter().copied().collect();
        self.withdraw(id);
        self.set_state(id, state);
        self.event(Event::JobFinished { job: id, totals });
        self.timers.clear(Timer::Review(id));
        self.timers.clear(Timer::Balance(id));
        for no in leases {
            self.close_lease(no);
        }
        self.say_settled(id);
    }
}
