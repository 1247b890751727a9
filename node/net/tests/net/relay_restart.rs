//! Transfers that a relay's restart interrupts go on where they were.

use crate::mesh::{TestNode, member_with, soon, until};
use hive_net::{BulkPath, ListenAddrs, NetHandle, ProtocolPolicy, RelayLimits};
use hive_protocol::ids::NodeId;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Barrier,
};

const PROTOCOL: &str = "/test/range/1";
/// Bytes of one transfer.
const SIZE: u64 = 3 << 20;
const TRANSFERS: usize = 20;

fn byte(at: u64) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

/// Serves the bytes from the offset it is asked for.
fn serve(node: &TestNode) {
    let policy = ProtocolPolicy {
        max_inbound_per_peer: 64,
        ..ProtocolPolicy::default()
    };
    let mut inbound = node.net.serve_bulk(PROTOCOL, policy).unwrap();
    tokio::spawn(async move {
        while let Some((_, mut stream)) = inbound.accept().await {
            tokio::spawn(async move {
                let mut at = stream.read_u64().await?;
                while at < SIZE {
                    let piece: Vec<u8> = (at..(at + (32 << 10)).min(SIZE)).map(byte).collect();
                    stream.write_all(&piece).await?;
                    at += piece.len() as u64;
                }
                stream.flush().await?;
                stream.shutdown().await
            });
        }
    });
}

/// What all transfers share.
struct Watch {
    /// Bytes, and when the last of them came, by transfer.
    got: Mutex<Vec<(u64, Instant)>>,
    /// The longest time a transfer has gone without a byte.
    stall: Mutex<Duration>,
    broken: AtomicUsize,
    wrong: AtomicUsize,
    /// Streams on connections of their own, and others.
    own: AtomicUsize,
    mesh: AtomicUsize,
    start: Barrier,
}

/// Fetches all bytes, however often the stream breaks.
async fn fetch(net: NetHandle, from: NodeId, mine: usize, watch: Arc<Watch>) {
    let (mut at, mut first) = (0, true);
    while at < SIZE {
        let tried = async {
            let begun = Instant::now();
            let opened = net.open_bulk(from, PROTOCOL).await;
            let mut stream = opened.map_err(std::io::Error::other)?;
            println!("{mine}: opened at {at} in {:?}", begun.elapsed());
            let of_kind = match stream.path() {
                BulkPath::Relayed { .. } => &watch.own,
                _ => &watch.mesh,
            };
            of_kind.fetch_add(1, Ordering::Relaxed);
            if std::mem::take(&mut first) {
                // Together, so that all are under way when the relay goes.
                watch.start.wait().await;
            }
            stream.write_u64(at).await?;
            stream.flush().await?;
            let mut piece = vec![0; 32 << 10];
            while at < SIZE {
                let read = stream.read(&mut piece).await?;
                if read == 0 {
                    // Not all of it, and yet an end: exactly what must not be.
                    watch.wrong.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                assert!((at..).zip(&piece[..read]).all(|(n, b)| byte(n) == *b), "at {at}");
                at += read as u64;
                let now = Instant::now();
                let mut got = watch.got.lock().unwrap();
                let gone = now - got[mine].1;
                got[mine] = (at, now);
                drop(got);
                let mut stall = watch.stall.lock().unwrap();
                *stall = gone.max(*stall);
            }
            Ok::<(), std::io::Error>(())
        };
        if tried.await.is_err() {
            watch.broken.fetch_add(1, Ordering::Relaxed);
            // paced: the relay is on its way back.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_transfers_go_on_when_their_relay_restarts() {
    let limits = RelayLimits {
        // Slow enough that they are under way when the relay goes.
        circuit_rate: 512 << 10,
        ..RelayLimits::default()
    };
    for (seed, tcp) in [(1, true), (4, false)] {
        let relay = member_with(seed, |_| {}).await;
        let port = relay.tcp()[0].rsplit('/').next().unwrap().parse::<u16>().unwrap();
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
        serve(&b);
        let watch = Arc::new(Watch {
            got: Mutex::new(vec![(0, Instant::now()); TRANSFERS]),
            stall: Mutex::default(),
            broken: AtomicUsize::new(0),
            wrong: AtomicUsize::new(0),
            own: AtomicUsize::new(0),
            mesh: AtomicUsize::new(0),
            start: Barrier::new(TRANSFERS),
        });
        let running: Vec<_> = (0..TRANSFERS)
            .map(|n| tokio::spawn(fetch(a.net.clone(), b.id(), n, Arc::clone(&watch))))
            .collect();
        until("all are under way", async || {
            watch.got.lock().unwrap().iter().all(|(at, _)| *at > SIZE / 8)
        })
        .await;
        let paths = |watch: &Watch| {
            let (own, mesh) = (&watch.own, &watch.mesh);
            (own.load(Ordering::Relaxed), mesh.load(Ordering::Relaxed))
        };
        println!("own, mesh: {:?} at first", paths(&watch));
        let before: Vec<u64> = watch.got.lock().unwrap().iter().map(|(at, _)| *at).collect();
        assert!(
            before.iter().all(|at| *at < SIZE),
            "too fast to be interrupted: {before:?}"
        );
        drop(service);
        let gone = Instant::now();
        relay.net.shutdown().await;
        drop(relay);
        until("the port is free", async || {
            std::net::UdpSocket::bind(("127.0.0.1", port)).is_ok()
        })
        .await;
        let again = member_with(seed, |c| c.listen = ListenAddrs::Loopback(port)).await;
        let back = Instant::now();
        let away = gone.elapsed();
        println!("the relay was away for {away:?}");
        let service = again.net.serve_relay(limits).unwrap();
        for one in running {
            let done = tokio::time::timeout(Duration::from_secs(60), one).await;
            done.expect("a transfer has not gone on").unwrap();
        }
        // What the relay was away for is not theirs.
        let stall = watch.stall.lock().unwrap().saturating_sub(away);
        let broken = watch.broken.load(Ordering::Relaxed);
        println!(
            "{}: {TRANSFERS} transfers, {broken} breaks, longest stall {stall:?} beyond the relay's, all done {:?} after the relay was back, own, mesh: {:?}",
            if tcp { "TCP" } else { "QUIC" },
            back.elapsed(),
            paths(&watch),
        );
        assert!(broken >= TRANSFERS, "each was interrupted: {broken}");
        assert_eq!(
            watch.wrong.load(Ordering::Relaxed),
            0,
            "a break was taken for an end"
        );
        assert!(service.counts().bytes > 0);
        // The aim is 3 s; a machine that builds beside it gets more, up to what one lost opening would cost.
        assert!(stall < Duration::from_secs(14), "{stall:?}");
    }
}
