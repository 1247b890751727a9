//! AutoNAT with libp2p as it comes: its client asks us, its server answers us. It is a member, so it says the membership
//! gate's words, and nothing else of ours.

use crate::{
    greeter::{Greeter, key, peer},
    mesh::{DEADLINE, TestNode, id, member, nobodys_port, soon, until},
};
use futures::StreamExt;
use hive_net::{Admission, Tester};
use libp2p::{
    Multiaddr, Swarm, SwarmBuilder, identify, noise,
    swarm::{FromSwarm, NetworkBehaviour, NewExternalAddrCandidate, SwarmEvent},
    tcp, yamux,
};
use libp2p_autonat::v2::{client, server};
use std::{collections::BTreeMap, ops::RangeInclusive};
use tokio::sync::mpsc;

/// What the filling of a test may come to, in bytes.
const FILLING: RangeInclusive<usize> = 30_000..=100_000;

#[derive(NetworkBehaviour)]
struct Asks {
    greeter: Greeter,
    identify: identify::Behaviour,
    autonat: client::Behaviour,
}

#[derive(NetworkBehaviour)]
struct Answers {
    greeter: Greeter,
    identify: identify::Behaviour,
    autonat: server::Behaviour,
}

/// A stock peer that listens.
async fn stock<B: NetworkBehaviour>(
    seed: u8,
    behaviour: impl FnOnce(Greeter, identify::Behaviour) -> B,
) -> (Swarm<B>, Vec<Multiaddr>) {
    let identify = identify::Config::new("/stock/1".into(), key(seed).public());
    let greeter = Greeter::member(seed).once();
    let behaviour = behaviour(greeter, identify::Behaviour::new(identify));
    let mut swarm = SwarmBuilder::with_existing_identity(key(seed))
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_quic()
        .with_behaviour(|_| behaviour)
        .unwrap()
        .with_swarm_config(|c| c.with_idle_connection_timeout(DEADLINE))
        .build();
    let at = listen(&mut swarm, "127.0.0.1").await;
    (swarm, at)
}

/// Has it listen there with both transports.
async fn listen<B: NetworkBehaviour>(swarm: &mut Swarm<B>, ip: &str) -> Vec<Multiaddr> {
    let mut at = Vec::new();
    for rest in ["udp/0/quic-v1", "tcp/0"] {
        let addr = format!("/ip4/{ip}/{rest}").parse().unwrap();
        let listener = swarm.listen_on(addr).unwrap();
        let found = wait(swarm, "it listens", |e| match e {
            SwarmEvent::NewListenAddr { listener_id, address } if listener_id == listener => Some(address),
            _ => None,
        });
        at.push(found.await);
    }
    at
}

/// The first event this finds something in.
async fn wait<B: NetworkBehaviour, T>(
    swarm: &mut Swarm<B>,
    what: &str,
    mut find: impl FnMut(SwarmEvent<B::ToSwarm>) -> Option<T>,
) -> T {
    soon(what, async {
        loop {
            if let Some(found) = find(swarm.select_next_some().await) {
                return found;
            }
        }
    })
    .await
}

