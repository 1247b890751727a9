//! What comes to a node's bulk door and must not get in, and what must all the same.

use crate::{
    bulk::{PROTOCOL, pair, serve, two},
    mesh::{TRIES, TestNode, member, member_with, quickest, secret, soon, start, until},
};
use hive_net::{BulkPath, frame};
use hive_protocol::{
    bulk::{self, BulkReply, BulkRequest, TOKEN_MILLIS},
    codec,
    ids::NodeId,
};
use libp2p::{identity::Keypair, tls};
use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, SignatureScheme, client::ResolvesClientCert, pki_types::ServerName, sign::CertifiedKey,
    },
};

/// Shows no certificate.
#[derive(Debug)]
struct Nameless;

impl ResolvesClientCert for Nameless {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

type Tls = TlsStream<TcpStream>;

/// Asks on the mesh as a dialer does.
async fn ask(asker: &TestNode, node: NodeId) -> BulkReply {
    let mut stream = asker.net.open(node, bulk::PROTOCOL).await.unwrap();
    let question = BulkRequest::Ports {
        protocol: PROTOCOL.to_owned(),
    };
    frame::write(&mut stream, &question).await.unwrap();
    soon("the answer", frame::read(&mut stream))
        .await
        .unwrap()
        .unwrap()
}

async fn token(asker: &TestNode, node: &TestNode) -> [u8; 32] {
    match ask(asker, node.id()).await {
        BulkReply::Ports { ports, token } => {
            assert_eq!(ports, [node.net.bulk_addrs()[0].port()]);
            token
        }
        other => panic!("{other:?}"),
    }
}

fn config(seed: u8) -> ClientConfig {
    let key = Keypair::ed25519_from_bytes(secret(seed).seed()).unwrap();
    let mut config = tls::make_client_config(&key, None).unwrap();
    config.alpn_protocols = vec![b"hive-bulk/1".to_vec()];
    config
}

async fn tls_with(door: SocketAddr, config: ClientConfig) -> io::Result<Tls> {
    let tcp = TcpStream::connect(door).await?;
    let name = ServerName::try_from("0.0.0.0").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

/// Connects to a door with this node's key.
async fn knock(door: SocketAddr, seed: u8) -> Tls {
    soon("the handshake", tls_with(door, config(seed))).await.unwrap()
}

/// Shows a token; the answer, or none when the door was shut.
async fn show(tls: &mut Tls, token: [u8; 32]) -> Option<BulkReply> {
    frame::write(tls, &BulkRequest::Enter { token }).await.ok()?;
    soon("an answer or the end", frame::read(tls))
        .await
        .ok()
        .flatten()
}

/// Whether the other side has closed.
async fn shut(io: &mut (impl AsyncReadExt + Unpin)) -> bool {
    matches!(soon("the end", io.read(&mut [0; 1])).await, Ok(0) | Err(_))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_work_once_for_their_node_and_for_seconds() {
    let (a, b, mut inbound) = two(190).await;
    let c = member(192).await;
    c.dial(&a).await;
    let door = a.net.bulk_addrs()[0];

    let good = token(&b, &a).await;
    assert_eq!(show(&mut knock(door, 191).await, [9; 32]).await, None, "unknown");
    assert_eq!(
        show(&mut knock(door, 192).await, good).await,
        None,
        "stolen by a member"
    );
    assert_eq!(
        show(&mut knock(door, 199).await, good).await,
        None,
        "stolen by a stranger"
    );
    let mut entered = knock(door, 191).await;
    assert_eq!(show(&mut entered, good).await, Some(BulkReply::Welcome));
    let (who, mut stream) = soon("it", inbound.accept()).await.unwrap();
    assert_eq!((who, stream.path()), (b.id(), BulkPath::Direct));
    entered.write_all(b"x").await.unwrap();
    entered.flush().await.unwrap();
    soon("its byte", stream.read_exact(&mut [0; 1])).await.unwrap();

    let _keeps_the_door_ajar = token(&b, &a).await;
    assert_eq!(show(&mut knock(door, 191).await, good).await, None, "replayed");
    until("all four are counted", async || {
        a.net.counters().bulk_refused == 4
    })
    .await;

    let old = token(&b, &a).await;
    // paced: the token's life is the matter.
    tokio::time::sleep(Duration::from_millis(TOKEN_MILLIS)).await;
    let _keeps_the_door_ajar = token(&c, &a).await;
    assert_eq!(show(&mut knock(door, 191).await, old).await, None, "expired");
    let revoked = token(&b, &a).await;
    a.net.set_member(b.id(), false).await;
    assert!(!a.net.peers().await.iter().any(|p| p.node == b.id() && p.member));
    assert_eq!(show(&mut knock(door, 191).await, revoked).await, None, "revoked");
    assert_eq!(a.net.counters().bulk_accepted_direct, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_get_nothing() {
    let (a, b, mut inbound) = two(200).await;
    let door = a.net.bulk_addrs()[0];
    // Nobody is expected: closed before a byte of TLS.
    let mut uninvited = TcpStream::connect(door).await.unwrap();
    assert!(shut(&mut uninvited).await);
    until("it is counted", async || a.net.counters().bulk_refused == 1).await;

    // A stranger is not told where the door is, even if it thinks itself a member.
    let stranger = start(202, crate::mesh::MESH, None, |_| {}).await;
    stranger.dial(&a).await;
    stranger.net.set_member(a.id(), true).await;
    let mut stream = stranger.net.open(a.id(), bulk::PROTOCOL).await.unwrap();
    let question = BulkRequest::Ports {
        protocol: PROTOCOL.to_owned(),
    };
    let _ = frame::write(&mut stream, &question).await;
    let answer = soon("the end", frame::read::<BulkReply, _>(&mut stream)).await;
    assert!(matches!(answer, Ok(None) | Err(_)), "{answer:?}");
    let fallen_back = stranger.net.open_bulk(a.id(), PROTOCOL).await;
    if let Ok(mut stream) = fallen_back {
        assert!(shut(&mut stream).await);
    }

    // While somebody is expected: another protocol, no certificate, another address.
    let expected = token(&b, &a).await;
    let mut other = config(201);
    other.alpn_protocols = vec![b"libp2p".to_vec()];
    assert!(soon("the refusal", tls_with(door, other)).await.is_err());
    let mut nameless = config(201);
    nameless.client_auth_cert_resolver = Arc::new(Nameless);
    // TLS 1.3: the client is done before the server has judged it.
    if let Ok(mut tls) = soon("the refusal", tls_with(door, nameless)).await {
        assert_eq!(show(&mut tls, expected).await, None);
    }
    let elsewhere = TcpSocket::new_v4().unwrap();
    elsewhere.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut elsewhere = elsewhere.connect(door).await.unwrap();
    assert!(shut(&mut elsewhere).await);
    until("all are counted", async || a.net.counters().bulk_refused == 4).await;
    let nobody = tokio::time::timeout(Duration::from_millis(1), inbound.accept()).await;
    assert!(nobody.is_err());
    assert_eq!(
        show(&mut knock(door, 201).await, expected).await,
        Some(BulkReply::Welcome)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_silent_connections_keeps_nobody_out() {
    let (a, first, mut inbound) = two(204).await;
    let door = a.net.bulk_addrs()[0];
    let flood = tokio::spawn(async move {
        let mut silent = Vec::new();
        loop {
            silent.push(TcpStream::connect(door).await.unwrap());
            // Hundreds at once, and then a thousand a second.
            if silent.len() >= 300 {
                // paced: faster than this, the system's own queue of connections is what is flooded.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if silent.len() >= 600 {
                silent.drain(..200);
            }
        }
    });
    let _expected = token(&first, &a).await;
    until("it floods", async || a.net.counters().bulk_refused > 300).await;
    let mut most = 0;
    // Whoever waits too long once goes by the mesh from then on: a machine that stands still is asked again.
    for n in 0..TRIES as u8 {
        let b = member(90 + n).await;
        b.dial(&a).await;
        let mut direct = 0;
        for _ in 0..10 {
            let near = soon("it opens", b.net.open_bulk(a.id(), PROTOCOL)).await.unwrap();
            direct += usize::from(near.path() == BulkPath::Direct);
            // What arrives for it; one that was given up may have come before.
            drop(soon("it arrives", inbound.accept()).await.unwrap());
        }
        most = most.max(direct);
        if most >= 9 {
            break;
        }
    }
    assert!(most >= 9, "only {most} of 10 went the direct way");
    flood.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_in_the_middle_is_sent_away() {
    let (a, b, _inbound) = two(206).await;
    let door = a.net.bulk_addrs()[0];
    // Each has five seconds.
    let taken = quickest(Duration::from_secs(7), async |n| {
        let taken = all_sent_away(&a, &b, door).await;
        until("all are counted", async || {
            a.net.counters().bulk_refused == 4 * (u64::from(n) + 1)
        })
        .await;
        taken
    })
    .await;
    assert!(
        taken > Duration::from_secs(4) && taken < Duration::from_secs(7),
        "{taken:?}"
    );
}

/// How long it takes until everybody who stops has been sent away.
async fn all_sent_away(a: &TestNode, b: &TestNode, door: SocketAddr) -> Duration {
    let token = token(b, a).await;
    let start = Instant::now();
    // One is silent, one stops within TLS, one after it, one within its frame.
    let mut silent = TcpStream::connect(door).await.unwrap();
    let mut half = TcpStream::connect(door).await.unwrap();
    half.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    let mut done = knock(door, 207).await;
    let mut cut = knock(door, 207).await;
    let mut frame = Vec::new();
    codec::frame_into(&BulkRequest::Enter { token }, &mut frame).unwrap();
    cut.write_all(&frame[..20]).await.unwrap();
    cut.flush().await.unwrap();
    let ends = tokio::join!(
        shut(&mut silent),
        shut(&mut half),
        shut(&mut done),
        shut(&mut cut)
    );
    assert_eq!(ends, (true, true, true, true));
    start.elapsed()
}

/// SplitMix64 (Steele, Lea, Flood 2014): a seeded stream that is the same everywhere.
pub struct Rng(pub u64);
impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Damages these bytes in one to four places.
    pub fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.next() % 4 {
            let at = self.next() as usize % bytes.len();
            match self.next() % 4 {
                0 => bytes[at] = self.next() as u8,
                1 => bytes[at] ^= 1 << (self.next() % 8),
                2 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, self.next() as u8),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_frames_and_garbage_are_refused_and_the_door_stays_open() {
    let (a, b, mut inbound) = two(208).await;
    let door = a.net.bulk_addrs()[0];
    let mut rng = Rng(1);
    for n in 0..120 {
        let good = token(&b, &a).await;
        let mut bytes = Vec::new();
        codec::frame_into(&BulkRequest::Enter { token: good }, &mut bytes).unwrap();
        rng.damage(&mut bytes);
        if n % 2 == 0 {
            let mut tls = knock(door, 209).await;
            let _ = tls.write_all(&bytes).await;
            let _ = tls.shutdown().await;
            // Damage that leaves the frame whole may still be a good frame with its token at the start.
            let mut rest = Vec::new();
            let _ = soon("the end", tls.read_to_end(&mut rest)).await;
        } else {
            let mut tcp = TcpStream::connect(door).await.unwrap();
            let _ = tcp.write_all(&bytes).await;
            let _ = tcp.shutdown().await;
            let _ = soon("the end", tcp.read_to_end(&mut Vec::new())).await;
        }
        // The question, damaged in the same way.
        let question = BulkRequest::Ports {
            protocol: PROTOCOL.to_owned(),
        };
        let mut bytes = Vec::new();
        codec::frame_into(&question, &mut bytes).unwrap();
        rng.damage(&mut bytes);
        let mut stream = b.net.open(a.id(), bulk::PROTOCOL).await.unwrap();
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let _ = soon("the end", stream.read_to_end(&mut Vec::new())).await;
        if n % 20 == 19 {
            // The tokens asked for in vain are still in force; wait for room.
            // paced: their life is the matter.
            tokio::time::sleep(Duration::from_millis(TOKEN_MILLIS)).await;
        }
    }
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(50), inbound.accept()).await {}
    let (far, _near) = pair(&a, &b, &mut inbound).await;
    assert_eq!(far.path(), BulkPath::Direct);
    assert!(a.net.counters().bulk_refused >= 60, "{:?}", a.net.counters());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_and_answers_are_bounded_for_each_peer() {
    /// The first tokens are in force so long.
    const IN_FORCE: Duration = Duration::from_millis(TOKEN_MILLIS);
    let mut found = None;
    let taken = quickest(IN_FORCE, async |n| {
        let (a, b, inbound) = two(80 + 2 * n).await;
        let began = Instant::now();
        let mut given = 0;
        for _ in 0..40 {
            match ask(&b, a.id()).await {
                BulkReply::Ports { .. } => given += 1,
                BulkReply::Busy => {}
                other => panic!("{other:?}"),
            }
        }
        // It is busy for this peer, which uses the mesh and does not hold it against the node.
        let stream = b.net.open_bulk(a.id(), PROTOCOL).await.unwrap();
        found = Some((given, stream.path(), a, b, inbound));
        began.elapsed()
    })
    .await;
    assert!(taken < IN_FORCE, "too slow a machine: {taken:?}");
    let (given, path, a, b, _inbound) = found.unwrap();
    assert_eq!((given, path), (32, BulkPath::Mesh { relayed: false }));
    // Questions nobody finishes are bounded by the streams of a protocol, and given up.
    let mut open = Vec::new();
    for _ in 0..40 {
        open.push(b.net.open(a.id(), bulk::PROTOCOL).await.unwrap());
    }
    until("some are reset", async || {
        a.net.counters().streams_refused_quota >= 8
    })
    .await;
    for stream in &mut open {
        assert!(shut(stream).await);
    }
}

/// Two at once with every combination of who dialed the mesh connection, on QUIC and TCP.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_of_any_mesh_connection_can_open() {
    for (seed, quic, ip) in [
        (212, true, "ip4/127.0.0.1"),
        (214, false, "ip4/127.0.0.1"),
        (216, true, "ip6/::1"),
    ] {
        let at = |seed| {
            member_with(seed, move |config| {
                let listen = ["udp/0/quic-v1", "tcp/0"].map(|rest| format!("/{ip}/{rest}"));
                config.listen = hive_net::ListenAddrs::Exactly(listen.to_vec());
            })
        };
        if ip.starts_with("ip6") && std::net::TcpListener::bind("[::1]:0").is_err() {
            println!("no IPv6 here");
            continue;
        }
        let (a, b) = (at(seed).await, at(seed + 1).await);
        let (mut at_a, mut at_b) = (serve(&a), serve(&b));
        let addrs = if quic { a.quic() } else { a.tcp() };
        b.net.dial(a.id(), addrs).await.unwrap();
        let one = pair(&a, &b, &mut at_a).await;
        let two = pair(&b, &a, &mut at_b).await;
        assert_eq!((one.0.path(), two.0.path()), (BulkPath::Direct, BulkPath::Direct));
    }
}
