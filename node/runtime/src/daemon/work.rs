//! The worker core's hands, and the routing of messages between peers and the two cores.

use super::{
    Daemon,
    mesh::Side,
    route::{check_request, lease_of, side_of},
};
use crate::{inbox::Inbox, jobs::KeptReceipt};
use hive_protocol::{
    authority::{Answer, Ask},
    command::{CommandBody, Refusal},
    ids::{LeaseId, NodeId},
    keys::Signed,
    task::{Outcome, TaskResult, Usage},
    work::{Offer, WorkMsg},
};
use hive_scheduler::{
    submitter,
    worker::{Effect, Event, Input},
};

/// Messages to ourselves that may wait: both cores' windows together.
const MAX_LOOPBACK: usize = 1 << 16;

impl Daemon {
    pub(super) fn worker_input(&mut self, input: Input) {
        let now = self.clock.now();
        if let Some(worker) = self.mesh.as_mut().and_then(|m| m.worker.as_mut()) {
            worker.handle(now, input);
        }
    }

    /// Sends a message of one core to a peer, or to the other core of this node.
    pub(super) fn send_work(&mut self, from: Side, to: NodeId, message: WorkMsg) {
        let Some(mesh) = self.mesh.as_mut() else { return };
        if to != mesh.standing.node() {
            mesh.work.send(to, message);
            return;
        }
        let side = if from == Side::Submitter {
            Side::Worker
        } else {
            Side::Submitter
        };
        if mesh.loopback.len() < MAX_LOOPBACK {
            mesh.loopback.push_back((side, message));
        } else {
            tracing::error!(target: "hive_runtime::work", "messages to ourselves pile up: one is dropped");
        }
    }

    /// Hands messages to ourselves to the other core; false when there were none.
    pub(super) fn drain_loopback(&mut self) -> bool {
        let Some(mesh) = self.mesh.as_mut() else {
            return false;
        };
        let me = mesh.standing.node();
        let batch = std::mem::take(&mut mesh.loopback);
        let any = !batch.is_empty();
        for (side, message) in batch {
            self.work_message(me, message, Some(side));
        }
        any
    }

    /// A message of a peer (or of ourselves, `side` says for which core).
    pub(super) fn work_message(&mut self, from: NodeId, message: WorkMsg, side: Option<Side>) {
        let now = self.clock.now();
        let Some(mesh) = self.mesh.as_mut() else { return };
        match message {
            WorkMsg::Offer(offer) => match mesh.standing.check(&offer.credential, from) {
                Ok(credential) => {
                    let input = submitter::Input::OfferReceived {
                        from,
                        offer,
                        credential: Box::new(credential),
                    };
                    mesh.submitter.handle(now, input);
                }
                Err(e) => {
                    tracing::warn!(target: "hive_runtime::work", ?from, "an offer without a good credential: {e}")
                }
            },
            WorkMsg::LeaseRequest(request) => {
                let checked = check_request(mesh, from, &request);
                if let Some(worker) = mesh.worker.as_mut() {
                    worker.handle(
                        now,
                        Input::LeaseRequested {
                            from,
                            request,
                            checked,
                        },
                    );
                } else {
                    let refuse = WorkMsg::LeaseRefuse {
                        lease: request.lease,
                        code: "lease.runtime".to_owned(),
                        detail: "this node is no worker".to_owned(),
                    };
                    self.send_work(Side::Worker, from, refuse);
                }
            }
            message => {
                let to = side.unwrap_or_else(|| side_of(mesh, &message));
                match (to, mesh.worker.as_mut()) {
                    (Side::Worker, Some(worker)) => worker.handle(now, Input::Message { from, message }),
                    (Side::Worker, None) => {
                        if let Some(lease) = lease_of(&message) {
                            self.send_work(Side::Worker, from, WorkMsg::Unknown { lease });
                        }
                    }
                    (Side::Submitter, _) => {
                        mesh.submitter
                            .handle(now, submitter::Input::Message { from, message });
                    }
                }
            }
        }
    }

    /// A work stream to a peer is up.
    pub(super) fn work_up(&mut self, node: NodeId) {
        let now = self.clock.now();
        if let Some(mesh) = self.mesh.as_mut() {
            mesh.submitter
                .handle(now, submitter::Input::PeerConnected { node });
            if let Some(worker) = mesh.worker.as_mut() {
                worker.handle(now, Input::PeerConnected { node });
            }
        }
    }

