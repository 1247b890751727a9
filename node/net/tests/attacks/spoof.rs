//! QUIC's first packets with a sender that is not who it says: what the victim sends to it, and who is kept out.

use crate::mesh::{id, member, soon};
use hive_net::{Admission, ListenAddrs};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::net::UdpSocket;

/// What may be sent to an address that has not answered, for every byte from it.
const MOST: usize = 3;
/// The victim has given the handshake up by then.
const GIVEN_UP: Duration = Duration::from_secs(7);

/// Where a node's QUIC listens.
fn socket_of(addr: &str) -> SocketAddr {
    let mut parts = addr.split('/').skip(2);
    let ip = parts.next().unwrap();
    let port = parts.nth(1).unwrap();
    format!("{ip}:{port}").parse().unwrap()
}

/// First packets of handshakes, each of another connection.
async fn initials(count: u8) -> Vec<Vec<u8>> {
    let sink = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = format!("/ip4/127.0.0.1/udp/{}/quic-v1", sink.local_addr().unwrap().port());
    let dialer = member(90).await;
    let mut found: Vec<Vec<u8>> = Vec::new();
    for n in 0..count {
        let (net, addr) = (dialer.net.clone(), addr.clone());
        tokio::spawn(async move { net.dial(id(200 + n), vec![addr]).await });
    }
    let mut buf = vec![0; 2048];
    soon("the first packets", async {
        while found.len() < usize::from(count) {
            let (len, _) = sink.recv_from(&mut buf).await.unwrap();
            // The connection's name stands after flags, version and its length.
            let name = buf[6..6 + usize::from(buf[5])].to_vec();
            if len >= 1200 && !found.iter().any(|p| p[6..6 + usize::from(p[5])] == name) {
                found.push(buf[..len].to_vec());
            }
        }
    })
    .await;
    dialer.net.shutdown().await;
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_than_three_times_what_came_is_sent_to_an_address_that_did_not_answer() {
    let victim = member(91).await;
    let to = socket_of(&victim.quic()[0]);
    let packets = initials(8).await;
    let mut sent = 0;
    let mut sockets = Vec::new();
    for packet in &packets {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        sent += socket.send_to(packet, to).await.unwrap();
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
    assert!(back > 0, "the victim answers first packets");
    assert!(back <= MOST * sent, "{back} bytes for {sent}");
}

/// First packets from many places: members still come in, over QUIC or TCP.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spoofed_first_packets_keep_nobody_out() {
    let victim = member(92).await;
    let to = socket_of(&victim.quic()[0]);
    let packets = initials(32).await;
    let mut sockets = Vec::new();
    for (n, packet) in packets.iter().cycle().take(640).enumerate() {
        let from = format!("127.{}.{}.1:0", 100 + n / 250, n % 250);
        let socket = UdpSocket::bind(from).await.unwrap();
        socket.send_to(packet, to).await.unwrap();
        sockets.push(socket);
    }
    let friend = crate::mesh::member_with(93, |c| c.listen = ListenAddrs::Exactly(vec![])).await;
    let began = Instant::now();
    assert_eq!(friend.dial(&victim).await, Admission::Member);
    println!("a member came in after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(3));
}
