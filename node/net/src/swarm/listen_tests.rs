//! Ports that somebody else takes first.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::{
    config::{Limits, Transports},
    gate::Gate,
};
use hive_protocol::{
    ids::{NetworkId, NodeId},
    keys::SecretKey,
    member::{Hello, Verdict},
    time::Timestamp,
};

/// Nobody comes in these tests.
struct Nobody;

impl Gate for Nobody {
    fn hello(&self, listen: Vec<String>) -> Hello {
        Hello {
            network: NetworkId([7; 32]),
            credential: None,
            listen,
            version: String::new(),
            now: Timestamp(0),
        }
    }

    fn judge(&self, _: NodeId, _: &Hello) -> Verdict {
        Verdict::Welcome
    }
}

fn config(listen: ListenAddrs) -> Config {
    Config {
        secret: SecretKey::from_seed(&[1; 32]),
        network: NetworkId([7; 32]),
        listen,
        bulk: Default::default(),
        transports: Transports::default(),
        ipv6: true,
        upnp: false,
        direct: true,
        kad_server: true,
        limits: Limits::default(),
        version: String::new(),
        gate: Arc::new(Nobody),
    }
}

/// What came of listening with a chooser that finds these ports, one after another, and how often it was asked; the
/// last one is found again and again.
async fn with_choices(listen: ListenAddrs, ports: &[u16]) -> (Result<Standing, NetError>, usize) {
    crate::swarm::init_crypto().unwrap();
    let config = config(listen);
    let key = transport::keypair(&config).unwrap();
    let mut asked = 0;
    let mut choose = |_: &[IpAddr]| {
        let port = ports[asked.min(ports.len() - 1)];
        asked += 1;
        Ok(port)
    };
    let stands = stand_at(&config, &key, &mut choose).await;
    (stands, asked)
}

/// Somebody who was faster.
fn taken() -> (TcpListener, u16) {
    let socket = bind_tcp(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

fn free() -> u16 {
    free_port(&[Ipv4Addr::LOCALHOST.into()]).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chosen_port_that_somebody_else_takes_first_is_chosen_again() {
    let (_faster, lost) = taken();
    // The port found second may be lost, too, to another test: then a third is found.
    let ports = [lost, free(), free(), free()];
    let (stands, asked) = with_choices(ListenAddrs::Loopback(0), &ports).await;
    let stands = stands.unwrap_or_else(|e| panic!("{e}"));
    assert!(asked >= 2, "the first was taken");
    let used = format!("/tcp/{}", ports[asked - 1]);
    let found: Vec<String> = stands.listening.iter().map(Multiaddr::to_string).collect();
    assert!(found.iter().any(|a| a.ends_with(&used)), "{used}: {found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_not_chosen_for_ever() {
    let (_faster, lost) = taken();
    let (stands, asked) = with_choices(ListenAddrs::Loopback(0), &[lost]).await;
    let error = stands.err().expect("the port is taken");
    assert_eq!(error.code(), "net.port_taken");
    assert_eq!(asked, RACES + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_was_asked_for_is_refused_at_once() {
    let (_faster, lost) = taken();
    let exactly = vec![format!("/ip4/127.0.0.1/tcp/{lost}")];
    for listen in [ListenAddrs::Loopback(lost), ListenAddrs::Exactly(exactly)] {
        let (stands, asked) = with_choices(listen.clone(), &[free()]).await;
        let error = stands.err().expect("the port is taken");
        assert_eq!(error.code(), "net.port_taken");
        assert!(error.to_string().contains(&lost.to_string()), "{error}");
        assert_eq!(asked, 0, "no other is chosen instead");
        assert!(!is_lost_race(&listen, &error), "nor is it tried again");
    }
}