    /// A work stream to a peer is gone.
    pub(super) fn work_lost(&mut self, node: NodeId) {
        let now = self.clock.now();
        if let Some(mesh) = self.mesh.as_mut() {
            mesh.submitter.handle(now, submitter::Input::PeerLost { node });
            if let Some(worker) = mesh.worker.as_mut() {
                worker.handle(now, Input::PeerLost { node });
            }
        }
    }

    /// A submitter whose stream broke may be there all the same: back from the dead, it is asked at once whether
    /// it still knows its leases, instead of their slots being kept for it.
    pub(super) fn work_resume(&mut self, node: NodeId) {
        if self.works_for(node)
            && let Some(mesh) = self.mesh.as_mut()
        {
            mesh.work.connect(node, Vec::new());
        }
    }

    /// Whether this worker holds a lease of that node that is not over.
    pub(super) fn works_for(&self, node: NodeId) -> bool {
        let leases =
            |w: &hive_scheduler::worker::Worker| w.leases().any(|l| l.submitter == node && !l.settling);
        self.mesh
            .as_ref()
            .is_some_and(|m| m.worker.as_ref().is_some_and(leases))
    }

    /// The way to ourselves is always up.
    pub(super) fn self_connected(&mut self) {
        if let Some(node) = self.mesh.as_ref().map(|m| m.standing.node()) {
            self.work_up(node);
        }
    }

    /// Sends what was gathered for all peers.
    pub(super) fn flush_work(&mut self) {
        let lost = self.mesh.as_mut().map(|m| m.work.flush()).unwrap_or_default();
        for node in lost {
            self.work_lost(node);
        }
    }

    /// Carries out all effects of the worker core; false when there were none.
    pub(super) fn drain_worker(&mut self) -> bool {
        let mut any = false;
        while let Some(effect) = self
            .mesh
            .as_mut()
            .and_then(|m| m.worker.as_mut())
            .and_then(|w| w.poll_effect())
        {
            any = true;
            self.worker_effect(effect);
        }
        any
    }

    fn worker_effect(&mut self, effect: Effect) {
        let Some(mesh) = self.mesh.as_mut() else { return };
        match effect {
            Effect::SendOffer { to, addrs, offer } => {
                let Some((credential, _)) = mesh.standing.credential() else {
                    return;
                };
                if to != mesh.standing.node() {
                    mesh.work.connect(to, addrs);
                }
                let message = WorkMsg::Offer(Box::new(Offer {
                    demand: offer.demand,
                    slots: offer.slots,
                    price: offer.price,
                    load_milli: offer.load_milli,
                    capabilities: offer.capabilities,
                    free: offer.free,
                    credential,
                    expires: offer.expires,
                }));
                self.send_work(Side::Worker, to, message);
            }
            Effect::Send { to, message } => self.send_work(Side::Worker, to, message),
            Effect::StartExecutor {
                lease,
                from,
                slots,
                program,
            } => mesh.exec.start(lease, from, slots, program),
            Effect::StopExecutor { lease } => mesh.exec.stop(lease),
            Effect::FetchBlobs {
                lease,
                from,
                index,
                attempt,
                blobs,
                stdin,
            } => {
                mesh.exec.fetch(lease, from, (index, attempt), blobs, stdin);
            }
            Effect::RunTask { lease, order } => {
                let (index, attempt) = (order.index, order.attempt);
                if !mesh.exec.run(lease, order) {
                    let result = TaskResult {
                        index,
                        attempt,
                        outcome: Outcome::Failed {
                            code: "exec.busy".to_owned(),
                            detail: "the executor takes no more tasks".to_owned(),
                            retryable: true,
                        },
                        stdout: None,
                        stderr: None,
                        outputs: Vec::new(),
                        usage: Usage::default(),
                    };
                    self.worker_input(Input::TaskDone {
                        lease,
                        result: Box::new(result),
                    });
                }
            }
            Effect::CancelTask {
                lease,
                index,
                attempt,
            } => mesh.exec.cancel(lease, index, attempt),
            Effect::SignReceipt { lease, receipt } => match Signed::sign(&self.identity.node, &*receipt) {
                Ok(receipt) => self.worker_input(Input::ReceiptSigned { lease, receipt }),
                Err(e) => tracing::error!(target: "hive_runtime::work", "cannot sign a receipt: {e}"),
            },
            Effect::KeepReceipt {
                lease,
                hold,
                expires,
                receipt,
            } => {
                let kept = KeptReceipt {
                    lease,
                    hold,
                    expires,
                    receipt: *receipt,
                };
                if let Err(e) = self.journal.put_receipt(&kept) {
                    self.fatal = Some(format!("cannot keep a receipt: {e}"));
                }
            }
            Effect::DropReceipt { lease } => self.journal.delete_receipt(lease),
            Effect::Capture {
                lease,
                command,
                receipt,
                ..
            } => {
                let post = self.post.clone();
                self.capture(command, *receipt, move |outcome| {
                    let input = match outcome {
                        Ok(paid) => Input::CaptureDone { lease, paid },
                        Err(refusal) => Input::CaptureFailed { lease, refusal },
                    };
                    async move {
                        let _ = post.send(Inbox::Worker(Box::new(input))).await;
                    }
                });
            }
            Effect::Release { lease, hold, command } => {
                self.release(lease, command, CommandBody::Release { hold })
            }
            Effect::ResourcesChanged { free, running } => {
                mesh.vital.send_if_modified(|v| {
                    let changed = v.free != free || v.running != running;
                    (v.free, v.running) = (free.clone(), running);
                    changed
                });
            }
            Effect::Event(event) => self.worker_event(event),
        }
    }

