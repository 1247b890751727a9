//! Bulk streams through a relay: two TCP connections it connects, within its limits, and what happens without.

use crate::mesh::{TestNode, member_with, soon, until};
use hive_net::{BulkInbound, BulkListen, BulkPath, ListenAddrs, ProtocolPolicy, Relay, RelayLimits};
use std::io::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PROTOCOL: &str = "/test/bulk-relayed/1";

struct Far {
    relay: TestNode,
    service: Relay,
    a: TestNode,
    b: TestNode,
    inbound: BulkInbound,
}

/// Two nodes that nobody can dial, with a relay between them that has these limits.
async fn far(seed: u8, limits: RelayLimits, bulk: BulkListen, tcp: bool) -> Far {
    let relay = member_with(seed, |c| c.bulk = bulk).await;
    let service = relay.net.serve_relay(limits).unwrap();
    let hidden = |c: &mut hive_net::Config| c.listen = ListenAddrs::Exactly(Vec::new());
    let (a, b) = (
        member_with(seed + 1, hidden).await,
        member_with(seed + 2, hidden).await,
    );
    for node in [&a, &b] {
        let addrs = if tcp { relay.tcp() } else { relay.quic() };
        node.net.dial(relay.id(), addrs).await.unwrap();
    }
    let address = soon("a reservation", b.net.reserve(relay.id())).await.unwrap();
    a.net.learn(b.id(), vec![address]).await;
    let inbound = b.net.serve_bulk(PROTOCOL, ProtocolPolicy::default()).unwrap();
    Far {
        relay,
        service,
        a,
        b,
        inbound,
    }
}

