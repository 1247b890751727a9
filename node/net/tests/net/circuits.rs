//! Ways through a relay: between nodes that nobody can dial, from first reservation to a relay that comes back.

use crate::mesh::{TestNode, member, member_with, soon, until};
use hive_net::{ListenAddrs, NetError, NetEvent, ProtocolPolicy, RelayLimits, Transport};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ECHO: &str = "/test/echo/1";

/// A member that listens nowhere: like one behind a NAT that lets nothing in.
async fn hidden(seed: u8) -> TestNode {
    member_with(seed, |c| c.listen = ListenAddrs::Exactly(Vec::new())).await
}

fn serve_echo(node: &TestNode) {
    let mut inbound = node.net.serve(ECHO, ProtocolPolicy::default()).unwrap();
    tokio::spawn(async move {
        while let Some((_, stream)) = inbound.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
}

async fn echo(from: &TestNode, to: &TestNode, text: &[u8]) {
    let stream = soon("a stream", from.net.open(to.id(), ECHO)).await.unwrap();
    let (mut read, mut write) = stream.split();
    let sent = text.to_vec();
    // Beside the reading: an echo larger than all buffers would wait for its own reader.
    let writing = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.flush().await.unwrap();
        write
    });
    let mut back = vec![0; text.len()];
    soon("the echo", read.read_exact(&mut back)).await.unwrap();
    assert!(back == text);
    soon("written", writing).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hidden_nodes_talk_through_a_relay() {
    let relay = member(200).await;
    let service = relay.net.serve_relay(RelayLimits::default()).unwrap();
    let (a, b) = (hidden(201).await, hidden(202).await);
    assert!(
        matches!(b.net.reserve(relay.id()).await, Err(NetError::NoAddress { .. })),
        "not connected yet"
    );
    a.dial(&relay).await;
    b.dial(&relay).await;
    serve_echo(&b);
    let address = soon("a reservation", b.net.reserve(relay.id())).await.unwrap();
    assert!(address.ends_with("/p2p-circuit"), "{address}");
    assert!(b.net.listen_addrs().contains(&address));
    assert_eq!(
        b.net.reserve(relay.id()).await.unwrap(),
        address,
        "once is enough"
    );
    a.net.learn(b.id(), vec![address]).await;
    echo(&a, &b, b"hello through the relay").await;
    for (me, other) in [(&a, &b), (&b, &a)] {
        let peers = me.net.peers().await;
        let view = peers.iter().find(|p| p.node == other.id()).unwrap();
        assert!(view.member && !view.direct);
        assert_eq!((view.transport, view.relay), (Transport::Relay, Some(relay.id())));
    }
    let counts = service.counts();
    assert_eq!((counts.reservations, counts.circuits), (1, 1));
    assert!(counts.bytes > 0);
    // A large transfer: nothing is cut at the size that is meant for signalling only.
    echo(&a, &b, &vec![7; 2_000_000]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_reservation_is_named_and_a_later_one_works() {
    let relay = member(205).await;
    let b = hidden(206).await;
    b.dial(&relay).await;
    // A member that is no relay.
    let refused = soon("a refusal", b.net.reserve(relay.id())).await.unwrap_err();
    assert_eq!(refused.code(), "net.reservation", "{refused}");
    relay.net.serve_relay(RelayLimits::default()).unwrap();
    until("the wish comes true by itself", async || {
        !b.net.listen_addrs().is_empty()
    })
    .await;
    b.net.unreserve(relay.id()).await;
    until("it is over", async || b.net.listen_addrs().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reservation_is_renewed_before_it_ends_and_nobody_notices() {
    // Renewed at three quarters of it: a machine that stands still for the last quarter gets a longer one.
    for (life, seed) in [(6, 220), (24, 223)] {
        if renewed(Duration::from_secs(life), seed).await {
            return;
        }
    }
    panic!("its address was lost");
}

/// Whether a reservation of this life was renewed twice, and nobody noticed.
async fn renewed(life: Duration, seed: u8) -> bool {
    let relay = member(seed).await;
    let limits = RelayLimits {
        reservation_life: life,
        ..RelayLimits::default()
    };
    let service = relay.net.serve_relay(limits).unwrap();
    let (a, mut b) = (hidden(seed + 1).await, hidden(seed + 2).await);
    serve_echo(&b);
    a.dial(&relay).await;
    b.dial(&relay).await;
    let address = soon("a reservation", b.net.reserve(relay.id())).await.unwrap();
    let mut kept = true;
    until("it is renewed twice", async || {
        kept &= service.counts().reservations == 1 && b.net.listen_addrs().contains(&address);
        !kept || service.counts().reserved >= 3
    })
    .await;
    let counters = b.net.counters();
    if !kept || (counters.reservations_made, counters.reservations_lost) != (1, 0) {
        println!("a reservation of {life:?} was lost: {counters:?}");
        return false;
    }
    while let Some(event) = b.events.try_next() {
        assert!(!matches!(event, NetEvent::NotListening { .. }), "{event:?}");
    }
    // By now the first would have ended: the way still leads there.
    a.net.learn(b.id(), vec![address]).await;
    echo(&a, &b, b"through a renewed one").await;
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_restarts_is_reserved_at_again() {
    let relay = member(210).await;
    let port = relay.tcp()[0].rsplit('/').next().unwrap().parse::<u16>().unwrap();
    relay.net.serve_relay(RelayLimits::default()).unwrap();
    let (a, b) = (hidden(211).await, hidden(212).await);
    serve_echo(&b);
    a.dial(&relay).await;
    b.dial(&relay).await;
    let address = soon("a reservation", b.net.reserve(relay.id())).await.unwrap();
    a.net.learn(b.id(), vec![address]).await;
    echo(&a, &b, b"before").await;
    relay.net.shutdown().await;
    until("it is noticed", async || b.net.listen_addrs().is_empty()).await;
    drop(relay);
    until("the port is free", async || {
        std::net::UdpSocket::bind(("127.0.0.1", port)).is_ok()
    })
    .await;
    let again = member_with(210, |c| c.listen = ListenAddrs::Loopback(port)).await;
    let service = again.net.serve_relay(RelayLimits::default()).unwrap();
    until("reserved again", async || service.counts().reservations == 1).await;
    until("and said so", async || !b.net.listen_addrs().is_empty()).await;
    echo(&a, &b, b"after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_through_a_relay_becomes_a_direct_one() {
    let relay = member(215).await;
    let service = relay.net.serve_relay(RelayLimits::default()).unwrap();
    // Both can be dialed, but neither has been told where the other listens.
    let (a, b) = (member(216).await, member(217).await);
    serve_echo(&b);
    a.dial(&relay).await;
    b.dial(&relay).await;
    let address = soon("a reservation", b.net.reserve(relay.id())).await.unwrap();
    a.net.learn(b.id(), vec![address]).await;
    let mut stream = soon("a stream", a.net.open(b.id(), ECHO)).await.unwrap();
    stream.write_all(b"one").await.unwrap();
    stream.flush().await.unwrap();
    until("a direct connection is preferred on both sides", async || {
        let direct = async |me: &TestNode, other: &TestNode| {
            let peers = me.net.peers().await;
            peers.iter().any(|p| p.node == other.id() && p.direct)
        };
        direct(&a, &b).await && direct(&b, &a).await
    })
    .await;
    // What was open goes on where it was opened.
    let mut back = [0; 3];
    soon("the old stream", stream.read_exact(&mut back))
        .await
        .unwrap();
    assert_eq!(&back, b"one");
    let before = service.counts().bytes;
    echo(&a, &b, &vec![1; 500_000]).await;
    assert!(
        service.counts().bytes < before + 100_000,
        "new streams go directly"
    );
    drop(stream);
    until("the circuit is given up", async || service.counts().circuits == 0).await;
    echo(&a, &b, b"still").await;
}
