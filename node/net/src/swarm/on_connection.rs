//! Connections that come and go, listeners, dials that fail.

use super::{
    Node,
    behaviour::BehaviourEvent,
    dialing::reasons,
    table::{Connection, Stage, is_loopback},
};
use crate::{
    counters::count,
    error::NetError,
    event::{NetEvent, Transport},
    names,
    stream::StreamCount,
};
use libp2p::{
    Multiaddr, PeerId,
    core::{ConnectedPoint, Endpoint},
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
        self.crossed.ended(id);
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
        if self.traced(peer, id) || (transport != Transport::Relay && !self.may_be_direct(&node)) {
            self.waiting.dial_ended(id);
            self.swarm.close_connection(id);
            return;
        }
        // In a punch both sides dial; who is the dialer was agreed on.
        let ordinary = |role: &Endpoint| role.is_dialer();
        let dialer =
            matches!(endpoint, ConnectedPoint::Dialer { role_override, .. } if ordinary(role_override));
        let (remote, via) = (names::ip(&addr), names::relay_of(&addr));
        if let Some(ip) = remote {
            self.shared.bulk.linked(node, id, ip);
        }
        self.waiting.dial_ended(id);
        let seen_at = addr.clone();
        self.arrived(peer, node, id, &addr, endpoint);
        self.table.add(
            peer,
            node,
            Connection {
                id,
                addr,
                transport,
                dialer,
                since: Instant::now(),
                streams: StreamCount::to(remote, transport, via),
                rtt: None,
                failed_pings: 0,
                gating: 0,
                greeted: dialer,
                suspect: false,
                probed: None,
                dead: false,
            },
        );
        if dialer {
            self.waiting.reached(&peer);
        }
        self.log.connected(peer, id, &seen_at, endpoint.is_listener());
        if self.waiting.any(&peer)
            && let Some(known) = self.table.get_mut(&peer)
        {
            known.wanted = true;
        }
        if dialer {
            self.start_gate(peer, id);
        }
        self.replaced(peer, id);
        self.connection_counts(peer);
    }

    /// A connection can be used, or has begun to be: what follows for the way to its peer.
    pub(super) fn connection_counts(&mut self, peer: PeerId) {
        let Some(known) = self.table.get(&peer) else {
            return;
        };
        if known.is_direct() {
            self.punched(peer);
            self.look_at_trace(peer, false);
        } else {
            self.consider_punch(peer);
        }
        self.look_at_path(peer);
    }

    fn closed(&mut self, peer: PeerId, id: ConnectionId, cause: Option<ConnectionError>) {
        count(&self.shared.tally.connections_closed);
        self.left(id);
        if !self.table.get(&peer).is_some_and(|known| known.has(id)) {
            // Given up before.
            return;
        }
        let cause = match cause {
            None => "closed by this node".to_owned(),
            Some(ConnectionError::IO(e)) => e.to_string(),
            Some(ConnectionError::KeepAliveTimeout) => "idle".to_owned(),
        };
        self.connection_gone(peer, id, cause);
    }

    /// A connection is there no longer.
    pub(super) fn connection_gone(&mut self, peer: PeerId, id: ConnectionId, cause: String) {
        self.candidates.gone(id);
        self.log.lost(&peer, id, &cause);
        if let Some(node) = names::node_id(&peer) {
            self.shared.bulk.cut(node, id);
        }
        let missed = self.table.get(&peer).is_some_and(|known| known.misses(id));
        let relayed = self.table.get(&peer).is_some_and(|known| known.is_relayed(id));
        let Some(gone) = self.table.remove(&peer, id) else {
            // There are others: back to a relay, or to punching.
            self.connection_counts(peer);
            return;
        };
        self.held.remove(&peer);
        let node = gone.node;
        self.shared.bulk.unlinked(node);
        if gone.stage == Stage::Waiting && !relayed && self.waiting.any(&peer) {
            // It was not let in there; a relay may still lead to it.
            self.waiting.hold_back(peer);
            self.dial_circuits(peer);
        }
        if !self.waiting.dialing(&peer) {
            self.waiting.take(&peer).fail(&NetError::Lost {
                node,
                detail: cause.clone(),
            });
        }
        if gone.announced {
            self.tell(NetEvent::Disconnected {
                node,
                member: gone.stage == Stage::Member,
                cause,
            });
        }
        if self.ungreeted.redial(&peer) || missed {
            self.connect(peer, node);
        }
    }

    fn dial_failed(&mut self, peer: Option<PeerId>, id: ConnectionId, error: &DialError) {
        let ours = self.waiting.dial_ended(id);
        let second = self.crossed.ended(id);
        if matches!(error, DialError::DialPeerConditionFalse(_)) {
            return;
        }
        count(&self.shared.tally.dials_failed);
        let Some(peer) = peer else { return };
        tracing::debug!(%peer, %error, "a dial failed");
        self.log.dial_failed(peer, id, error);
        self.trace_failed(peer, id, error);
        let punch = self.punches.dial_ended(&peer, id, reasons(error).join("; "));
        if let Some(node) = names::node_id(&peer)
            && !punch
            && !second
        {
            self.dial_crossed(peer, node, error);
        }
        if ours {
            self.dial_is_over(peer, error);
        }
    }

    /// Takes note of where this node listens, QUIC first.
    pub(super) fn on_listening(&mut self, addr: &Multiaddr, here: bool) {
        if !names::dialable(addr) {
            return;
        }
        let text = addr.to_string();
        {
            let mut listen = self.shared.listen.write().unwrap_or_else(PoisonError::into_inner);
            listen.retain(|a| *a != text);
            if here {
                listen.push(text.clone());
                listen.sort_by_key(|a| !a.contains("/quic-v1"));
            }
        }
        self.interfaces_changed(addr);
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
