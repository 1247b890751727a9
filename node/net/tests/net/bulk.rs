//! Bulk streams: the direct way, the way back to the mesh, and when they end.

use crate::mesh::{DEADLINE, TestNode, member, member_with, soon, until};
use hive_net::{BulkInbound, BulkListen, BulkPath, BulkStream, ProtocolPolicy};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub const PROTOCOL: &str = "/bulk-test/1";
const MESH_PATH: BulkPath = BulkPath::Mesh { relayed: false };

pub fn serve(node: &TestNode) -> BulkInbound {
    node.net.serve_bulk(PROTOCOL, ProtocolPolicy::default()).unwrap()
}

/// Two connected members, the first serving.
pub async fn two(seed: u8) -> (TestNode, TestNode, BulkInbound) {
    let (a, b) = (member(seed).await, member(seed + 1).await);
    let inbound = serve(&a);
    b.dial(&a).await;
    (a, b, inbound)
}

/// An open stream: (serving end, opening end).
pub async fn pair(a: &TestNode, b: &TestNode, inbound: &mut BulkInbound) -> (BulkStream, BulkStream) {
    let near = soon("it opens", b.net.open_bulk(a.id(), PROTOCOL)).await.unwrap();
    let (who, far) = soon("it arrives", inbound.accept()).await.unwrap();
    assert_eq!((who, far.node(), near.node()), (b.id(), b.id(), a.id()));
    assert_eq!(far.path(), near.path());
    (far, near)
}

/// Sends so many bytes of a known pattern and ends the writing side; gives their hash.
async fn send(io: &mut (impl AsyncWriteExt + Unpin), size: usize, salt: u32) -> blake3::Hash {
    let mut hash = blake3::Hasher::new();
    let mut rest = size;
    let mut n = salt;
    while rest > 0 {
        // Pieces of every size, small and large.
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let len = rest.min(1 + (n >> 8) as usize % 600_000);
        let piece: Vec<u8> = (0..len).map(|k| (k as u32 ^ n) as u8).collect();
        hash.update(&piece);
        io.write_all(&piece).await.unwrap();
        rest -= len;
    }
    io.shutdown().await.unwrap();
    hash.finalize()
}