    fn release(&self, lease: LeaseId, id: hive_protocol::ids::CommandId, body: CommandBody) {
        let signed = self.command(id, body);
        let Some(mesh) = self.mesh.as_ref() else { return };
        let (authority, post) = (mesh.authority.clone(), self.post.clone());
        tokio::spawn(async move {
            if let Ok(signed) = signed {
                let answer: Result<Answer, Refusal> = authority.ask(Ask::Submit(signed)).await;
                if let Err(refusal) = answer {
                    tracing::debug!(target: "hive_runtime::work", code = refusal.code, "release: {}", refusal.detail);
                }
            }
            let _ = post
                .send(Inbox::Worker(Box::new(Input::ReleaseDone { lease })))
                .await;
        });
    }

    fn worker_event(&mut self, event: Event) {
        match event {
            Event::LeaseOpened {
                lease,
                submitter,
                slots,
                price,
                ..
            } => {
                self.metrics.leases.inc();
                let who = self.node_label(&submitter);
                self.events.say(
                    "lease.given",
                    lease,
                    format!("{slots} slots to {who} at {}/Gfuel", price.per_gfuel),
                );
            }
            Event::LeaseRefused {
                lease,
                submitter,
                code,
                detail,
            } => {
                let who = self.node_label(&submitter);
                self.events
                    .say("lease.denied", lease, format!("{who}: {code}: {detail}"));
            }
            Event::LeaseEnded {
                lease,
                submitter,
                code,
                detail,
                tasks,
                owed,
                ..
            } => {
                let who = self.node_label(&submitter);
                self.events.say(
                    "lease.ended",
                    lease,
                    format!("{who}: {code} {detail}: {tasks} tasks, {owed} owed"),
                );
            }
            Event::Earned {
                lease,
                submitter,
                amount,
            } => {
                if let Some(mesh) = self.mesh.as_mut() {
                    mesh.earned = mesh.earned.saturating_add(amount.0);
                }
                self.metrics.earned.inc_by(amount.0);
                let who = self.node_label(&submitter);
                self.events
                    .say("ledger.earned", lease, format!("{amount} from {who}"));
            }
            Event::Unpaid {
                lease,
                submitter,
                amount,
                code,
            } => {
                let who = self.node_label(&submitter);
                self.events
                    .say("ledger.unpaid", lease, format!("{amount} owed by {who}: {code}"));
            }
            Event::TaskStarted { .. } => {
                self.metrics.tasks_started.inc();
            }
            Event::TaskEnded { code, .. } => self.metrics.worked(&code),
            Event::ExecutorDied {
                lease,
                deaths,
                detail,
            } => {
                self.metrics.executor_deaths.inc();
                self.events
                    .say("exec.died", lease, format!("death {deaths}: {detail}"));
            }
        }
    }

    /// Captures what an earlier life of this daemon was still owed.
    pub(super) fn restore_receipts(&mut self) {
        let kept = match self.journal.receipts() {
            Ok(kept) => kept,
            Err(e) => {
                tracing::error!(target: "hive_runtime", code = e.code(), "kept receipts cannot be read: {e}");
                return;
            }
        };
        let now = self.clock.now();
        for kept in kept {
            if let Some(worker) = self.mesh.as_mut().and_then(|m| m.worker.as_mut()) {
                let input = Input::KeptReceipt {
                    lease: kept.lease,
                    hold: kept.hold,
                    expires: kept.expires,
                    receipt: Box::new(kept.receipt),
                };
                worker.handle(now, input);
            }
        }
    }
}
