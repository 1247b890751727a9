//! Connections: both transports, duplicates, losses, limits.

use crate::mesh::{DEADLINE, id, member, member_with, quickest, soon, until};
use hive_net::{Admission, ListenAddrs, NetError, NetEvent, Transport};
use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_and_tcp_both_carry_members() {
    for (seed, transport) in [(1, Transport::Quic), (3, Transport::Tcp)] {
        let mut a = member(seed).await;
        let mut b = member(seed + 1).await;
        let addrs = match transport {
            Transport::Quic => a.quic(),
            _ => a.tcp(),
        };
        let admission = b.net.dial(a.id(), addrs).await.unwrap();
        assert_eq!(admission, Admission::Member);
        a.wait_connected(b.id()).await;
        b.wait_connected(a.id()).await;
        let peers = b.net.peers().await;
        assert_eq!(peers.len(), 1);
        assert_eq!(peers[0].node, a.id());
        assert_eq!(peers[0].transport, transport);
        assert!(peers[0].member && peers[0].dialer && peers[0].direct);
        assert_eq!(peers[0].version.as_deref(), Some("test"));
        until("a round trip is measured", async || {
            b.net.peers().await[0].rtt.is_some()
        })
        .await;
        // A second dial finds the first.
        assert_eq!(b.dial(&a).await, Admission::Member);
        assert_eq!(b.net.peers().await[0].connections, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_is_preferred_when_both_answer() {
    /// So much earlier QUIC is dialed on a network of one's own: where it takes longer, TCP may be first.
    const AHEAD: Duration = Duration::from_millis(30);
    const TRIES: usize = 30;
    let mut carried = Vec::new();
    while carried.len() < TRIES {
        let (a, b) = (member(5).await, member(6).await);
        let began = Instant::now();
        assert_eq!(b.dial(&a).await, Admission::Member);
        let took = began.elapsed();
        carried.push((took, b.net.peers().await[0].transport));
        if took < AHEAD {
            assert_eq!(carried.last(), Some(&(took, Transport::Quic)), "{carried:?}");
            return;
        }
    }
    // A slow machine: in so many tries it was first all the same.
    assert!(carried.iter().any(|c| c.1 == Transport::Quic), "{carried:?}");
}

/// A dial leaves from the port that is listened on. Where another program has that port at another address of this
/// machine it leaves from another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dial_leaves_although_another_program_has_its_port_elsewhere() {
    let a = member(50).await;
    let b = member(51).await;
    let port: u16 = b.tcp()[0].rsplit('/').next().unwrap().parse().unwrap();
    let _others = std::net::TcpListener::bind(("127.0.0.9", port)).unwrap();
    let admission = b.net.dial(a.id(), a.tcp()).await.unwrap();
    assert_eq!(admission, Admission::Member);
}

/// Every TCP socket between the two nodes has Nagle's algorithm off, read from the sockets themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_sockets_have_nodelay() {
    let a = member(7).await;
    let b = member(8).await;
    b.net.dial(a.id(), a.tcp()).await.unwrap();
    let port: u16 = a.tcp()[0].rsplit('/').next().unwrap().parse().unwrap();
    let this =
        rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty()).unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let Ok(number) = entry.unwrap().file_name().to_str().unwrap().parse() else {
            continue;
        };
        let flags = rustix::process::PidfdGetfdFlags::empty();
        let Ok(fd) = rustix::process::pidfd_getfd(&this, number, flags) else {
            continue;
        };
        let ports = [
            rustix::net::getsockname(fd.as_fd()),
            rustix::net::getpeername(fd.as_fd()).map(Option::unwrap),
        ];
        let [Ok(local), Ok(remote)] = ports else {
            continue;
        };
        let port_of =
            |addr: rustix::net::SocketAddrAny| std::net::SocketAddr::try_from(addr).map(|a| a.port()).ok();
        if port_of(local) != Some(port) && port_of(remote) != Some(port) {
            continue;
        }
        assert!(rustix::net::sockopt::tcp_nodelay(fd.as_fd()).unwrap());
        seen += 1;
    }
    assert_eq!(seen, 2, "both ends of the connection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simultaneous_dials_leave_one_connection() {
    for round in 0..4 {
        let a = member(10 + 2 * round).await;
        let b = member(11 + 2 * round).await;
        let (one, two) = tokio::join!(a.dial(&b), b.dial(&a));
        assert_eq!((one, two), (Admission::Member, Admission::Member));
        until("one connection on both sides", async || {
            let (mut of_a, mut of_b) = (a.net.peers().await, b.net.peers().await);
            let (Some(x), Some(y)) = (of_a.pop(), of_b.pop()) else {
                return false;
            };
            x.connections == 1 && y.connections == 1 && x.dialer != y.dialer
        })
        .await;
        // It works, and it is the one both prefer when there had been two.
        let mut inbound = b.net.serve("/test/1", Default::default()).unwrap();
        let _near = a.net.open(b.id(), "/test/1").await.unwrap();
        let (node, _far) = soon("the stream", inbound.accept()).await.unwrap();
        assert_eq!(node, a.id());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_shuts_down_is_noticed_at_once() {
    // Without a word it would take ten.
    const AT_ONCE: Duration = Duration::from_secs(3);
    let noticed = quickest(AT_ONCE, async |_| {
        let mut a = member(20).await;
        let b = member(21).await;
        b.dial(&a).await;
        a.wait_connected(b.id()).await;
        let before = Instant::now();
        b.net.shutdown().await;
        a.wait(|e| match e {
            NetEvent::Disconnected { node, member, .. } => {
                assert_eq!(node, id(21));
                assert!(member);
                Some(())
            }
            _ => None,
        })
        .await;
        let noticed = before.elapsed();
        assert!(a.net.peers().await.is_empty());
        let stopped = b.net.dial(a.id(), Vec::new()).await.unwrap_err();
        assert_eq!(stopped.code(), "net.stopped");
        noticed
    })
    .await;
    assert!(noticed < AT_ONCE, "{noticed:?}");
}

/// A machine that is switched off says nothing: its silence must be enough, on both transports.
#[test]
fn a_peer_that_falls_silent_is_noticed() {
    let watching = tokio::runtime::Runtime::new().unwrap();
    let dying = tokio::runtime::Runtime::new().unwrap();
    let mut a = watching.block_on(member(22));
    let b = dying.block_on(member(23));
    dying.block_on(async {
        b.net.dial(a.id(), a.quic()).await.unwrap();
    });
    watching.block_on(a.wait_connected(b.id()));
    // Dropping the runtime drops the endpoint without a word.
    std::mem::forget(b);
    dying.shutdown_background();
    watching.block_on(a.wait(|e| matches!(e, NetEvent::Disconnected { .. }).then_some(())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disconnect_ends_it_for_both_and_open_connects_again() {
    let mut a = member(24).await;
    let mut b = member(25).await;
    let mut inbound = a.net.serve("/test/1", Default::default()).unwrap();
    b.dial(&a).await;
    a.wait_connected(b.id()).await;
    b.net.disconnect(a.id(), "test").await;
    let gone = |e| matches!(e, NetEvent::Disconnected { .. }).then_some(());
    a.wait(gone).await;
    b.wait(gone).await;
    let _stream = b.net.open(a.id(), "/test/1").await.unwrap();
    soon("the stream", inbound.accept()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_named() {
    let a = member(30).await;
    let port: u16 = a.tcp()[0].rsplit('/').next().unwrap().parse().unwrap();
    for listen in [
        vec![format!("/ip4/127.0.0.1/tcp/{port}")],
        vec![format!("/ip4/127.0.0.1/udp/{port}/quic-v1")],
    ] {
        let config = hive_net::Config {
            secret: crate::mesh::secret(31),
            network: crate::mesh::MESH,
            listen: ListenAddrs::Exactly(listen.clone()),
            bulk: Default::default(),
            transports: hive_net::Transports::default(),
            ipv6: true,
            upnp: false,
            direct: true,
            kad_server: true,
            limits: Default::default(),
            version: String::new(),
            gate: a.gate.clone(),
        };
        let error = hive_net::spawn(config).await.unwrap_err();
        assert_eq!(error.code(), "net.port_taken", "{error}");
        assert!(error.to_string().contains(&listen[0]), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_node_is_explained_address_by_address() {
    let a = member(32).await;
    let b = member(33).await;
    let nowhere = a.net.dial(id(99), Vec::new()).await.unwrap_err();
    assert_eq!(nowhere.code(), "net.no_address");
    // Nobody listens on port 1, and somebody else answers on b's.
    let closed = a
        .net
        .dial(id(98), vec!["/ip4/127.0.0.1/tcp/1".into(), "junk".into()])
        .await
        .unwrap_err();
    assert_eq!(closed.code(), "net.unreachable");
    let NetError::Unreachable { reasons, .. } = &closed else {
        panic!("{closed}");
    };
    assert_eq!(reasons.len(), 1);
    assert!(reasons[0].starts_with("/ip4/127.0.0.1/tcp/1"), "{closed}");
    assert!(reasons[0].contains("refused"), "{closed}");
    let other = a.net.dial(id(97), b.tcp()).await.unwrap_err();
    assert!(other.to_string().contains(&b.id().to_string()), "{other}");
    let me = a.net.dial(a.id(), a.tcp()).await.unwrap_err();
    assert_eq!(me.code(), "net.unreachable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_over_the_limit_are_refused() {
    let a = member_with(40, |c| c.limits.connections = 2).await;
    let (b, c, d) = (member(41).await, member(42).await, member(43).await);
    assert_eq!(b.dial(&a).await, Admission::Member);
    assert_eq!(c.dial(&a).await, Admission::Member);
    let refused = tokio::time::timeout(DEADLINE, d.net.dial(a.id(), a.net.listen_addrs()));
    // The connection ends under the first exchange: either that is noticed first, or the end itself.
    assert_ne!(refused.await.unwrap().ok(), Some(Admission::Member));
    assert_eq!(a.net.peers().await.len(), 2);
    until("it is counted", async || a.net.counters().inbound_failed > 0).await;
}
