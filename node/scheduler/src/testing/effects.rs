//! Carrying out what the cores want, as the shell does.

use super::{Happen, Hold, HoldState, TestHive, credential, node::Executor};
use crate::{submitter, worker};
use hive_protocol::{
    credential::Credential,
    gossip::Demand,
    ids::{LeaseId, NodeId, TaskIndex},
    keys::Signed,
    money::MicroCpt,
    receipt::Countersigned,
    resources::Role,
    time::Millis,
    work::{LeaseRequest, Offer, WorkMsg},
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

    fn up(&mut self, n: usize, message: WorkMsg) {
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

    fn carry_out_for(&mut self, n: usize, effect: worker::Effect) {
        use worker::{Effect, Input};
        let latency = self.latency;
        match effect {
            Effect::SendOffer { offer, .. } => {
                let Some(w) = self.workers.get(n) else { return };
                let Ok(signed) = Signed::sign(&w.key, &w.credential) else {
                    return;
                };
                let offer = Offer {
                    demand: offer.demand,
                    slots: offer.slots,
                    price: offer.price,
                    load_milli: offer.load_milli,
                    capabilities: offer.capabilities,
                    free: offer.free,
                    credential: signed,
                    expires: offer.expires,
                };
                self.up(n, WorkMsg::Offer(Box::new(offer)));
            }
            Effect::Send { message, .. } => self.up(n, message),
            Effect::StartExecutor {
                lease,
                slots,
                program,
                ..
            } => {
                if let Some(w) = self.workers.get_mut(n) {
                    w.executors.insert(
                        lease,
                        Executor {
                            slots: slots as usize,
                            need: program.need.clone(),
                            ..Executor::default()
                        },
                    );
                }
                self.later(latency, Happen::ToWorker(n, Input::ExecutorReady { lease }));
            }
            Effect::StopExecutor { lease } => {
                if let Some(w) = self.workers.get_mut(n) {
                    w.executors.remove(&lease);
                }
            }
            Effect::FetchBlobs {
                lease,
                index,
                attempt,
                ..
            } => self.later(
                latency,
                Happen::ToWorker(
                    n,
                    Input::BlobsReady {
                        lease,
                        index,
                        attempt,
                    },
                ),
            ),
            Effect::RunTask { lease, order } => {
                if let Some(e) = self.workers.get_mut(n).and_then(|w| w.executors.get_mut(&lease)) {
                    e.queue.push_back(*order);
                }
                self.start_tasks(n, lease);
            }
            Effect::CancelTask {
                lease,
                index,
                attempt,
            } => self.cancel_task(n, lease, index, attempt),
            Effect::SignReceipt { lease, mut receipt } => {
                let Some(w) = self.workers.get(n) else { return };
                receipt.fuel *= w.lie;
                if w.lie > 1 {
                    receipt.amount = w.config.terms.price.cost(receipt.fuel);
                }
                if let Ok(receipt) = Signed::sign(&w.key, &*receipt) {
                    let input = Input::ReceiptSigned { lease, receipt };
                    self.later(Millis(0), Happen::ToWorker(n, input));
                }
            }
            Effect::KeepReceipt {
                lease,
                hold,
                expires,
                receipt,
            } => {
                if let Some(w) = self.workers.get_mut(n) {
                    w.kept.insert(
                        lease,
                        Input::KeptReceipt {
                            lease,
                            hold,
                            expires,
                            receipt,
                        },
                    );
                }
            }
            Effect::DropReceipt { lease } => {
                if let Some(w) = self.workers.get_mut(n) {
                    w.kept.remove(&lease);
                }
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
                self.later(latency, Happen::ToWorker(n, input));
            }
            Effect::Release { lease, hold, .. } => {
                self.authority.release(hold);
                self.later(latency, Happen::ToWorker(n, Input::ReleaseDone { lease }));
            }
            Effect::ResourcesChanged { .. } | Effect::Event(_) => {}
        }
    }

    fn start_tasks(&mut self, n: usize, lease: LeaseId) {
        let mut out = Vec::new();
        if let Some(w) = self.workers.get_mut(n) {
            let (now, epoch) = (self.now, u64::from(self.lives));
            let times = w.slow.clone();
            let usual = w.task_ms;
            let Some(e) = w.executors.get_mut(&lease) else {
                return;
            };
            while e.running.len() < e.slots {
                let Some(order) = e.queue.pop_front() else {
                    break;
                };
                let ms = Millis(times.get(&order.index.0).copied().unwrap_or(usual));
                e.running.insert(order.index, (order.attempt, now + ms));
                out.push((ms, epoch, order.index, order.attempt));
            }
        }
        for (ms, life, index, attempt) in out {
            let input = worker::Input::TaskStarted {
                lease,
                index,
                attempt,
            };
            self.later(Millis(0), Happen::ToWorker(n, input));
            self.later(ms, Happen::Done(n, life, lease, index, attempt));
        }
    }

    pub(super) fn executor_done(
        &mut self,
        n: usize,
        _life: u64,
        lease: LeaseId,
        index: TaskIndex,
        attempt: u16,
    ) {
        let now = self.now;
        let Some(w) = self.workers.get_mut(n).filter(|w| w.alive) else {
            return;
        };
        let Some(e) = w.executors.get_mut(&lease) else {
            return;
        };
        match e.running.get(&index) {
            Some((a, end)) if *a == attempt && *end <= now => {}
            _ => return,
        }
        e.running.remove(&index);
        *w.ran.entry(index.0).or_default() += 1;
        let result = Box::new(w.result(index, attempt));
        w.core.handle(now, worker::Input::TaskDone { lease, result });
        self.start_tasks(n, lease);
    }

    fn cancel_task(&mut self, n: usize, lease: LeaseId, index: TaskIndex, attempt: u16) {
        let Some(w) = self.workers.get_mut(n) else {
            return;
        };
        let Some(e) = w.executors.get_mut(&lease) else {
            return;
        };
        e.running.remove(&index);
        e.queue.retain(|o| o.index != index);
        let mut result = w.result(index, attempt);
        result.usage.fuel = 0;
        result.outcome = hive_protocol::task::Outcome::Failed {
            code: "task.cancelled".into(),
            detail: String::new(),
            retryable: true,
        };
        result.outputs.clear();
        let result = Box::new(result);
        self.later(
            Millis(0),
            Happen::ToWorker(n, worker::Input::TaskDone { lease, result }),
        );
        self.start_tasks(n, lease);
    }

    /// Kills the executor of a worker's first lease.
    pub fn kill_executor(&mut self, n: usize) {
        let Some(lease) = self
            .workers
            .get(n)
            .and_then(|w| w.executors.keys().next().copied())
        else {
            return;
        };
        if let Some(w) = self.workers.get_mut(n) {
            w.executors.remove(&lease);
        }
        self.tell(
            n,
            worker::Input::ExecutorDied {
                lease,
                detail: "killed by signal 9".into(),
            },
        );
    }

    /// What a worker's account has been paid.
    #[must_use]
    pub fn earned(&self, n: usize) -> MicroCpt {
        self.workers
            .get(n)
            .and_then(|w| self.authority.balances.get(&w.account))
            .copied()
            .unwrap_or_default()
    }
}
