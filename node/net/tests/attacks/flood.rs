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
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
};

/// Connections of the attack.
const MANY: usize = 10_000;
/// Under way at a time: an attacker's machine has bounds, too.
const AT_ONCE: usize = 256;
/// What this process (the attacker is in it) may grow by.
const MOST_KB: u64 = 96_000;
/// A member comes in within this time during the attack.
const COME_IN: Duration = Duration::from_secs(3);

fn port(addr: &str) -> u16 {
    addr.rsplit('/').next().unwrap().parse().unwrap()
}

/// Lets this process open as many files as it may.
fn open_files() {
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
async fn connect(n: usize, to: SocketAddr, words: &[u8]) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    let from = format!("127.{}.{}.{}:0", 66 + n % 4, n / 4 % 10, 1 + n / 40 % 250);
    socket.bind(from.parse().unwrap()).ok()?;
    let mut stream = socket.connect(to).await.ok()?;
    stream.write_all(words).await.ok()?;
    Some(stream)
}

/// All connections of the attack, held open as long as the victim lets them.
async fn attack(to: SocketAddr, words: &'static [u8]) -> Vec<TcpStream> {
    use futures::{StreamExt, stream};
    stream::iter(0..MANY)
        .map(|n| connect(n, to, words))
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await
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
    let held = tokio::time::timeout(Duration::from_secs(60), attacker)
        .await
        .unwrap()
        .unwrap();
    let grown = rss().saturating_sub(before);
    let after = pulse.p99(200).await;
    println!(
        "{} connections: round trip p99 idle {idle:?}, during {during:?}, after {after:?}; a member came in within \
         {came_in:?}; {grown} KiB grown",
        held.len()
    );
    assert!(came_in < COME_IN, "{came_in:?}");
    assert!(grown < MOST_KB, "{grown} KiB");
    // Two processors carry attacker and victim here: what an honest member notices stays far from seconds.
    assert!(during < Duration::from_millis(250), "{during:?}");
    assert!(friend.net.peers().await.iter().any(|p| p.member));
    drop(held);
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
