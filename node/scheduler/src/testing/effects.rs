//! Carrying out what the submitter's core wants, as the shell does.

use super::{Happen, Hold, HoldState, TestHive, credential};
use crate::{submitter, worker};
use hive_protocol::{
    credential::Credential,
    gossip::Demand,
    ids::NodeId,
    keys::Signed,
    receipt::Countersigned,
    resources::Role,
    work::{LeaseRequest, WorkMsg},
};

/// An offer goes in with its credential, everything else as it is.
pub(super) fn to_submitter(from: NodeId, message: WorkMsg, credential: &Credential) -> submitter::Input {
    match message {
        WorkMsg::Offer(offer) => submitter::Input::OfferReceived {
            from,
            offer,
            credential: Box::new(credential.clone()),
        },
        message => submitter::Input::Message { from, message },
    }
}

impl TestHive {
    /// Carries out effects until there are none.
    pub(super) fn drain(&mut self) {
        loop {
            let mut any = false;
            while let Some(effect) = self.submitter.poll_effect() {
                any = true;
                if self.keep {
                    self.effects.push(effect.clone());
                }
                self.carry_out(effect);
            }
            for n in 0..self.workers.len() {
                while let Some(effect) = self
                    .workers
                    .get_mut(n)
                    .filter(|w| w.alive)
                    .and_then(|w| w.core.poll_effect())
                {
                    any = true;
                    if self.keep {
                        self.worker_effects.push((n, effect.clone()));
                    }
                    self.carry_out_for(n, effect);
                }
            }
            if !any {
                break;
            }
        }
        if self.check {
            self.check_all();
        }
    }

    fn check_all(&mut self) {
        self.submitter.check_invariants();
        for w in &mut self.workers {
            if w.alive {
                w.core.check_invariants();
            }
            w.check();
        }
        assert_eq!(self.authority.total(), self.minted, "money made or lost");
    }

    fn index_of(&self, node: NodeId) -> Option<usize> {
        self.workers.iter().position(|w| w.id == node)
    }

    fn down(&mut self, to: NodeId, message: WorkMsg) {
        let Some(n) = self.index_of(to) else { return };
        let latency = self.latency;
        let Some(w) = self.workers.get(n).filter(|w| w.connected) else {
            return;
        };
        let epoch = w.epoch;
        if (self.filter)(n, false, &message) {
            self.later(latency, Happen::Down(n, epoch, message));
        }
    }

    pub(super) fn up(&mut self, n: usize, message: WorkMsg) {
        let latency = self.latency;
        let Some(w) = self.workers.get(n).filter(|w| w.connected) else {
            return;
        };
        let epoch = w.epoch;
        if (self.filter)(n, true, &message) {
            self.later(latency, Happen::Up(n, epoch, message));
        }
    }

    fn soon(&mut self, input: submitter::Input) {
        let latency = self.latency;
        self.later(latency, Happen::ToSubmitter(input));
    }

    fn carry_out(&mut self, effect: submitter::Effect) {
        use submitter::{Effect, Input};
        match effect {
            Effect::PublishDemand(draft) => {
                let own = credential(self.submitter_id(), super::PAYER, self.score, &[Role::Client]);
                let Ok(signed) = Signed::sign(&self.key, &own) else {
                    return;
                };
                let demand = Demand {
                    id: draft.id,
                    job: draft.job,
                    submitter: self.submitter_id(),
                    credential: signed,
                    addrs: Vec::new(),
                    runtime: draft.runtime,
                    need: draft.need,
                    slots: draft.slots,
                    placement: draft.placement,
                    max_price: draft.max_price,
                    issued: draft.issued,
                    expires: draft.expires,
                };
                let latency = self.latency;
                for n in 0..self.workers.len() {
                    if self.workers.get(n).is_some_and(|w| w.connected) {
                        let input = worker::Input::DemandHeard {
                            demand: Box::new(demand.clone()),
                            credential: Box::new(own.clone()),
                        };
                        self.later(latency, Happen::ToWorker(n, input));
                    }
                }
            }
            Effect::RequestHold {
                lease,
                hold,
                command,
                payee,
                amount,
                expires,
                ..
            } => {
                let answer = self.authority.hold(
                    command,
                    hold,
                    Hold {
                        lease,
                        payer: super::PAYER,
                        payee,
                        amount,
                        expires,
                        state: HoldState::Open,
                    },
                );
                self.soon(match answer {
                    Ok((grant, signed)) => Input::HoldGranted {
                        lease,
                        grant: Box::new(grant),
                        signed,
                    },
                    Err(refusal) => Input::HoldRefused { lease, refusal },
                });
            }
            Effect::RequestLease { to, request } => self.request_lease(to, *request),
            Effect::Send { to, message } => self.down(to, message),
            Effect::FetchResult { job, result, .. } => {
                let (index, attempt) = (result.index, result.attempt);
                self.soon(match self.fetch_fails.clone() {
                    None => Input::ResultStored { job, index, attempt },
                    Some(code) => Input::ResultStoreFailed {
                        job,
                        index,
                        attempt,
                        code,
                        detail: "as told".into(),
                    },
                });
            }
            Effect::Countersign { lease, receipt } => {
                let receipt = Box::new(Countersigned::sign(&self.key, receipt));
                self.soon(Input::Countersigned { lease, receipt });
            }
            Effect::Capture {
                lease,
                command,
                receipt,
                ..
            } => {
                let input = match self.authority.capture(command, &receipt) {
                    Ok(paid) => Input::CaptureDone { lease, paid },
                    Err(refusal) => Input::CaptureFailed { lease, refusal },
                };
                self.soon(input);
            }
            Effect::JournalTask { job, index, record } => {
                if let Some(j) = self.journal.get_mut(&job) {
                    let before = j.ended.insert(index, record.end);
                    assert_eq!(before, None, "a task ended twice");
                }
            }
            Effect::UnjournalTask { job, index } => {
                if let Some(j) = self.journal.get_mut(&job) {
                    j.ended.remove(&index);
                }
            }
            Effect::JournalJob { job, record } => {
                if let Some(j) = self.journal.get_mut(&job) {
                    assert!(record.spent >= j.spent, "spent less than before");
                    j.spent = record.spent;
                    j.spec.open = record.open;
                }
            }
            Effect::Connect { .. }
            | Effect::WithdrawDemand { .. }
            | Effect::Log { .. }
            | Effect::Event(_) => {}
        }
    }

    fn request_lease(&mut self, to: NodeId, draft: submitter::LeaseDraft) {
        let Some(n) = self.index_of(to) else { return };
        if !self.workers.get(n).is_some_and(|w| w.connected) {
            return;
        }
        let own = credential(self.submitter_id(), super::PAYER, self.score, &[Role::Client]);
        let (Ok(signed), Ok(grant)) = (Signed::sign(&self.key, &own), draft.hold.peek()) else {
            return;
        };
        let request = LeaseRequest {
            lease: draft.lease,
            demand: draft.demand,
            job: draft.job,
            slots: draft.slots,
            price: draft.price,
            hold: draft.hold,
            credential: signed,
            program: (*draft.program).clone(),
        };
        let message = WorkMsg::LeaseRequest(Box::new(request.clone()));
        if !(self.filter)(n, false, &message) {
            return;
        }
        let from = self.submitter_id();
        let latency = self.latency;
        self.later(
            latency,
            Happen::ToWorker(
                n,
                worker::Input::LeaseRequested {
                    from,
                    request: Box::new(request),
                    checked: Ok(Box::new(worker::Checked {
                        grant,
                        credential: own,
                    })),
                },
            ),
        );
    }
}
