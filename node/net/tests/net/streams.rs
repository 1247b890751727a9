//! Streams: none is lost, bounds are kept, refusals are told.

use crate::mesh::{member, soon, until};
use hive_net::ProtocolPolicy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PROTOCOL: &str = "/test/1";

/// As many streams at once as one connection may have under negotiation and more, over QUIC nearly as many as it has
/// room for; the acceptor starts late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_acceptor_loses_no_stream() {
    for (seed, quic, count) in [(120, true, 90), (122, false, 150)] {
        let a = member(seed).await;
        let b = member(seed + 1).await;
        let policy = ProtocolPolicy {
            max_inbound_per_peer: count,
            backlog: count,
            ..Default::default()
        };
        let mut inbound = a.net.serve(PROTOCOL, policy).unwrap();
        let addrs = if quic { a.quic() } else { a.tcp() };
        b.net.dial(a.id(), addrs).await.unwrap();
        let opening = (0..count).map(|n| {
            let (net, to) = (b.net.clone(), a.id());
            tokio::spawn(async move {
                let mut stream = net.open(to, PROTOCOL).await.unwrap();
                stream.write_all(&[n as u8]).await.unwrap();
                stream.flush().await.unwrap();
                stream
            })
        });
        let opening: Vec<_> = opening.collect();
        let mut open = Vec::new();
        for task in opening {
            open.push(soon("a stream is open", task).await.unwrap());
        }
        let mut seen = vec![false; count];
        for _ in 0..count {
            let (_, mut stream) = soon("a stream arrives", inbound.accept()).await.unwrap();
            let mut n = [0; 1];
            soon("its byte", stream.read_exact(&mut n)).await.unwrap();
            assert!(!std::mem::replace(&mut seen[usize::from(n[0])], true));
        }
        assert_eq!(a.net.counters().streams_accepted, count as u64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_over_the_bounds_are_reset_and_counted() {
    let a = member(124).await;
    let b = member(125).await;
    let quota = ProtocolPolicy {
        max_inbound_per_peer: 2,
        ..Default::default()
    };
    let backlog = ProtocolPolicy {
        backlog: 1,
        ..Default::default()
    };
    let mut few = a.net.serve("/few/1", quota).unwrap();
    let _nobody_accepts = a.net.serve("/slow/1", backlog).unwrap();
    b.dial(&a).await;

    let mut streams = Vec::new();
    for _ in 0..2 {
        streams.push(b.net.open(a.id(), "/few/1").await.unwrap());
        streams.push(soon("it", few.accept()).await.unwrap().1);
    }
    let mut third = b.net.open(a.id(), "/few/1").await.unwrap();
    let ended = soon("the reset", third.read(&mut [0; 1])).await;
    assert!(matches!(ended, Ok(0) | Err(_)));
    // Counted a moment after it was reset.
    until("it is counted", async || {
        a.net.counters().streams_refused_quota == 1
    })
    .await;
    // Room again when one has ended.
    streams.truncate(2);
    let _fourth = b.net.open(a.id(), "/few/1").await.unwrap();
    soon("room again", few.accept()).await.unwrap();

    let _first = b.net.open(a.id(), "/slow/1").await.unwrap();
    let mut second = b.net.open(a.id(), "/slow/1").await.unwrap();
    let ended = soon("the reset", second.read(&mut [0; 1])).await;
    assert!(matches!(ended, Ok(0) | Err(_)));
    // Counted a moment after it was reset.
    until("it is counted", async || {
        a.net.counters().streams_refused_backlog == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_protocol_nobody_serves_is_said_so_and_can_be_served_later() {
    let a = member(126).await;
    let b = member(127).await;
    b.dial(&a).await;
    let error = b.net.open(a.id(), PROTOCOL).await.unwrap_err();
    assert_eq!(error.code(), "net.not_spoken", "{error}");
    let mut inbound = a.net.serve(PROTOCOL, ProtocolPolicy::default()).unwrap();
    let _stream = b.net.open(a.id(), PROTOCOL).await.unwrap();
    soon("the stream", inbound.accept()).await.unwrap();
    drop(inbound);
    let error = b.net.open(a.id(), PROTOCOL).await.unwrap_err();
    assert_eq!(error.code(), "net.not_spoken", "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_and_a_loss_are_seen_by_the_reader() {
    let a = member(128).await;
    let b = member(129).await;
    let mut inbound = a.net.serve(PROTOCOL, ProtocolPolicy::default()).unwrap();
    b.dial(&a).await;
    let mut near = b.net.open(a.id(), PROTOCOL).await.unwrap();
    let (_, mut far) = soon("the stream", inbound.accept()).await.unwrap();
    near.write_all(b"half").await.unwrap();
    near.shutdown().await.unwrap();
    let mut got = Vec::new();
    soon("the end", far.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got, b"half");
    // The other direction is still open.
    far.write_all(b"back").await.unwrap();
    far.shutdown().await.unwrap();
    got.clear();
    soon("the answer", near.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got, b"back");

    let mut near = b.net.open(a.id(), PROTOCOL).await.unwrap();
    let (_, _far) = soon("the stream", inbound.accept()).await.unwrap();
    a.net.shutdown().await;
    let ended = soon("the loss", near.read(&mut [0; 1])).await;
    assert!(matches!(ended, Ok(0) | Err(_)));
}
