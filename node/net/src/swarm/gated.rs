//! Keeps a behaviour (gossip, hash table) away from peers that have not passed the membership gate.
//!
//! The inner behaviour makes its handler for each connection as usual, but the handler is not polled before the peer
//! is admitted: not one byte of a stranger is read by it and nothing is sent to the stranger. Streams the peer opens
//! meanwhile are negotiated and wait, so it does not matter which of two members finds the other welcome first.
//!
//! Whether the inner behaviour hears at once that a connection exists is its own matter ([`Hears`]).

use libp2p::{
    Multiaddr, PeerId,
    core::{ConnectedPoint, Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, NotifyHandler, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm, behaviour::ConnectionEstablished, handler::ConnectionEvent,
    },
};
use std::{
    collections::{BTreeMap, VecDeque},
    task::{Context, Poll, Waker},
};

/// When the inner behaviour hears of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hears {
    /// When there is one: what it has to say waits in the handler. For the hash table, which hands a peer's handler
    /// what is to be asked when the handler is made, or else when it knows of a connection: what it wanted to ask
    /// between the two would wait for a connection that never comes.
    AtOnce,
    /// When the peer is admitted. For gossip, which counts those it hears of as neighbours.
    OnceAdmitted,
}

/// A connection the inner behaviour has made a handler for.
struct Known {
    id: ConnectionId,
    endpoint: ConnectedPoint,
    /// Whether the inner behaviour was told of it.
    told: bool,
    /// Whether its handler was opened.
    open: bool,
}

#[derive(Default)]
struct Peer {
    admitted: bool,
    connections: Vec<Known>,
}

/// The wrapper. See the module's documentation.
pub(crate) struct Gated<B: NetworkBehaviour> {
    inner: B,
    hears: Hears,
    /// Only connected peers, so bounded by the connection limits.
    peers: BTreeMap<PeerId, Peer>,
    /// Handlers to be opened; at most one entry for each connection.
    to_open: VecDeque<(PeerId, ConnectionId)>,
    waker: Option<Waker>,
}

impl<B: NetworkBehaviour> Gated<B> {
    pub(crate) const fn new(inner: B, hears: Hears) -> Self {
        Self {
            inner,
            hears,
            peers: BTreeMap::new(),
            to_open: VecDeque::new(),
            waker: None,
        }
    }

    /// The behaviour itself.
    pub(crate) const fn inner(&mut self) -> &mut B {
        &mut self.inner
    }

