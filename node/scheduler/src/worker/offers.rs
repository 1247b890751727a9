//! Demands heard and offers made.

use super::{Effect, MAX_DEMANDS, MAX_LEASES, OfferDraft, Worker, grants::Refused, lease::Phase};
use hive_protocol::{
    credential::Credential,
    gossip::Demand,
    money::Price,
    resources::Resources,
    task::RuntimeKind,
    time::{MAX_CLOCK_SKEW, Timestamp},
    work::{MAX_SLOTS, OFFER_LIFE},
};
use hive_trust::rules::may_run;

/// What is remembered of a demand that was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    /// When it was last answered.
    pub offered: Timestamp,
    /// What was asked then; stands for [`OFFER_LIFE`].
    pub price: Price,
}

impl Worker {
    pub(super) fn on_demand(&mut self, demand: Demand, credential: &Credential) {
        self.counters.demands_heard += 1;
        let now = self.now;
        if self.draining || self.own.is_none() {
            return;
        }
        if now >= demand.expires + MAX_CLOCK_SKEW || credential.node != demand.submitter {
            return;
        }
        if self
            .demands
            .get(&demand.id)
            .is_some_and(|h| now.since(h.offered) < self.config.offer_again)
        {
            return;
        }
        let price = self.terms.price;
        if price.per_gfuel > demand.max_price || !self.runs(demand.runtime) {
            return;
        }
        let here = &self.terms.capabilities.location;
        if !demand.placement.require_location.is_empty()
            && !demand.placement.require_location.eq_ignore_ascii_case(here)
        {
            return;
        }
        let score = self.own.as_ref().map_or(0, |c| c.score);
        if score < demand.placement.min_score || self.trust(credential.score, demand.runtime).is_err() {
            return;
        }
        let slots = self.slots_for(&demand.need).min(demand.slots).min(MAX_SLOTS);
        if slots == 0 || self.active_leases() >= MAX_LEASES {
            return;
        }
        if self.demands.len() >= MAX_DEMANDS && !self.demands.contains_key(&demand.id) {
            self.forget_oldest_demand();
        }
        self.demands.insert(demand.id, Heard { offered: now, price });
        self.counters.offers_made += 1;
        self.effects.push_back(Effect::SendOffer {
            to: demand.submitter,
            addrs: demand.addrs,
            offer: Box::new(OfferDraft {
                demand: demand.id,
                slots,
                price,
                load_milli: self.load(),
                capabilities: self.terms.capabilities.clone(),
                free: self.free.clone(),
                expires: now + OFFER_LIFE,
            }),
        });
    }

    fn forget_oldest_demand(&mut self) {
        let oldest = self
            .demands
            .iter()
            .min_by_key(|(_, h)| h.offered)
            .map(|(id, _)| *id);
        if let Some(id) = oldest {
            self.demands.remove(&id);
        }
    }

    pub(super) fn runs(&self, kind: RuntimeKind) -> bool {
        self.terms.capabilities.runtimes.iter().any(|r| r == kind.name())
    }

    pub(super) fn trust(&self, user_score: u32, kind: RuntimeKind) -> Result<(), Refused> {
        let Some(own) = &self.own else {
            return Err(("lease.trust", "this worker has no credential yet".into()));
        };
        may_run(own.score, own.containers, user_score, kind).map_err(|rule| ("lease.trust", rule.to_string()))
    }

    /// Share of what is offered that is leased out or otherwise busy, in thousandths: what ranking goes by.
    fn load(&self) -> u32 {
        let total = self.terms.capabilities.total.cpu_milli;
        let free = self.free.cpu_milli.min(total);
        let leased = u64::from(total - free) * 1000 / u64::from(total.max(1));
        u32::try_from(leased).unwrap_or(1000).max(self.load_milli)
    }

    /// Slots of this need that could be given now.
    pub(super) fn slots_for(&self, need: &Resources) -> u32 {
        self.free
            .count_fitting(need)
            .min(self.terms.max_slots.saturating_sub(self.slots_used))
    }

    pub(super) fn active_leases(&self) -> usize {
        self.leases
            .values()
            .filter(|l| l.phase != Phase::Settling)
            .count()
    }
}
