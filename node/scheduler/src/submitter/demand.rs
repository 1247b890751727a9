//! Demands, offers, and which offers become leases.

use super::{
    DemandDraft, Effect, MAX_LEASES, MAX_LEASES_PER_JOB, MAX_OFFERS, Submitter, Timer,
    job::{Job, LeaseNo, Standing},
    lease::Phase,
    places::IDLE_AFTER,
};
use hive_protocol::{
    credential::Credential,
    gossip::DEMAND_LIFE,
    ids::{JobId, NodeId},
    resources::Role,
    time::MAX_CLOCK_SKEW,
    work::{MAX_SLOTS, Offer},
};
use hive_trust::rules::{may_run, rank_group};

/// Up to so many known nodes it is worth counting whether all have answered.
const SMALL_MESH: usize = 64;

/// Why an offer is not taken, in the order in which it is looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum OfferFault {
    /// Expired, of no demand that stands, or from a worker on pause.
    Stale,
    /// What one task needs does not fit, or the engine is missing.
    Fit,
    /// The rules of trust forbid it, or the score is below what the job asks for.
    Rule,
    /// Another location is required.
    Location,
    /// Too dear.
    Price,
}

impl Submitter {
    /// Looks whether more slots would help a job, and announces or withdraws its demand.
    pub(super) fn look_for_slots(&mut self, id: JobId) {
        let now = self.now;
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        let useful = job.useful_slots(self.placed(job), self.config.max_slots);
        let want = useful.saturating_sub(job.live_slots);
        let able = self.own.is_some()
            && self.authority_up
            && job.money.as_ref().is_none_or(|(_, _, until)| *until <= now)
            && job.leases.len() < MAX_LEASES_PER_JOB
            && self.leases.len() < MAX_LEASES;
        if want == 0 || !able {
            self.withdraw(id);
            return;
        }
        if let Some(standing) = job.demand
            && want <= standing.slots.saturating_mul(2)
        {
            if let Some(job) = self.jobs.get_mut(&id) {
                job.demand = Some(Standing {
                    slots: want,
                    ..standing
                });
            }
            return;
        }
        self.withdraw(id);
        let demand = self.ids.demand();
        self.by_demand.insert(demand, id);
        if let Some(job) = self.jobs.get_mut(&id) {
            job.demand = Some(Standing {
                id: demand,
                slots: want,
                since: now,
            });
        }
        self.announce(id);
    }

    /// Tasks that need no slot of a lease that counts: they run to their end with one that closes.
    pub(super) fn placed(&self, job: &Job) -> u32 {
        let closing = |no: &LeaseNo| self.leases.get(no).filter(|l| l.phase == Phase::Closing);
        // What is called back will need a place, or is not to be run any more.
        let there: usize = job
            .leases
            .iter()
            .filter_map(closing)
            .map(|l| l.assigned.len().saturating_sub(l.recalls as usize))
            .sum();
        // Of a task that two leases have the other copy uses a slot that counts, or was counted here twice.
        let twice = job
            .doubles()
            .filter(|two| two.iter().any(|no| closing(no).is_some()))
            .count();
        u32::try_from(there.saturating_sub(twice)).unwrap_or(u32::MAX)
    }

    /// Publishes a demand (again).
    pub(super) fn announce(&mut self, id: JobId) {
        let now = self.now;
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        let Some(standing) = job.demand else {
            return;
        };
        self.counters.demands_published += 1;
        self.effects
            .push_back(Effect::PublishDemand(Box::new(DemandDraft {
                id: standing.id,
                job: id,
                runtime: job.program.runtime,
                need: job.program.need.clone(),
                slots: standing.slots,
                placement: job.spec.placement.clone(),
                max_price: job.spec.max_price,
                issued: now,
                expires: now + DEMAND_LIFE,
            })));
        self.timers.set(Timer::Demand(id), now + self.config.demand_every);
        // Places may also be had from another job here, if the mesh has none.
        self.timers.set_earlier(Timer::Places, now + IDLE_AFTER);
    }

    pub(super) fn withdraw(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let Some(standing) = job.demand.take() else {
            return;
        };
        job.offers.clear();
        self.by_demand.remove(&standing.id);
        self.timers.clear(Timer::Demand(id));
        self.timers.clear(Timer::Offers(id));
        self.effects
            .push_back(Effect::WithdrawDemand { demand: standing.id });
    }

