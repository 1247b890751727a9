//! Carrying out what the workers' cores want, executors included.

use super::{Happen, TestHive, node::Executor};
use crate::worker;
use hive_protocol::{
    ids::{LeaseId, TaskIndex},
    keys::Signed,
    money::MicroCpt,
    time::Millis,
    work::{Offer, WorkMsg},
};

impl TestHive {
    pub(super) fn carry_out_for(&mut self, n: usize, effect: worker::Effect) {
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
            } => {
                let fetching = self.workers.get(n).map_or(0, |w| w.fetch_ms);
                let input = Input::BlobsReady {
                    lease,
                    index,
                    attempt,
                };
                self.later(Millis(latency.0 + fetching), Happen::ToWorker(n, input));
            }
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
