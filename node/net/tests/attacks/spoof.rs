//! QUIC's first packets with a sender that is not who it says: what the victim sends to it, and who is kept out.

use crate::{
    flood::open_files,
    honest::{self, rss},
    mesh::{id, member, member_with, soon, until},
    raw::key,
};
use hive_net::{Admission, Config, ListenAddrs};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::UdpSocket;

/// What may be sent to an address that has not answered, for every byte from it.
const MOST: usize = 3;
/// Handshakes whose first packets are made at a time.
const AT_ONCE: usize = 20;
/// The victim has given the handshake up by then.
const GIVEN_UP: Duration = Duration::from_secs(7);

/// Handshakes begun in the name of others, each with a connection id of its own.
const MANY: usize = 10_000;
/// Address blocks they come from.
const BLOCKS: u8 = 250;
/// Handshakes begun at once.
const BURST: usize = 16;
/// Handshakes under way above which the attack is slower.
const AHEAD: u64 = 1000;
/// Handshakes that the victim must have seen the end of: the rest was lost before it.
const COUNTED: u64 = 5000;
/// A member comes in within this time during the attack: a packet that is lost is sent again after one second and
/// after three, and two processors carry attacker and victim here.
const COME_IN: Duration = Duration::from_secs(15);
/// Times it tries at most.
const TRIES: u32 = 3;
/// What this process may grow by: QUIC keeps a refused handshake, some 50 KB, for three seconds more, and the node takes
/// on 2048 at a time; what waits, and what this test has made, comes to that.
const MOST_KB: u64 = 400_000;

/// Where a node's QUIC listens.
fn socket_of(addr: &str) -> SocketAddr {
    let mut parts = addr.split('/').skip(2);
    let ip = parts.next().unwrap();
    let port = parts.nth(1).unwrap();
    format!("{ip}:{port}").parse().unwrap()
}

/// What a dialer says first, before it has heard anything: two packets, since the keys fill more than one.
type First = Vec<Vec<u8>>;

/// The name of the connection in a first packet: it stands after flags, version and its length.
fn name(packet: &[u8]) -> Vec<u8> {
    packet[6..6 + usize::from(packet[5])].to_vec()
}

