//! The talks before punches: begun, answered, and what they came to handed to the loop. What follows from them is in
//! `on_punch.rs`.

use super::{Node, Talk, punch_wire, punches::Side, stream_handler::OpenRequest, table::is_loopback};
use crate::{
    counters::count,
    event::Transport,
    registry::{Inbound, ProtocolPolicy},
    stream::NetStream,
};
use hive_protocol::ids::NodeId;
use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use std::{
    io,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};

/// Punches are put off by this when too many are under way.
const LATER: Duration = Duration::from_millis(1000);

/// Wishes of one peer, and of all, that wait for the loop.
pub(super) const POLICY: ProtocolPolicy = ProtocolPolicy {
    members_only: true,
    max_inbound_per_peer: 2,
    backlog: 16,
};

/// What the talks before punches come to.
#[derive(Debug)]
pub(super) enum PunchTalk {
    /// A peer wants to punch.
    Asked { node: NodeId, stream: NetStream },
    /// The peer that asked has named its addresses; `go` lets our answer go.
    Heard {
        peer: PeerId,
        round: u64,
        addrs: Vec<Multiaddr>,
        go: oneshot::Sender<()>,
    },
    /// The talk is over: the round trip through the relay, and on the side that began the peer's addresses.
    Agreed {
        peer: PeerId,
        round: u64,
        outcome: io::Result<(Vec<Multiaddr>, Duration)>,
    },
}

impl Node {
    /// The relayed connection to talk on: to whom, and whether that leads through this machine itself.
    pub(super) fn relayed(&self, peer: &PeerId) -> Option<(ConnectionId, bool)> {
        let known = self.table.get(peer)?;
        let relayed = known
            .connections
            .iter()
            .filter(|c| c.transport == Transport::Relay);
        let best = relayed.min_by_key(|c| (c.suspect, !c.greeted, c.since))?;
        Some((best.id, is_loopback(&best.addr)))
    }

    /// Addresses of this node's own, to name to a peer.
    pub(super) fn own_addresses(&self, loopback: bool) -> Vec<Multiaddr> {
        let listen = self.shared.listen_addrs();
        let listen: Vec<Multiaddr> = listen.iter().filter_map(|a| a.parse().ok()).collect();
        let known = self.shared.reach.candidates();
        self.candidates.named(&listen, &known, loopback)
    }

    pub(super) fn begin_punch(&mut self, peer: PeerId) -> bool {
        let now = Instant::now();
        let Some((connection, loopback)) = self.relayed(&peer) else {
            return false;
        };
        let ours = self.own_addresses(loopback);
        let Some(round) = self.punches.start(peer, Side::Begins, now) else {
            let at = self.punches.afresh(&peer, now).max(now + LATER);
            self.plan_punch(peer, at, now);
            return false;
        };
        count(&self.shared.tally.punches_started);
        let Some(known) = self.table.get_mut(&peer) else {
            return false;
        };
        let node = known.node;
        let Some(on) = known.connection(connection) else {
            return false;
        };
        let (reply, opened) = oneshot::channel();
        let request = OpenRequest::new(node, punch_wire::PROTOCOL, &on.streams, reply);
        self.swarm.behaviour_mut().streams.open(peer, connection, request);
        let talks = self.talks.clone();
        tokio::spawn(async move {
            let outcome = match opened.await {
                Ok(Ok(stream)) => punch_wire::begin(stream, &ours).await,
                Ok(Err(e)) => Err(io::Error::other(e.to_string())),
                Err(_) => Err(io::Error::other("the network is shut down")),
            };
            let agreed = PunchTalk::Agreed { peer, round, outcome };
            // An error means that the loop has ended.
            let _ = talks.send(Talk::Punch(agreed)).await;
        });
        self.look_at_path(peer);
        true
    }

    pub(super) fn on_punch(&mut self, talk: PunchTalk) {
        match talk {
            PunchTalk::Asked { node, stream } => self.answer_punch(node, stream),
            PunchTalk::Heard {
                peer,
                round,
                addrs,
                go,
            } => {
                self.heard_addresses(peer, round, addrs);
                let _ = go.send(());
            }
            PunchTalk::Agreed { peer, round, outcome } => self.agreed(peer, round, outcome),
        }
    }

    fn answer_punch(&mut self, node: NodeId, stream: NetStream) {
        let now = Instant::now();
        let Ok(peer) = self.peer(node) else { return };
        let Some((_, loopback)) = self.relayed(&peer) else {
            return;
        };
        let welcome = self.may_be_direct(&node) && self.punches.may_answer(&peer, self.me, node, now);
        if !welcome {
            return;
        }
        let Some(round) = self.punches.start(peer, Side::Answers, now) else {
            return;
        };
        count(&self.shared.tally.punches_started);
        let (ours, talks) = (self.own_addresses(loopback), self.talks.clone());
        tokio::spawn(async move {
            let heard = async |addrs| {
                let (go, gone) = oneshot::channel();
                let heard = PunchTalk::Heard {
                    peer,
                    round,
                    addrs,
                    go,
                };
                if talks.send(Talk::Punch(heard)).await.is_ok() {
                    let _ = gone.await;
                }
            };
            let outcome = punch_wire::answer(stream, &ours, heard).await;
            let agreed = PunchTalk::Agreed {
                peer,
                round,
                outcome: outcome.map(|trip| (Vec::new(), trip)),
            };
            // An error means that the loop has ended.
            let _ = talks.send(Talk::Punch(agreed)).await;
        });
        self.look_at_path(peer);
    }
}

/// Hands the streams on which peers want to punch to the loop.
pub(super) async fn take_wishes(mut inbound: Inbound, talks: mpsc::Sender<Talk>) {
    while let Some((node, stream)) = inbound.accept().await {
        if talks
            .send(Talk::Punch(PunchTalk::Asked { node, stream }))
            .await
            .is_err()
        {
            return;
        }
    }
}