/// Has the stock client find out about an address, as any of its behaviours could.
fn wants_to_know(swarm: &mut Swarm<Asks>, addr: &Multiaddr) {
    let candidate = NewExternalAddrCandidate { addr };
    let autonat = &mut swarm.behaviour_mut().autonat;
    autonat.on_swarm_event(FromSwarm::NewExternalAddrCandidate(candidate));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_libp2p_asks_and_we_dial_it_back() {
    // Its client looks for something to ask only once in five seconds: both at a time.
    tokio::join!(asks(66, "/quic-v1"), asks(68, "/tcp/"));
}

async fn asks(first: u8, part: &str) {
    let (ours, seed) = (member(first).await, first + 1);
    let (mut asks, mut at) = stock(seed, |greeter, identify| Asks {
        greeter,
        identify,
        autonat: client::Behaviour::default(),
    })
    .await;
    let addrs = ours.net.listen_addrs();
    let addr = addrs.iter().find(|a| a.contains(part)).unwrap();
    asks.dial(addr.parse::<Multiaddr>().unwrap()).unwrap();
    wait(&mut asks, "it is a member", |e| {
        matches!(e, SwarmEvent::Behaviour(AsksEvent::Greeter(_))).then_some(())
    })
    .await;
    // Where it is seen is where it listens, and that it wants to know of its own accord.
    let own = at.iter().find(|a| a.to_string().contains(part)).unwrap().clone();
    at.extend(listen(&mut asks, "127.0.0.2").await);
    let nobody: Multiaddr = format!("/ip4/127.0.0.1/tcp/{}", nobodys_port()).parse().unwrap();
    for addr in at.iter().chain([&nobody]).filter(|a| **a != own) {
        wants_to_know(&mut asks, addr);
    }
    let mut verdicts = BTreeMap::new();
    wait(&mut asks, "all verdicts", |e| {
        if let SwarmEvent::Behaviour(AsksEvent::Autonat(event)) = e {
            assert_eq!(event.server, peer(ours.id()));
            verdicts.insert(event.tested_addr.clone(), event);
        }
        (verdicts.len() > at.len()).then_some(())
    })
    .await;
    for addr in &at {
        let event = &verdicts[addr];
        assert!(event.result.is_ok(), "{event:?}");
        // Another IP address than that it asks from is dialed only for filling.
        if addr.to_string().contains("127.0.0.2") {
            assert!(FILLING.contains(&event.bytes_sent), "{event:?}");
        } else {
            assert_eq!(event.bytes_sent, 0, "{event:?}");
        }
    }
    let refused = verdicts[&nobody].result.as_ref().unwrap_err();
    assert_eq!(refused.to_string(), "server failed to establish a connection");
    let mut confirmed: Vec<_> = asks.external_addresses().cloned().collect();
    confirmed.sort_unstable();
    at.sort_unstable();
    assert_eq!(confirmed, at);
}

/// A stock server in a task of its own, what it says of each test, and our node that is connected to it.
async fn served(first: u8, part: &str) -> (TestNode, mpsc::Receiver<server::Event>) {
    let (ours, seed) = (member(first).await, first + 1);
    let (mut answers, at) = stock(seed, |greeter, identify| Answers {
        greeter,
        identify,
        autonat: server::Behaviour::default(),
    })
    .await;
    let (says, said) = mpsc::channel(64);
    tokio::spawn(async move {
        loop {
            let event = answers.select_next_some().await;
            if let SwarmEvent::Behaviour(AnswersEvent::Autonat(event)) = event
                && says.try_send(event).is_err()
            {
                return;
            }
        }
    });
    let mut at: Vec<_> = at.iter().map(ToString::to_string).collect();
    at.retain(|a| a.contains(part));
    let dialing = ours.net.dial(id(seed), at);
    assert_eq!(soon("a member", dialing).await.unwrap(), Admission::Member);
    (ours, said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn we_ask_stock_libp2p_and_it_dials_us_back() {
    for (n, part) in [(0, "/quic-v1"), (1, "/tcp/")] {
        let first = 70 + 2 * n;
        let (ours, mut said) = served(first, part).await;
        for addr in ours.net.listen_addrs() {
            let testing = ours.net.test(id(first + 1), addr.clone(), Tester::Server);
            let report = soon("a verdict", testing).await.unwrap();
            assert!(report.reached && !report.fresh, "{report:?}");
            assert_eq!(report.server, id(first + 1));
            let event = soon("what it says", said.recv()).await.unwrap();
            event.result.unwrap();
            assert_eq!(event.tested_addr.to_string(), addr);
            assert_eq!(event.client, peer(ours.id()));
            // It wants filling for whatever is not the very address it sees us at.
            let seen = addr.contains(part);
            assert_eq!(event.data_amount == 0, seen, "{addr}: {}", event.data_amount);
            assert!(seen || FILLING.contains(&event.data_amount));
        }
        let nobody = format!("/ip4/127.0.0.1/tcp/{}", nobodys_port());
        let testing = ours.net.test(id(first + 1), nobody, Tester::Server);
        let report = soon("a verdict", testing).await.unwrap();
        assert!(!report.reached, "{report:?}");
        assert_eq!(report.detail, "no connection could be made");
        until("it is a member still", async || {
            let peers = ours.net.peers().await;
            peers.iter().any(|p| p.node == id(first + 1) && p.member)
        })
        .await;
    }
}
