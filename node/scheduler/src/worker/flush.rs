//! Turning what has gathered in a lease into messages: results, receipts, the last word.

use super::{
    Effect, Event, Timer, Worker,
    lease::{Executor, Phase},
};
use crate::payment;
use hive_protocol::{
    ids::LeaseId,
    keys::Signed,
    receipt::Receipt,
    work::{LeaseBody, MAX_TASKS_IN_MESSAGE, RECEIPT_EVERY, RECEIPT_EVERY_TASKS},
};

/// Room in the link that reports leave free for receipts and the last word.
const RESERVE: usize = 16;

impl Worker {
    /// Works through all leases in which something has happened.
    pub(super) fn flush(&mut self) {
        while let Some(id) = self.dirty.pop_first() {
            self.fill(id);
            self.report(id);
            self.ask_receipt(id);
            self.pass_on(id);
            self.close(id);
            self.forget(id);
            self.link_timer(id);
            if !self.effects.is_empty() {
                return;
            }
        }
    }

    fn report(&mut self, id: LeaseId) {
        let now = self.now;
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let to = lease.submitter;
        let mut out = Vec::new();
        if lease.link.room() > RESERVE {
            // What has ended by now needs no word that it began.
            let running = &lease.running;
            lease.started.retain(|(i, _)| running.contains_key(i));
            let mut started = std::mem::take(&mut lease.started);
            while !started.is_empty() {
                let rest = started.split_off(started.len().min(MAX_TASKS_IN_MESSAGE));
                out.push(lease.link.say(now, LeaseBody::Started(started)));
                started = rest;
            }
        }
        while lease.link.room() > RESERVE && !lease.results.is_empty() {
            let n = lease.results.len().min(MAX_TASKS_IN_MESSAGE);
            let results: Vec<_> = lease.results.drain(..n).collect();
            for result in &results {
                if payment::is_payable(&result.outcome) {
                    lease.tasks += 1;
                    let fuel = payment::payable_fuel(result, &lease.program.limits);
                    lease.fuel = lease.fuel.saturating_add(fuel);
                }
            }
            out.push(lease.link.say(now, LeaseBody::Results(results)));
        }
        if lease.tasks > lease.receipt_tasks && lease.unsigned_since.is_none() {
            lease.unsigned_since = Some(now);
            self.timers.set(Timer::Receipt(id), now + RECEIPT_EVERY);
        }
        for message in out {
            self.send(to, message);
        }
    }

    fn ask_receipt(&mut self, id: LeaseId) {
        let now = self.now;
        let (network, worker) = (self.config.network, self.config.node);
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let fresh = lease.tasks - lease.receipt_tasks;
        if lease.signing || lease.gone || fresh == 0 {
            return;
        }
        let due = fresh >= RECEIPT_EVERY_TASKS
            || lease
                .unsigned_since
                .is_some_and(|t| now.since(t) >= RECEIPT_EVERY)
            || (!lease.is_open() && lease.in_hand() == 0);
        // More than a window uncountersigned: the submitter has to catch up first.
        if !due || (lease.is_unpaid() && lease.is_open()) {
            return;
        }
        lease.signing = true;
        lease.sequence += 1;
        lease.receipt_tasks = lease.tasks;
        lease.receipt_fuel = lease.fuel;
        lease.unsigned_since = None;
        let receipt = Receipt {
            network,
            lease: id,
            hold: lease.grant.hold,
            worker,
            submitter: lease.submitter,
            sequence: lease.sequence,
            tasks: lease.tasks,
            fuel: lease.fuel,
            amount: lease.owed(),
            time: now,
        };
        self.timers.clear(Timer::Receipt(id));
        self.effects.push_back(Effect::SignReceipt {
            lease: id,
            receipt: Box::new(receipt),
        });
    }

    pub(super) fn on_receipt_signed(&mut self, id: LeaseId, receipt: Signed<Receipt>) {
        let now = self.now;
        let unpaid = now + self.config.unpaid_grace;
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        if !std::mem::take(&mut lease.signing) || lease.gone {
            return;
        }
        let to = lease.submitter;
        let message = lease.link.say(now, LeaseBody::Receipt(receipt));
        self.counters.receipts_signed += 1;
        self.timers.set_earlier(Timer::Unpaid(id), unpaid);
        self.send(to, message);
        self.dirty.insert(id);
        self.link_timer(id);
    }

    /// Says the last word when everything is reported and receipted.
    fn close(&mut self, id: LeaseId) {
        let now = self.now;
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let Phase::Ending { code, detail } = lease.phase.clone() else {
            return;
        };
        if lease.in_hand() > 0 || lease.signing || lease.tasks > lease.receipt_tasks {
            return;
        }
        let to = lease.submitter;
        let owed = lease.owed();
        let message = lease.link.say(
            now,
            LeaseBody::Closed {
                code: code.clone(),
                detail: detail.clone(),
                owed,
                hold: lease.grant.hold,
            },
        );
        self.send(to, message);
        self.over(id, &code, &detail);
        self.close_grace(id);
        self.settle(id);
    }

    /// The lease does no more work: executor, slots and timers go, the money stays to be settled.
    pub(super) fn over(&mut self, id: LeaseId, code: &str, detail: &str) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        lease.phase = Phase::Settling;
        let had_executor = lease.executor != Executor::Waiting;
        lease.executor = Executor::Gone;
        let event = Event::LeaseEnded {
            lease: id,
            job: lease.job,
            submitter: lease.submitter,
            code: code.to_owned(),
            detail: detail.to_owned(),
            tasks: lease.tasks,
            owed: lease.owed(),
        };
        if had_executor {
            self.effects.push_back(Effect::StopExecutor { lease: id });
        }
        for timer in [
            Timer::Idle(id),
            Timer::Expiry(id),
            Timer::Receipt(id),
            Timer::Unpaid(id),
        ] {
            self.timers.clear(timer);
        }
        self.pass_on(id);
        let granted = self.leases.get(&id).map_or(0, |l| l.granted);
        self.give_back(id, granted);
        self.event(event);
        self.resources_changed();
    }
}
