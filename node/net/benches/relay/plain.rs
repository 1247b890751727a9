//! libp2p as it comes: its relay with every limit taken away, its relay client, its transports with their own settings.

use crate::{
    Part,
    meter::{receive, send},
    meter_relay,
    raw::Raw,
    told,
};
use futures::StreamExt;
use libp2p::{
    Multiaddr, Stream, Swarm, SwarmBuilder, multiaddr::Protocol, noise, relay, swarm::NetworkBehaviour,
    swarm::SwarmEvent, tcp, tls, yamux,
};
use std::time::Duration;
use tokio::io::split;
use tokio_util::compat::FuturesAsyncReadCompatExt;

#[derive(NetworkBehaviour)]
struct End {
    client: relay::client::Behaviour,
    raw: Raw,
}

#[derive(NetworkBehaviour)]
struct Server {
    relay: relay::Behaviour,
}

pub async fn run(part: Part, tcp: bool, relay: Option<&str>, total: u64) {
    match part {
        Part::Relay => serve(tcp).await,
        Part::Receiver => {
            let mut end = end();
            let at: Multiaddr = relay.unwrap().parse().unwrap();
            end.listen_on(at.with(Protocol::P2pCircuit)).unwrap();
            let stream = loop {
                match end.select_next_some().await {
                    SwarmEvent::NewListenAddr { address, .. } => println!("{address}"),
                    SwarmEvent::Behaviour(EndEvent::Raw(stream)) => break stream,
                    _ => {}
                }
            };
            let driving = drive(end);
            let (mut inn, mut back) = split(stream.compat());
            receive(&mut inn, &mut back, total).await;
            driving.abort();
        }
        Part::Sender(to) => {
            let mut end = end();
            end.dial(to.parse::<Multiaddr>().unwrap()).unwrap();
            let stream: Stream = loop {
                match end.select_next_some().await {
                    SwarmEvent::ConnectionEstablished {
                        peer_id,
                        connection_id,
                        endpoint,
                        ..
                    } if endpoint.is_relayed() => end.behaviour_mut().raw.open(peer_id, connection_id),
                    SwarmEvent::Behaviour(EndEvent::Raw(stream)) => break stream,
                    SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
                    _ => {}
                }
            };
            let driving = drive(end);
            let (mut back, mut out) = split(stream.compat());
            println!("ready");
            told().await;
            send(&mut out, &mut back, total).await;
            driving.abort();
        }
    }
}

fn drive(mut end: Swarm<End>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            end.select_next_some().await;
        }
    })
}

fn end() -> Swarm<End> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            (tls::Config::new, noise::Config::new),
            yamux::Config::default,
        )
        .unwrap()
        .with_quic()
        .with_relay_client((tls::Config::new, noise::Config::new), yamux::Config::default)
        .unwrap()
        .with_behaviour(|_, client| End {
            client,
            raw: Raw::default(),
        })
        .unwrap()
        .build()
}

async fn serve(tcp: bool) {
    let limits = relay::Config {
        max_circuit_bytes: 0,
        max_circuit_duration: Duration::from_secs(24 * 3600),
        ..relay::Config::default()
    };
    let mut server = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            (tls::Config::new, noise::Config::new),
            yamux::Config::default,
        )
        .unwrap()
        .with_quic()
        .with_behaviour(|key| Server {
            relay: relay::Behaviour::new(key.public().to_peer_id(), limits),
        })
        .unwrap()
        .build();
    let at = if tcp {
        "/ip4/127.0.0.1/tcp/0"
    } else {
        "/ip4/127.0.0.1/udp/0/quic-v1"
    };
    server.listen_on(at.parse().unwrap()).unwrap();
    let me = *server.local_peer_id();
    tokio::spawn(async move {
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = server.select_next_some().await {
                server.add_external_address(address.clone());
                println!("{}", address.with(Protocol::P2p(me)));
            }
        }
    });
    meter_relay().await;
}