async fn open(far: &mut Far) -> (hive_net::BulkStream, hive_net::BulkStream) {
    let (near, end) = tokio::join!(far.a.net.open_bulk(far.b.id(), PROTOCOL), far.inbound.accept());
    let (from, end) = end.unwrap();
    assert_eq!(from, far.a.id());
    (near.unwrap(), end)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_goes_through_the_relay_by_tcp_and_arrives_whole() {
    for (seed, tcp) in [(1, true), (4, false)] {
        let mut far = far(seed, RelayLimits::default(), BulkListen::default(), tcp).await;
        let (near, end) = soon("a stream", open(&mut far)).await;
        let relay = far.relay.id();
        assert_eq!(near.path(), BulkPath::Relayed { relay });
        assert_eq!(end.path(), BulkPath::Relayed { relay });
        let counts = far.service.counts();
        assert_eq!(
            (counts.opened_tcp, counts.circuits),
            (1, 2),
            "and the mesh's own circuit"
        );
        let sent: Vec<u8> = (0..5_000_000u32).map(|i| ((i * 31) >> 3) as u8).collect();
        let (mut read_near, mut write_near) = near.split();
        let (mut read_end, mut write_end) = end.split();
        let copy = sent.clone();
        let writing = tokio::spawn(async move {
            write_near.write_all(&copy).await.unwrap();
            write_near.shutdown().await.unwrap();
        });
        let mut got = Vec::new();
        soon("all of it", read_end.read_to_end(&mut got)).await.unwrap();
        assert!(got == sent);
        // One way has ended, the other has not.
        write_end.write_all(&sent).await.unwrap();
        write_end.shutdown().await.unwrap();
        let mut back = Vec::new();
        soon("the answer", read_near.read_to_end(&mut back))
            .await
            .unwrap();
        assert!(back == sent);
        soon("written", writing).await.unwrap();
        let passed = far.service.circuits().iter().find(|c| c.tcp).copied();
        assert!(
            passed.is_none_or(|c| c.forth > 5_000_000 && c.back > 5_000_000),
            "{passed:?}"
        );
        drop((read_near, read_end));
        until("the circuit has ended", async || {
            far.service.counts().circuits == 1
        })
        .await;
        let counters = (far.a.net.counters(), far.b.net.counters());
        assert_eq!(counters.0.bulk_opened_relayed, 1);
        assert_eq!(counters.1.bulk_accepted_relayed, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_cap_holds_to_the_byte_and_both_ends_see_it_break() {
    let mut far = far(7, RelayLimits::default(), BulkListen::default(), true).await;
    // The mesh's circuit must be there before the limit is.
    far.a.net.dial(far.b.id(), Vec::new()).await.unwrap();
    for cap in [50_000, 262_145, 3_000_000] {
        far.service.set_limits(RelayLimits {
            circuit_bytes: cap,
            ..RelayLimits::default()
        });
        let (mut near, mut end) = soon("a stream", open(&mut far)).await;
        let before = far.service.counts().cut_bytes;
        let flooding = tokio::spawn(async move {
            let piece = vec![7; 100_000];
            while near.write_all(&piece).await.is_ok() && near.flush().await.is_ok() {}
            near
        });
        let mut piece = vec![0; 64 << 10];
        let mut sum = 0u64;
        let error = loop {
            match soon("bytes, or the end", end.read(&mut piece)).await {
                Ok(0) => panic!("a cut is no end"),
                Ok(n) => sum += n as u64,
                Err(e) => break e,
            }
        };
        assert!(
            matches!(
                error.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
            ),
            "{error}"
        );
        // Handshake and records of TLS count, too.
        assert!(sum < cap && sum + 40_000 > cap, "{sum} of {cap}");
        until("it is cut", async || far.service.counts().cut_bytes == before + 1).await;
        drop(soon("the writer notices", flooding).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_without_bulk_is_passed_through_by_a_circuit() {
    let mut far = far(10, RelayLimits::default(), BulkListen::Off, true).await;
    let (mut near, mut end) = soon("a stream", open(&mut far)).await;
    assert_eq!(near.path(), BulkPath::Mesh { relayed: true });
    near.write_all(b"all the same").await.unwrap();
    near.flush().await.unwrap();
    let mut got = [0; 12];
    soon("the bytes", end.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"all the same");
    assert_eq!(far.service.counts().opened_tcp, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_stops_breaks_streams_and_does_not_end_them() {
    for (seed, tcp) in [(13, true), (16, false)] {
        let mut far = far(seed, RelayLimits::default(), BulkListen::default(), tcp).await;
        let (mut near, mut end) = soon("a bulk stream", open(&mut far)).await;
        // And one of control, on the mesh's circuit.
        let mut echo = far
            .b
            .net
            .serve("/test/control/1", ProtocolPolicy::default())
            .unwrap();
        let (opened, taken) = tokio::join!(far.a.net.open(far.b.id(), "/test/control/1"), echo.accept());
        let (mut ask, mut answer) = (opened.unwrap(), taken.unwrap().1);
        for stream in [&mut near, &mut end] {
            stream.write_all(b"x").await.unwrap();
            stream.flush().await.unwrap();
        }
        ask.write_all(b"x").await.unwrap();
        ask.flush().await.unwrap();
        let mut one = [0; 1];
        soon("control", answer.read_exact(&mut one)).await.unwrap();
        far.service.stop();
        let mut rest = Vec::new();
        for stream in [&mut near, &mut end] {
            assert!(soon("a break", stream.read_to_end(&mut rest)).await.is_err());
        }
        assert!(soon("a break", answer.read_to_end(&mut rest)).await.is_err());
        assert!(soon("a break", ask.read_to_end(&mut rest)).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_member_for_the_relay_any_more_is_cut_off() {
    let mut far = far(19, RelayLimits::default(), BulkListen::default(), true).await;
    let (_near, mut end) = soon("a stream", open(&mut far)).await;
    assert_eq!(far.service.counts().circuits, 2, "one of them the mesh's");
    far.relay.net.set_member(far.a.id(), false).await;
    let mut rest = Vec::new();
    assert!(soon("a break", end.read_to_end(&mut rest)).await.is_err());
    until("nothing is left of it", async || {
        far.service.counts().circuits == 0
    })
    .await;
    assert!(!far.b.net.listen_addrs().is_empty(), "the other stays reachable");
}
