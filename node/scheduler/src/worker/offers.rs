//! Demands heard, offers made, lease requests granted or refused.

use super::{
    Checked, Effect, Event, MAX_DEMANDS, MAX_LEASES, MAX_LEASES_PER_PEER, MAX_SETTLING, OfferDraft, Terms,
    Timer, Worker,
    lease::{Executor, Lease, Phase, Settle},
};
use crate::link::Link;
use hive_protocol::{
    command::Refusal,
    credential::Credential,
    gossip::Demand,
    ids::{LeaseId, NodeId},
    money::{MicroCpt, Price},
    task::RuntimeKind,
    time::{MAX_CLOCK_SKEW, Timestamp},
    work::{LeaseRequest, MAX_SLOTS, OFFER_LIFE, WorkMsg},
};
use hive_trust::rules::may_run;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// What is remembered of a demand that was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    /// When it was last answered.
    offered: Timestamp,
    /// What was asked then; stands for [`OFFER_LIFE`].
    price: Price,
}

type Refused = (&'static str, String);

impl Worker {
    pub(super) fn on_demand(&mut self, demand: Demand, credential: &Credential) {
        self.counters.demands_heard += 1;
        let now = self.now;
        if self.draining || self.own.is_none() || demand.submitter == self.config.node {
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

    fn runs(&self, kind: RuntimeKind) -> bool {
        self.terms.capabilities.runtimes.iter().any(|r| r == kind.name())
    }

    fn trust(&self, user_score: u32, kind: RuntimeKind) -> Result<(), Refused> {
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
    fn slots_for(&self, need: &hive_protocol::resources::Resources) -> u32 {
        self.free
            .count_fitting(need)
            .min(self.terms.max_slots.saturating_sub(self.slots_used))
    }

    fn active_leases(&self) -> usize {
        self.leases
            .values()
            .filter(|l| l.phase != Phase::Settling)
            .count()
    }

    pub(super) fn on_lease_request(
        &mut self,
        from: NodeId,
        request: LeaseRequest,
        checked: Result<Box<Checked>, Refusal>,
    ) {
        self.heard_from(from);
        let id = request.lease;
        if let Some(lease) = self.leases.get(&id) {
            // Asked again: the answer was lost. Somebody else's lease is not talked about.
            let answer = if lease.submitter != from {
                refusal(id, "lease.hold_invalid", "this lease is another node's")
            } else if lease.is_open() {
                WorkMsg::LeaseAccept {
                    lease: id,
                    slots: lease.slots,
                    price: lease.price,
                }
            } else {
                WorkMsg::Unknown { lease: id }
            };
            self.send(from, answer);
            return;
        }
        match self.decide(from, &request, checked) {
            Ok((grant, slots, predecessor)) => {
                self.open_lease(from, request, grant, slots, predecessor);
            }
            Err(((code, detail), grant)) => {
                self.counters.leases_refused += 1;
                self.send(from, refusal(id, code, &detail));
                self.event(Event::LeaseRefused {
                    lease: id,
                    submitter: from,
                    code,
                    detail,
                });
                if let Some(hold) = grant {
                    // Nothing will ever be owed on it: the submitter should not wait for its expiry.
                    let command = self.ids.command();
                    self.effects.push_back(Effect::Release {
                        lease: id,
                        hold,
                        command,
                    });
                }
            }
        }
    }

    #[allow(clippy::type_complexity)]
    fn decide(
        &self,
        from: NodeId,
        request: &LeaseRequest,
        checked: Result<Box<Checked>, Refusal>,
    ) -> Result<(Checked, u32, Option<LeaseId>), (Refused, Option<hive_protocol::ids::HoldId>)> {
        let checked = checked.map_err(|r| ((known_code(&r.code), r.detail), None))?;
        let grant = &checked.grant;
        let invalid = |why: &str| (("lease.hold_invalid", why.to_owned()), None);
        if grant.network != self.config.network
            || grant.lease != request.lease
            || grant.payee != self.config.account
            || grant.payer != checked.credential.account
            || checked.credential.node != from
        {
            return Err(invalid(
                "the hold is for another lease, payer or payee, or another mesh",
            ));
        }
        // From here on the hold is this worker's to give back.
        let hold = grant.hold;
        let no = |code, why: String| ((code, why), Some(hold));
        if self.now + self.config.expiry_margin >= grant.expires {
            return Err(no(
                "lease.hold_invalid",
                "the hold expires too soon, or one of the two clocks is wrong".into(),
            ));
        }
        if self.draining {
            return Err(no("lease.draining", "this worker takes no new work".into()));
        }
        let kind = request.program.runtime;
        self.trust(checked.credential.score, kind)
            .map_err(|r| (r, Some(hold)))?;
        if !self.runs(kind) {
            return Err(no(
                "lease.runtime",
                format!("this worker does not run {} tasks", kind.name()),
            ));
        }
        if !request.program.module.inline_is_true() {
            return Err(no(
                "lease.runtime",
                "the module's inline bytes are not its own".into(),
            ));
        }
        let predecessor = self.predecessor(from, request);
        let asked = [
            Some(self.terms.price),
            self.demands
                .get(&request.demand)
                .filter(|h| self.now.since(h.offered) < OFFER_LIFE)
                .map(|h| h.price),
            predecessor.and_then(|p| self.leases.get(&p)).map(|l| l.price),
        ];
        if !asked.iter().flatten().any(|p| request.price >= *p) {
            return Err(no(
                "lease.price",
                format!("this worker asks {} per Gfuel", self.terms.price.per_gfuel),
            ));
        }
        if request.price.per_gfuel > MicroCpt::ZERO && grant.amount == MicroCpt::ZERO {
            return Err(no("lease.hold_invalid", "the hold is empty".into()));
        }
        let of_peer = self.peers.get(&from).map_or(0, |p| p.leases.len());
        if self.active_leases() >= MAX_LEASES
            || self.leases.len() >= MAX_LEASES + MAX_SETTLING
            || of_peer >= MAX_LEASES_PER_PEER + MAX_SETTLING / 8
        {
            return Err(no("lease.no_room", "too many leases".into()));
        }
        let wished = request.slots.clamp(1, MAX_SLOTS);
        let slots = self.slots_for(&request.program.need).min(wished);
        if slots > 0 {
            return Ok((*checked, slots, None));
        }
        if let Some(old) = predecessor.and_then(|p| self.leases.get(&p)) {
            // The money of the old lease runs out: this one takes its slots over, one by one.
            return Ok((*checked, wished.min(old.slots), predecessor));
        }
        Err(no(
            "lease.no_room",
            "all that was offered is in use by now".into(),
        ))
    }

    /// The lease whose slots a request may take over: same submitter, job and need, and no heir yet.
    fn predecessor(&self, from: NodeId, request: &LeaseRequest) -> Option<LeaseId> {
        self.peers
            .get(&from)?
            .leases
            .iter()
            .filter_map(|id| self.leases.get(id))
            .find(|l| {
                l.job == request.job
                    && l.successor.is_none()
                    && l.granted > 0
                    && l.phase != Phase::Settling
                    && l.program.need == request.program.need
            })
            .map(|l| l.id)
    }

    fn open_lease(
        &mut self,
        from: NodeId,
        request: LeaseRequest,
        checked: Checked,
        slots: u32,
        predecessor: Option<LeaseId>,
    ) {
        let id = request.lease;
        let expires = checked.grant.expires;
        let lease = Lease {
            id,
            job: request.job,
            submitter: from,
            program: Arc::new(request.program),
            price: request.price,
            slots,
            granted: 0,
            grant: checked.grant,
            link: Link::new(id),
            phase: Phase::Open,
            executor: Executor::Waiting,
            deaths: 0,
            queue: BTreeMap::new(),
            place: BTreeMap::new(),
            next_place: 1 << 32,
            front_place: 1 << 32,
            unfetched: BTreeSet::new(),
            fetching: 0,
            ready: BTreeSet::new(),
            running: BTreeMap::new(),
            started: Vec::new(),
            results: VecDeque::new(),
            program_fault: None,
            ended: 0,
            burnt: 0,
            tasks: 0,
            fuel: 0,
            receipt_tasks: 0,
            receipt_fuel: 0,
            sequence: 0,
            signing: false,
            countersigned_sequence: 0,
            countersigned: None,
            secured: MicroCpt::ZERO,
            unsigned_since: None,
            average_us: 0,
            settle: Settle::Waiting,
            command: self.ids.command(),
            pause: self.config.authority_pause,
            gone: false,
            paid: false,
            successor: None,
            predecessor,
        };
        let price = lease.price;
        let job = lease.job;
        self.leases.insert(id, lease);
        self.peers.entry(from).or_default().leases.insert(id);
        self.counters.leases_opened += 1;
        self.timers
            .set(Timer::Expiry(id), expires - self.config.expiry_margin);
        self.timers
            .set(Timer::Idle(id), self.now + self.config.idle_grace);
        self.send(
            from,
            WorkMsg::LeaseAccept {
                lease: id,
                slots,
                price,
            },
        );
        self.event(Event::LeaseOpened {
            lease: id,
            job,
            submitter: from,
            slots,
            price,
        });
        if let Some(old) = predecessor {
            if let Some(old) = self.leases.get_mut(&old) {
                old.successor = Some(id);
            }
            self.pass_on(old);
        } else {
            self.deduct(id, slots);
            self.resources_changed();
        }
        self.start_executor(id);
    }

    /// Deducts slots for a lease. The caller has looked whether they are free.
    pub(super) fn deduct(&mut self, id: LeaseId, slots: u32) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        if let Some(free) = self.free.checked_sub(&lease.program.need, slots) {
            self.free = free;
            lease.granted += slots;
            self.slots_used += slots;
        }
    }

    /// Gives slots of a lease back to the pool.
    pub(super) fn give_back(&mut self, id: LeaseId, slots: u32) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let slots = slots.min(lease.granted);
        if slots == 0 {
            return;
        }
        lease.granted -= slots;
        self.slots_used -= slots;
        self.refigure_free();
    }

    /// Works out what is free from what is offered and what is leased.
    fn refigure_free(&mut self) {
        let mut leased = hive_protocol::resources::Resources::default();
        for lease in self.leases.values() {
            leased = leased.saturating_add(&lease.program.need, lease.granted);
        }
        let total = &self.terms.capabilities.total;
        self.free = hive_protocol::resources::Resources {
            cpu_milli: total.cpu_milli.saturating_sub(leased.cpu_milli),
            memory_mib: total.memory_mib.saturating_sub(leased.memory_mib),
            disk_mib: total.disk_mib.saturating_sub(leased.disk_mib),
            gpus: total.gpus.saturating_sub(leased.gpus),
            gpu_memory_mib: total.gpu_memory_mib,
            gpu_name: total.gpu_name.clone(),
        };
    }

    /// Hands slots an old lease does not need any more to its successor.
    pub(super) fn pass_on(&mut self, old: LeaseId) {
        let Some((heir, idle)) = self.leases.get(&old).and_then(|l| {
            let idle = if l.phase == Phase::Settling {
                l.granted
            } else if l.queue.is_empty() {
                let busy = u32::try_from(l.running.len()).unwrap_or(u32::MAX);
                l.granted.saturating_sub(busy)
            } else {
                0
            };
            (idle > 0).then_some((l.successor?, idle))
        }) else {
            return;
        };
        let wanted = self
            .leases
            .get(&heir)
            .filter(|h| h.phase != Phase::Settling)
            .map_or(0, |h| h.slots - h.granted)
            .min(idle);
        if wanted == 0 {
            return;
        }
        self.give_back(old, wanted);
        self.deduct(heir, wanted);
        self.start_executor(heir);
        self.dirty.insert(heir);
    }

    pub(super) fn on_configure(&mut self, terms: Terms) {
        self.terms = terms;
        self.refigure_free();
        self.resources_changed();
    }
}

fn refusal(lease: LeaseId, code: &str, detail: &str) -> WorkMsg {
    WorkMsg::LeaseRefuse {
        lease,
        code: code.to_owned(),
        detail: detail.to_owned(),
    }
}

/// The refusal codes the shell may hand in; anything else is an invalid hold.
fn known_code(code: &str) -> &'static str {
    match code {
        "lease.trust" => "lease.trust",
        "lease.clock" => "lease.clock",
        "lease.runtime" => "lease.runtime",
        "lease.draining" => "lease.draining",
        "lease.no_room" => "lease.no_room",
        _ => "lease.hold_invalid",
    }
}
