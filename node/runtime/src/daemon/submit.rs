//! The submitter core's hands.

use super::{Daemon, mesh::Side};
use crate::{
    inbox::Inbox,
    jobs::{EndedTask, JobStanding},
    port::TaskState,
};
use hive_net::Topic;
use hive_protocol::{
    authority::{Answer, Ask},
    codec,
    command::{Command, CommandBody, Refusal},
    gossip::Demand,
    ids::{CommandId, JobId, LeaseId, NodeId},
    keys::Signed,
    money::MicroCpt,
    receipt::{Countersigned, HoldGrant},
    task::TaskResult,
    time::{Millis, Timestamp},
    work::{LeaseBody, LeaseRequest, WorkMsg},
};
use hive_scheduler::submitter::{DemandDraft, Effect, Input};

/// A command of the daemon is void after this long; what still matters is commanded again.
pub const COMMAND_LIFE: Millis = Millis::mins(5);

impl Daemon {
    /// Carries out all effects of the submitter core; false when there were none.
    pub(super) fn drain_submitter(&mut self) -> bool {
        let mut any = false;
        while let Some(effect) = self.mesh.as_mut().and_then(|m| m.submitter.poll_effect()) {
            any = true;
            self.submitter_effect(effect);
        }
        any
    }

    fn submitter_effect(&mut self, effect: Effect) {
        match effect {
            Effect::PublishDemand(draft) => self.publish_demand(*draft),
            Effect::WithdrawDemand { .. } => {}
            Effect::RequestHold {
                lease,
                hold,
                command,
                payee,
                amount,
                expires,
                ..
            } => {
                let body = CommandBody::Hold {
                    hold,
                    lease,
                    payee,
                    amount,
                    expires,
                };
                self.ask_hold(lease, command, body);
            }
            Effect::RequestLease { to, request } => {
                let Some(mesh) = self.mesh.as_mut() else { return };
                let Some((credential, _)) = mesh.standing.credential() else {
                    return;
                };
                mesh.grants
                    .allow(request.lease, to, [request.program.module.hash]);
                let message = WorkMsg::LeaseRequest(Box::new(LeaseRequest {
                    lease: request.lease,
                    demand: request.demand,
                    job: request.job,
                    slots: request.slots,
                    price: request.price,
                    hold: request.hold,
                    credential,
                    program: (*request.program).clone(),
                }));
                self.send_work(Side::Submitter, to, message);
            }
            Effect::Send { to, message } => {
                if let WorkMsg::Lease {
                    lease,
                    body: LeaseBody::Tasks(orders),
                    ..
                } = &message
                    && let Some(mesh) = self.mesh.as_ref()
                {
                    let blobs = orders.iter().flat_map(|o| o.spec.blobs());
                    mesh.grants
                        .allow(*lease, to, blobs.filter(|b| b.inline.is_none()).map(|b| b.hash));
                }
                self.send_work(Side::Submitter, to, message);
            }
            Effect::Connect { to } => {
                if let Some(mesh) = self.mesh.as_mut()
                    && to != mesh.standing.node()
                {
                    let addrs = mesh.directory.addrs(&to);
                    mesh.work.connect(to, addrs);
                }
            }
            Effect::FetchResult {
                from,
                lease,
                job,
                result,
            } => self.fetch_result(from, lease, job, *result),
            Effect::Countersign { lease, receipt } => {
                let receipt = Box::new(Countersigned::sign(&self.identity.node, receipt));
                let now = self.clock.now();
                if let Some(mesh) = self.mesh.as_mut() {
                    mesh.submitter
                        .handle(now, Input::Countersigned { lease, receipt });
                }
            }
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
                        let _ = post.send(Inbox::Submitter(Box::new(input))).await;
                    }
                });
            }
            Effect::JournalTask { job, index, record } => {
                let ended = EndedTask::of(&record);
                if let Err(e) = self.journal.put_ended(job, index, &ended) {
                    self.fatal = Some(format!("cannot journal task {index:?} of {job}: {e}"));
                }
                if let Some(entry) = self.book.jobs.get_mut(&job) {
                    entry.ended(index, &ended);
                }
                self.metrics.task_ended(&ended);
                self.logs.end(job, index);
                self.waiters.task_ended(job, index);
            }
            Effect::UnjournalTask { job, index } => {
                self.journal.delete_ended(job, index);
                if let Some(entry) = self.book.jobs.get_mut(&job) {
                    entry.set(index, TaskState::Queued, None, None);
                }
            }
            Effect::JournalJob { job, record } => self.journal_job(job, &record),
            Effect::Log {
                job,
                index,
                attempt,
                stderr,
                bytes,
                ..
            } => {
                self.logs.push(job, index, attempt, stderr, bytes);
            }
            Effect::Event(event) => self.submitter_event(event),
        }
    }

    fn journal_job(&mut self, job: JobId, record: &hive_scheduler::submitter::JobRecord) {
        let now = self.clock.now();
        let Some(entry) = self.book.jobs.get_mut(&job) else {
            return;
        };
        let ended = match (record.state.is_final(), entry.standing.ended) {
            (false, _) => Timestamp(0),
            (true, Timestamp(0)) => now,
            (true, at) => at,
        };
        entry.standing = JobStanding::of(record, ended);
        if let Err(e) = self.journal.put_standing(job, &entry.standing) {
            self.fatal = Some(format!("cannot journal job {job}: {e}"));
        }
        self.waiters.job_changed(job);
    }

    fn publish_demand(&mut self, draft: DemandDraft) {
        let Some(mesh) = self.mesh.as_mut() else { return };
        let Some((credential, own)) = mesh.standing.credential() else {
            return;
        };
        let demand = Demand {
            id: draft.id,
            job: draft.job,
            submitter: mesh.standing.node(),
            credential,
            addrs: mesh
                .net
                .told_addrs()
                .into_iter()
                .take(hive_protocol::member::MAX_ADDRS)
                .collect(),
            runtime: draft.runtime,
            need: draft.need,
            slots: draft.slots,
            placement: draft.placement,
            max_price: draft.max_price,
            issued: draft.issued,
            expires: draft.expires,
        };
        self.metrics.demands.inc();
        let now = self.clock.now();
        if let Some(worker) = mesh.worker.as_mut() {
            // Gossip does not come back to its author: our own worker hears of it here.
            let input = hive_scheduler::worker::Input::DemandHeard {
                demand: Box::new(demand.clone()),
                credential: Box::new(own),
            };
            worker.handle(now, input);
        }
        match codec::seal(&demand) {
            Ok(bytes) => {
                let net = mesh.net.clone();
                tokio::spawn(async move {
                    match net.publish(Topic::Demand, bytes).await {
                        Ok(true) => {}
                        Ok(false) => {
                            tracing::debug!(target: "hive_runtime::gossip", "nobody hears demands at the moment")
                        }
                        Err(e) => {
                            tracing::warn!(target: "hive_runtime::gossip", code = e.code(), "demand not published: {e}")
                        }
                    }
                });
            }
            Err(e) => tracing::error!(target: "hive_runtime::gossip", "cannot encode a demand: {e}"),
        }
    }

    /// Signs a command of this account.
    pub(super) fn command(&self, id: CommandId, body: CommandBody) -> Result<Signed<Command>, Refusal> {
        let mesh = self
            .mesh
            .as_ref()
            .ok_or_else(|| Refusal::new("member.unjoined", "this node belongs to no mesh"))?;
        let command = Command {
            network: mesh.standing.network(),
            account: self.identity.account_id(),
            id,
            not_after: self.clock.now() + COMMAND_LIFE,
            body,
        };
        Signed::sign(&self.identity.account, &command)
            .map_err(|e| Refusal::new("daemon.fault", e.to_string()))
    }

    fn ask_hold(&mut self, lease: LeaseId, id: CommandId, body: CommandBody) {
        let signed = self.command(id, body);
        let Some(mesh) = self.mesh.as_ref() else { return };
        let (authority, standing, post) = (mesh.authority.clone(), mesh.standing.clone(), self.post.clone());
        tokio::spawn(async move {
            let asked = async {
                match authority.ask(Ask::Submit(signed?)).await? {
                    Answer::Done(done) => done
                        .grant
                        .ok_or_else(|| Refusal::new("hold.no_grant", "the authority gave no grant")),
                    _ => Err(Refusal::new(
                        "authority.answer",
                        "the authority answered something else",
                    )),
                }
            };
            let granted = asked.await.and_then(|signed| {
                let bad = |e: String| Refusal::new("hold.bad_grant", e);
                if !standing.is_authority(&signed.signer) {
                    return Err(bad("not signed by an authority".to_owned()));
                }
                let grant: HoldGrant = signed.verify().map_err(|e| bad(e.to_string()))?;
                Ok((grant, signed))
            });
            let input = match granted {
                Ok((grant, signed)) => Input::HoldGranted {
                    lease,
                    grant: Box::new(grant),
                    signed,
                },
                Err(refusal) => Input::HoldRefused { lease, refusal },
            };
            let _ = post.send(Inbox::Submitter(Box::new(input))).await;
        });
    }

    /// Sends a capture and tells what came of it.
    pub(super) fn capture<F, T>(&self, id: CommandId, receipt: Countersigned, tell: F)
    where
        F: FnOnce(Result<MicroCpt, Refusal>) -> T + Send + 'static,
        T: Future<Output = ()> + Send,
    {
        let signed = self.command(id, CommandBody::Capture { receipt });
        let Some(mesh) = self.mesh.as_ref() else { return };
        let authority = mesh.authority.clone();
        tokio::spawn(async move {
            let asked = async {
                match authority.ask(Ask::Submit(signed?)).await? {
                    Answer::Done(done) => Ok(done.paid),
                    _ => Err(Refusal::new(
                        "authority.answer",
                        "the authority answered something else",
                    )),
                }
            };
            tell(asked.await).await;
        });
    }

    fn fetch_result(&mut self, from: NodeId, lease: LeaseId, job: JobId, result: TaskResult) {
        let Some(mesh) = self.mesh.as_ref() else { return };
        let (fetcher, store, post) = (mesh.fetcher.clone(), self.store.clone(), self.post.clone());
        tokio::spawn(async move {
            let (index, attempt) = (result.index, result.attempt);
            let pin = job_pin(job);
            let mut input = Input::ResultStored { job, index, attempt };
            for blob in result.blobs().filter(|b| b.inline.is_none()) {
                let pinned = store
                    .pin(blob.hash, &pin, None)
                    .map_err(|e| (e.code().to_owned(), e.to_string()));
                let fetched = fetcher.fetch(from, lease, blob).await.map_err(|e| {
                    // Our own full disk must not look like the worker's fault, nor be tried again elsewhere.
                    let code = if e.ours { "store.quota".to_owned() } else { e.code };
                    (code, e.detail)
                });
                if let Err((code, detail)) = pinned.and(fetched) {
                    input = Input::ResultStoreFailed {
                        job,
                        index,
                        attempt,
                        code,
                        detail,
                    };
                    break;
                }
            }
            let _ = post.send(Inbox::Submitter(Box::new(input))).await;
        });
    }
}

/// The name blobs of a job are pinned under.
pub(super) fn job_pin(job: JobId) -> String {
    format!("job {job}")
}
