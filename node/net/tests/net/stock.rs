//! Punching with a peer that is libp2p as it comes: its own relay client and its own hole punching. It is a member, so
//! it says the membership gate's words, and nothing else of ours.

use crate::{
    greeter::{Greeter, key, peer},
    mesh::{DEADLINE, TestNode, id, member, soon, until},
};
use futures::StreamExt;
use hive_net::{Admission, RelayLimits};
use hive_protocol::ids::NodeId;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, dcutr, identify,
    multiaddr::Protocol,
    noise, relay,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use std::time::Duration;

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

impl Stock {
    /// A member, connected to the relay.
    async fn start(seed: u8, carrier: Carrier, relay: &TestNode) -> Self {
        let swarm = SwarmBuilder::with_existing_identity(key(seed))
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_quic()
            .with_relay_client(noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|key, relay| Parts {
                greeter: Greeter::member(seed),
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
