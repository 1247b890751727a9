//! The membership gate on connections: who starts it, and what follows from its outcome.

use super::{Node, stream_handler::OpenRequest, table::Stage};
use crate::{
    counters::count,
    error::NetError,
    event::{Admission, NetEvent},
    gate::{self, Outcome},
    names,
    stream::NetStream,
};
use hive_protocol::member::{self, MAX_ADDRS};
use libp2p::{PeerId, swarm::ConnectionId};
use std::{sync::Arc, time::Instant};
use tokio::sync::oneshot;

/// Exchanges on one connection at a time: each side may have started one, and one more may be ending.
const MAX_GATING: u8 = 3;

/// An exchange that has ended.
pub(crate) struct GateDone {
    peer: PeerId,
    connection: ConnectionId,
    outcome: Outcome,
}

impl Node {
    /// Opens the gate's stream on a connection and talks on it.
    pub(super) fn start_gate(&mut self, peer: PeerId, connection: ConnectionId) {
        let Some(known) = self.table.get_mut(&peer) else {
            return;
        };
        let node = known.node;
        let Some(on) = known.connection(connection) else {
            return;
        };
        on.gating = on.gating.saturating_add(1);
        let (reply, opened) = oneshot::channel();
        let request = OpenRequest::new(node, member::PROTOCOL, &on.streams, reply);
        self.swarm.behaviour_mut().streams.open(peer, connection, request);
        self.talk(peer, connection, async move {
            match opened.await {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(e)) => Err((matches!(e, NetError::Lost { .. }), e.to_string())),
                Err(_) => Err((true, "the network is shut down".to_owned())),
            }
        });
    }

    /// Talks on a gate's stream the peer has opened.
    pub(super) fn answer_gate(&mut self, peer: PeerId, connection: ConnectionId, stream: libp2p::Stream) {
        let Some(known) = self.table.get_mut(&peer) else {
            return;
        };
        let node = known.node;
        let Some(on) = known.connection(connection) else {
            return;
        };
        if on.gating >= MAX_GATING {
            tracing::debug!(?node, "too many membership exchanges at once");
            return;
        }
        on.gating = on.gating.saturating_add(1);
        let first = !std::mem::replace(&mut on.greeted, true);
        let stream = NetStream::new(stream, node, member::PROTOCOL, on.streams.enter(), None);
        self.talk(peer, connection, async move { Ok(stream) });
        if first {
            self.connection_counts(peer);
        }
    }

    fn talk(
        &self,
        peer: PeerId,
        connection: ConnectionId,
        stream: impl Future<Output = Result<NetStream, (bool, String)>> + Send + 'static,
    ) {
        let (gate, gates) = (Arc::clone(&self.gate), self.gates.clone());
        let mut listen = self.shared.told_addrs();
        listen.truncate(MAX_ADDRS);
        tokio::spawn(async move {
            let outcome = match stream.await {
                Ok(stream) => gate::exchange(stream, gate.as_ref(), listen).await,
                Err((lost, detail)) => Outcome {
                    hello: None,
                    admission: gate::unsaid("member.no_exchange", detail),
                    judged: false,
                    lost,
                },
            };
            // An error means that the loop has ended.
            let _ = gates
                .send(GateDone {
                    peer,
                    connection,
                    outcome,
                })
                .await;
        });
    }

    pub(super) fn on_gate(&mut self, done: GateDone) {
        let GateDone {
            peer,
            connection,
            outcome,
        } = done;
        let Some(known) = self.table.get_mut(&peer) else {
            return;
        };
        if let Some(on) = known.connection(connection) {
            on.gating = on.gating.saturating_sub(1);
        }
        let passed = outcome.admission == Admission::Member;
        count(if passed {
            &self.shared.tally.gate_passed
        } else {
            &self.shared.tally.gate_refused
        });
        if let Some(hello) = outcome.hello {
            known.hello = Some(hello);
        }
        let elsewhere = known.connections.iter().any(|c| c.gating > 0);
        // A broken exchange says nothing about a member, nor about a peer that another exchange is under way with.
        if !outcome.judged && (known.stage == Stage::Member || elsewhere) {
            if !elsewhere {
                self.answer_regates(&peer, &outcome.admission);
            }
            return;
        }
        if outcome.lost && known.stage == Stage::Waiting {
            // The end of the connection has been heard of here before it comes to the loop by itself: whoever waits is
            // not refused for it, there may be other ways. Should it not come, the gate's time runs out.
            return;
        }
        if passed {
            known.revoked = false;
        }
        self.answer_regates(&peer, &outcome.admission);
        self.decide(peer, &outcome.admission);
    }

    fn answer_regates(&mut self, peer: &PeerId, admission: &Admission) {
        for reply in self.waiting.take_regates(peer) {
            let _ = reply.send(Ok(admission.clone()));
        }
    }

    /// The gate did not come to an end in time.
    pub(super) fn gate_overdue(&mut self, peer: PeerId) {
        count(&self.shared.tally.gate_refused);
        self.decide(peer, &gate::silence());
    }

    /// Takes a decision about a connected peer and tells everyone concerned.
    pub(super) fn decide(&mut self, peer: PeerId, admission: &Admission) {
        let Some(known) = self.table.get_mut(&peer) else {
            return;
        };
        let node = known.node;
        let was_member = known.stage == Stage::Member;
        let first = !known.announced;
        known.announced = true;
        known.idle_since = Instant::now();
        known.stage = match admission {
            Admission::Member => Stage::Member,
            refused => Stage::Refused(refused.clone()),
        };
        let hello = known.hello.clone();
        let wanted = known.wanted;
        let Some((addr, dialer)) = self.table.preferred(&peer).map(|c| (c.addr.clone(), c.dialer)) else {
            return;
        };
        if *admission == Admission::Member {
            let behaviour = self.swarm.behaviour_mut();
            behaviour.kad.admit(peer);
            behaviour.gossip.admit(peer);
            if let Some(hello) = hello {
                let said = hello.listen.iter().filter_map(|a| names::address(a).ok());
                let said = said.filter(|a| Self::believable(a, &addr));
                self.book.learn(peer, said);
                if first || !was_member {
                    self.tell(NetEvent::Connected {
                        node,
                        addr: addr.to_string(),
                        dialer,
                        hello,
                    });
                }
            }
            self.route(peer);
            self.relay_is_back(peer);
            self.connection_counts(peer);
        } else {
            tracing::debug!(?node, ?admission, "not a member here");
            if first || was_member {
                self.tell(NetEvent::JoinOnly {
                    node,
                    addr: addr.to_string(),
                    dialer,
                    admission: admission.clone(),
                });
            }
        }
        let waiters = self.waiting.take(&peer);
        for reply in waiters.dials.into_iter().chain(waiters.regates) {
            let _ = reply.send(Ok(admission.clone()));
        }
        for (protocol, reply) in waiters.opens {
            self.open_on(peer, protocol, reply);
        }
        for stream in self.held.remove(&peer).unwrap_or_default() {
            self.on_stream(stream);
        }
        if *admission != Admission::Member && dialer && !wanted {
            // The hash table dialed it and nobody here waits to join through it.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }
}
