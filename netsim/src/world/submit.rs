//! Carrying out what the submitter cores want.

use super::{CallFor, Side, World, work::Transfer, work::What};
use crate::{fault::Fault, plant::Plant, trace::Short};
use hive_protocol::{
    command::CommandBody,
    gossip::Demand,
    ids::NodeId,
    keys::Signed,
    receipt::{Countersigned, Receipt},
    work::{LeaseBody, LeaseRequest, WorkMsg},
};
use hive_scheduler::submitter::{Effect, Event, Input, LeaseDraft};

impl World {
    /// The number of a node by its id.
    pub(super) fn index_of(&self, id: &NodeId) -> Option<usize> {
        self.nodes.iter().position(|n| n.id == *id)
    }

    pub(super) fn submitter_effect(&mut self, n: usize, effect: Effect) {
        match effect {
            Effect::PublishDemand(draft) => {
                let node = &self.nodes[n];
                let Some((credential, _)) = node.credential.clone() else {
                    return;
                };
                let demand = Demand {
                    id: draft.id,
                    job: draft.job,
                    submitter: node.id,
                    credential,
                    addrs: Vec::new(),
                    runtime: draft.runtime,
                    need: draft.need,
                    slots: draft.slots,
                    placement: draft.placement,
                    max_price: draft.max_price,
                    issued: draft.issued,
                    expires: draft.expires,
                };
                self.publish(n, &demand);
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
                let checked = self.oracle.hold_asked(n, self.nodes[n].life, hold, lease);
                self.violated(checked);
                let body = CommandBody::Hold {
                    hold,
                    lease,
                    payee,
                    amount,
                    expires,
                };
                self.run_away(n, &body);
                self.command(n, CallFor::Hold(lease), command, body);
            }
            Effect::RequestLease { to, request } => self.request_lease(n, to, *request),
            Effect::Send { to, message } => self.submitter_says(n, to, message),
            Effect::Connect { to } => {
                if let Some(peer) = self.index_of(&to) {
                    self.dial(n, peer);
                }
            }
            Effect::FetchResult {
                from, job, result, ..
            } => {
                let Some(peer) = self.index_of(&from) else { return };
                self.transfer(Transfer {
                    node: n,
                    life: self.nodes[n].life,
                    from: peer,
                    what: What::Result {
                        job,
                        index: result.index,
                        attempt: result.attempt,
                    },
                });
            }
            Effect::Countersign { lease, receipt } => {
                self.oracle.count("countersigned");
                let receipt = Box::new(Countersigned::sign(&self.nodes[n].key, receipt));
                self.submitter_later(n, 0, Input::Countersigned { lease, receipt });
            }
            Effect::Capture {
                lease,
                command,
                receipt,
                ..
            } => {
                if !self.calm && self.nodes[n].plan.lies.unpaying {
                    self.faults.count(Fault::Unpaid);
                    let refusal = hive_protocol::command::Refusal::new("hold.unwilling", "it will not pay");
                    self.submitter_later(n, 0, Input::CaptureFailed { lease, refusal });
                    return;
                }
                let body = CommandBody::Capture { receipt: *receipt };
                self.command(n, CallFor::SubmitterCapture(lease), command, body);
            }
            other => self.journal(n, other),
        }
    }

    fn journal(&mut self, n: usize, effect: Effect) {
        match effect {
            Effect::JournalTask { job, index, record } => {
                if self.plant == Some(Plant::DropJournalTask) && self.rng.once_in(30) {
                    return;
                }
                self.note(
                    n,
                    format_args!("{} {} ends {:?}", Short(&job.0), index.0, record.end),
                );
                let checked = self.oracle.task_ended(job, index, &record.end);
                self.violated(checked);
                if let Some(j) = self.nodes[n].disk.jobs.get_mut(&job) {
                    j.ended.insert(index, record.end);
                }
            }
            Effect::UnjournalTask { job, index } => {
                self.note(n, format_args!("{} {} again", Short(&job.0), index.0));
                self.oracle.task_again(job, index);
                if let Some(j) = self.nodes[n].disk.jobs.get_mut(&job) {
                    j.ended.remove(&index);
                }
            }
            Effect::JournalJob { job, record } => {
                if self.plant == Some(Plant::DropJournalJob) {
                    return;
                }
                let checked = self.oracle.job_spent(job, record.spent);
                self.violated(checked);
                if let Some(j) = self.nodes[n].disk.jobs.get_mut(&job) {
                    j.spent = record.spent;
                    j.spec.open = record.open;
                }
            }
            Effect::Event(event) => self.submitter_event(n, &event),
            _ => {}
        }
    }

    fn submitter_event(&mut self, n: usize, event: &Event) {
        match event {
            Event::LeaseEnded {
                lease, code, owed, ..
            } => {
                self.oracle.count("leases");
                self.note(n, format_args!("{} over: {code}, {owed}", Short(&lease.0)));
            }
            Event::TaskRetried { job, index, code, .. } => {
                self.oracle.count("retries");
                self.note(n, format_args!("{} {} retried: {code}", Short(&job.0), index.0));
            }
            Event::ReceiptRefused { code, lease, .. } => {
                self.oracle.count("receipts_refused");
                self.note(n, format_args!("{} receipt refused: {code}", Short(&lease.0)));
            }
            Event::JobFinished { job, .. } => self.note(n, format_args!("{} finished", Short(&job.0))),
            Event::JobState { job, state } => {
                self.note(n, format_args!("{} is {}", Short(&job.0), state.name()));
            }
            _ => {}
        }
    }

    fn request_lease(&mut self, n: usize, to: NodeId, draft: LeaseDraft) {
        let Some(peer) = self.index_of(&to) else { return };
        let Some((credential, _)) = self.nodes[n].credential.clone() else {
            return;
        };
        let checked = self.oracle.lease_asked(n, peer, self.nodes[n].life, &draft);
        self.violated(checked);
        let request = LeaseRequest {
            lease: draft.lease,
            demand: draft.demand,
            job: draft.job,
            slots: draft.slots,
            price: draft.price,
            hold: draft.hold,
            credential,
            program: (*draft.program).clone(),
        };
        self.say(n, peer, Side::Worker, WorkMsg::LeaseRequest(Box::new(request)));
    }

    /// Sends to a peer, or to this node's other core.
    pub(super) fn say(&mut self, n: usize, peer: usize, side: Side, message: WorkMsg) {
        if peer == n {
            self.nodes[n].loopback.push_back((side, message));
        } else {
            self.send(n, peer, message);
        }
    }

    fn submitter_says(&mut self, n: usize, to: NodeId, mut message: WorkMsg) {
        let Some(peer) = self.index_of(&to) else { return };
        if let WorkMsg::Lease { lease, body, .. } = &mut message {
            if let LeaseBody::Tasks(orders) = body {
                for order in orders.iter() {
                    self.oracle.handed(*lease, order.index, order.attempt);
                }
            }
            if matches!(body, LeaseBody::Countersign(_)) && !self.calm && self.nodes[n].plan.lies.unpaying {
                self.faults.count(Fault::Unpaid);
                // It owes a word under this number, but not this word.
                *body = LeaseBody::Cancel(Vec::new());
            }
        }
        self.say(n, peer, Side::Worker, message);
    }

    /// A planted fault: a receipt that its submitter signs without asking its core.
    pub(super) fn sign_blindly(&self, n: usize, receipt: Signed<Receipt>) -> Countersigned {
        Countersigned::sign(&self.nodes[n].key, receipt)
    }
}
