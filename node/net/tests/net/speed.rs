//! How fast: printed (`--nocapture`), and held to bounds so low that only a fault breaks them.

use crate::mesh::{TestNode, member, soon};
use hive_net::{FrameReader, FrameSender, NetStream, ProtocolPolicy};
use hive_protocol::{blob::BlobRequest, ids::BlobHash};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PROTOCOL: &str = "/speed/1";

/// Two members and a stream between them: (serving end, dialing end).
async fn pair(seed: u8, quic: bool) -> (TestNode, TestNode, NetStream, NetStream) {
    let a = member(seed).await;
    let b = member(seed + 1).await;
    let mut inbound = a.net.serve(PROTOCOL, ProtocolPolicy::default()).unwrap();
    let addrs = if quic { a.quic() } else { a.tcp() };
    b.net.dial(a.id(), addrs).await.unwrap();
    let near = b.net.open(a.id(), PROTOCOL).await.unwrap();
    let (_, far) = soon("the stream", inbound.accept()).await.unwrap();
    (a, b, far, near)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_arrive_whole() {
    const SIZE: u64 = 100 << 20;
    for (seed, quic) in [(130, true), (132, false)] {
        let (_a, _b, mut far, mut near) = pair(seed, quic).await;
        let start = Instant::now();
        let sending = tokio::spawn(async move {
            let chunk: Vec<u8> = (0..256 << 10).map(|n: u32| (n % 251) as u8).collect();
            let mut hash = blake3::Hasher::new();
            for _ in 0..SIZE / chunk.len() as u64 {
                near.write_all(&chunk).await.unwrap();
                hash.update(&chunk);
            }
            near.shutdown().await.unwrap();
            hash
        });
        let receiving = async {
            let mut buf = vec![0; 256 << 10];
            let (mut total, mut hash) = (0_u64, blake3::Hasher::new());
            loop {
                match far.read(&mut buf).await.unwrap() {
                    0 => return (total, hash.finalize()),
                    n => {
                        total += n as u64;
                        hash.update(&buf[..n]);
                    }
                }
            }
        };
        let (total, hash) = tokio::time::timeout(Duration::from_secs(60), receiving)
            .await
            .unwrap();
        let taken = start.elapsed();
        let sent = sending.await.unwrap();
        assert_eq!((total, hash), (SIZE, sent.finalize()));
        let speed = SIZE as f64 / 1e6 / taken.as_secs_f64();
        println!("{}: 100 MiB at {speed:.0} MB/s", name(quic));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn echoes_return_quickly() {
    const ROUNDS: usize = 4000;
    for (seed, quic) in [(134, true), (136, false)] {
        let (_a, _b, mut far, mut near) = pair(seed, quic).await;
        tokio::spawn(async move {
            let mut buf = [0; 64];
            while far.read_exact(&mut buf).await.is_ok() {
                far.write_all(&buf).await.unwrap();
                far.flush().await.unwrap();
            }
        });
        let mut times = Vec::with_capacity(ROUNDS);
        let mut buf = [1; 64];
        for _ in 0..ROUNDS {
            let start = Instant::now();
            near.write_all(&buf).await.unwrap();
            near.flush().await.unwrap();
            soon("the echo", near.read_exact(&mut buf)).await.unwrap();
            times.push(start.elapsed());
        }
        times.sort_unstable();
        let (p50, p99) = (times[ROUNDS / 2], times[ROUNDS * 99 / 100]);
        println!("{}: echo p50 {p50:?} p99 {p99:?}", name(quic));
        assert!(p50 < Duration::from_millis(20), "Nagle or a timer: {p50:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_frames_flow_by_the_hundred_thousand() {
    const COUNT: u64 = 200_000;
    for (seed, quic) in [(138, true), (140, false)] {
        let (_a, _b, far, near) = pair(seed, quic).await;
        let (_reader, writer) = near.split();
        let (sender, writing) = FrameSender::<BlobRequest>::spawn(writer);
        let start = Instant::now();
        tokio::spawn(async move {
            let hash = BlobHash::of(b"x");
            for n in 0..COUNT {
                let message = BlobRequest {
                    hash,
                    lease: None,
                    max_size: n,
                };
                sender.send(&message).await.unwrap();
            }
        });
        let (reader, _writer) = far.split();
        let mut frames = FrameReader::<BlobRequest, _>::new(reader);
        let receiving = async {
            let mut next = 0;
            while let Some(message) = frames.next().await.unwrap() {
                assert_eq!(message.max_size, next);
                next += 1;
            }
            next
        };
        let got = tokio::time::timeout(Duration::from_secs(60), receiving)
            .await
            .unwrap();
        assert_eq!(got, COUNT);
        let rate = COUNT as f64 / start.elapsed().as_secs_f64();
        println!("{}: {rate:.0} frames of 49 bytes a second", name(quic));
        writing.await.unwrap().unwrap();
    }
}

const fn name(quic: bool) -> &'static str {
    if quic { "QUIC" } else { "TCP+TLS" }
}
