//! The relay server as another libp2p program meets it: its messages are written out here byte by byte.
//!
//! What attackers do to it is in `relay_attacks.rs`.

use crate::mesh::{MESH, TestNode, member, soon, start, until};
use hive_net::{NetStream, ProtocolPolicy, RelayLimits};
use hive_protocol::ids::NodeId;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub const HOP: &str = "/libp2p/circuit/relay/0.2.0/hop";
pub const STOP: &str = "/libp2p/circuit/relay/0.2.0/stop";
pub const OK: u64 = 100;
pub const RESERVATION_REFUSED: u64 = 200;
pub const LIMIT: u64 = 201;
const CONNECTION_FAILED: u64 = 203;
pub const NO_RESERVATION: u64 = 204;

/// A peer id: the identity multihash of the protobuf form of an Ed25519 key.
fn peer_id(node: NodeId) -> Vec<u8> {
    let mut id = vec![0x00, 0x24, 0x08, 0x01, 0x12, 0x20];
    id.extend_from_slice(node.as_bytes());
    id
}

/// Type 1 (connect) for this peer, with its length before it.
pub fn connect_to(node: NodeId) -> Vec<u8> {
    let id = peer_id(node);
    let mut peer = vec![0x0a, id.len() as u8];
    peer.extend(id);
    let mut message = vec![0x08, 0x01, 0x12, peer.len() as u8];
    message.extend(peer);
    message.insert(0, message.len() as u8);
    message
}

