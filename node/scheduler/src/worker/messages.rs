//! What submitters say within a lease.

use super::{
    Effect, Timer, Worker,
    lease::{By, Phase, failure},
};
use crate::{link::Taken, payment::RECALLED};
use hive_protocol::{
    ids::{LeaseId, NodeId, TaskIndex},
    receipt::Countersigned,
    task::TaskOrder,
    work::{LeaseBody, MAX_TASKS_IN_MESSAGE, WorkMsg},
};

impl Worker {
    pub(super) fn on_message(&mut self, from: NodeId, message: WorkMsg) {
        self.heard_from(from);
        match message {
            WorkMsg::Resume { lease, seen } => self.on_resume(from, lease, seen),
            WorkMsg::Unknown { lease } => {
                if self.is_of(from, lease) {
                    self.lost(lease, "the submitter does not know this lease any more");
                }
            }
            WorkMsg::Lease {
                lease,
                seq,
                ack,
                body,
            } => self.on_lease_message(from, lease, seq, ack, body),
            WorkMsg::Ack { lease, ack } => {
                let now = self.now;
                if self.is_of(from, lease)
                    && let Some(l) = self.leases.get_mut(&lease)
                {
                    if l.link.ack(now, ack) {
                        self.link_timer(lease);
                        self.dirty.insert(lease);
                    } else {
                        self.broken(lease);
                    }
                }
            }
            // A submitter says none of these; a shell that mixes them up loses nothing.
            WorkMsg::Offer(_)
            | WorkMsg::LeaseRequest(_)
            | WorkMsg::LeaseAccept { .. }
            | WorkMsg::LeaseRefuse { .. }
            | WorkMsg::Log { .. } => self.counters.misdirected += 1,
        }
    }

    /// Whether this lease is known and the peer's own. One that was given up is not talked about any more:
    /// only its money is left, and that is decided.
    fn is_of(&self, from: NodeId, lease: LeaseId) -> bool {
        self.leases
            .get(&lease)
            .is_some_and(|l| l.submitter == from && !l.gone)
    }

    fn on_resume(&mut self, from: NodeId, id: LeaseId, seen: u64) {
        if !self.is_of(from, id) {
            self.send(from, WorkMsg::Unknown { lease: id });
            return;
        }
        let now = self.now;
        let again = self.leases.get_mut(&id).and_then(|l| l.link.on_resume(now, seen));
        match again {
            Some(messages) => {
                for message in messages {
                    self.send(from, message);
                }
                self.timers.clear(Timer::Grace(id));
                self.close_grace(id);
                self.link_timer(id);
                self.dirty.insert(id);
            }
            None => self.broken(id),
        }
    }

    fn on_lease_message(&mut self, from: NodeId, id: LeaseId, seq: u64, ack: u64, body: LeaseBody) {
        if !self.is_of(from, id) {
            self.send(from, WorkMsg::Unknown { lease: id });
            return;
        }
        let now = self.now;
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        match lease.link.take(now, seq, ack) {
            Taken::Use => {
                self.dirty.insert(id);
                self.on_body(id, body);
            }
            Taken::Duplicate => self.counters.duplicates += 1,
            Taken::Gap => {
                self.counters.gaps += 1;
                if let Some(complaint) = lease.link.complain(now) {
                    self.send(from, complaint);
                }
            }
            Taken::Broken => self.broken(id),
        }
        self.link_timer(id);
    }

    fn on_body(&mut self, id: LeaseId, body: LeaseBody) {
        match body {
            LeaseBody::Tasks(orders) => self.on_tasks(id, orders),
            LeaseBody::Cancel(tasks) => {
                for index in tasks.into_iter().take(MAX_TASKS_IN_MESSAGE) {
                    self.cancel(id, index);
                }
            }
            LeaseBody::Countersign(receipt) => self.on_countersigned(id, *receipt),
            LeaseBody::RefuseReceipt { code, detail, .. } => {
                self.end(id, "lease.unpaid", &format!("{code}: {detail}"), true);
            }
            LeaseBody::Close => {
                if let Some(lease) = self.leases.get_mut(&id)
                    && lease.is_open()
                {
                    // What is queued still runs; only nothing new will come.
                    lease.phase = Phase::Ending {
                        code: "lease.done".into(),
                        detail: String::new(),
                    };
                    // At once: who is told so may ask for the slots with its next word.
                    self.pass_on(id);
                    self.give_up_idle(id);
                }
            }
            // Only workers say these.
            LeaseBody::Started(_)
            | LeaseBody::Results(_)
            | LeaseBody::Receipt(_)
            | LeaseBody::Closed { .. }
            | LeaseBody::Log { .. } => self.broken(id),
        }
    }

