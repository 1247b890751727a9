//! What the owner is shown of peers and of the ways to them.

use super::{Node, table::Peer};
use crate::{
    error::NetError,
    event::{NetEvent, PeerView, Transport},
    names,
    path::{Link, Path, PathView},
};
use hive_protocol::ids::NodeId;
use libp2p::PeerId;
use std::{collections::BTreeSet, time::Instant};

impl Node {
    pub(super) fn peer_views(&self) -> Vec<PeerView> {
        self.table
            .iter()
            .filter_map(|(id, peer)| {
                let best = peer.preferred(self.me)?;
                Some(PeerView {
                    node: peer.node,
                    path: self.path_of(id, peer),
                    addr: best.addr.to_string(),
                    direct: best.transport != Transport::Relay,
                    relay: names::relay_of(&best.addr),
                    transport: best.transport,
                    dialer: best.dialer,
                    rtt: best.rtt,
                    since: peer.since()?,
                    member: peer.is_member(),
                    connections: peer.connections.len(),
                    streams: peer.streams(),
                    version: peer.hello.as_ref().map(|h| h.version.clone()),
                })
            })
            .collect()
    }

    /// How a connected peer is reached.
    fn path_of(&self, id: &PeerId, peer: &Peer) -> Path {
        let Some(best) = peer.preferred(self.me) else {
            return Path::Connecting;
        };
        if best.transport != Transport::Relay {
            return Path::Direct;
        }
        let relay = names::relay_of(&best.addr).unwrap_or(peer.node);
        if self.punches.is_active(id) {
            Path::Punching { relay }
        } else {
            Path::Relay { relay }
        }
    }

    /// Tells the owner when the way to a member has changed.
    pub(super) fn look_at_path(&mut self, id: PeerId) {
        let Some(peer) = self.table.get(&id) else { return };
        if !peer.is_member() {
            return;
        }
        let path = self.path_of(&id, peer);
        let best = peer.preferred(self.me);
        let carried = best.map(|c| c.transport);
        let same = peer.path.as_ref().is_some_and(|(told, _)| *told == path);
        if same && peer.carried == carried {
            return;
        }
        let (node, addr) = (peer.node, best.map(|c| c.addr.to_string()));
        if let Some(peer) = self.table.get_mut(&id) {
            peer.carried = carried;
            if !same {
                peer.path = Some((path.clone(), Instant::now()));
            }
        }
        if same {
            // Streams that run need not care; who judges what passes does.
            if let Some(addr) = addr {
                self.tell(NetEvent::Carried { node, addr });
            }
            return;
        }
        self.tell(NetEvent::Path { node, path, addr });
    }

    /// The way to a node.
    pub(super) fn path_view(&self, node: NodeId) -> Result<PathView, NetError> {
        let id = self.peer(node)?;
        self.view_of(&id, node).ok_or(NetError::NoAddress { node })
    }

    /// The ways to all nodes that are connected, being dialed, or were tried in vain lately.
    pub(super) fn path_views(&self) -> Vec<PathView> {
        let mut all: BTreeSet<PeerId> = self.table.ids().into_iter().collect();
        all.extend(self.waiting.dialed_peers());
        all.extend(self.log.failures());
        all.iter()
            .filter_map(|id| self.view_of(id, names::node_id(id)?))
            .collect()
    }

    fn view_of(&self, id: &PeerId, node: NodeId) -> Option<PathView> {
        let known: Vec<String> = self.book.get(id).iter().map(ToString::to_string).collect();
        let Some(peer) = self.table.get(id) else {
            let (path, since) = if self.waiting.dialing(id) {
                (Path::Connecting, None)
            } else if let Some((at, reason)) = self.log.failure(id) {
                let reason = reason.to_owned();
                (Path::Unreachable { reason }, Some(at))
            } else if known.is_empty() && self.log.of(id).is_empty() {
                return None;
            } else {
                let reason = "not connected; nobody here has asked for it lately".to_owned();
                (Path::Unreachable { reason }, None)
            };
            return Some(PathView {
                node,
                path,
                addr: None,
                transport: None,
                rtt: None,
                since,
                next_punch: None,
                known,
                links: Vec::new(),
            });
        };
        let best = peer.preferred(self.me)?;
        let next = self
            .punches
            .next(id)
            .filter(|_| best.transport == Transport::Relay);
        Some(PathView {
            node,
            path: self.path_of(id, peer),
            addr: Some(best.addr.to_string()),
            transport: Some(best.transport),
            rtt: best.rtt,
            since: peer
                .path
                .as_ref()
                .map_or_else(|| peer.since(), |(_, at)| Some(*at)),
            next_punch: next.map(|at| at.saturating_duration_since(Instant::now())),
            known,
            links: peer
                .connections
                .iter()
                .map(|c| Link {
                    addr: c.addr.to_string(),
                    transport: c.transport,
                    dialer: c.dialer,
                    rtt: c.rtt,
                    streams: c.streams.get(),
                    since: c.since,
                    preferred: c.id == best.id,
                    suspect: c.suspect,
                })
                .collect(),
        })
    }
}