/// The fields of the next message that are numbers, by their tag; fields of bytes are passed over.
pub async fn fields(stream: &mut NetStream) -> Vec<(u64, u64)> {
    let reading = async {
        let mut len = u64::from(stream.read_u8().await.unwrap());
        if len & 0x80 != 0 {
            len = len & 0x7f | u64::from(stream.read_u8().await.unwrap()) << 7;
        }
        let mut bytes = vec![0; len as usize];
        stream.read_exact(&mut bytes).await.unwrap();
        bytes
    };
    let bytes = soon("a relay's answer", reading).await;
    let mut rest = bytes.iter().copied();
    let number = |rest: &mut dyn Iterator<Item = u8>| {
        let (mut value, mut shift) = (0u64, 0);
        for byte in rest {
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    };
    let mut found = Vec::new();
    while let Some(key) = number(&mut rest) {
        let value = number(&mut rest).unwrap();
        if key & 7 == 0 {
            found.push((key >> 3, value));
        } else {
            for _ in 0..value {
                rest.next().unwrap();
            }
        }
    }
    found
}

pub fn status(fields: &[(u64, u64)]) -> Option<u64> {
    fields.iter().find(|(tag, _)| *tag == 5).map(|(_, v)| *v)
}

pub async fn reserve(from: &TestNode, relay: &TestNode) -> u64 {
    let mut stream = from.net.open(relay.id(), HOP).await.unwrap();
    stream.write_all(&[2, 0x08, 0x00]).await.unwrap();
    stream.flush().await.unwrap();
    status(&fields(&mut stream).await).unwrap()
}

pub async fn connect(from: &TestNode, relay: &TestNode, to: NodeId) -> (u64, NetStream) {
    let mut stream = from.net.open(relay.id(), HOP).await.unwrap();
    stream.write_all(&connect_to(to)).await.unwrap();
    stream.flush().await.unwrap();
    let status = status(&fields(&mut stream).await).unwrap();
    (status, stream)
}

/// Takes the next circuit at its end; says who has opened it.
pub async fn take(inbound: &mut hive_net::Inbound) -> NetStream {
    let (_, mut stream) = soon("a circuit", inbound.accept()).await.unwrap();
    let asked = fields(&mut stream).await;
    assert_eq!(asked.first(), Some(&(1, 0)), "a connect");
    // Type 1 (status), status 100.
    stream.write_all(&[4, 0x08, 0x01, 0x20, 100]).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

pub struct Three {
    pub relay: TestNode,
    pub a: TestNode,
    pub b: TestNode,
    pub ends: hive_net::Inbound,
    pub service: hive_net::Relay,
}

pub async fn three(seed: u8, limits: RelayLimits) -> Three {
    let relay = member(seed).await;
    let a = member(seed + 1).await;
    let b = member(seed + 2).await;
    let service = relay.net.serve_relay(limits).unwrap();
    let ends = b.net.serve(STOP, ProtocolPolicy::default()).unwrap();
    // By TCP: there a stream that breaks can be told from one that ends.
    for node in [&a, &b] {
        node.net.dial(relay.id(), relay.tcp()).await.unwrap();
    }
    Three {
        relay,
        a,
        b,
        ends,
        service,
    }
}

pub async fn open(three: &mut Three) -> (NetStream, NetStream) {
    let (a, relay, b) = (&three.a, &three.relay, three.b.id());
    let (opened, end) = tokio::join!(connect(a, relay, b), take(&mut three.ends));
    assert_eq!(opened.0, OK);
    (opened.1, end)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circuit_carries_both_ways_and_ends_cleanly() {
    let mut three = three(180, RelayLimits::default()).await;
    let (status, _) = connect(&three.a, &three.relay, three.b.id()).await;
    assert_eq!(status, NO_RESERVATION);
    assert_eq!(reserve(&three.b, &three.relay).await, OK);
    let (near, mut far) = open(&mut three).await;
    let sent: Vec<u8> = (0..3_000_000u32).map(|i| ((i * 31) >> 3) as u8).collect();
    let (mut read_near, mut write_near) = near.split();
    let copy = sent.clone();
    let writing = tokio::spawn(async move {
        write_near.write_all(&copy).await.unwrap();
        write_near.shutdown().await.unwrap();
    });
    let mut got = Vec::new();
    soon("all of it", far.read_to_end(&mut got)).await.unwrap();
    assert!(got == sent);
    soon("written", writing).await.unwrap();
    far.write_all(b"thanks").await.unwrap();
    far.shutdown().await.unwrap();
    let mut back = Vec::new();
    soon("the answer", read_near.read_to_end(&mut back))
        .await
        .unwrap();
    assert_eq!(back, b"thanks");
    let counts = three.service.counts();
    assert_eq!((counts.opened, counts.reserved, counts.bytes), (1, 1, 3_000_006));
    assert_eq!(counts.cut, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeloader_is_stopped_at_its_cap() {
    let limits = RelayLimits {
        circuit_bytes: 100_000,
        ..RelayLimits::default()
    };
    let mut three = three(183, limits).await;
    assert_eq!(reserve(&three.b, &three.relay).await, OK);
    let (mut near, mut far) = open(&mut three).await;
    let writing = tokio::spawn(async move {
        let piece = vec![7; 64 << 10];
        while near.write_all(&piece).await.is_ok() {}
    });
    let mut sum = 0;
    let mut piece = vec![0; 64 << 10];
    while let Ok(n @ 1..) = soon("bytes, or the end", far.read(&mut piece)).await {
        sum += n;
    }
    assert_eq!(sum, 100_000);
    soon("the writer notices", writing).await.unwrap();
    assert_eq!(three.service.counts().cut, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bounds_are_kept_and_a_draining_relay_goes_on_with_what_it_has() {
    let limits = RelayLimits {
        reservations: 1,
        circuits_per_peer: 1,
        ..RelayLimits::default()
    };
    let mut three = three(186, limits).await;
    assert_eq!(reserve(&three.b, &three.relay).await, OK);
    assert_eq!(reserve(&three.b, &three.relay).await, OK, "a renewal");
    assert_eq!(reserve(&three.a, &three.relay).await, RESERVATION_REFUSED);
    let (mut near, mut far) = open(&mut three).await;
    let (status, _) = connect(&three.a, &three.relay, three.b.id()).await;
    assert_eq!(status, LIMIT, "one circuit each");
    three.service.drain();
    assert_eq!(reserve(&three.b, &three.relay).await, RESERVATION_REFUSED);
    near.write_all(b"still here").await.unwrap();
    near.flush().await.unwrap();
    let mut got = [0; 10];
    soon("the circuit", far.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"still here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_strangers_and_silent_ends_cost_little() {
    let three = three(189, RelayLimits::default()).await;
    for bad in [
        &[0xff; 64][..],
        &[2, 0x08, 0x02][..],
        &[2, 0x08, 0x63][..],
        &[4, 0x08, 0x01, 0x12, 0x00][..],
    ] {
        let mut stream = three.a.net.open(three.relay.id(), HOP).await.unwrap();
        stream.write_all(bad).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = Vec::new();
        let _ = soon("an answer, or the end", stream.read_to_end(&mut answer)).await;
        assert!(answer.len() < 16, "{bad:?}");
    }
    // The destination serves no circuits: it does not speak the protocol.
    assert_eq!(reserve(&three.a, &three.relay).await, OK);
    let (status, _) = connect(&three.b, &three.relay, three.a.id()).await;
    assert_eq!(status, CONNECTION_FAILED);
    until("what was promised is given back", async || {
        three.service.counts().circuits == 0
    })
    .await;
    // A stranger is not served at all.
    let stranger = start(193, MESH, None, |_| {}).await;
    let _ = stranger.net.dial(three.relay.id(), three.relay.quic()).await;
    assert!(stranger.net.open(three.relay.id(), HOP).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_holds() {
    let limits = RelayLimits {
        circuit_rate: 1_000_000,
        circuit_life: Duration::from_secs(60),
        ..RelayLimits::default()
    };
    let mut three = three(195, limits).await;
    assert_eq!(reserve(&three.b, &three.relay).await, OK);
    let (mut near, mut far) = open(&mut three).await;
    let start = tokio::time::Instant::now();
    let writing = tokio::spawn(async move {
        near.write_all(&vec![1; 1_500_000]).await.unwrap();
        near.flush().await.unwrap();
        near
    });
    let mut got = vec![0; 1_500_000];
    soon("all of it", far.read_exact(&mut got)).await.unwrap();
    // Half a second's worth goes at once; the rest takes its time however fast the machine is.
    assert!(
        start.elapsed() >= Duration::from_millis(950),
        "{:?}",
        start.elapsed()
    );
    drop(writing.await.unwrap());
}
