//! Receipts: what a worker may claim, and the capture that pays it.

use super::{
    Effect, Event, Submitter, Timer,
    job::LeaseNo,
    lease::{Accepted, Lease, Phase},
    money::is_away,
};
use crate::payment;
use hive_protocol::{
    command::Refusal,
    ids::LeaseId,
    keys::Signed,
    money::MicroCpt,
    receipt::{Countersigned, Receipt},
    time::Millis,
    work::{LeaseBody, MAX_UNSIGNED_RECEIPTS},
};

/// A pause before an authority is asked again grows up to this many times the first.
const MAX_PAUSE_FACTOR: u64 = 16;
/// Strikes for a claim that is not true: as many as there can be.
const STRIKES_FOR_LYING: u32 = 5;

impl Submitter {
    pub(super) fn on_receipt(&mut self, no: LeaseNo, signed: Signed<Receipt>) {
        let Some(lease) = self.leases.get(&no) else {
            return;
        };
        if u64::from(lease.signing) > MAX_UNSIGNED_RECEIPTS {
            return; // It did not wait; the next cumulative one will do.
        }
        let receipt = match self.verify(lease, &signed) {
            Ok(receipt) => receipt,
            Err((code, detail, sequence)) => {
                self.refuse_receipt(no, code, detail, sequence);
                return;
            }
        };
        let Some(lease) = self.leases.get_mut(&no) else {
            return;
        };
        let more = receipt.amount.saturating_sub(lease.accepted.amount);
        lease.accepted = Accepted {
            sequence: receipt.sequence,
            tasks: receipt.tasks,
            fuel: receipt.fuel,
            amount: receipt.amount,
        };
        lease.signing += 1;
        let (id, job_id) = (lease.id, lease.job);
        if more > MicroCpt::ZERO {
            if let Some(job) = self.jobs.get_mut(&job_id) {
                job.totals.spent = job.totals.spent.saturating_add(more);
            }
            self.journal_job(job_id);
        }
        self.counters.receipts += 1;
        self.effects.push_back(Effect::Countersign {
            lease: id,
            receipt: signed,
        });
    }

    /// Checks a receipt against what its worker has reported.
    fn verify(
        &self,
        lease: &Lease,
        signed: &Signed<Receipt>,
    ) -> Result<Receipt, (&'static str, String, u64)> {
        let r = signed
            .verify_by(&lease.node.0)
            .map_err(|e| ("receipt.signature", e.to_string(), 0))?;
        let bad = |code, detail: String| Err((code, detail, r.sequence));
        if r.network != self.config.network
            || r.lease != lease.id
            || r.hold != lease.hold
            || r.worker != lease.node
            || r.submitter != self.config.node
        {
            return bad(
                "receipt.wrong_lease",
                "it speaks of another lease, hold or node".into(),
            );
        }
        let last = &lease.accepted;
        if r.sequence <= last.sequence || r.tasks < last.tasks || r.fuel < last.fuel || r.amount < last.amount
        {
            return bad(
                "receipt.backwards",
                format!("number {} after {}", r.sequence, last.sequence),
            );
        }
        if r.tasks > lease.tasks || r.fuel > lease.fuel {
            return bad(
                "receipt.too_much",
                format!(
                    "it claims {} tasks and {} fuel, reported were {} and {}",
                    r.tasks, r.fuel, lease.tasks, lease.fuel
                ),
            );
        }
        if r.amount > lease.amount {
            return bad(
                "receipt.over_hold",
                format!("it claims {}, held are {}", r.amount, lease.amount),
            );
        }
        let due = payment::owed(lease.price, r.fuel, lease.amount);
        if r.amount != due {
            return bad(
                "receipt.price",
                format!("{} fuel cost {due}, it claims {}", r.fuel, r.amount),
            );
        }
        Ok(r)
    }

    fn refuse_receipt(&mut self, no: LeaseNo, code: &'static str, detail: String, sequence: u64) {
        let Some(lease) = self.leases.get(&no) else {
            return;
        };
        let (id, node) = (lease.id, lease.node);
        self.counters.receipts_refused += 1;
        self.say(
            no,
            LeaseBody::RefuseReceipt {
                sequence,
                code: code.to_owned(),
                detail: detail.clone(),
            },
        );
        self.event(Event::ReceiptRefused {
            lease: id,
            node,
            code,
            detail: detail.clone(),
        });
        self.pause_worker(node, STRIKES_FOR_LYING);
        self.over(no, code, &detail, true);
    }

    pub(super) fn on_countersigned(&mut self, id: LeaseId, receipt: Box<Countersigned>) {
        let Some(no) = self.by_id.get(&id).copied() else {
            return;
        };
        let Some(lease) = self.leases.get_mut(&no) else {
            return;
        };
        if lease.signing == 0 {
            return;
        }
        lease.signing -= 1;
        // The shell made it from bytes this core has checked.
        let sequence = receipt.receipt.peek().map_or(0, |r| r.sequence);
        if sequence > lease.countersigned_sequence {
            lease.countersigned_sequence = sequence;
            lease.countersigned = Some(receipt.clone());
        }
        self.say(no, LeaseBody::Countersign(receipt));
        self.settle(no);
    }

    /// Goes on with the money of a lease that is over.
    pub(super) fn settle(&mut self, no: LeaseNo) {
        let Some(lease) = self.leases.get_mut(&no) else {
            return;
        };
        if lease.phase != Phase::Settling || lease.paid || lease.capturing || lease.signing > 0 {
            return;
        }
        let late = self.now >= lease.expires;
        match lease.countersigned.clone() {
            Some(receipt) if lease.accepted.amount > MicroCpt::ZERO && !late => {
                lease.capturing = true;
                let effect = Effect::Capture {
                    lease: lease.id,
                    hold: lease.hold,
                    command: lease.capture,
                    receipt,
                };
                self.counters.captures += 1;
                self.effects.push_back(effect);
            }
            // Nothing is owed: the worker gives the hold back, or it expires.
            _ => self.paid(no),
        }
    }

    fn paid(&mut self, no: LeaseNo) {
        if let Some(lease) = self.leases.get_mut(&no) {
            lease.paid = true;
            let job = lease.job;
            self.timers.clear(Timer::Capture(no));
            self.dirty_leases.insert(no);
            self.say_settled(job);
        }
    }

    pub(super) fn on_capture_done(&mut self, id: LeaseId) {
        let Some(no) = self.by_id.get(&id).copied() else {
            return;
        };
        if let Some(lease) = self.leases.get_mut(&no)
            && std::mem::take(&mut lease.capturing)
        {
            let node = lease.node;
            if let Some(peer) = self.peers.get_mut(&node) {
                peer.strikes = 0;
            }
            self.paid(no);
        }
    }

    pub(super) fn on_capture_failed(&mut self, id: LeaseId, refusal: &Refusal) {
        let Some(no) = self.by_id.get(&id).copied() else {
            return;
        };
        let longest = self.config.authority_pause.0.saturating_mul(MAX_PAUSE_FACTOR);
        let now = self.now;
        let Some(lease) = self.leases.get_mut(&no) else {
            return;
        };
        if !std::mem::take(&mut lease.capturing) {
            return;
        }
        if is_away(refusal) && now < lease.expires {
            let pause = lease.pause;
            lease.pause = Millis((pause.0 * 2).min(longest));
            self.timers.set(Timer::Capture(no), now + pause);
        } else {
            // Captured by the worker already, or expired: nothing is left for this side to do.
            self.paid(no);
        }
    }
}