    pub(super) fn on_offer(&mut self, from: NodeId, offer: Offer, credential: Credential) {
        let now = self.now;
        self.counters.offers_heard += 1;
        self.peers.entry(from).or_default().connected = true;
        let Some(id) = self.by_demand.get(&offer.demand).copied() else {
            self.counters.offers_stale += 1;
            return;
        };
        match self.judge(id, from, &offer, &credential) {
            Err(fault) => {
                let c = &mut self.counters;
                let count = match fault {
                    OfferFault::Stale => &mut c.offers_stale,
                    OfferFault::Fit => &mut c.offers_no_fit,
                    OfferFault::Rule => &mut c.offers_rule,
                    OfferFault::Location => &mut c.offers_location,
                    OfferFault::Price => &mut c.offers_price,
                };
                *count += 1;
            }
            Ok(()) => {
                let Some(job) = self.jobs.get_mut(&id) else {
                    return;
                };
                if job.offers.len() >= MAX_OFFERS && !job.offers.contains_key(&from) {
                    self.counters.offers_dropped += 1;
                    return;
                }
                job.offers_heard = job.offers_heard.saturating_add(1);
                job.offers.insert(from, (offer, credential));
                let heard = job.offers.len();
                if self.nodes.len() <= SMALL_MESH && heard >= self.workers_online() {
                    // Everybody there is has answered: no need to wait for more.
                    self.timers.clear(Timer::Offers(id));
                    self.choose(id);
                } else {
                    self.timers
                        .set_earlier(Timer::Offers(id), now + self.config.offer_window);
                }
            }
        }
    }

    /// Workers known to be here; at least one.
    fn workers_online(&self) -> usize {
        self.nodes
            .values()
            .filter(|f| f.online && !f.leaving && f.credential.roles.contains(&Role::Worker))
            .count()
            .max(1)
    }

    /// The filters of mission.md, in their order.
    fn judge(
        &self,
        id: JobId,
        from: NodeId,
        offer: &Offer,
        credential: &Credential,
    ) -> Result<(), OfferFault> {
        let (Some(job), Some(own)) = (self.jobs.get(&id), &self.own) else {
            return Err(OfferFault::Stale);
        };
        let paused = self.peers.get(&from).is_some_and(|p| p.pause_until > self.now);
        let asked = job
            .leases
            .iter()
            .filter_map(|no| self.leases.get(no))
            .any(|l| l.node == from && matches!(l.phase, Phase::Holding | Phase::Requesting));
        if self.now >= offer.expires + MAX_CLOCK_SKEW || credential.node != from || paused || asked {
            return Err(OfferFault::Stale);
        }
        let program = &job.program;
        let runs = offer
            .capabilities
            .runtimes
            .iter()
            .any(|r| r == program.runtime.name());
        if offer.slots == 0 || !runs || !offer.free.fits(&program.need) {
            return Err(OfferFault::Fit);
        }
        if credential.score < job.spec.placement.min_score
            || may_run(
                credential.score,
                credential.containers,
                own.score,
                program.runtime,
            )
            .is_err()
        {
            return Err(OfferFault::Rule);
        }
        let place = &job.spec.placement.require_location;
        if !place.is_empty() && !place.eq_ignore_ascii_case(&offer.capabilities.location) {
            return Err(OfferFault::Location);
        }
        if offer.price.per_gfuel > job.spec.max_price {
            return Err(OfferFault::Price);
        }
        Ok(())
    }

    /// Takes the best of the offers gathered.
    pub(super) fn choose(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let Some(standing) = job.demand else {
            return;
        };
        let kind = job.program.runtime;
        let prefer = job.spec.placement.prefer_location.clone();
        let mut offers: Vec<(NodeId, Offer, Credential)> = std::mem::take(&mut job.offers)
            .into_iter()
            .map(|(n, (o, c))| (n, o, c))
            .collect();
        // Trust group first (high before low), then load, preferred place, price, and the id to be definite.
        offers.sort_by_key(|(node, offer, credential)| {
            (
                std::cmp::Reverse(rank_group(credential.score, credential.containers, kind)),
                offer.load_milli,
                prefer.is_empty() || !prefer.eq_ignore_ascii_case(&offer.capabilities.location),
                offer.price,
                *node,
            )
        });
        let mut want = standing.slots;
        for (node, offer, credential) in offers {
            if want == 0 {
                break;
            }
            if self.now >= offer.expires + MAX_CLOCK_SKEW {
                continue;
            }
            let slots = offer.slots.min(want).min(MAX_SLOTS);
            if self.open_lease(
                id,
                node,
                credential.account,
                offer.price,
                slots,
                offer.demand,
                None,
            ) {
                want -= slots;
            }
        }
        self.recount_slots(id);
        self.look_for_slots(id);
    }

    /// Counts again how many slots work, or soon will, for a job.
    pub(super) fn recount_slots(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        job.live_slots = job
            .leases
            .iter()
            .filter_map(|no| self.leases.get(no))
            .filter(|l| l.counts())
            .fold(0, |n, l| n.saturating_add(l.slots));
        job.refill.extend(job.leases.iter().copied());
        self.dirty_jobs.insert(id);
    }
}
