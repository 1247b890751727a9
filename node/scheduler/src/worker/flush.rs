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
    task::{Outcome, TaskResult},
    work::{LeaseBody, MAX_TASKS_IN_MESSAGE, RECEIPT_EVERY, RECEIPT_EVERY_TASKS},
};
use std::collections::VecDeque;

/// Room in the link that reports leave free for receipts and the last word.
const RESERVE: usize = 16;
/// Bytes after which a report is full. One result alone may be about 1.2 MiB (256 inline outputs), the frame
/// limit is 2 MiB.
const MAX_REPORT_BYTES: usize = 512 << 10;

impl Worker {
    /// Works through all leases in which something has happened.
    pub(super) fn flush(&mut self) {
        while let Some(id) = self.dirty.pop_first() {
            self.fill(id);
            self.report(id);
            self.ask_receipt(id);
            self.pass_on(id);
            self.give_up_idle(id);
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
            let results = next_batch(&mut lease.results);
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

/// Takes as many results as fit one message, at least one.
fn next_batch(results: &mut VecDeque<TaskResult>) -> Vec<TaskResult> {
    let mut bytes = 0;
    let mut n = 0;
    for result in results.iter().take(MAX_TASKS_IN_MESSAGE) {
        bytes += weight(result);
        if n > 0 && bytes > MAX_REPORT_BYTES {
            break;
        }
        n += 1;
    }
    results.drain(..n).collect()
}

/// About how many bytes a result takes in a message.
fn weight(result: &TaskResult) -> usize {
    let blobs: usize = result
        .blobs()
        .map(|b| 64 + b.inline.as_ref().map_or(0, Vec::len))
        .sum();
    let paths: usize = result.outputs.iter().map(|o| o.path.len() + 8).sum();
    let text = match &result.outcome {
        Outcome::Failed { code, detail, .. } => code.len() + detail.len(),
        Outcome::Exited(_) => 0,
    };
    96 + blobs + paths + text
}

#[cfg(test)]
mod tests {
    use super::*;
    use hive_protocol::{
        codec,
        ids::TaskIndex,
        task::{BlobRef, MAX_INLINE, MAX_OUTPUTS, OutputFile, Usage},
        work::{WorkFrame, WorkMsg},
    };

    #[test]
    fn the_heaviest_reports_fit_a_frame() {
        let heavy = |i: u32| TaskResult {
            index: TaskIndex(i),
            attempt: 1,
            outcome: Outcome::Exited(0),
            stdout: Some(BlobRef::of(&[1; MAX_INLINE])),
            stderr: Some(BlobRef::of(&[2; MAX_INLINE])),
            outputs: (0..MAX_OUTPUTS)
                .map(|n| OutputFile {
                    path: format!("{n}{}", "x".repeat(200)),
                    blob: BlobRef::of(&[3; MAX_INLINE]),
                })
                .collect(),
            usage: Usage::default(),
        };
        let mut waiting: VecDeque<_> = (0..10).map(heavy).collect();
        let mut small = heavy(10);
        small.outputs.clear();
        waiting.extend((0..200).map(|_| small.clone()));
        let mut messages = 0;
        while !waiting.is_empty() {
            let body = LeaseBody::Results(next_batch(&mut waiting));
            let frame = WorkFrame {
                messages: vec![WorkMsg::Lease {
                    lease: LeaseId([1; 16]),
                    seq: 1,
                    ack: 0,
                    body,
                }],
            };
            assert!(codec::seal(&frame).is_ok());
            messages += 1;
        }
        assert!((12..20).contains(&messages), "{messages}");
    }
}
