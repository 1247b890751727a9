//! Lease requests: granted, or refused with the rule that refuses.

use super::{
    Checked, Effect, Event, MAX_LEASES, MAX_LEASES_PER_PEER, MAX_SETTLING, Timer, Worker,
    lease::{Executor, Lease, Phase, Settle},
};
use crate::link::Link;
use hive_protocol::{
    command::Refusal,
    ids::{HoldId, LeaseId, NodeId},
    money::MicroCpt,
    work::{LeaseRequest, MAX_SLOTS, OFFER_LIFE, WorkMsg},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// A refusal's code and text.
pub(super) type Refused = (&'static str, String);

/// A refusal, and the hold to give back where the request's own was good.
type RefusedHold = (Refused, Option<HoldId>);

impl Worker {
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

    fn decide(
        &self,
        from: NodeId,
        request: &LeaseRequest,
        checked: Result<Box<Checked>, Refusal>,
    ) -> Result<(Checked, u32, Option<LeaseId>), RefusedHold> {
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
        let of_peer = self.peers.get(&from).map_or(0, |p| {
            p.leases
                .iter()
                .filter_map(|id| self.leases.get(id))
                .filter(|l| l.phase != Phase::Settling)
                .count()
        });
        if self.active_leases() >= MAX_LEASES
            || self.leases.len() >= MAX_LEASES + MAX_SETTLING
            || of_peer >= MAX_LEASES_PER_PEER
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
