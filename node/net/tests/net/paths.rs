//! Ways to peers: told as they change, tried one by one, left when they are dead, added to while others are tried.

use crate::mesh::{TRIES, TestNode, id, member, member_with, quickest, soon, until};
use hive_net::{
    AttemptKind, ListenAddrs, NetError, NetEvent, Outcome, Path, ProtocolPolicy, RelayLimits, Transport,
};
use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const ECHO: &str = "/test/echo/1";

fn serve_echo(node: &TestNode) {
    let mut inbound = node.net.serve(ECHO, ProtocolPolicy::default()).unwrap();
    tokio::spawn(async move {
        while let Some((_, stream)) = inbound.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
}

async fn echo(from: &TestNode, to: &TestNode) -> std::io::Result<()> {
    let open = from.net.open(to.id(), ECHO).await;
    let mut stream = open.map_err(|e| std::io::Error::other(e.to_string()))?;
    stream.write_all(b"hello").await?;
    stream.flush().await?;
    let mut back = [0; 5];
    stream.read_exact(&mut back).await.map(|_| ())
}

/// A relay, and two members connected to it, the second of which is reachable through it.
async fn relayed(seed: u8) -> (TestNode, TestNode, TestNode, String) {
    let relay = member(seed).await;
    relay.net.serve_relay(RelayLimits::default()).unwrap();
    let (a, b) = (member(seed + 1).await, member(seed + 2).await);
    a.dial(&relay).await;
    b.dial(&relay).await;
    serve_echo(&b);
    let circuit = soon("a reservation", b.net.reserve(relay.id())).await.unwrap();
    (relay, a, b, circuit)
}

async fn is_direct(from: &TestNode, to: &TestNode) -> bool {
    let path = from.net.path(to.id()).await;
    path.is_ok_and(|view| view.path == Path::Direct)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_of_the_way_is_told_and_every_attempt_is_kept() {
    let (relay, mut a, b, circuit) = relayed(100).await;
    a.net.learn(b.id(), vec![circuit.clone()]).await;
    soon("an echo", echo(&a, &b)).await.unwrap();
    let mut seen = Vec::new();
    while !seen.contains(&"direct") {
        let name = a
            .wait(|event| match event {
                NetEvent::Path { node, path, .. } if node == b.id() => Some(path.name()),
                _ => None,
            })
            .await;
        seen.push(name);
    }
    assert_eq!(seen.first(), Some(&"relay"), "{seen:?}");
    let attempts = a.net.attempts(b.id()).await.unwrap();
    let found = |kind, outcome: &str| {
        attempts
            .iter()
            .any(|t| t.kind == kind && t.outcome.name() == outcome)
    };
    assert!(found(AttemptKind::Circuit, "connected"), "{attempts:?}");
    assert!(found(AttemptKind::Punch, "connected"), "{attempts:?}");
    let view = a.net.path(b.id()).await.unwrap();
    assert_eq!(view.path, Path::Direct);
    assert!(
        view.links
            .iter()
            .any(|l| l.preferred && l.transport != Transport::Relay)
    );
    assert!(view.known.contains(&circuit), "{view:?}");
    assert!(a.net.paths().await.iter().any(|p| p.node == relay.id()));
    // Of one that nobody knows nothing is said; of one that cannot be reached, why.
    assert_eq!(a.net.path(id(250)).await.unwrap_err().code(), "net.no_address");
    let dead = "/ip4/127.0.0.1/tcp/9".to_owned();
    a.net.dial(id(250), vec![dead]).await.unwrap_err();
    let view = a.net.path(id(250)).await.unwrap();
    assert!(matches!(view.path, Path::Unreachable { reason } if reason.contains("/tcp/9")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_tries_each_address_and_leaves_nothing_behind() {
    let (a, b) = (member(110).await, member(111).await);
    a.dial(&b).await;
    let dead = "/ip4/127.0.0.1/tcp/9".to_owned();
    let tried = soon("a trace", a.net.trace(b.id(), vec![dead.clone()]))
        .await
        .unwrap();
    let of = |addr: &str| tried.iter().find(|t| t.addr.as_deref() == Some(addr)).unwrap();
    assert!(matches!(of(&dead).outcome, Outcome::Failed { .. }), "{tried:?}");
    for addr in b.net.listen_addrs() {
        assert_eq!(of(&addr).outcome, Outcome::Connected, "{tried:?}");
    }
    until("one connection is left", async || {
        a.net.path(b.id()).await.is_ok_and(|view| view.links.len() == 1)
    })
    .await;
    let unknown = a.net.trace(id(251), Vec::new()).await.unwrap_err();
    assert_eq!(unknown.code(), "net.no_address");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_comes_late_is_dialed_beside_a_dead_one() {
    /// Before the dead one has failed, which takes five seconds.
    const IN_TIME: Duration = Duration::from_secs(4);
    // It takes packets and never answers.
    let hole = UdpSocket::bind("127.0.0.1:0").unwrap();
    let dead = format!("/ip4/127.0.0.1/udp/{}/quic-v1", hole.local_addr().unwrap().port());
    let taken = quickest(IN_TIME, async |n| {
        let (a, b) = (member(70 + 2 * n).await, member(71 + 2 * n).await);
        let began = Instant::now();
        let dial = tokio::spawn({
            let (net, node, dead) = (a.net.clone(), b.id(), dead.clone());
            async move { net.dial(node, vec![dead]).await }
        });
        until("it is being dialed, or was", async || {
            let view = a.net.path(b.id()).await;
            dial.is_finished() || view.is_ok_and(|view| view.path == Path::Connecting)
        })
        .await;
        a.net.learn(b.id(), b.net.listen_addrs()).await;
        // Given up before the other address had come: too slow a machine, this time.
        let dialed = soon("a dial", dial).await.unwrap();
        dialed.map_or(Duration::MAX, |_| began.elapsed())
    })
    .await;
    assert!(taken < IN_TIME, "{taken:?}");
}

/// A way to a TCP port that can be cut without a word.
async fn cable(to: u16) -> (u16, Arc<AtomicBool>) {
    let (listener, cut) = (
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        Arc::new(AtomicBool::new(false)),
    );
    let port = listener.local_addr().unwrap().port();
    let is_cut = Arc::clone(&cut);
    tokio::spawn(async move {
        // Held, so that nobody is told of an end.
        while let Ok((near, _)) = listener.accept().await {
            if is_cut.load(Ordering::SeqCst) {
                std::mem::forget(near);
                continue;
            }
            let far = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = far.into_split();
            tokio::spawn(carry(near_read, far_write, Arc::clone(&is_cut)));
            tokio::spawn(carry(far_read, near_write, Arc::clone(&is_cut)));
        }
    });
    (port, cut)
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    cut: Arc<AtomicBool>,
) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(n @ 1..) = from.read(&mut bytes).await {
        if cut.load(Ordering::SeqCst) {
            // Swallowed from now on, and neither side hears of it.
            std::future::pending::<()>().await;
        }
        if to.write_all(&bytes[..n]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_that_dies_without_a_word_is_left_within_seconds() {
    let relay = member(130).await;
    relay.net.serve_relay(RelayLimits::default()).unwrap();
    let (a, b) = (member(131).await, member(132).await);
    for node in [&a, &b] {
        // Neither says where it listens: the hash table, or the other, would find a way beside the cable.
        node.net.set_published(Vec::new()).await;
        node.dial(&relay).await;
    }
    serve_echo(&b);
    let circuit = soon("a reservation", b.net.reserve(relay.id())).await.unwrap();
    let tcp = b.tcp()[0].rsplit('/').next().unwrap().parse().unwrap();
    let (port, cut) = cable(tcp).await;
    a.net
        .dial(b.id(), vec![format!("/ip4/127.0.0.1/tcp/{port}")])
        .await
        .unwrap();
    a.net.learn(b.id(), vec![circuit]).await;
    soon("an echo", echo(&a, &b)).await.unwrap();
    assert!(is_direct(&a, &b).await);
    let mut old = a.net.open(b.id(), ECHO).await.unwrap();
    cut.store(true, Ordering::SeqCst);
    let began = Instant::now();
    old.write_all(b"is anybody there?").await.unwrap();
    old.flush().await.unwrap();
    let mut byte = [0];
    soon("the old stream breaks", old.read_exact(&mut byte))
        .await
        .unwrap_err();
    soon("and a new one goes another way", echo(&a, &b))
        .await
        .unwrap();
    // About 2.5 s where nothing else runs; a machine that lags behind gives others more time.
    assert!(began.elapsed() < Duration::from_secs(18), "{:?}", began.elapsed());
    assert!(a.net.counters().paths_lost >= 1);
    let attempts = a.net.attempts(b.id()).await.unwrap();
    assert!(
        attempts.iter().any(|t| t.kind == AttemptKind::Probe),
        "{attempts:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_not_to_be_direct_is_reached_through_relays_only() {
    let (relay, a, _b, _) = relayed(140).await;
    let shy = member_with(145, |config| config.direct = false).await;
    shy.net.allow_direct(vec![relay.id()]).await;
    shy.dial(&relay).await;
    serve_echo(&shy);
    let circuit = soon("a reservation", shy.net.reserve(relay.id())).await.unwrap();
    // The direct address leads nowhere; the hash table may know the way through the relay already.
    let _ = a.net.dial(shy.id(), shy.tcp()).await;
    until("no direct connection stays", async || !is_direct(&a, &shy).await).await;
    a.net.learn(shy.id(), vec![circuit]).await;
    soon("an echo", echo(&a, &shy)).await.unwrap();
    // Nobody punches: the side that would begin does not want it, and refuses when asked.
    let _ = a.net.punch(shy.id()).await;
    until("the other side's try has failed", async || {
        a.net.counters().punches_failed > 0
    })
    .await;
    assert!(!is_direct(&a, &shy).await && !is_direct(&shy, &a).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_gets_there_when_the_peer_has_found_its_place_at_the_relay() {
    // A dead address that keeps the dial alive does so for five seconds: a machine that stands still for as long is
    // asked once more.
    for n in 0..TRIES as u8 {
        if let Err(e) = waited_for(80 + 3 * n).await {
            println!("try {n}: {e}");
        } else {
            return;
        }
    }
    panic!("nobody got there");
}

/// Waits for a peer that finds its place meanwhile.
async fn waited_for(seed: u8) -> Result<(), NetError> {
    let relay = member(seed).await;
    relay.net.serve_relay(RelayLimits::default()).unwrap();
    let a = member(seed + 1).await;
    let b = member_with(seed + 2, |config| {
        config.listen = ListenAddrs::Exactly(Vec::new())
    })
    .await;
    a.dial(&relay).await;
    b.dial(&relay).await;
    serve_echo(&b);
    let circuit = b.net.reserve(relay.id()).await.unwrap();
    // It loses its place, and somebody asks for it just then; a dead address keeps the dial alive meanwhile.
    b.net.unreserve(relay.id()).await;
    let hole = UdpSocket::bind("127.0.0.1:0").unwrap();
    let dead = format!("/ip4/127.0.0.1/udp/{}/quic-v1", hole.local_addr().unwrap().port());
    a.net.learn(b.id(), vec![circuit, dead]).await;
    let asking = tokio::spawn({
        let (net, node) = (a.net.clone(), b.id());
        async move { net.open(node, ECHO).await.map(|_| ()) }
    });
    until("the first try through the relay has failed", async || {
        let attempts = a.net.attempts(b.id()).await.unwrap();
        attempts
            .iter()
            .any(|t| t.kind == AttemptKind::Circuit && t.outcome.name() == "failed")
    })
    .await;
    soon("a place again", b.net.reserve(relay.id())).await.unwrap();
    soon("the stream", asking).await.unwrap()
}
