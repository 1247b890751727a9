//! Getting paid: captures, releases, and when to stop waiting.

use super::{
    Effect, Event, MAX_SETTLING, Timer, Worker,
    lease::{Phase, Settle},
};
use hive_protocol::{
    command::Refusal,
    ids::{CommandId, HoldId, LeaseId, NodeId},
    money::MicroCpt,
    receipt::Countersigned,
    time::{Millis, Timestamp},
};

/// A pause before an authority is asked again grows up to this many times the first.
const MAX_PAUSE_FACTOR: u64 = 16;

/// A receipt from before a restart that is still to be captured.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    hold: HoldId,
    expires: Timestamp,
    command: CommandId,
    receipt: Box<Countersigned>,
    submitter: NodeId,
    amount: MicroCpt,
    asked: bool,
    pause: Millis,
}

/// Whether the authority could not be asked, as against having refused.
pub(crate) fn is_away(refusal: &Refusal) -> bool {
    refusal.code.starts_with("authority.")
}

impl Worker {
    /// Goes on with the money of an ended lease, if it is time.
    pub(super) fn settle(&mut self, id: LeaseId) {
        let now = self.now;
        if self.kept.contains_key(&id) {
            self.capture_kept(id);
            return;
        }
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        if lease.phase != Phase::Settling || lease.paid || lease.settle == Settle::Asked {
            return;
        }
        let owed = lease.owed();
        let complete = lease.secured >= owed && !lease.signing;
        if !complete && !lease.gone {
            return;
        }
        let (hold, command, submitter) = (lease.grant.hold, lease.command, lease.submitter);
        if now >= lease.grant.expires {
            // Too late: everything has gone back to the payer.
            self.unpaid(id, owed, "hold.expired");
            self.paid(id);
            return;
        }
        lease.settle = Settle::Asked;
        match lease.countersigned.clone() {
            Some(receipt) if lease.secured > MicroCpt::ZERO => {
                self.effects.push_back(Effect::Capture {
                    lease: id,
                    hold,
                    command,
                    receipt,
                });
            }
            _ => self.effects.push_back(Effect::Release {
                lease: id,
                hold,
                command,
            }),
        }
        if !complete {
            let amount = self
                .leases
                .get(&id)
                .map_or(MicroCpt::ZERO, |l| owed.saturating_sub(l.secured));
            self.event(Event::Unpaid {
                lease: id,
                submitter,
                amount,
                code: "lease.lost".into(),
            });
        }
    }

    fn unpaid(&mut self, id: LeaseId, amount: MicroCpt, code: &str) {
        if amount == MicroCpt::ZERO {
            return;
        }
        let submitter = self
            .leases
            .get(&id)
            .map(|l| l.submitter)
            .or_else(|| self.kept.get(&id).map(|k| k.submitter));
        if let Some(submitter) = submitter {
            self.event(Event::Unpaid {
                lease: id,
                submitter,
                amount,
                code: code.to_owned(),
            });
        }
    }

