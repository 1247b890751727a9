//! What workers say.

use super::{Effect, Submitter, job::LeaseNo, lease::Phase};
use crate::link::Taken;
use hive_protocol::{
    ids::{LeaseId, NodeId, TaskIndex},
    work::{LeaseBody, MAX_LOG_CHUNK, WorkMsg},
};

impl Submitter {
    pub(super) fn on_message(&mut self, from: NodeId, message: WorkMsg) {
        self.heard_from(from);
        match message {
            WorkMsg::LeaseAccept { lease, slots, price } => self.on_accept(from, lease, slots, price),
            WorkMsg::LeaseRefuse { lease, code, detail } => self.on_refuse(from, lease, &code, &detail),
            WorkMsg::Resume { lease, seen } => self.on_resume(from, lease, seen),
            WorkMsg::Unknown { lease } => {
                if let Some(no) = self.lease_of(from, lease) {
                    self.lose(no, "the worker does not know this lease any more");
                }
            }
            WorkMsg::Lease {
                lease,
                seq,
                ack,
                body,
            } => self.on_lease_message(from, lease, seq, ack, body),
            WorkMsg::Ack { lease, ack } => self.on_ack(from, lease, ack),
            WorkMsg::Log {
                lease,
                index,
                attempt,
                stderr,
                bytes,
            } => {
                if let Some(no) = self.lease_of(from, lease) {
                    self.on_log(no, index, attempt, stderr, bytes);
                }
            }
            // Offers come with a checked credential as an input of their own; requests are for workers.
            WorkMsg::Offer(_) | WorkMsg::LeaseRequest(_) => self.counters.misdirected += 1,
        }
    }

    fn on_log(&mut self, no: LeaseNo, index: TaskIndex, attempt: u16, stderr: bool, mut bytes: Vec<u8>) {
        bytes.truncate(MAX_LOG_CHUNK);
        let Some(lease) = self.leases.get(&no) else {
            return;
        };
        if lease.assigned.get(&index).is_some_and(|h| h.attempt == attempt) {
            let (job, node) = (lease.job, lease.node);
            self.effects.push_back(Effect::Log {
                job,
                index,
                attempt,
                node,
                stderr,
                bytes,
            });
        }
    }

    fn on_refuse(&mut self, from: NodeId, id: LeaseId, code: &str, detail: &str) {
        let Some(no) = self.lease_of(from, id) else {
            return;
        };
        if self.leases.get(&no).is_some_and(|l| l.phase == Phase::Requesting) {
            // Being full is no fault; anything else will not be better in a moment.
            let strike = code != "lease.no_room";
            let code: String = code.chars().take(64).collect();
            let detail: String = detail.chars().take(512).collect();
            self.refused(no, &code, &detail, strike);
        }
    }

    /// The lease a peer speaks of, if it is still spoken about.
    fn speaking(&self, from: NodeId, id: LeaseId) -> Option<LeaseNo> {
        let no = self.lease_of(from, id)?;
        self.leases
            .get(&no)
            .filter(|l| !l.gone && !matches!(l.phase, Phase::Holding | Phase::Requesting))
            .map(|l| l.no)
    }

    fn on_resume(&mut self, from: NodeId, id: LeaseId, seen: u64) {
        let Some(no) = self.speaking(from, id) else {
            // While the request is open its answer decides, not a resume.
            if self.lease_of(from, id).is_none_or(|no| self.is_over(no)) {
                self.send(from, WorkMsg::Unknown { lease: id });
            }
            return;
        };
        let now = self.now;
        let Some(lease) = self.leases.get_mut(&no) else {
            return;
        };
        match lease.link.on_resume(now, seen) {
            Some(messages) => {
                for message in messages {
                    self.send(from, message);
                }
            }
            None => self.broken(no),
        }
        self.refill(no);
        self.dirty_leases.insert(no);
    }

    fn is_over(&self, no: LeaseNo) -> bool {
        self.leases.get(&no).is_none_or(|l| l.gone)
    }

    fn on_ack(&mut self, from: NodeId, id: LeaseId, ack: u64) {
        let now = self.now;
        let Some(no) = self.speaking(from, id) else {
            return;
        };
        let Some(lease) = self.leases.get_mut(&no) else {
            return;
        };
        if lease.link.ack(now, ack) {
            self.refill(no);
        } else {
            self.broken(no);
        }
        self.dirty_leases.insert(no);
    }

    /// The link may have room again.
    fn refill(&mut self, no: LeaseNo) {
        if let Some(lease) = self.leases.get(&no)
            && lease.takes()
            && let Some(job) = self.jobs.get_mut(&lease.job)
            && job.totals.waiting > 0
        {
            job.refill.insert(no);
            self.dirty_jobs.insert(lease.job);
        }
    }

    fn on_lease_message(&mut self, from: NodeId, id: LeaseId, seq: u64, ack: u64, body: LeaseBody) {
        let Some(no) = self.speaking(from, id) else {
            if self.lease_of(from, id).is_none_or(|no| self.is_over(no)) {
                self.send(from, WorkMsg::Unknown { lease: id });
            }
            return;
        };
        let now = self.now;
        let Some(lease) = self.leases.get_mut(&no) else {
            return;
        };
        match lease.link.take(now, seq, ack) {
            Taken::Use => self.on_body(no, body),
            Taken::Duplicate => self.counters.duplicates += 1,
            Taken::Gap => {
                self.counters.gaps += 1;
                if let Some(complaint) = lease.link.complain(now) {
                    self.send(from, complaint);
                }
            }
            Taken::Broken => self.broken(no),
        }
        self.dirty_leases.insert(no);
    }

    fn on_body(&mut self, no: LeaseNo, body: LeaseBody) {
        let settling = self.leases.get(&no).is_none_or(|l| l.phase == Phase::Settling);
        if settling {
            return; // Acknowledged, and otherwise too late.
        }
        match body {
            LeaseBody::Started(started) => self.on_started(no, started),
            LeaseBody::Results(results) => self.on_results(no, results),
            LeaseBody::Receipt(receipt) => self.on_receipt(no, receipt),
            LeaseBody::Closed { code, detail, .. } => {
                let code: String = code.chars().take(64).collect();
                let detail: String = detail.chars().take(512).collect();
                let fault = matches!(code.as_str(), "exec.died" | "store.quota");
                if fault && let Some(lease) = self.leases.get(&no) {
                    let node = lease.node;
                    self.pause_worker(node, 1);
                }
                self.over(no, &code, &detail, fault);
            }
            LeaseBody::Log {
                index,
                attempt,
                stderr,
                bytes,
            } => self.on_log(no, index, attempt, stderr, bytes),
            // Only submitters say these.
            LeaseBody::Tasks(_)
            | LeaseBody::Cancel(_)
            | LeaseBody::Countersign(_)
            | LeaseBody::RefuseReceipt { .. }
            | LeaseBody::Close => self.broken(no),
        }
    }

    /// The peer says what cannot be: the lease is over.
    fn broken(&mut self, no: LeaseNo) {
        self.counters.broken += 1;
        if let Some(lease) = self.leases.get(&no) {
            let (node, id) = (lease.node, lease.id);
            self.send(node, WorkMsg::Unknown { lease: id });
            self.lose(no, "the worker broke the protocol");
        }
    }
}
