//! Raw streams: opens them on the connection the table prefers and hands inbound ones up.
//!
//! Its own behaviour, because the one libp2p offers picks a connection at random and drops inbound streams when
//! the acceptor is slow. The handler is in `stream_handler.rs`; who may open what is decided in `on_stream.rs`.

use super::stream_handler::{OpenRequest, StreamHandler};
use crate::handle::Shared;
use libp2p::{
    Multiaddr, PeerId, Stream,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm,
    },
};
use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll, Waker},
};

/// A stream a peer has opened.
#[derive(Debug)]
pub(crate) struct InboundStream {
    pub peer: PeerId,
    pub connection: ConnectionId,
    pub protocol: &'static str,
    pub stream: Stream,
}

/// The behaviour.
pub(crate) struct Streams {
    shared: Arc<Shared>,
    /// At most as many as commands and handler events in one turn of the loop: each is taken out in the next.
    events: VecDeque<ToSwarm<InboundStream, OpenRequest>>,
    waker: Option<Waker>,
}

impl Streams {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            events: VecDeque::new(),
            waker: None,
        }
    }

    /// Opens a stream on this connection. If the connection has just gone, the request is dropped, and the drop
    /// tells whoever waits.
    pub(crate) fn open(&mut self, peer: PeerId, connection: ConnectionId, request: OpenRequest) {
        self.events.push_back(ToSwarm::NotifyHandler {
            peer_id: peer,
            handler: NotifyHandler::One(connection),
            event: request,
        });
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = StreamHandler;
    type ToSwarm = InboundStream;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(StreamHandler::new(Arc::clone(&self.shared)))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(StreamHandler::new(Arc::clone(&self.shared)))
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        (protocol, stream): THandlerOutEvent<Self>,
    ) {
        self.events.push_back(ToSwarm::GenerateEvent(InboundStream {
            peer,
            connection,
            protocol,
            stream,
        }));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(event);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
