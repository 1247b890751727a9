//! What the handle asks.

use super::{Node, behaviour::mode, stream_handler::OpenRequest, table::Stage, waiting::FULL};
use crate::{
    error::{NetError, RefusedBy},
    event::Admission,
    handle::{Command, Reply},
    names,
    stream::NetStream,
};
use hive_protocol::{ids::NodeId, join};
use libp2p::PeerId;

/// Addresses taken from one command.
const MAX_ADDRS: usize = 16;

impl Node {
    pub(super) fn on_command(&mut self, command: Command) {
        match command {
            Command::Dial { node, addrs, reply } => self.dial(node, &addrs, reply),
            Command::Open {
                node,
                protocol,
                reply,
            } => self.open(node, protocol, reply),
            Command::Learn { node, addrs } => {
                if let Ok(peer) = self.peer(node) {
                    self.learn(peer, &addrs);
                    if self.waiting.dialing(&peer) && self.table.get(&peer).is_none() {
                        self.dial_news(peer, node);
                    }
                }
            }
            Command::SetMember { node, member } => {
                if let Ok(peer) = self.peer(node) {
                    self.set_member(peer, member);
                }
            }
            Command::Regate { node, reply } => self.regate(node, reply),
            Command::Reserve { relay, reply } => self.reserve(relay, reply),
            Command::Unreserve { relay } => self.unreserve(relay),
            Command::Disconnect { node, reason } => {
                if let Ok(peer) = self.peer(node) {
                    tracing::debug!(?node, reason, "disconnecting");
                    self.end_bulk(node);
                    // An error means that it is not connected.
                    let _ = self.swarm.disconnect_peer_id(peer);
                }
            }
            Command::Peers { reply } => {
                let _ = reply.send(Ok(self.peer_views()));
            }
            Command::Path { node, reply } => {
                let _ = reply.send(self.path_view(node));
            }
            Command::Paths { reply } => {
                let _ = reply.send(Ok(self.path_views()));
            }
            Command::Attempts { node, reply } => {
                let _ = reply.send(self.peer(node).map(|peer| self.log.of(&peer)));
            }
            Command::Trace { node, addrs, reply } => self.trace(node, &addrs, reply),
            Command::Punch { node, reply } => {
                let _ = reply.send(self.punch_now(node));
            }
            Command::Protect { nodes } => self.protect(nodes),
            Command::AllowDirect { nodes } => self.allow_direct(nodes),
            Command::Publish { topic, bytes, reply } => {
                let _ = reply.send(self.publish(topic, bytes));
            }
            Command::Subscribe { topic, on, reply } => {
                let _ = reply.send(self.subscribe(topic, on));
            }
            Command::Validated { id, judgement } => self.validated(&id, judgement),
            Command::SetScore { node, score } => {
                if let Ok(peer) = self.peer(node) {
                    let gossip = self.swarm.behaviour_mut().gossip.inner();
                    gossip.set_application_score(&peer, score);
                }
            }
            Command::FindNode { node, reply } => self.find_node(node, reply),
            Command::Provide { hash, reply } => self.provide(hash, reply),
            Command::Unprovide { hash } => self.unprovide(hash),
            Command::Providers { hash, reply } => self.providers(hash, reply),
            Command::SetKadServer { server } => {
                let kad = self.swarm.behaviour_mut().kad.inner();
                kad.set_mode(Some(mode(server)));
            }
            Command::SetPublished { addrs } => self.publish_addrs(addrs),
            Command::Tell { event } => self.tell(*event),
            Command::Shutdown { reply } => {
                // Taken by the loop itself.
                let _ = reply.send(Ok(()));
            }
        }
    }

    /// The libp2p name of another node.
    pub(super) fn peer(&self, node: NodeId) -> Result<PeerId, NetError> {
        if node == self.me {
            return Err(NetError::Unreachable {
                node,
                reasons: vec!["that is this node itself".to_owned()],
            });
        }
        names::peer_id(node)
    }

    pub(super) fn learn(&mut self, peer: PeerId, addrs: &[String]) {
        let usable = addrs
            .iter()
            .take(MAX_ADDRS)
            .filter_map(|a| names::address(a).ok())
            .filter(names::dialable);
        self.book.learn(peer, usable);
    }

