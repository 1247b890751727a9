//! QUIC's first packets with a sender that is not who it says: what the victim sends to it, and who is kept out.

use crate::{
    honest,
    mesh::{id, member, member_with, soon},
};
use hive_net::{Admission, ListenAddrs};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::net::UdpSocket;

/// What may be sent to an address that has not answered, for every byte from it.
const MOST: usize = 3;
/// Handshakes begun at a time.
const AT_ONCE: usize = 20;
/// The victim has given the handshake up by then.
const GIVEN_UP: Duration = Duration::from_secs(7);

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

/// First packets from many places: members still come in, over QUIC or TCP.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spoofed_first_packets_keep_nobody_out() {
    let _alone = honest::alone().await;
    let victim = member(92).await;
    let to = socket_of(&victim.quic()[0]);
    let mut sockets = Vec::new();
    for (n, first) in firsts(200).await.into_iter().enumerate() {
        // Each from an address block of its own.
        let socket = UdpSocket::bind(format!("127.100.{n}.1:0")).await.unwrap();
        for packet in first {
            socket.send_to(&packet, to).await.unwrap();
        }
        sockets.push(socket);
    }
    let friend = member_with(93, |c| c.listen = ListenAddrs::Exactly(vec![])).await;
    let began = Instant::now();
    assert_eq!(friend.dial(&victim).await, Admission::Member);
    println!("a member came in after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(3));
}