async fn receive(io: &mut (impl AsyncReadExt + Unpin)) -> (usize, blake3::Hash) {
    let (mut hash, mut size, mut buf) = (blake3::Hasher::new(), 0, vec![0; 300_000]);
    loop {
        match io.read(&mut buf).await.unwrap() {
            0 => return (size, hash.finalize()),
            n => {
                hash.update(&buf[..n]);
                size += n;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_arrive_whole_both_ways_at_once_on_either_path() {
    const SIZE: usize = 48 << 20;
    for (seed, listen, path) in [
        (150, BulkListen::default(), BulkPath::Direct),
        (152, BulkListen::Off, MESH_PATH),
    ] {
        let a = member_with(seed, |config| config.bulk = listen).await;
        let b = member(seed + 1).await;
        let mut inbound = serve(&a);
        b.dial(&a).await;
        let (far, near) = pair(&a, &b, &mut inbound).await;
        assert_eq!(near.path(), path);
        let ((mut far_in, mut far_out), (mut near_in, mut near_out)) = (far.split(), near.split());
        let there = tokio::spawn(async move { send(&mut near_out, SIZE, 1).await });
        let back = tokio::spawn(async move { send(&mut far_out, SIZE / 2, 2).await });
        let got = tokio::spawn(async move { receive(&mut far_in).await });
        let got_back = soon("the answer", receive(&mut near_in)).await;
        assert_eq!(got_back, (SIZE / 2, back.await.unwrap()));
        let got = soon("the bytes", got).await.unwrap();
        assert_eq!(got, (SIZE, there.await.unwrap()));

        let (server, client) = (a.net.counters(), b.net.counters());
        let (sent, received) = match path {
            BulkPath::Direct | BulkPath::Relayed { .. } => {
                (client.bulk_bytes_out_direct, server.bulk_bytes_in_direct)
            }
            BulkPath::Mesh { .. } => (client.bulk_bytes_out_mesh, server.bulk_bytes_in_mesh),
        };
        assert_eq!((sent, received), (SIZE as u64, SIZE as u64));
        let direct = u64::from(path == BulkPath::Direct);
        assert_eq!(client.bulk_opened_direct, direct);
        assert_eq!(server.bulk_accepted_direct, direct);
        assert_eq!(
            (client.bulk_opened_mesh, server.bulk_accepted_mesh),
            (1 - direct, 1 - direct)
        );
        assert_eq!(server.bulk_refused, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_without_goodbye_is_an_error_and_small_writes_leave_at_once() {
    let (a, b, mut inbound) = two(154).await;
    let (mut far, mut near) = pair(&a, &b, &mut inbound).await;
    assert_eq!(near.path(), BulkPath::Direct);
    // A question and its answer, again and again: would take 40 ms each with Nagle's algorithm.
    let mut times = Vec::new();
    let mut byte = [0; 1];
    for n in 0..100 {
        let start = Instant::now();
        near.write_all(&[n]).await.unwrap();
        near.flush().await.unwrap();
        soon("the question", far.read_exact(&mut byte)).await.unwrap();
        far.write_all(&byte).await.unwrap();
        far.flush().await.unwrap();
        soon("the answer", near.read_exact(&mut byte)).await.unwrap();
        assert_eq!(byte, [n]);
        times.push(start.elapsed());
    }
    times.sort_unstable();
    // The middle one: what the machine stands still does not count.
    assert!(times[50] < Duration::from_millis(20), "{:?}", times[50]);
    near.write_all(&[7; 1000]).await.unwrap();
    near.flush().await.unwrap();
    drop(near);
    let mut got = Vec::new();
    let error = soon("the end", far.read_to_end(&mut got)).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");
    assert_eq!(got, [7; 1000]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_hold_for_both_paths_together() {
    let a = member(156).await;
    let b = member(157).await;
    let c = member_with(158, |config| config.bulk = BulkListen::Off).await;
    let policy = ProtocolPolicy {
        max_inbound_per_peer: 2,
        ..Default::default()
    };
    let mut inbound = a.net.serve_bulk(PROTOCOL, policy).unwrap();
    let twice = a.net.serve_bulk(PROTOCOL, policy).unwrap_err();
    assert_eq!(twice.code(), "net.served_twice");
    b.dial(&a).await;
    c.dial(&a).await;
    let first = pair(&a, &b, &mut inbound).await;
    let second = pair(&a, &b, &mut inbound).await;
    assert_eq!(second.0.path(), BulkPath::Direct);
    // The third is turned away directly, tried on the mesh, and reset there.
    let mut third = b.net.open_bulk(a.id(), PROTOCOL).await.unwrap();
    assert_eq!(third.path(), MESH_PATH);
    let ended = soon("the reset", third.read(&mut [0; 1])).await;
    assert!(matches!(ended, Ok(0) | Err(_)));
    // Somebody else has a quota of his own, and room is given back. "Busy" is not remembered as a failure.
    let other = pair(&a, &c, &mut inbound).await;
    assert_eq!(other.0.path(), MESH_PATH);
    drop(first);
    let again = pair(&a, &b, &mut inbound).await;
    assert_eq!(again.0.path(), BulkPath::Direct);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_served_is_said_so() {
    let (a, b, inbound) = two(160).await;
    let error = b.net.open_bulk(a.id(), "/other/1").await.unwrap_err();
    assert_eq!(error.code(), "net.not_spoken", "{error}");
    // An ordinary protocol is served on mesh streams only, whatever the asker wants.
    let mut plain = a.net.serve("/plain/1", ProtocolPolicy::default()).unwrap();
    let stream = b.net.open_bulk(a.id(), "/plain/1").await.unwrap();
    assert_eq!(stream.path(), MESH_PATH);
    soon("it", plain.accept()).await.unwrap();
    drop(inbound);
    let error = b.net.open_bulk(a.id(), PROTOCOL).await.unwrap_err();
    assert_eq!(error.code(), "net.not_spoken", "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_end_with_membership_in_mid_transfer() {
    for (seed, listen) in [(162, BulkListen::default()), (164, BulkListen::Off)] {
        for way in 0..3 {
            let seed = seed + 4 * way;
            let a = member_with(seed, |config| config.bulk = listen).await;
            let b = member(seed + 1).await;
            let mut inbound = serve(&a);
            b.dial(&a).await;
            let (mut far, mut near) = pair(&a, &b, &mut inbound).await;
            let (mut idle, _idle) = pair(&a, &b, &mut inbound).await;
            let sending = tokio::spawn(async move {
                let piece = vec![1; 256 << 10];
                while near.write_all(&piece).await.is_ok() {}
            });
            let reading = tokio::spawn(async move {
                let mut buf = vec![0; 256 << 10];
                loop {
                    if let Err(error) = far.read(&mut buf).await {
                        return error;
                    }
                }
            });
            let waiting = tokio::spawn(async move { idle.read(&mut [0; 1]).await.unwrap_err() });
            until("it flows", async || {
                let counters = a.net.counters();
                counters.bulk_bytes_in_direct + counters.bulk_bytes_in_mesh > 10 << 20
            })
            .await;
            let start = Instant::now();
            match way {
                0 => a.net.set_member(b.id(), false).await,
                1 => a.net.disconnect(b.id(), "test").await,
                _ => a.net.shutdown().await,
            }
            for task in [reading, waiting] {
                let error = soon("the end here", task).await.unwrap();
                assert_eq!(
                    error.kind(),
                    std::io::ErrorKind::ConnectionAborted,
                    "{way}: {error}"
                );
            }
            soon("the end there", sending).await.unwrap();
            assert!(
                // Left to itself a silent stream would take many times as long to be given up.
                start.elapsed() < Duration::from_secs(8),
                "{way}: {:?}",
                start.elapsed()
            );
            if way == 0 {
                let error = a.net.open_bulk(b.id(), PROTOCOL).await.unwrap_err();
                assert_eq!(error.code(), "net.not_member");
                assert_eq!(a.net.counters().bulk_ended, 2);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_shutdown_nothing_listens_and_nobody_waits() {
    let (a, b, mut inbound) = two(180).await;
    let door = a.net.bulk_addrs()[0];
    drop(pair(&a, &b, &mut inbound).await);
    a.net.shutdown().await;
    assert!(soon("the acceptor's end", inbound.accept()).await.is_none());
    until("the door is shut", async || {
        tokio::net::TcpStream::connect(door).await.is_err()
    })
    .await;
    let error = a.net.open_bulk(b.id(), PROTOCOL).await.unwrap_err();
    assert_eq!(error.code(), "net.stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_is_configured_and_taken_ports_are_named() {
    let a = member(182).await;
    let port = a.net.bulk_addrs()[0].port();
    assert_ne!(port, 0);
    let config = hive_net::Config {
        secret: crate::mesh::secret(183),
        network: crate::mesh::MESH,
        listen: hive_net::ListenAddrs::Loopback(0),
        bulk: BulkListen::Port(port),
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
    assert!(error.to_string().contains(&port.to_string()), "{error}");
    let off = member_with(184, |config| config.bulk = BulkListen::Off).await;
    assert!(off.net.bulk_addrs().is_empty());
}

/// Many at once, more than tokens or half-open places: none is lost, whichever way it goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_streams_opened_at_once_all_stand() {
    const COUNT: usize = 100;
    let a = member(186).await;
    let b = member(187).await;
    let policy = ProtocolPolicy {
        max_inbound_per_peer: COUNT,
        ..Default::default()
    };
    let mut inbound = a.net.serve_bulk(PROTOCOL, policy).unwrap();
    b.dial(&a).await;
    let opening: Vec<_> = (0..COUNT)
        .map(|n| {
            let (net, to) = (b.net.clone(), a.id());
            tokio::spawn(async move {
                let mut stream = net.open_bulk(to, PROTOCOL).await.unwrap();
                stream.write_all(&[n as u8]).await.unwrap();
                stream.flush().await.unwrap();
                stream
            })
        })
        .collect();
    let mut seen = [false; COUNT];
    let mut kept = Vec::new();
    while kept.len() < COUNT {
        let (_, mut stream) = soon("a stream", inbound.accept()).await.unwrap();
        let mut n = [0; 1];
        if soon("its byte", stream.read_exact(&mut n)).await.is_err() {
            // Its opener had waited long enough for this way and has taken the other one.
            continue;
        }
        assert!(!std::mem::replace(&mut seen[usize::from(n[0])], true));
        kept.push(stream);
    }
    for task in opening {
        kept.push(tokio::time::timeout(DEADLINE, task).await.unwrap().unwrap());
    }
    let counters = b.net.counters();
    println!(
        "direct {} mesh {}",
        counters.bulk_opened_direct, counters.bulk_opened_mesh
    );
    assert_eq!(
        counters.bulk_opened_direct + counters.bulk_opened_mesh,
        COUNT as u64
    );
}
