//! A peer that vanishes without a word, and one that only takes its time: two network namespaces and a cable.

use crate::{
    bulk::{PROTOCOL, serve},
    mesh::{TestNode, member_with},
};
use hive_net::{BulkPath, BulkStream, ListenAddrs};
use std::{
    fs::File,
    os::fd::AsFd,
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SPACES: [&str; 2] = ["hive-bulk-a", "hive-bulk-b"];
/// What the two sides may take to notice: 2 s until the mesh connection is asked, 3.3 s until that is given up, measured
/// 6 s in all, and 10 s by who only sends; a machine that lags behind gives more time.
const NOTICED: Duration = Duration::from_secs(50);

fn ip(args: &str) {
    let done = Command::new("ip").args(args.split(' ')).status().unwrap();
    assert!(done.success(), "ip {args}");
}

/// The namespaces and the cable between them.
struct Cable;

impl Cable {
    fn lay() -> Self {
        let cable = Self;
        for space in SPACES {
            ip(&format!("netns add {space}"));
        }
        let [a, b] = SPACES;
        ip(&format!(
            "link add hbulk0 netns {a} type veth peer name hbulk0 netns {b}"
        ));
        for (n, space) in SPACES.iter().enumerate() {
            ip(&format!("-n {space} addr add 10.77.0.{}/24 dev hbulk0", n + 1));
            ip(&format!("-n {space} link set hbulk0 up"));
            ip(&format!("-n {space} link set lo up"));
        }
        cable
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for space in SPACES {
            let _ = Command::new("ip").args(["netns", "del", space]).status();
        }
    }
}

/// Runs one node inside a namespace.
fn within<T: Send + 'static>(
    n: usize,
    doing: impl AsyncFnOnce(TestNode) -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    thread::spawn(move || {
        let space = File::open(format!("/run/netns/{}", SPACES[n])).unwrap();
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(space.as_fd(), kind).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let listen = ["udp/4001/quic-v1", "tcp/4001"]
                .map(|rest| format!("/ip4/10.77.0.{}/{rest}", n + 1))
                .to_vec();
            let node = member_with(250 + n as u8, |config| {
                config.listen = ListenAddrs::Exactly(listen);
            });
            doing(node.await).await
        })
    })
}

async fn end_of_reading(mut stream: BulkStream, cut: Instant) -> Duration {
    let mut buf = vec![0; 256 << 10];
    while stream.read(&mut buf).await.is_ok_and(|n| n > 0) {}
    cut.elapsed()
}

#[test]
#[ignore = "needs root: cargo test -p hive-net --test net -- --ignored"]
fn a_pause_is_waited_for_and_a_cut_cable_is_noticed() {
    let _cable = Cable::lay();
    let (ready, told) = mpsc::channel::<(hive_protocol::ids::NodeId, Vec<String>)>();
    let pause = Duration::from_secs(25);
    // Both sides count from when the transfers began; the cable is cut when the pause is over.
    let server = within(0, async move |a| {
        let mut inbound = serve(&a);
        ready.send((a.id(), a.net.listen_addrs())).unwrap();
        let (_, busy) = inbound.accept().await.unwrap();
        let (_, idle) = inbound.accept().await.unwrap();
        let (_, mut paused) = inbound.accept().await.unwrap();
        // paced: a reader that takes its time is the matter.
        tokio::time::sleep(pause).await;
        let mut buf = vec![0; 256 << 10];
        for _ in 0..100 {
            assert_ne!(
                paused.read(&mut buf).await.unwrap(),
                0,
                "the pause has ended the stream"
            );
        }
        let cut = Instant::now();
        ip(&format!("-n {} link set hbulk0 down", SPACES[0]));
        let ends = tokio::join!(
            end_of_reading(busy, cut),
            end_of_reading(idle, cut),
            end_of_reading(paused, cut)
        );
        <[Duration; 3]>::from(ends)
    });
    let client = within(1, async move |b| {
        let (a, addrs) = told.recv().unwrap();
        b.net.dial(a, addrs).await.unwrap();
        let mut streams = Vec::new();
        for _ in 0..3 {
            let stream = b.net.open_bulk(a, PROTOCOL).await.unwrap();
            assert_eq!(stream.path(), BulkPath::Direct);
            streams.push(stream);
        }
        let start = Instant::now();
        let mut senders = Vec::new();
        for mut stream in [streams.remove(0), streams.pop().unwrap()] {
            senders.push(async move {
                let piece = vec![7; 64 << 10];
                while stream.write_all(&piece).await.is_ok() {}
                start.elapsed()
            });
        }
        let (one, two) = (senders.remove(0), senders.remove(0));
        let ends = tokio::join!(one, two, end_of_reading(streams.remove(0), start));
        <[Duration; 3]>::from(ends).map(|end| end.saturating_sub(pause))
    });
    let (server, client) = (server.join().unwrap(), client.join().unwrap());
    println!("noticed after: reader's side {server:?}, writer's side {client:?}");
    for end in server.into_iter().chain(client) {
        assert!(end < NOTICED, "{end:?}");
    }
}