    /// Lets the inner behaviour meet a connected peer, on all its connections now and later until the last ends.
    pub(crate) fn admit(&mut self, peer: PeerId) {
        let Some(entry) = self.peers.get_mut(&peer) else {
            return;
        };
        entry.admitted = true;
        for connection in entry.connections.iter_mut().filter(|c| !c.open) {
            connection.open = true;
            self.to_open.push_back((peer, connection.id));
        }
        self.tell(peer);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Tells the inner behaviour of the connections to a peer it does not know yet.
    fn tell(&mut self, peer: PeerId) {
        let Some(entry) = self.peers.get_mut(&peer) else {
            return;
        };
        let mut told = entry.connections.iter().filter(|c| c.told).count();
        for connection in entry.connections.iter_mut().filter(|c| !c.told) {
            connection.told = true;
            self.inner
                .on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
                    peer_id: peer,
                    connection_id: connection.id,
                    endpoint: &connection.endpoint,
                    failed_addresses: &[],
                    other_established: told,
                }));
            told = told.saturating_add(1);
        }
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Gated<B> {
    type ConnectionHandler = GatedHandler<THandler<B>>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(id, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner
            .handle_established_inbound_connection(id, peer, local, remote)
            .map(GatedHandler::shut)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addrs: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner
            .handle_pending_outbound_connection(id, peer, addrs, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        addr: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner
            .handle_established_outbound_connection(id, peer, addr, role, port_use)
            .map(GatedHandler::shut)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(new) => {
                let peer = self.peers.entry(new.peer_id).or_default();
                peer.connections.push(Known {
                    id: new.connection_id,
                    endpoint: new.endpoint.clone(),
                    told: false,
                    open: false,
                });
                if peer.admitted {
                    self.admit(new.peer_id);
                } else if self.hears == Hears::AtOnce {
                    self.tell(new.peer_id);
                }
            }
            FromSwarm::ConnectionClosed(gone) => {
                if let Some(peer) = self.peers.get_mut(&gone.peer_id) {
                    peer.connections.retain(|c| c.id != gone.connection_id);
                    if peer.connections.is_empty() {
                        self.peers.remove(&gone.peer_id);
                    }
                }
                // Told or not: the inner behaviour forgets what it kept for the handler it made.
                self.inner.on_swarm_event(FromSwarm::ConnectionClosed(gone));
            }
            FromSwarm::AddressChange(change) => {
                let told = self.peers.get_mut(&change.peer_id).is_some_and(|peer| {
                    peer.connections
                        .iter_mut()
                        .filter(|c| c.id == change.connection_id)
                        .any(|c| {
                            c.endpoint = change.new.clone();
                            c.told
                        })
                });
                if told {
                    self.inner.on_swarm_event(event);
                }
            }
            other => self.inner.on_swarm_event(other),
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.inner.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some((peer_id, id)) = self.to_open.pop_front() {
            return Poll::Ready(ToSwarm::NotifyHandler {
                peer_id,
                handler: NotifyHandler::One(id),
                event: GatedIn::Open,
            });
        }
        self.waker = Some(cx.waker().clone());
        self.inner.poll(cx).map(|event| event.map_in(GatedIn::Inner))
    }
}

/// What the wrapper tells its handler.
#[derive(Debug)]
pub(crate) enum GatedIn<E> {
    /// The peer is admitted.
    Open,
    /// For the inner handler.
    Inner(E),
}

/// A handler that is not polled until its peer is admitted.
pub(crate) struct GatedHandler<H> {
    inner: H,
    open: bool,
    waker: Option<Waker>,
}

impl<H> GatedHandler<H> {
    const fn shut(inner: H) -> Self {
        Self {
            inner,
            open: false,
            waker: None,
        }
    }
}

impl<H: ConnectionHandler> ConnectionHandler for GatedHandler<H> {
    type FromBehaviour = GatedIn<H::FromBehaviour>;
    type ToBehaviour = H::ToBehaviour;
    type InboundProtocol = H::InboundProtocol;
    type OutboundProtocol = H::OutboundProtocol;
    type InboundOpenInfo = H::InboundOpenInfo;
    type OutboundOpenInfo = H::OutboundOpenInfo;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, Self::InboundOpenInfo> {
        self.inner.listen_protocol()
    }

    fn connection_keep_alive(&self) -> bool {
        self.open && self.inner.connection_keep_alive()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        if self.open {
            self.inner.poll(cx)
        } else {
            self.waker = Some(cx.waker().clone());
            Poll::Pending
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::ToBehaviour>> {
        if self.open {
            self.inner.poll_close(cx)
        } else {
            Poll::Ready(None)
        }
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        match event {
            GatedIn::Inner(event) => self.inner.on_behaviour_event(event),
            GatedIn::Open => {
                self.open = true;
                if let Some(waker) = self.waker.take() {
                    waker.wake();
                }
            }
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        self.inner.on_connection_event(event);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use libp2p::swarm::dummy;
    use std::convert::Infallible;

    /// Notes which connections it hears of.
    #[derive(Default)]
    struct Notes(Vec<(ConnectionId, usize)>);

    impl NetworkBehaviour for Notes {
        type ConnectionHandler = dummy::ConnectionHandler;
        type ToSwarm = Infallible;

        fn handle_established_inbound_connection(
            &mut self,
            _: ConnectionId,
            _: PeerId,
            _: &Multiaddr,
            _: &Multiaddr,
        ) -> Result<THandler<Self>, ConnectionDenied> {
            Ok(dummy::ConnectionHandler)
        }

        fn handle_established_outbound_connection(
            &mut self,
            _: ConnectionId,
            _: PeerId,
            _: &Multiaddr,
            _: Endpoint,
            _: PortUse,
        ) -> Result<THandler<Self>, ConnectionDenied> {
            Ok(dummy::ConnectionHandler)
        }

        fn on_swarm_event(&mut self, event: FromSwarm) {
            if let FromSwarm::ConnectionEstablished(new) = event {
                self.0.push((new.connection_id, new.other_established));
            }
        }

        fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
            match event {}
        }

        fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
            Poll::Pending
        }
    }

    fn establish(gated: &mut Gated<Notes>, peer: PeerId, id: usize) {
        let address: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        let endpoint = ConnectedPoint::Listener {
            local_addr: address.clone(),
            send_back_addr: address,
        };
        gated.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id: peer,
            connection_id: ConnectionId::new_unchecked(id),
            endpoint: &endpoint,
            failed_addresses: &[],
            other_established: id,
        }));
    }

    fn opened(gated: &mut Gated<Notes>) -> usize {
        let mut context = Context::from_waker(Waker::noop());
        std::iter::from_fn(|| match gated.poll(&mut context) {
            Poll::Ready(ToSwarm::NotifyHandler { event, .. }) => Some(matches!(event, GatedIn::Open)),
            _ => None,
        })
        .filter(|open| *open)
        .count()
    }

    #[test]
    fn who_hears_at_once_hears_once_and_handlers_open_at_the_gate() {
        for (hears, before) in [(Hears::AtOnce, 2), (Hears::OnceAdmitted, 0)] {
            let mut gated = Gated::new(Notes::default(), hears);
            let peer = PeerId::random();
            establish(&mut gated, peer, 0);
            establish(&mut gated, peer, 1);
            assert_eq!(gated.inner().0.len(), before);
            assert_eq!(opened(&mut gated), 0, "a stranger's handlers are shut");
            gated.admit(peer);
            assert_eq!(opened(&mut gated), 2);
            establish(&mut gated, peer, 2);
            assert_eq!(opened(&mut gated), 1, "an admitted peer's next one is open");
            let told: Vec<usize> = gated.inner().0.iter().map(|(_, others)| *others).collect();
            assert_eq!(told, [0, 1, 2], "each once, and how many there were before");
            gated.admit(peer);
            assert_eq!((gated.inner().0.len(), opened(&mut gated)), (3, 0));
        }
    }
}
