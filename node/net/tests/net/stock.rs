//! Punching with a peer that is libp2p as it comes: its own relay client and its own hole punching. It is a member, so
//! it says the membership gate's words, and nothing else of ours.

use crate::mesh::{DEADLINE, MESH, NOW, TestNode, authority, credential, id, member, secret, soon, until};
use futures::{AsyncRead, AsyncWrite, StreamExt, future::BoxFuture};
use hive_net::{Admission, RelayLimits, frame};
use hive_protocol::{
    ids::NodeId,
    member::{self, Hello, Verdict},
    time::Millis,
};
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder,
    core::{
        Endpoint, UpgradeInfo,
        transport::PortUse,
        upgrade::{InboundUpgrade, OutboundUpgrade},
    },
    dcutr, identify, identity,
    multiaddr::Protocol,
    noise, relay,
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, OneShotHandler, SubstreamProtocol,
        SwarmEvent, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    },
    tcp, yamux,
};
use std::{
    collections::VecDeque,
    io,
    task::{Context, Poll},
    time::Duration,
};
use tokio_util::compat::FuturesAsyncReadCompatExt as _;

/// The gate's exchange, the same on both ends of its stream.
#[derive(Debug, Clone)]
struct Greeting(Hello);

/// The peer has been welcomed.
#[derive(Debug)]
struct Welcomed;

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
struct Greeter {
    hello: Hello,
    welcomed: VecDeque<PeerId>,
}

impl Greeter {
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
        _: PeerId,
        _: &Multiaddr,
        role: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let mut handler = self.handler();
        if role.is_dialer() {
            handler.send_request(Greeting(self.hello.clone()));
        }
        Ok(handler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(&mut self, peer: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        if event.is_ok() {
            self.welcomed.push_back(peer);
        }
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.welcomed
            .pop_front()
            .map_or(Poll::Pending, |peer| Poll::Ready(ToSwarm::GenerateEvent(peer)))
    }
}

#[derive(NetworkBehaviour)]
struct Parts {
    greeter: Greeter,
    identify: identify::Behaviour,
    relay: relay::client::Behaviour,
    punch: dcutr::Behaviour,
}

/// What carries the direct connection.
#[derive(Debug, Clone, Copy)]
enum Carrier {
    Quic,
    Tcp,
}

impl Carrier {
    fn part(self) -> &'static str {
        match self {
            Self::Quic => "/quic-v1",
            Self::Tcp => "/tcp/",
        }
    }
}

struct Stock {
    swarm: Swarm<Parts>,
}

fn peer(node: NodeId) -> PeerId {
    let key = identity::ed25519::PublicKey::try_from_bytes(node.as_bytes()).unwrap();
    identity::PublicKey::from(key).to_peer_id()
}

impl Stock {
    /// A member, connected to the relay.
    async fn start(seed: u8, carrier: Carrier, relay: &TestNode) -> Self {
        let key = identity::Keypair::ed25519_from_bytes(secret(seed).seed()).unwrap();
        let hello = Hello {
            network: MESH,
            credential: Some(credential(&authority(), id(seed), NOW + Millis::mins(20))),
            listen: Vec::new(),
            version: "stock".into(),
            now: NOW,
        };
        let swarm = SwarmBuilder::with_existing_identity(key)
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_quic()
            .with_relay_client(noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|key, relay| Parts {
                greeter: Greeter {
                    hello,
                    welcomed: VecDeque::new(),
                },
                identify: identify::Behaviour::new(identify::Config::new("/stock/1".into(), key.public())),
                relay,
                punch: dcutr::Behaviour::new(key.public().to_peer_id()),
            })
            .unwrap()
            .with_swarm_config(|c| c.with_idle_connection_timeout(Duration::from_secs(60)))
            .build();
        let mut stock = Self { swarm };
        let listen = match carrier {
            Carrier::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
            Carrier::Tcp => "/ip4/127.0.0.1/tcp/0",
        };
        stock.swarm.listen_on(listen.parse().unwrap()).unwrap();
        stock
            .wait("it listens", |e| matches!(e, SwarmEvent::NewListenAddr { .. }))
            .await;
        let at = relay.net.listen_addrs();
        let at = at.iter().find(|a| a.contains(carrier.part())).unwrap();
        stock.swarm.dial(at.parse::<Multiaddr>().unwrap()).unwrap();
        // A member, and told where it is seen: what it will name.
        let (mut welcomed, mut seen) = (false, false);
        stock
            .wait("it is a member", |e| {
                welcomed |= matches!(e, SwarmEvent::Behaviour(PartsEvent::Greeter(_)));
                seen |= matches!(e, SwarmEvent::NewExternalAddrCandidate { .. });
                welcomed && seen
            })
            .await;
        stock
    }

