//! Ten thousand connections that want nothing: attempts, half-open handshakes, dribbled bytes.

use crate::{
    honest::{self, Pulse, echoing, rss},
    mesh::{TestNode, member, member_with, until},
};
use hive_net::{Admission, ListenAddrs};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

/// Connections of the attack.
const MANY: usize = 10_000;
/// Of those, the ones that must have stood for it to be the attack it says it is: the victim's system takes them, and
/// then the victim decides.
const STOOD: usize = 9_500;
/// Under way at a time: an attacker's machine has bounds, too.
const AT_ONCE: usize = 256;
/// What this process (the attacker is in it) may grow by.
const MOST_KB: u64 = 96_000;
/// A member comes in within this time during the attack. Where the system's queue of connections is full its first
/// packet is lost, and said again after one second and after three.
const COME_IN: Duration = Duration::from_secs(6);

fn port(addr: &str) -> u16 {
    addr.rsplit('/').next().unwrap().parse().unwrap()
}

/// Lets this process open as many files as it may.
pub fn open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )
    .unwrap();
}

/// One connection of the attack, from a block of addresses that no honest node is in.
async fn connect(n: usize, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let from = format!("127.{}.{}.{}:0", 66 + n % 4, n / 4 % 10, 1 + n / 40 % 250);
    socket.bind(from.parse().unwrap())?;
    socket.connect(to).await
}

/// Says this and then nothing, as long as the victim lets it.
async fn hold(mut stream: TcpStream, words: &[u8]) {
    if stream.write_all(words).await.is_ok() {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
}

/// What became of an attack.
struct Attacked {
    /// Connections that stood.
    stood: usize,
    /// The first that did not.
    failed: Option<std::io::Error>,
    /// Those that are still held.
    held: JoinSet<()>,
}

/// All connections of the attack.
async fn attack(to: SocketAddr, words: &'static [u8]) -> Attacked {
    use futures::{StreamExt, stream};
    let mut attacked = Attacked {
        stood: 0,
        failed: None,
        held: JoinSet::new(),
    };
    let mut connecting = stream::iter(0..MANY)
        .map(|n| connect(n, to))
        .buffer_unordered(AT_ONCE);
    while let Some(connected) = connecting.next().await {
        match connected {
            Ok(stream) => {
                attacked.stood += 1;
                attacked.held.spawn(hold(stream, words));
            }
            Err(e) => attacked.failed = attacked.failed.or(Some(e)),
        }
        while attacked.held.try_join_next().is_some() {}
    }
    attacked
}

async fn victim(seed: u8) -> (TestNode, TestNode, Pulse) {
    open_files();
    let victim = member(seed).await;
    echoing(&victim);
    let friend = member(seed + 1).await;
    friend.dial(&victim).await;
    let pulse = Pulse::to(&friend, victim.id()).await;
    (victim, friend, pulse)
}

/// Attacks with connections that say this and then nothing.
async fn withstand(seed: u8, words: &'static [u8]) {
    let (victim, friend, mut pulse) = victim(seed).await;
    let idle = pulse.p99(500).await;
    let before = rss();
    let to: SocketAddr = format!("127.0.0.1:{}", port(&victim.tcp()[0])).parse().unwrap();
    let attacker = tokio::spawn(attack(to, words));
    // The attack is on when the victim has begun to refuse.
    until("the attack is on", async || {
        victim.net.counters().inbound_failed > 200
    })
    .await;
    let during = pulse.p99(500).await;
    let newcomer = member_with(seed + 2, |c| c.listen = ListenAddrs::Exactly(vec![])).await;
    let began = Instant::now();
    let admission = newcomer.net.dial(victim.id(), victim.tcp()).await.unwrap();
    let came_in = began.elapsed();
    assert_eq!(admission, Admission::Member);
    let attacked = tokio::time::timeout(Duration::from_secs(60), attacker)
        .await
        .unwrap()
        .unwrap();
    let grown = rss().saturating_sub(before);
    let after = pulse.p99(200).await;
    println!(
        "{} connections, {} still held: round trip p99 idle {idle:?}, during {during:?}, after {after:?}; a member came \
         in within {came_in:?}; {grown} KiB grown",
        attacked.stood,
        attacked.held.len()
    );
    let stood = attacked.stood;
    assert!(stood >= STOOD, "only {stood} of {MANY}: {:?}", attacked.failed);
    until("half of them were seen and refused", async || {
        victim.net.counters().inbound_failed >= STOOD as u64 / 2
    })
    .await;
    assert!(came_in < COME_IN, "{came_in:?}");
    assert!(grown < MOST_KB, "{grown} KiB");
    // Two processors carry attacker and victim here: what an honest member notices stays far from seconds.
    assert!(during < Duration::from_millis(500), "{during:?}");
    assert!(friend.net.peers().await.iter().any(|p| p.member));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_silent_connections() {
    let _alone = honest::alone().await;
    withstand(120, b"").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_half_open_handshakes() {
    let _alone = honest::alone().await;
    // The transport's first words are right, and then nothing comes.
    withstand(125, b"\x13/multistream/1.0.0\n").await;
}
