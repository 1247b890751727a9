//! The membership gate for peers that are libp2p as it comes: they say its words, and nothing else of ours.

use crate::mesh::{MESH, NOW, authority, credential, id, secret};
use futures::{AsyncRead, AsyncWrite, future::BoxFuture};
use hive_net::frame;
use hive_protocol::{
    ids::NodeId,
    member::{self, Hello, Verdict},
    time::Millis,
};
use libp2p::{
    Multiaddr, PeerId,
    core::{
        Endpoint, UpgradeInfo,
        transport::PortUse,
        upgrade::{InboundUpgrade, OutboundUpgrade},
    },
    identity,
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, OneShotHandler, SubstreamProtocol,
        THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    },
};
use std::{
    collections::{BTreeSet, VecDeque},
    io,
    task::{Context, Poll},
};
use tokio_util::compat::FuturesAsyncReadCompatExt as _;

/// The key of the peer with this seed.
pub fn key(seed: u8) -> identity::Keypair {
    identity::Keypair::ed25519_from_bytes(secret(seed).seed()).unwrap()
}

/// What libp2p calls a node.
pub fn peer(node: NodeId) -> PeerId {
    let key = identity::ed25519::PublicKey::try_from_bytes(node.as_bytes()).unwrap();
    identity::PublicKey::from(key).to_peer_id()
}

/// The gate's exchange, the same on both ends of its stream.
#[derive(Debug, Clone)]
pub struct Greeting(Hello);

/// The peer has been welcomed.
#[derive(Debug)]
pub struct Welcomed;

impl UpgradeInfo for Greeting {
    type Info = &'static str;
    type InfoIter = [&'static str; 1];

    fn protocol_info(&self) -> Self::InfoIter {
        [member::PROTOCOL]
    }
}

impl Greeting {
    async fn exchange(self, socket: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<Welcomed> {
        let mut io = socket.compat();
        let talk = async {
            frame::write(&mut io, &self.0).await?;
            frame::read::<Hello, _>(&mut io).await?;
            frame::write(&mut io, &Verdict::Welcome).await?;
            frame::read::<Verdict, _>(&mut io).await
        };
        match talk.await {
            Ok(Some(Verdict::Welcome)) => Ok(Welcomed),
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> InboundUpgrade<S> for Greeting {
    type Output = Welcomed;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Welcomed>>;

    fn upgrade_inbound(self, socket: S, _: &'static str) -> Self::Future {
        Box::pin(self.exchange(socket))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> OutboundUpgrade<S> for Greeting {
    type Output = Welcomed;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Welcomed>>;

    fn upgrade_outbound(self, socket: S, _: &'static str) -> Self::Future {
        Box::pin(self.exchange(socket))
    }
}

/// Greets whoever it connects to.
pub struct Greeter {
    hello: Hello,
    /// Whether it greets those again that know it, on every connection to them.
    again: bool,
    known: BTreeSet<PeerId>,
    welcomed: VecDeque<PeerId>,
}

impl Greeter {
    /// That of a member with this seed.
    pub fn member(seed: u8) -> Self {
        let hello = Hello {
            network: MESH,
            credential: Some(credential(&authority(), id(seed), NOW + Millis::mins(20))),
            listen: Vec::new(),
            version: "stock".into(),
            now: NOW,
        };
        Self {
            hello,
            again: true,
            known: BTreeSet::new(),
            welcomed: VecDeque::new(),
        }
    }

    /// Does not greet who has welcomed it: what else it connects to them for is no way of the mesh.
    pub fn once(self) -> Self {
        Self { again: false, ..self }
    }

    fn handler(&self) -> OneShotHandler<Greeting, Greeting, Welcomed> {
        let listen = SubstreamProtocol::new(Greeting(self.hello.clone()), ());
        OneShotHandler::new(listen, Default::default())
    }
}

impl NetworkBehaviour for Greeter {
    type ConnectionHandler = OneShotHandler<Greeting, Greeting, Welcomed>;
    type ToSwarm = PeerId;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        role: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let mut handler = self.handler();
        if role.is_dialer() && (self.again || !self.known.contains(&peer)) {
            handler.send_request(Greeting(self.hello.clone()));
        }
        Ok(handler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(&mut self, peer: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        if event.is_ok() {
            self.known.insert(peer);
            self.welcomed.push_back(peer);
        }
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.welcomed
            .pop_front()
            .map_or(Poll::Pending, |peer| Poll::Ready(ToSwarm::GenerateEvent(peer)))
    }
}