/// The first packets of so many handshakes.
async fn firsts(count: u8) -> Vec<First> {
    let sink = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = format!("/ip4/127.0.0.1/udp/{}/quic-v1", sink.local_addr().unwrap().port());
    let dialer = member_with(90, |c| c.limits.pending = 256).await;
    let mut found: BTreeMap<Vec<u8>, First> = BTreeMap::new();
    let mut buf = vec![0; 2048];
    // Nobody dials itself; a few at a time, since what does not fit into the socket's buffer is lost.
    let whom: Vec<u8> = (0..=count).filter(|n| *n != 90).collect();
    for some in whom.chunks(AT_ONCE) {
        for n in some {
            let (net, node, addr) = (dialer.net.clone(), id(*n), addr.clone());
            tokio::spawn(async move { net.dial(node, vec![addr]).await });
        }
        let whole = |found: &BTreeMap<_, First>| found.values().filter(|f| f.len() == 2).count();
        let due = whole(&found) + some.len();
        soon("the first packets", async {
            while whole(&found) < due {
                let (len, _) = sink.recv_from(&mut buf).await.unwrap();
                let first = found.entry(name(&buf)).or_default();
                if len >= 1200 && first.len() < 2 {
                    first.push(buf[..len].to_vec());
                }
            }
        })
        .await;
    }
    dialer.net.shutdown().await;
    found.into_values().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_than_three_times_what_came_is_sent_to_an_address_that_did_not_answer() {
    let _alone = honest::alone().await;
    let victim = member(91).await;
    let to = socket_of(&victim.quic()[0]);
    let mut sent = 0;
    let mut sockets = Vec::new();
    for first in firsts(8).await {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for packet in first {
            sent += socket.send_to(&packet, to).await.unwrap();
        }
        sockets.push(socket);
    }
    let mut back = 0;
    let end = Instant::now() + GIVEN_UP;
    let mut buf = vec![0; 4096];
    for socket in &sockets {
        while let Ok(Ok((len, _))) = tokio::time::timeout_at(end.into(), socket.recv_from(&mut buf)).await {
            back += len;
        }
    }
    // What has queued up on the others meanwhile.
    for socket in &sockets {
        while let Ok((len, _)) = socket.try_recv_from(&mut buf) {
            back += len;
        }
    }
    println!("amplification: {back} bytes for {sent}");
    assert!(
        back > sent,
        "the victim answers with its certificate: {back} bytes for {sent}"
    );
    assert!(back <= MOST * sent, "{back} bytes for {sent}");
}

/// First packets of so many handshakes, each with a connection id of its own. Made by QUIC alone, which is faster than
/// a node for each.
async fn many_firsts(count: usize) -> Vec<First> {
    let sink = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to = sink.local_addr().unwrap();
    let tls = libp2p::tls::make_client_config(&key(90), None).unwrap();
    let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    // What was given up is kept for a few round trips.
    let mut transport = quinn::TransportConfig::default();
    transport.initial_rtt(Duration::from_millis(5));
    config.transport_config(Arc::new(transport));
    let mut all = Vec::with_capacity(count);
    let mut buf = vec![0; 2048];
    while all.len() < count {
        let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let here = endpoint.local_addr().unwrap();
        let dialed: Vec<_> = (0..AT_ONCE)
            .map(|_| endpoint.connect_with(config.clone(), to, "victim").unwrap())
            .collect();
        let mut found: BTreeMap<Vec<u8>, First> = BTreeMap::new();
        soon("the first packets", async {
            while found.len() < AT_ONCE {
                let (len, from) = sink.recv_from(&mut buf).await.unwrap();
                if len >= 1200 && from == here {
                    let first = found.entry(name(&buf)).or_default();
                    if first.len() < 2 {
                        first.push(buf[..len].to_vec());
                    }
                }
            }
        })
        .await;
        drop(dialed);
        all.extend(found.into_values());
    }
    all
}

/// Ten thousand handshakes begun from many places: members still come in, over QUIC as over TCP.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spoofed_first_packets_keep_nobody_out() {
    let _alone = honest::alone().await;
    open_files();
    let firsts = many_firsts(MANY).await;
    // What this process holds is not all its own.
    let roomy = |c: &mut Config| c.limits.memory_bytes = usize::MAX;
    let victim = member_with(92, roomy).await;
    let to = socket_of(&victim.quic()[0]);
    let mut sockets = Vec::new();
    for n in 0..BLOCKS {
        // Each in an address block of its own.
        sockets.push(UdpSocket::bind(format!("127.100.{n}.1:0")).await.unwrap());
    }
    let before = rss();
    let net = victim.net.clone();
    let spoofing = tokio::spawn(async move {
        for (n, first) in firsts.iter().enumerate() {
            for packet in first {
                sockets[n % sockets.len()].send_to(packet, to).await.unwrap();
            }
            if n % BURST == BURST - 1 {
                // Much slower while many are under way: the victim is to see them, not to lose them.
                let under_way = (n as u64).saturating_sub(net.counters().inbound_failed);
                let pause = Duration::from_millis(if under_way > AHEAD { 10 } else { 1 });
                tokio::time::sleep(pause).await; // paced: more does not fit into the victim's socket
            }
        }
        (sockets, firsts)
    });
    until("the attack is on", async || {
        victim.net.counters().inbound_failed > 200
    })
    .await;
    for (seed, addrs) in [(93, victim.quic()), (94, victim.tcp())] {
        let friend = member_with(seed, |c| {
            c.listen = ListenAddrs::Exactly(vec![]);
            roomy(c);
        })
        .await;
        let began = Instant::now();
        let mut tries = 1;
        let admission = soon("a member comes in", async {
            loop {
                match friend.net.dial(victim.id(), addrs.clone()).await {
                    Ok(admission) => return admission,
                    // A handshake may be too slow here and now. Where there is no place it is refused at once.
                    Err(e) => assert!(tries < TRIES, "refused {tries} times: {e}"),
                }
                tries += 1;
            }
        })
        .await;
        let came_in = began.elapsed();
        println!("a member came in after {came_in:?} at try {tries}");
        assert_eq!(admission, Admission::Member);
        assert!(came_in < COME_IN, "{came_in:?}");
    }
    let _spoofed = soon("the attack", spoofing).await.unwrap();
    // What the system did not drop was refused or given up, one by one.
    until("the attack has come to nothing", async || {
        victim.net.counters().inbound_failed >= COUNTED
    })
    .await;
    let grown = rss().saturating_sub(before);
    println!(
        "{} handshakes failed; {grown} KiB grown",
        victim.net.counters().inbound_failed
    );
    assert!(grown < MOST_KB, "{grown} KiB");
}
