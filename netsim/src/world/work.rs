//! Carrying out what the worker cores want, and moving blobs.

use super::{CallFor, Happen, KeptReceipt, Side, World};
use crate::{fault::Fault, plant::Plant, trace::Short};
use hive_protocol::{
    command::{CommandBody, Refusal},
    ids::{CommandId, JobId, LeaseId, TaskIndex},
    keys::Signed,
    money::Price,
    receipt::Receipt,
    task::{Outcome, TaskResult, Usage},
    work::{LeaseBody, LeaseRequest, Offer, WorkMsg},
};
use hive_scheduler::{
    submitter,
    worker::{Checked, Effect, Event, Input},
};

/// A blob transfer under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    /// Who fetches.
    pub node: usize,
    /// In which life.
    pub life: u64,
    /// Who has it.
    pub from: usize,
    /// What.
    pub what: What,
}

/// What is fetched.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// A result's outputs, by the submitter.
    Result {
        job: JobId,
        index: TaskIndex,
        attempt: u16,
    },
    /// A task's inputs, by the worker.
    Inputs {
        lease: LeaseId,
        index: TaskIndex,
        attempt: u16,
    },
}

impl World {
    pub(super) fn worker_effect(&mut self, n: usize, effect: Effect) {
        match effect {
            Effect::SendOffer { to, offer, .. } => {
                let (Some(peer), Some((credential, _))) =
                    (self.index_of(&to), self.nodes[n].credential.clone())
                else {
                    return;
                };
                self.dial(n, peer);
                let offer = Offer {
                    demand: offer.demand,
                    slots: offer.slots,
                    price: offer.price,
                    load_milli: offer.load_milli,
                    capabilities: offer.capabilities,
                    free: offer.free,
                    credential,
                    expires: offer.expires,
                };
                self.say(n, peer, Side::Submitter, WorkMsg::Offer(Box::new(offer)));
            }
            Effect::Send { to, message } => {
                if let Some(peer) = self.index_of(&to) {
                    let message = self.doctored(n, message);
                    self.say(n, peer, Side::Submitter, message);
                }
            }
            Effect::StartExecutor {
                lease,
                slots,
                program,
                ..
            } => {
                self.note(n, format_args!("{} executor of {slots}", Short(&lease.0)));
                self.start_executor(n, lease, slots, &program);
            }
            Effect::StopExecutor { lease } => {
                self.nodes[n].executors.remove(&lease);
            }
            Effect::FetchBlobs {
                lease,
                from,
                index,
                attempt,
                ..
            } => {
                let Some(peer) = self.index_of(&from) else { return };
                self.transfer(Transfer {
                    node: n,
                    life: self.nodes[n].life,
                    from: peer,
                    what: What::Inputs {
                        lease,
                        index,
                        attempt,
                    },
                });
            }
            Effect::RunTask { lease, order } => self.run_task(n, lease, *order),
            Effect::CancelTask {
                lease,
                index,
                attempt,
            } => self.cancel_task(n, lease, index, attempt),
            Effect::SignReceipt { lease, receipt } => self.sign_receipt(n, lease, *receipt),
            Effect::KeepReceipt {
                lease,
                hold,
                expires,
                receipt,
            } => {
                self.note(n, format_args!("{} keeps a receipt", Short(&lease.0)));
                let kept = KeptReceipt {
                    hold,
                    expires,
                    receipt,
                };
                self.nodes[n].disk.kept.insert(lease, kept);
            }
            Effect::DropReceipt { lease } => {
                self.note(n, format_args!("{} drops its receipt", Short(&lease.0)));
                self.nodes[n].disk.kept.remove(&lease);
            }
            Effect::Capture {
                lease,
                command,
                receipt,
                ..
            } => {
                let body = CommandBody::Capture { receipt: *receipt };
                self.command(n, CallFor::WorkerCapture(lease), command, body);
            }
            Effect::Release { lease, hold, command } => {
                self.command(n, CallFor::Release(lease), command, CommandBody::Release { hold });
            }
            Effect::Event(event) => self.worker_event(n, &event),
            Effect::ResourcesChanged { .. } => {}
        }
    }

    fn worker_event(&mut self, n: usize, event: &Event) {
        match event {
            Event::LeaseOpened { lease, slots, .. } => {
                self.note(n, format_args!("{} given, {slots} slots", Short(&lease.0)));
            }
            Event::LeaseRefused { lease, code, .. } => {
                self.note(n, format_args!("{} refused: {code}", Short(&lease.0)));
            }
            Event::Earned { lease, amount, .. } => {
                self.note(n, format_args!("{} earned {amount}", Short(&lease.0)));
            }
            Event::Unpaid {
                lease, amount, code, ..
            } => {
                self.oracle.count("unpaid");
                self.note(n, format_args!("{} unpaid {amount}: {code}", Short(&lease.0)));
            }
            _ => {}
        }
    }

    fn sign_receipt(&mut self, n: usize, lease: LeaseId, mut receipt: Receipt) {
        if !self.calm && self.nodes[n].plan.lies.receipts {
            self.faults.count(Fault::InflatedReceipt);
            receipt.tasks += 3;
            receipt.fuel *= 2;
            receipt.amount = self
                .oracle
                .lease(&lease)
                .map_or(Price::default(), |l| l.price)
                .cost(receipt.fuel);
        }
        if self.plant == Some(Plant::BlindCountersign) {
            self.inflate_blindly(n, lease, &mut receipt);
        }
        if let Ok(receipt) = Signed::sign(&self.nodes[n].key, &receipt) {
            let after = self.rng.below(3);
            self.worker_later(n, after, Input::ReceiptSigned { lease, receipt });
        }
    }