    async fn wait(&mut self, what: &str, mut found: impl FnMut(&SwarmEvent<PartsEvent>) -> bool) {
        let waiting = async {
            loop {
                let event = self.swarm.select_next_some().await;
                if found(&event) {
                    return;
                }
            }
        };
        if tokio::time::timeout(DEADLINE, waiting).await.is_err() {
            panic!("not within the deadline: {what}");
        }
    }

    /// Goes on until there is a direct connection to this peer.
    async fn until_direct(&mut self, to: PeerId) {
        self.wait("a direct connection", |e| {
            matches!(e, SwarmEvent::ConnectionEstablished { peer_id, endpoint, .. }
                if *peer_id == to && !endpoint.is_relayed())
        })
        .await;
    }
}

/// A relay, with its addresses as others name it.
async fn relay(seed: u8, carrier: Carrier) -> (TestNode, Multiaddr) {
    let relay = member(seed).await;
    relay.net.serve_relay(RelayLimits::default()).unwrap();
    let addrs = relay.net.listen_addrs();
    let addr = addrs.iter().find(|a| a.contains(carrier.part())).unwrap();
    let circuit = addr
        .parse::<Multiaddr>()
        .unwrap()
        .with(Protocol::P2p(peer(relay.id())))
        .with(Protocol::P2pCircuit);
    (relay, circuit)
}

/// Our side has a direct way as well, and a punch made it.
async fn is_direct(ours: &TestNode, to: NodeId) {
    until("it is direct here, too", async || {
        let peers = ours.net.peers().await;
        peers.iter().any(|p| p.node == to && p.direct && p.member)
    })
    .await;
    assert_eq!(ours.net.counters().punches_done, 1);
}

/// Runs the stock peer beside something else.
async fn beside<T>(stock: &mut Stock, doing: impl Future<Output = T>) -> T {
    tokio::select! {
        done = doing => done,
        () = stock.wait("nothing", |_| false) => unreachable!(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_libp2p_begins_a_punch_and_we_answer() {
    for (n, carrier) in [(0, Carrier::Quic), (1, Carrier::Tcp)] {
        let (relay, circuit) = relay(240 + 3 * n, carrier).await;
        let (ours, seed) = (member(241 + 3 * n).await, 242 + 3 * n);
        ours.dial(&relay).await;
        let mut stock = Stock::start(seed, carrier, &relay).await;
        stock.swarm.listen_on(circuit.clone()).unwrap();
        stock
            .wait("a reservation", |e| {
                matches!(
                    e,
                    SwarmEvent::Behaviour(PartsEvent::Relay(
                        relay::client::Event::ReservationReqAccepted { .. }
                    ))
                )
            })
            .await;
        let dialing = ours.net.dial(id(seed), vec![circuit.to_string()]);
        let admission = beside(&mut stock, soon("a circuit", dialing)).await.unwrap();
        assert_eq!(admission, Admission::Member);
        let done = is_direct(&ours, id(seed));
        beside(&mut stock, done).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn we_begin_a_punch_and_stock_libp2p_answers() {
    for (n, carrier) in [(0, Carrier::Quic), (1, Carrier::Tcp)] {
        let (relay, circuit) = relay(246 + 3 * n, carrier).await;
        let (ours, seed) = (member(247 + 3 * n).await, 248 + 3 * n);
        ours.dial(&relay).await;
        soon("a reservation", ours.net.reserve(relay.id())).await.unwrap();
        let mut stock = Stock::start(seed, carrier, &relay).await;
        let to = peer(ours.id());
        stock.swarm.dial(circuit.with(Protocol::P2p(to))).unwrap();
        stock.until_direct(to).await;
        let done = is_direct(&ours, id(seed));
        beside(&mut stock, done).await;
    }
}
