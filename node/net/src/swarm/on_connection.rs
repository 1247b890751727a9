//! Connections that come and go, listeners, dials that fail.

use super::{
    Node,
    behaviour::BehaviourEvent,
    table::{Connection, Stage},
};
use crate::{counters::count, error::NetError, event::NetEvent, names, stream::StreamCount};
use libp2p::{
    Multiaddr, PeerId,
    core::ConnectedPoint,
    swarm::{ConnectionError, ConnectionId, DialError, SwarmEvent},
};
use std::{sync::PoisonError, time::Instant};

impl Node {
    pub(super) fn on_connection(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => self.connected(peer_id, connection_id, &endpoint),
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                cause,
                ..
            } => self.closed(peer_id, connection_id, cause),
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                peer_id,
                error,
            } => self.dial_failed(peer_id, connection_id, &error),
            SwarmEvent::IncomingConnectionError { error, .. } => {
                count(&self.shared.tally.inbound_failed);
                tracing::debug!(%error, "an inbound connection failed");
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                // The address of a reservation has this node's name at its end.
                let address = names::plain(address);
                self.on_listening(&address, true);
                self.reserved(listener_id, &address);
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => self.on_listening(&address, false),
            SwarmEvent::ListenerClosed {
                listener_id,
                addresses,
                reason,
            } => {
                if self.reservation_lost(listener_id, &reason) {
                    return;
                }
                tracing::warn!(?addresses, ?reason, "a listener closed");
                for address in &addresses {
                    self.on_listening(address, false);
                }
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "a listener reports an error");
            }
            _ => {}
        }
    }

    fn connected(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        count(&self.shared.tally.connections_opened);
        // Of a circuit that came in the remote address is only the peer's name; the way it came is the local one.
        let addr = match endpoint {
            ConnectedPoint::Listener { local_addr, .. } if endpoint.is_relayed() => local_addr.clone(),
            _ => names::plain(endpoint.get_remote_address().clone()),
        };
        let (Some(node), Some(transport)) = (names::node_id(&peer), names::transport(&addr)) else {
            tracing::debug!(%peer, %addr, "not a node of ours: closing");
            self.swarm.close_connection(id);
            return;
        };
        let dialer = endpoint.is_dialer();
        let remote = names::ip(&addr);
        self.waiting.dial_ended(id);
        self.table.add(
            peer,
            node,
            Connection {
                id,
                addr,
                transport,
                dialer,
                since: Instant::now(),
                streams: StreamCount::to(remote),
                rtt: None,
                failed_pings: 0,
                gating: 0,
            },
        );
        if self.waiting.any(&peer)
            && let Some(known) = self.table.get_mut(&peer)
        {
            known.wanted = true;
        }
        if dialer {
            self.start_gate(peer, id);
        }
        self.relay_is_back(peer);
    }

    fn closed(&mut self, peer: PeerId, id: ConnectionId, cause: Option<ConnectionError>) {
        count(&self.shared.tally.connections_closed);
        let Some(gone) = self.table.remove(&peer, id) else {
            return;
        };
        self.held.remove(&peer);
        let node = gone.node;
        self.shared.bulk.unlinked(node);
        let cause = match cause {
            None => "closed by this node".to_owned(),
            Some(ConnectionError::IO(e)) => e.to_string(),
            Some(ConnectionError::KeepAliveTimeout) => "idle".to_owned(),
        };
        self.waiting.take(&peer).fail(&NetError::Lost {
            node,
            detail: cause.clone(),
        });
        if gone.announced {
            self.tell(NetEvent::Disconnected {
                node,
                member: gone.stage == Stage::Member,
                cause,
            });
        }
        if self.ungreeted.redial(&peer) {
            self.connect(peer, node);
        }
    }

    fn dial_failed(&mut self, peer: Option<PeerId>, id: ConnectionId, error: &DialError) {
        let ours = self.waiting.dial_ended(id);
        if matches!(error, DialError::DialPeerConditionFalse(_)) {
            return;
        }
        count(&self.shared.tally.dials_failed);
        let Some(peer) = peer else { return };
        tracing::debug!(%peer, %error, "a dial failed");
        if !ours || self.table.get(&peer).is_some() {
            return;
        }
        if let Some(node) = names::node_id(&peer) {
            self.unreachable(peer, node, error);
        }
    }

    /// Takes note of where this node listens, QUIC first.
    pub(super) fn on_listening(&mut self, addr: &Multiaddr, here: bool) {
        let text = addr.to_string();
        {
            let mut listen = self.shared.listen.write().unwrap_or_else(PoisonError::into_inner);
            listen.retain(|a| *a != text);
            if here {
                listen.push(text.clone());
                listen.sort_by_key(|a| !a.contains("/quic-v1"));
            }
        }
        // What we listen on is what we tell identify and the hash table, whether or not it is reachable.
        self.tell(if here {
            NetEvent::Listening { addr: text }
        } else {
            NetEvent::NotListening { addr: text }
        });
    }

    /// Whether an address a peer names for itself is worth keeping: usable, and not this machine's loopback
    /// unless the peer is on this machine.
    pub(super) fn believable(addr: &Multiaddr, seen_from: &Multiaddr) -> bool {
        names::dialable(addr) && (!is_loopback(addr) || is_loopback(seen_from))
    }
}

fn is_loopback(addr: &Multiaddr) -> bool {
    addr.iter().any(|part| match part {
        libp2p::multiaddr::Protocol::Ip4(ip) => ip.is_loopback(),
        libp2p::multiaddr::Protocol::Ip6(ip) => ip.is_loopback(),
        _ => false,
    })
}
