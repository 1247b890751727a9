//! The streams of one connection: negotiation, and nothing else.

use crate::{
    counters::count,
    error::NetError,
    handle::{Reply, Shared},
    registry::Names,
    stream::{InUse, NetStream, StreamCount},
};
use hive_protocol::ids::NodeId;
use libp2p::{
    Stream, StreamProtocol,
    core::upgrade::{InboundUpgrade, ReadyUpgrade, UpgradeInfo},
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

/// A peer agrees to a protocol within this time or the stream is given up.
const NEGOTIATION_TIMEOUT: Duration = Duration::from_secs(8);
/// Streams negotiated by the peer and not yet handed up; more are reset. The loop takes them in its next turn.
const MAX_WAITING: usize = 64;

/// A wish for a stream; whoever waits is told even when it is dropped.
#[derive(Debug)]
pub(crate) struct OpenRequest {
    node: NodeId,
    protocol: &'static str,
    in_use: Option<InUse>,
    reply: Option<Reply<NetStream>>,
}

impl OpenRequest {
    pub(crate) fn new(
        node: NodeId,
        protocol: &'static str,
        count: &StreamCount,
        reply: Reply<NetStream>,
    ) -> Self {
        // The peer has to agree: an answer is due, and where none comes the connection is looked at.
        count.pulse().sent();
        Self {
            node,
            protocol,
            in_use: Some(count.enter()),
            reply: Some(reply),
        }
    }

    fn done(mut self, stream: Stream) {
        if let (Some(reply), Some(in_use)) = (self.reply.take(), self.in_use.take()) {
            in_use.heard();
            // An error means that nobody waits any more: the stream is dropped, which ends it.
            let _ = reply.send(Ok(NetStream::new(stream, self.node, self.protocol, in_use, None)));
        }
    }

    fn failed(mut self, error: NetError) {
        if let Some(reply) = self.reply.take() {
            let _ = reply.send(Err(error));
        }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take() {
            let _ = reply.send(Err(NetError::Lost {
                node: self.node,
                detail: "it closed while the stream was being opened".to_owned(),
            }));
        }
    }
}

/// Offers the protocols served to an inbound stream.
pub(crate) struct Offer(Names);

impl UpgradeInfo for Offer {
    type Info = StreamProtocol;
    type InfoIter = Names;
    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone()
    }
}

impl InboundUpgrade<Stream> for Offer {
    type Output = (StreamProtocol, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;
    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((protocol, stream)))
    }
}

/// The handler. Keeps its connection alive: the table decides which connections are closed, and when.
pub(crate) struct StreamHandler {
    shared: Arc<Shared>,
    /// Bounded by the open commands taken, each of which holds a place in the table's bound.
    wanted: VecDeque<OpenRequest>,
    /// At most [`MAX_WAITING`].
    arrived: VecDeque<(&'static str, Stream)>,
    waker: Option<Waker>,
}

impl StreamHandler {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            wanted: VecDeque::new(),
            arrived: VecDeque::new(),
            waker: None,
        }
    }
}

impl ConnectionHandler for StreamHandler {
    type FromBehaviour = OpenRequest;
    type ToBehaviour = (&'static str, Stream);
    type InboundProtocol = Offer;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = OpenRequest;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(Offer(self.shared.registry.names()), ()).with_timeout(NEGOTIATION_TIMEOUT)
    }

    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        if let Some(request) = self.wanted.pop_front() {
            let upgrade = ReadyUpgrade::new(StreamProtocol::new(request.protocol));
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(upgrade, request).with_timeout(NEGOTIATION_TIMEOUT),
            });
        }
        if let Some(stream) = self.arrived.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(stream));
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, request: Self::FromBehaviour) {
        self.wanted.push_back(request);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol, (), OpenRequest>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (name, stream),
                ..
            }) => {
                let Some(name) = self.shared.registry.name(name.as_ref()) else {
                    return;
                };
                if self.arrived.len() >= MAX_WAITING {
                    count(&self.shared.tally.streams_refused_backlog);
                    return;
                }
                self.arrived.push_back((name, stream));
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                count(&self.shared.tally.streams_opened);
                info.done(protocol);
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let node = info.node;
                let error = match error {
                    StreamUpgradeError::Timeout => NetError::Timeout {
                        what: format!("agreeing with {node:?} on {}", info.protocol),
                        millis: u64::try_from(NEGOTIATION_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
                    },
                    StreamUpgradeError::NegotiationFailed => {
                        if let Some(in_use) = &info.in_use {
                            in_use.heard();
                        }
                        NetError::NotSpoken {
                            node,
                            protocol: info.protocol.to_owned(),
                        }
                    }
                    StreamUpgradeError::Io(e) => NetError::Lost {
                        node,
                        detail: e.to_string(),
                    },
                    StreamUpgradeError::Apply(never) => match never {},
                };
                info.failed(error);
            }
            _ => {}
        }
    }
}