    /// The money of a lease is settled, well or badly.
    fn paid(&mut self, id: LeaseId) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.paid = true;
            if lease.countersigned.is_some() {
                self.effects.push_back(Effect::DropReceipt { lease: id });
            }
        } else if self.kept.remove(&id).is_some() {
            self.effects.push_back(Effect::DropReceipt { lease: id });
        }
        self.timers.clear(Timer::Settle(id));
        self.dirty.insert(id);
    }

    pub(super) fn on_capture_done(&mut self, id: LeaseId, paid: MicroCpt) {
        let submitter = match (self.leases.get(&id), self.kept.get(&id)) {
            (Some(l), _) if l.settle == Settle::Asked => l.submitter,
            (None, Some(k)) => k.submitter,
            _ => return,
        };
        self.counters.earned = self.counters.earned.saturating_add(paid);
        self.event(Event::Earned {
            lease: id,
            submitter,
            amount: paid,
        });
        self.paid(id);
    }

    pub(super) fn on_capture_failed(&mut self, id: LeaseId, refusal: &Refusal) {
        let now = self.now;
        let longest = Millis(self.config.authority_pause.0.saturating_mul(MAX_PAUSE_FACTOR));
        let (expires, amount, pause) = if let Some(lease) = self.leases.get_mut(&id) {
            if lease.settle != Settle::Asked {
                return;
            }
            lease.settle = Settle::Paused;
            let pause = lease.pause;
            lease.pause = Millis((pause.0 * 2).min(longest.0));
            (lease.grant.expires, lease.secured, pause)
        } else if let Some(kept) = self.kept.get_mut(&id) {
            kept.asked = false;
            let pause = kept.pause;
            kept.pause = Millis((pause.0 * 2).min(longest.0));
            (kept.expires, kept.amount, pause)
        } else {
            return;
        };
        if is_away(refusal) && now < expires {
            self.timers.set(Timer::Settle(id), now + pause);
            return;
        }
        if refusal.code == "hold.captured" {
            // The submitter sent the same receipt first: either may.
            let submitter = self
                .leases
                .get(&id)
                .map(|l| l.submitter)
                .or_else(|| self.kept.get(&id).map(|k| k.submitter));
            if let Some(submitter) = submitter {
                self.counters.earned = self.counters.earned.saturating_add(amount);
                self.event(Event::Earned {
                    lease: id,
                    submitter,
                    amount,
                });
            }
        } else {
            self.unpaid(id, amount, &refusal.code);
        }
        self.paid(id);
    }

    pub(super) fn on_release_done(&mut self, id: LeaseId) {
        if self
            .leases
            .get(&id)
            .is_some_and(|l| l.settle == Settle::Asked && l.secured == MicroCpt::ZERO)
        {
            self.paid(id);
        }
    }

    pub(super) fn on_authority_up(&mut self) {
        let waiting: Vec<LeaseId> = self
            .leases
            .values()
            .filter(|l| l.settle == Settle::Paused && !l.paid)
            .map(|l| l.id)
            .chain(self.kept.iter().filter(|(_, k)| !k.asked).map(|(id, _)| *id))
            .collect();
        for id in waiting {
            self.settle(id);
        }
    }

    /// Forgets a lease that has neither money nor words left.
    pub(super) fn forget(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get(&id) else {
            return;
        };
        if !lease.paid || !(lease.gone || lease.link.is_clear()) {
            return;
        }
        let node = lease.submitter;
        if let Some(old) = lease.predecessor.and_then(|p| self.leases.get_mut(&p)) {
            old.successor = None;
        }
        self.leases.remove(&id);
        for timer in [Timer::Link(id), Timer::Grace(id), Timer::Settle(id)] {
            self.timers.clear(timer);
        }
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.leases.remove(&id);
            if peer.leases.is_empty() && !peer.connected {
                self.peers.remove(&node);
            }
        }
    }

    pub(super) fn on_kept_receipt(
        &mut self,
        id: LeaseId,
        hold: HoldId,
        expires: Timestamp,
        receipt: Box<Countersigned>,
    ) {
        if self.kept.len() >= MAX_SETTLING || self.leases.contains_key(&id) {
            return;
        }
        let Ok(r) = receipt.receipt.peek() else {
            return;
        };
        let command = self.ids.command();
        self.kept.insert(
            id,
            Kept {
                hold,
                expires,
                command,
                receipt,
                submitter: r.submitter,
                amount: r.amount,
                asked: false,
                pause: self.config.authority_pause,
            },
        );
        self.capture_kept(id);
    }

    fn capture_kept(&mut self, id: LeaseId) {
        let now = self.now;
        let Some(kept) = self.kept.get_mut(&id) else {
            return;
        };
        if kept.asked {
            return;
        }
        if now >= kept.expires {
            let amount = kept.amount;
            self.unpaid(id, amount, "hold.expired");
            self.paid(id);
            return;
        }
        kept.asked = true;
        let effect = Effect::Capture {
            lease: id,
            hold: kept.hold,
            command: kept.command,
            receipt: kept.receipt.clone(),
        };
        self.effects.push_back(effect);
    }
}
