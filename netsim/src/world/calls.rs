//! A node's calls to the authority: signed commands over a lossy way, answered once or not at all.

use super::{
    CallFor, Happen, World,
    authority::{Reply, Request},
};
use crate::plant::Plant;
use hive_protocol::{
    command::{Command, CommandBody, Refusal},
    ids::CommandId,
    keys::Signed,
    time::Millis,
};
use hive_scheduler::{submitter, worker};

/// A call without an answer is given up after this long.
const TIMEOUT: u64 = 3_000;
/// Commands are valid for this long.
const COMMAND_LIFE: Millis = Millis::mins(5);
/// A node is heard of, and renews its credential, this often.
const BEAT_EVERY: u64 = 20_000;
/// The same while no authority answers.
const BEAT_AGAIN: u64 = 3_000;

impl World {
    /// Signs a command with the node's key and sends it.
    pub(super) fn command(&mut self, n: usize, what: CallFor, id: CommandId, body: CommandBody) {
        let node = &self.nodes[n];
        let command = Command {
            network: self.authority.network,
            account: node.account,
            id,
            not_after: node.clock(self.now) + COMMAND_LIFE,
            body,
        };
        match Signed::sign(&node.key, &command) {
            Ok(signed) => self.call(n, what, Request::Command(signed)),
            Err(e) => self.failed(n, what, Refusal::new("command.encoding", e.to_string())),
        }
    }

    fn call(&mut self, n: usize, what: CallFor, request: Request) {
        self.number += 1;
        let call = self.number;
        let life = self.nodes[n].life;
        self.nodes[n].calls.insert(call, what);
        self.later(TIMEOUT, Happen::CallTimeout { node: n, life, call });
        for copy in 0..self.copies() {
            // A repeated one may come much later.
            let after = self.latency()
                + self.held_up(self.plan.weather.delay)
                + u64::from(copy) * self.rng.below(90_000);
            self.later(
                after,
                Happen::ToAuthority {
                    from: n,
                    life,
                    call,
                    request: Box::new(request.clone()),
                },
            );
        }
    }

    pub(super) fn call_timeout(&mut self, n: usize, life: u64, call: u64) {
        if self.nodes[n].life != life || !self.nodes[n].alive {
            return;
        }
        let Some(what) = self.nodes[n].calls.remove(&call) else {
            return;
        };
        if std::mem::replace(&mut self.nodes[n].authority_up, false) {
            self.note(n, format_args!("no authority answers"));
            self.tell_submitter(n, submitter::Input::AuthorityDown);
            self.tell_worker(n, worker::Input::AuthorityDown);
        }
        self.failed(
            n,
            what,
            Refusal::new("authority.timeout", "no answer within three seconds"),
        );
    }

    fn failed(&mut self, n: usize, what: CallFor, refusal: Refusal) {
        match what {
            CallFor::Hold(lease) => {
                self.tell_submitter(n, submitter::Input::HoldRefused { lease, refusal });
            }
            CallFor::SubmitterCapture(lease) => {
                self.tell_submitter(n, submitter::Input::CaptureFailed { lease, refusal });
            }
            CallFor::WorkerCapture(lease) => {
                self.tell_worker(n, worker::Input::CaptureFailed { lease, refusal });
            }
            CallFor::Release(lease) => self.tell_worker(n, worker::Input::ReleaseDone { lease }),
            CallFor::Renew => {}
        }
    }

    pub(super) fn answered(&mut self, n: usize, life: u64, call: u64, reply: Reply) {
        if self.nodes[n].life != life || !self.nodes[n].alive || !self.reachable(n, self.nodes.len()) {
            return;
        }
        let Some(what) = self.nodes[n].calls.remove(&call) else {
            return;
        };
        if !std::mem::replace(&mut self.nodes[n].authority_up, true) {
            self.note(n, format_args!("an authority answers again"));
            self.tell_submitter(n, submitter::Input::AuthorityUp);
            self.tell_worker(n, worker::Input::AuthorityUp);
        }
        let unanswered = self.plant == Some(Plant::UnansweredCapture);
        match (what, reply) {
            (CallFor::SubmitterCapture(_) | CallFor::WorkerCapture(_), _) if unanswered => {}
            (
                CallFor::Hold(lease),
                Reply::Done {
                    grant: Some((grant, signed)),
                    ..
                },
            ) => {
                // The shell verifies the grant as it would any peer's document.
                if signed.verify_by(&self.authority.id.0).is_ok_and(|g| g == grant) {
                    let grant = Box::new(grant);
                    self.tell_submitter(n, submitter::Input::HoldGranted { lease, grant, signed });
                }
            }
            (CallFor::SubmitterCapture(lease), Reply::Done { paid, .. }) => {
                self.tell_submitter(n, submitter::Input::CaptureDone { lease, paid });
            }
            (CallFor::WorkerCapture(lease), Reply::Done { paid, .. }) => {
                self.tell_worker(n, worker::Input::CaptureDone { lease, paid });
            }
            (CallFor::Release(lease), Reply::Done { .. }) => {
                self.tell_worker(n, worker::Input::ReleaseDone { lease });
            }
            (CallFor::Renew, Reply::Credential(signed, credential)) => {
                self.nodes[n].credential = Some((signed, credential));
                self.give_credential(n);
            }
            (what, Reply::Refused(refusal)) => {
                self.note(n, format_args!("{what:?} {}", refusal.code));
                self.failed(n, what, refusal);
            }
            (what, _) => self.failed(
                n,
                what,
                Refusal::new("authority.confused", "not an answer to this"),
            ),
        }
    }

    /// Tells a node's cores of its own credential.
    pub(super) fn give_credential(&mut self, n: usize) {
        let Some((_, credential)) = self.nodes[n].credential.clone() else {
            return;
        };
        let credential = Box::new(credential);
        self.tell_submitter(n, submitter::Input::OwnCredential(credential.clone()));
        self.tell_worker(n, worker::Input::OwnCredential(credential));
    }

    /// Presence by gossip and renewal of the credential.
    pub(super) fn beat(&mut self, n: usize) {
        if !self.nodes[n].alive {
            self.later(BEAT_EVERY, Happen::Beat { node: n });
            return;
        }
        let renewing = self.nodes[n].calls.values().any(|c| matches!(c, CallFor::Renew));
        if !renewing {
            let id = self.nodes[n].id;
            self.call(n, CallFor::Renew, Request::Renew(id));
        }
        let after = if self.nodes[n].authority_up {
            BEAT_EVERY
        } else {
            BEAT_AGAIN
        };
        self.later(after, Happen::Beat { node: n });
        let node = &self.nodes[n];
        let (Some((_, credential)), Some(worker)) = (&node.credential, &node.worker) else {
            return;
        };
        let facts = submitter::NodeFacts {
            credential: credential.clone(),
            capabilities: node.terms.capabilities.clone(),
            free: worker.free().clone(),
            price: Some(node.terms.price),
            leaving: worker.is_draining(),
            online: true,
        };
        let id = node.id;
        for to in 0..self.nodes.len() {
            if self.nodes[to].submitter.is_none() || !self.reachable(n, to) {
                continue;
            }
            for copy in 0..if to == n { 1 } else { self.copies() } {
                let after = self.latency()
                    + self.held_up(self.plan.weather.delay)
                    + u64::from(copy) * self.rng.below(20_000);
                let facts = Box::new(facts.clone());
                self.submitter_later(to, after, submitter::Input::NodeSeen { node: id, facts });
            }
        }
    }
}