    fn dial(&mut self, node: NodeId, addrs: &[String], reply: Reply<Admission>) {
        let peer = match self.peer(node) {
            Ok(peer) => peer,
            Err(e) => {
                let _ = reply.send(Err(e));
                return;
            }
        };
        self.learn(peer, addrs);
        if let Some(known) = self.table.get_mut(&peer) {
            known.wanted = true;
            match &known.stage {
                Stage::Member => {
                    let _ = reply.send(Ok(Admission::Member));
                    return;
                }
                Stage::Refused(admission) => {
                    let _ = reply.send(Ok(admission.clone()));
                    return;
                }
                Stage::Waiting => {}
            }
        }
        match self.waiting.enter(peer) {
            Some(waiters) => waiters.dials.push(reply),
            None => {
                let _ = reply.send(Err(FULL));
                return;
            }
        }
        self.connect(peer, node);
    }

    fn open(&mut self, node: NodeId, protocol: &'static str, reply: Reply<NetStream>) {
        let peer = match self.peer(node) {
            Ok(peer) => peer,
            Err(e) => {
                let _ = reply.send(Err(e));
                return;
            }
        };
        if let Some(known) = self.table.get(&peer)
            && known.stage != Stage::Waiting
        {
            self.open_on(peer, protocol, reply);
            return;
        }
        match self.waiting.enter(peer) {
            Some(waiters) => waiters.opens.push((protocol, reply)),
            None => {
                let _ = reply.send(Err(FULL));
                return;
            }
        }
        self.connect(peer, node);
    }

    /// Opens a stream to a connected peer whose gate is decided, if that allows it.
    pub(super) fn open_on(&mut self, peer: PeerId, protocol: &'static str, reply: Reply<NetStream>) {
        let Some(known) = self.table.get(&peer) else {
            return;
        };
        let node = known.node;
        if !known.is_member() && protocol != join::PROTOCOL {
            let _ = reply.send(Err(not_member(node, &known.stage)));
            return;
        }
        let Some(best) = self.table.preferred(&peer) else {
            return;
        };
        let request = OpenRequest::new(node, protocol, &best.streams, reply);
        let id = best.id;
        self.swarm.behaviour_mut().streams.open(peer, id, request);
    }

    fn regate(&mut self, node: NodeId, reply: Reply<Admission>) {
        let found = self.peer(node).and_then(|peer| {
            let best = self.table.preferred(&peer);
            let best = best.ok_or(NetError::NoAddress { node })?;
            Ok((peer, best.id, best.gating > 0))
        });
        let (peer, connection, running) = match found {
            Ok(found) => found,
            Err(e) => {
                let _ = reply.send(Err(e));
                return;
            }
        };
        match self.waiting.enter(peer) {
            Some(waiters) => waiters.regates.push(reply),
            None => {
                let _ = reply.send(Err(FULL));
                return;
            }
        }
        if !running {
            self.start_gate(peer, connection);
        }
    }

    fn set_member(&mut self, peer: PeerId, member: bool) {
        let Some(known) = self.table.get_mut(&peer) else {
            return;
        };
        known.revoked = !member;
        if !member {
            let node = known.node;
            self.end_bulk(node);
            return;
        }
        if known.stage != Stage::Member && known.hello.is_some() {
            self.decide(peer, &Admission::Member);
        }
    }
}

fn not_member(node: NodeId, stage: &Stage) -> NetError {
    let (by, code, detail) = match stage {
        Stage::Refused(Admission::RefusedByPeer { code, detail }) => {
            (RefusedBy::Peer, code.as_str(), detail.as_str())
        }
        Stage::Refused(Admission::RefusedByUs { code, detail }) => {
            (RefusedBy::Us, code.as_str(), detail.as_str())
        }
        _ => (
            RefusedBy::Us,
            "member.revoked",
            "its credential has expired or was revoked",
        ),
    };
    NetError::NotMember {
        node,
        by,
        code: code.to_owned(),
        detail: detail.to_owned(),
    }
}
