//! What happens because time has passed.

use super::{
    Effect, Submitter, Timer, job::LeaseNo, lease::Phase, lifecycle::CLOSE_GRACE, peers::CONNECT_EVERY,
    record::JobState, users::REVIEW_EVERY,
};
use hive_protocol::{
    ids::JobId,
    time::{Millis, Timestamp},
    work::WorkMsg,
};

/// A job with nothing running for this long after its demand began is said to wait.
const WAITING_AFTER: Millis = Millis(1000);
/// A lease without tasks, while other leases have the last ones, ends after this long.
const IDLE_END: Millis = Millis::secs(5);

impl Submitter {
    pub(super) fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Demand(id) => self.announce(id),
            Timer::Offers(id) => self.choose(id),
            Timer::Review(id) => self.review(id),
            Timer::Places => self.move_places(),
            Timer::Balance(id) => self.balance(id),
            Timer::Link(no) => self.on_link_time(no),
            Timer::Answer(no) => self.on_silence(no),
            Timer::Hold(no) => self.ask_hold(no),
            Timer::Capture(no) => self.settle(no),
            Timer::Grace(no) => self.on_grace(no),
            Timer::Connect(no) => {
                if let Some(lease) = self.leases.get(&no)
                    && !lease.connected
                    && !lease.gone
                {
                    let to = lease.node;
                    self.effects.push_back(Effect::Connect { to });
                    self.timers.set(Timer::Connect(no), self.now + CONNECT_EVERY);
                }
            }
            Timer::Renew(no) => self.on_renewal(no),
            Timer::Close(no) => {
                let Some(lease) = self.leases.get_mut(&no) else {
                    return;
                };
                if lease.phase == Phase::Closing {
                    if lease.assigned.is_empty() {
                        self.lose(no, "the worker did not close the lease");
                    } else {
                        // A worker that has forgotten it says so when asked, and may have said so unheard.
                        let (to, resume) = (lease.node, lease.link.resume());
                        self.send(to, resume);
                        self.timers.set(Timer::Close(no), self.now + CLOSE_GRACE);
                    }
                }
            }
        }
    }

    fn on_link_time(&mut self, no: LeaseNo) {
        let now = self.now;
        let Some(lease) = self.leases.get_mut(&no) else {
            return;
        };
        if lease.gone {
            return;
        }
        let to = lease.node;
        for message in lease.link.on_time(now) {
            self.send(to, message);
        }
        self.dirty_leases.insert(no);
    }

    fn on_silence(&mut self, no: LeaseNo) {
        let tries = self.config.lease_tries;
        let Some(lease) = self.leases.get(&no) else {
            return;
        };
        if lease.phase != Phase::Requesting {
            return;
        }
        let (node, id) = (lease.node, lease.id);
        if lease.tries < tries {
            self.request_lease(no);
            return;
        }
        // Should it still say yes, it learns that it is too late, and gives the hold back.
        self.send(node, WorkMsg::Unknown { lease: id });
        self.refused(no, "lease.silent", "the worker did not answer", true);
    }

    fn on_grace(&mut self, no: LeaseNo) {
        let Some(lease) = self.leases.get_mut(&no) else {
            return;
        };
        if lease.phase == Phase::Settling {
            lease.gone = true;
            self.settle(no);
            self.dirty_leases.insert(no);
        } else if !lease.connected {
            self.lose(no, "the worker was away for too long");
        }
    }

    /// A hold's time is running out: first another lease, at the end the last word.
    fn on_renewal(&mut self, no: LeaseNo) {
        let now = self.now;
        let Some(lease) = self.leases.get(&no) else {
            return;
        };
        if !lease.takes() {
            return;
        }
        let left = lease.expires.since(now);
        let last_call = Millis(left.0 / 2);
        let needed = self
            .jobs
            .get(&lease.job)
            .is_some_and(|j| j.totals.waiting > 0 || j.open);
        if left <= Millis::mins(2) || last_call.0 < 1000 {
            self.close_lease(no);
            return;
        }
        self.timers.set(Timer::Renew(no), now + last_call);
        if needed {
            self.renew(no);
        }
    }

    /// Sees how a job stands: idle leases, missing workers, missing money.
    fn review(&mut self, id: JobId) {
        let now = self.now;
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        if job.state.is_final() {
            return;
        }
        self.close_idle(id, now);
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        if job.all_ended() && job.leases.is_empty() {
            // At rest, open: the next task wakes it.
            return;
        }
        let working = job
            .leases
            .iter()
            .filter_map(|no| self.leases.get(no))
            .any(|l| matches!(l.phase, Phase::Active | Phase::Closing))
            || job.totals.fetching > 0;
        if !job.all_ended() {
            if working {
                if matches!(job.state, JobState::Waiting { .. }) {
                    self.set_state(id, JobState::Active);
                }
            } else if let Some((code, detail)) = self.why_waiting(id, now) {
                self.set_state(id, JobState::Waiting { code, detail });
            }
        }
        self.timers.set(Timer::Review(id), now + REVIEW_EVERY);
        self.dirty_jobs.insert(id);
    }

    fn why_waiting(&self, id: JobId, now: Timestamp) -> Option<(String, String)> {
        let job = self.jobs.get(&id)?;
        let say = |code: &str, detail: &str| Some((code.to_owned(), detail.to_owned()));
        if self.own.is_none() {
            return say(
                "credential.missing",
                "this node has no credential of its mesh yet",
            );
        }
        if !self.authority_up {
            return say(
                "authority.unreachable",
                "no authority answers; held leases run on, new ones wait",
            );
        }
        if let Some((code, detail, _)) = &job.money {
            return say(code, detail);
        }
        let standing = job.demand?;
        if now.since(standing.since) < WAITING_AFTER {
            return None;
        }
        let explain = self.funnel(job);
        Some((explain.code.to_owned(), explain.fix))
    }

    /// Ends leases that have had nothing to do for too long.
    fn close_idle(&mut self, id: JobId, now: Timestamp) {
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        let patience = if job.open {
            self.config.idle_lease
        } else if job.totals.waiting == 0 && job.totals.assigned > 0 {
            IDLE_END
        } else {
            return;
        };
        let idle: Vec<LeaseNo> = job
            .leases
            .iter()
            .filter_map(|no| self.leases.get(no))
            .filter(|l| {
                l.phase == Phase::Active && l.assigned.is_empty() && now.since(l.idle_since) >= patience
            })
            .map(|l| l.no)
            .collect();
        // While the last tasks run somewhere, one idle lease stays to double them.
        let keep = usize::from(!job.open);
        for no in idle.into_iter().skip(keep) {
            self.close_lease(no);
        }
    }
}
