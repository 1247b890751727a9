//! Idle places of one job for another one that waits.
//!
//! A lease is kept for as long as its job may need it: work that comes finds its places without anybody being
//! asked. Only when another job here wants places are those given up that have had nothing to do for a while.

use super::{
    MAX_LEASES, MAX_LEASES_PER_JOB, NodeFacts, Submitter, Timer,
    job::{Job, LeaseNo, MAX_FETCHING},
    lease::{Lease, Phase},
};
use hive_protocol::{
    ids::{JobId, NodeId},
    resources::Role,
    time::{Millis, Timestamp},
    work::MAX_SLOTS,
};
use hive_trust::rules::may_run;
use std::collections::BTreeMap;

/// A place is idle, and a job waits, after this long. Longer than it takes to move queued tasks to an idle lease,
/// and than a demand takes to find workers that are free; a job whose tasks come more often keeps its places.
pub(super) const IDLE_AFTER: Millis = Millis(250);

impl Submitter {
    /// Remembers since when a lease has had places its job has nothing for. Being handed a task ends it.
    pub(super) fn note_spare(&mut self, id: JobId, no: LeaseNo) {
        let now = self.now;
        let (Some(job), Some(lease)) = (self.jobs.get(&id), self.leases.get_mut(&no)) else {
            return;
        };
        let spare = lease.takes() && lease.spare() > 0 && (job.totals.waiting == 0 || lease.unsuited);
        if !spare {
            lease.spare_since = None;
        } else if lease.spare_since.is_none() {
            lease.spare_since = Some(now);
            if !self.by_demand.is_empty() {
                self.timers.set_earlier(Timer::Places, now + IDLE_AFTER);
            }
        }
    }

    /// Looks for places that one job could have from another, and moves them.
    pub(super) fn move_places(&mut self) {
        let now = self.now;
        let mut next: Option<Timestamp> = None;
        let mut ripe = |since: Timestamp| {
            let at = since + IDLE_AFTER;
            if at > now {
                next = Some(next.map_or(at, |n| n.min(at)));
            }
            at <= now
        };
        // Those without any place first, then those that have waited longest.
        let mut waiting: Vec<(bool, Timestamp, JobId)> = self
            .by_demand
            .values()
            .filter_map(|id| self.jobs.get(id))
            .filter_map(|job| Some((job.live_slots > 0, job.demand?.since, job.id)))
            .filter(|(_, since, _)| ripe(*since))
            .collect();
        waiting.sort_unstable();
        let mut spare: BTreeMap<NodeId, Vec<LeaseNo>> = BTreeMap::new();
        for lease in self.leases.values() {
            if let Some(since) = self.spare_since(lease)
                && ripe(since)
            {
                spare.entry(lease.node).or_default().push(lease.no);
            }
        }
        if let Some(next) = next {
            self.timers.set_earlier(Timer::Places, next);
        }
        for (_, _, id) in waiting {
            self.share_out(id, &mut spare);
        }
    }

    /// Gives a waiting job what it wants of the idle places, node by node. What is used up is not looked at again.
    fn share_out(&mut self, id: JobId, spare: &mut BTreeMap<NodeId, Vec<LeaseNo>>) {
        spare.retain(|node, leases| {
            self.take_over(id, *node, leases);
            !leases.is_empty()
        });
    }

    /// Since when a lease could give up places, if it may.
    fn spare_since(&self, lease: &Lease) -> Option<Timestamp> {
        let since = lease.spare_since?;
        let job = self.jobs.get(&lease.job)?;
        // Tasks on their way back to the queue, and results on their way here, make places busy again.
        let quiet = job.arriving.len() < MAX_FETCHING && (job.totals.waiting == 0 && job.demand.is_none());
        // Others may have taken since what did not want to come here.
        let shunned = lease.unsuited && job.totals.waiting > 0;
        let tied = lease.predecessor.is_some() || lease.successor.is_some() || lease.recalls > 0;
        (lease.takes() && lease.spare() > 0 && !tied && (quiet || shunned)).then_some(since)
    }

    /// Gives a waiting job what idle places these leases have on one node: they close, which frees what they do
    /// not use, and the node is asked for a lease at once, as it has been agreed with before.
    fn take_over(&mut self, id: JobId, node: NodeId, leases: &mut Vec<LeaseNo>) {
        let now = self.now;
        let (Some(job), Some(facts)) = (self.jobs.get(&id), self.nodes.get(&node)) else {
            return;
        };
        let Some(standing) = job.demand else {
            return;
        };
        // The cheap looks first: with many jobs waiting and many nodes this is done for each pair of them.
        let full = job.leases.len() >= MAX_LEASES_PER_JOB || self.leases.len() >= MAX_LEASES;
        if leases.is_empty() || full || standing.slots == 0 || !self.suits(job, facts) {
            return;
        }
        let paused = self.peers.get(&node).is_some_and(|p| p.pause_until > now);
        let asked = job
            .leases
            .iter()
            .filter_map(|no| self.leases.get(no))
            .any(|l| l.node == node && matches!(l.phase, Phase::Holding | Phase::Requesting));
        if paused || asked {
            return;
        }
        let need = &job.program.need;
        let mut pool = facts.free.clone();
        let (mut places, mut price, mut closing) = (0, facts.price, Vec::new());
        // The emptiest first: it gives most, and its job loses least.
        leases.sort_by_key(|no| (self.leases.get(no).map_or(0, |l| l.assigned.len()), *no));
        for no in leases.iter() {
            let Some(lease) = self.leases.get(no).filter(|l| l.job != id) else {
                continue;
            };
            let Some(giver) = self.jobs.get(&lease.job) else {
                continue;
            };
            pool = pool.saturating_add(&giver.program.need, lease.spare());
            places += lease.spare();
            price = price.or(Some(lease.price));
            closing.push(*no);
            if places >= standing.slots {
                break;
            }
        }
        let slots = pool.count_fitting(need).min(standing.slots).min(MAX_SLOTS);
        let account = facts.credential.account;
        let Some(price) = price.filter(|p| p.per_gfuel <= job.spec.max_price) else {
            return;
        };
        if slots == 0 || closing.is_empty() {
            return;
        }
        if !self.open_lease(id, node, account, price, slots, standing.id, None) {
            return;
        }
        self.counters.places_moved += u64::from(places);
        leases.retain(|no| !closing.contains(no));
        for no in closing {
            self.close_lease(no);
        }
        self.recount_slots(id);
        self.look_for_slots(id);
    }

    /// Whether a job may go to a node, by all that is known of it but what is free there.
    fn suits(&self, job: &Job, facts: &NodeFacts) -> bool {
        let (credential, place) = (&facts.credential, &job.spec.placement);
        let user = self.own.as_ref().map_or(0, |c| c.score);
        let runtime = job.program.runtime;
        facts.online
            && !facts.leaving
            && credential.roles.contains(&Role::Worker)
            && facts.capabilities.runtimes.iter().any(|r| r == runtime.name())
            && credential.score >= place.min_score
            && may_run(credential.score, credential.containers, user, runtime).is_ok()
            && (place.require_location.is_empty()
                || place
                    .require_location
                    .eq_ignore_ascii_case(&facts.capabilities.location))
    }
}

#[cfg(test)]
mod tests;