    fn on_tasks(&mut self, id: LeaseId, orders: Vec<TaskOrder>) {
        let idle = self.now + self.config.idle_grace;
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        if lease.phase == Phase::Settling {
            return;
        }
        self.timers.set(Timer::Idle(id), idle);
        let open = lease.is_open();
        for order in orders.into_iter().take(MAX_TASKS_IN_MESSAGE) {
            let (index, attempt) = (order.index, order.attempt);
            if lease.place.contains_key(&index) || lease.running.contains_key(&index) {
                continue; // Handed twice under one lease: the first order stands.
            }
            let back = if !open {
                Some((RECALLED, "the lease is ending".to_owned(), true))
            } else if lease.in_hand() >= lease.capacity() {
                Some((RECALLED, "the queue is full".to_owned(), true))
            } else if let Err(e) = order.spec.check() {
                Some(("task.spec", e.to_string(), false))
            } else if let Some((code, detail)) = &lease.program_fault {
                let fault = failure(index, attempt, code, detail, false);
                lease.report(fault);
                continue;
            } else {
                None
            };
            match back {
                Some((code, detail, retryable)) => {
                    lease.report(failure(index, attempt, code, &detail, retryable));
                }
                None => lease.enqueue(order),
            }
        }
    }

    fn cancel(&mut self, id: LeaseId, index: TaskIndex) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        if let Some(place) = lease.place.get(&index).copied() {
            if let Some(order) = lease.dequeue(place) {
                lease.report(failure(
                    index,
                    order.attempt,
                    RECALLED,
                    "taken back before it began",
                    true,
                ));
            }
        } else if let Some(running) = lease.running.get_mut(&index)
            && running.cancelled.is_none()
        {
            running.cancelled = Some(By::Submitter);
            let attempt = running.attempt;
            self.effects.push_back(Effect::CancelTask {
                lease: id,
                index,
                attempt,
            });
        }
    }

    fn on_countersigned(&mut self, id: LeaseId, receipt: Countersigned) {
        let node = self.config.node;
        let now = self.now;
        let grace = self.config.unpaid_grace;
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        // Checking a hand costs a fifth of a millisecond, once for each few hundred tasks.
        let Ok(r) = receipt.verify() else {
            self.broken(id);
            return;
        };
        if r.lease != id || r.worker != node || r.hold != lease.grant.hold {
            self.broken(id);
            return;
        }
        if r.sequence <= lease.countersigned_sequence || r.sequence > lease.sequence {
            return;
        }
        lease.countersigned_sequence = r.sequence;
        lease.secured = r.amount;
        lease.countersigned = Some(Box::new(receipt.clone()));
        let keep = Effect::KeepReceipt {
            lease: id,
            hold: r.hold,
            expires: lease.grant.expires,
            receipt: Box::new(receipt),
        };
        if lease.sequence > r.sequence {
            self.timers.set(Timer::Unpaid(id), now + grace);
        } else {
            self.timers.clear(Timer::Unpaid(id));
        }
        // Nothing to collect is nothing to keep; nor is a word that comes after the hold was settled.
        if r.amount > hive_protocol::money::MicroCpt::ZERO && !lease.paid {
            self.effects.push_back(keep);
        }
        self.counters.receipts_countersigned += 1;
        self.settle(id);
    }

    /// The peer says what cannot be: the lease is over, what was countersigned is kept.
    pub(super) fn broken(&mut self, id: LeaseId) {
        self.counters.broken += 1;
        self.end(id, "lease.broken", "the submitter broke the protocol", true);
    }

    /// Ends a lease from this side. With `at_once` what runs is stopped too.
    pub(super) fn end(&mut self, id: LeaseId, code: &str, detail: &str, at_once: bool) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        if lease.phase == Phase::Settling {
            return;
        }
        if lease.is_open() || code != "lease.done" {
            lease.phase = Phase::Ending {
                code: code.to_owned(),
                detail: detail.to_owned(),
            };
        }
        lease.recall_queue("the lease is ending");
        self.dirty.insert(id);
        self.cancel_running(id, at_once);
    }

    /// Stops what the executor has of a lease: all of it, or only what it has not begun.
    pub(super) fn cancel_running(&mut self, id: LeaseId, all: bool) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let mut stop = Vec::new();
        for (index, running) in &mut lease.running {
            if running.cancelled.is_none() && (all || running.order.is_some()) {
                running.cancelled = Some(By::Worker);
                stop.push((*index, running.attempt));
            }
        }
        for (index, attempt) in stop {
            self.effects.push_back(Effect::CancelTask {
                lease: id,
                index,
                attempt,
            });
        }
    }
}