    /// A planted fault: twice the fuel, countersigned and captured behind the cores' backs.
    fn inflate_blindly(&mut self, n: usize, lease: LeaseId, receipt: &mut Receipt) {
        let Some((submitter, price)) = self.oracle.lease(&lease).map(|l| (l.submitter, l.price)) else {
            return;
        };
        let mut more = receipt.clone();
        more.fuel *= 2;
        more.amount = price.cost(more.fuel);
        let Ok(signed) = Signed::sign(&self.nodes[n].key, &more) else {
            return;
        };
        let receipt = self.sign_blindly(submitter, signed);
        let id = CommandId(self.rng.id());
        self.command(n, CallFor::Renew, id, CommandBody::Capture { receipt });
    }

    /// What a liar makes of its core's words.
    fn doctored(&mut self, n: usize, mut message: WorkMsg) -> WorkMsg {
        let invents = !self.calm && self.nodes[n].plan.lies.results;
        if let WorkMsg::Lease {
            lease,
            body: LeaseBody::Results(results),
            ..
        } = &mut message
        {
            // The first time for sure: a lie that a short seed might never come to tells nothing.
            let first = self.faults.get(Fault::InventedResult) == 0;
            if invents && results.len() < 100 && (first || self.rng.once_in(3)) {
                self.faults.count(Fault::InventedResult);
                for _ in 0..self.rng.range(1, 3) {
                    let index = TaskIndex(u32::try_from(self.rng.below(90)).unwrap_or(0));
                    results.push(invented(index, u16::try_from(self.rng.range(1, 3)).unwrap_or(1)));
                }
                if let Some(first) = results.first().cloned() {
                    results.push(first);
                }
            }
            let lease = *lease;
            for result in results.iter() {
                self.oracle
                    .reported(lease, result.index, result.attempt, result.usage.fuel);
            }
        }
        message
    }

    /// The daemon's checks of a lease request, before the core sees it.
    pub(super) fn lease_requested(&mut self, n: usize, peer: usize, request: LeaseRequest) {
        let lease = request.lease;
        if self.nodes[n].worker.is_none() {
            let refuse = WorkMsg::LeaseRefuse {
                lease,
                code: "lease.runtime".into(),
                detail: "this node is no worker".into(),
            };
            self.say(n, peer, Side::Submitter, refuse);
            return;
        }
        let from = self.nodes[peer].id;
        let refused = |code: &str, why: &str| Err(Refusal::new(code, why));
        let checked = match (
            request.hold.verify_by(&self.authority.id.0),
            self.check_credential(n, &request.credential, from),
        ) {
            (Ok(grant), Some(credential)) => Ok(Box::new(Checked { grant, credential })),
            (Err(_), _) => refused("lease.hold_invalid", "not signed by an authority"),
            (_, None) => refused("lease.trust", "no good credential"),
        };
        self.tell_worker(
            n,
            Input::LeaseRequested {
                from,
                request: Box::new(request),
                checked,
            },
        );
    }

    pub(super) fn transfer(&mut self, transfer: Transfer) {
        let after = self.latency() * 2 + self.rng.below(50);
        self.later(after, Happen::Fetched(Box::new(transfer)));
    }

    /// A transfer is through; whether it worked depends on who is there, and who may.
    pub(super) fn fetched(&mut self, t: Transfer) {
        let n = t.node;
        if !self.nodes[n].alive || self.nodes[n].life != t.life {
            return;
        }
        let there =
            self.nodes[t.from].alive && self.reachable(n, t.from) && !self.faulty(self.plan.weather.blob);
        match t.what {
            What::Result { job, index, attempt } => {
                let input = if there {
                    submitter::Input::ResultStored { job, index, attempt }
                } else {
                    submitter::Input::ResultStoreFailed {
                        job,
                        index,
                        attempt,
                        code: "blob.unavailable".into(),
                        detail: "nobody has it".into(),
                    }
                };
                self.tell_submitter(n, input);
            }
            What::Inputs {
                lease,
                index,
                attempt,
            } => {
                let may = self.nodes[t.from]
                    .submitter
                    .as_ref()
                    .is_some_and(|s| s.is_worker_of(&self.nodes[n].id, &lease));
                let input = if there && may {
                    Input::BlobsReady {
                        lease,
                        index,
                        attempt,
                    }
                } else {
                    Input::BlobsFailed {
                        lease,
                        index,
                        attempt,
                        code: "blob.unavailable".into(),
                        detail: "its submitter does not serve it".into(),
                    }
                };
                self.tell_worker(n, input);
            }
        }
    }
}

/// A success nobody worked for.
fn invented(index: TaskIndex, attempt: u16) -> TaskResult {
    TaskResult {
        index,
        attempt,
        outcome: Outcome::Exited(0),
        stdout: None,
        stderr: None,
        outputs: Vec::new(),
        usage: Usage {
            fuel: 10_000_000_000,
            ..Usage::default()
        },
    }
}
