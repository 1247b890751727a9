//! A member that has a node punch at addresses of others: what the node sends there, and how often.

use crate::{
    honest,
    mesh::{TestNode, member, member_with, soon, until},
};
use hive_net::{ListenAddrs, NetStream, Relay, RelayLimits};
use hive_protocol::ids::NodeId;
use libp2p::Multiaddr;
use prost::Message as _;
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UdpSocket,
};

const PUNCH: &str = "/libp2p/dcutr";
const CONNECT: i32 = 100;
const SYNC: i32 = 300;
/// What a round sends has been sent by then.
const ROUND: Duration = Duration::from_secs(7);
/// Addresses named in a talk, all of them somebody else's.
const NAMED: usize = 28;
/// Of those in the node's own network, so many are sent anything.
const MOST: usize = 6;
/// One of them is sent the first packets of a QUIC connection, two at once and one that gives it up, if that is paid for.
const DIAL: usize = 3 * 1200;
/// In a round with more patience it is asked twice.
const PATIENT: usize = 5 * 1200;
/// Sent for each byte that came from whoever named the addresses, at the most.
const FACTOR: usize = 3;
/// A talk as an honest node has it is as long as this.
const FULL: usize = 3500;
/// What opens a router towards one address, with luck against us: packets of 64 bytes every 10 ms or later.
const OPENER: usize = 64 * 13;

#[derive(Clone, PartialEq, prost::Message)]
struct HolePunch {
    #[prost(int32, required, tag = "1")]
    kind: i32,
    #[prost(bytes = "vec", repeated, tag = "2")]
    addrs: Vec<Vec<u8>>,
    #[prost(bytes = "vec", tag = "1000")]
    padding: Vec<u8>,
}

/// Others, who are sent something they have not asked for.
struct Others(Vec<UdpSocket>);

impl Others {
    async fn new() -> Self {
        let mut sockets = Vec::new();
        for n in 0..NAMED {
            let socket = UdpSocket::bind(format!("127.0.1.{}:0", n + 1)).await.unwrap();
            sockets.push(socket);
        }
        Self(sockets)
    }

    fn addrs(&self) -> Vec<Vec<u8>> {
        let addr = |socket: &UdpSocket| {
            let at = socket.local_addr().unwrap();
            let text = format!("/ip4/{}/udp/{}/quic-v1", at.ip(), at.port());
            text.parse::<Multiaddr>().unwrap().to_vec()
        };
        self.0.iter().map(addr).collect()
    }

    /// What comes in this time: how many of them get something, and how many bytes in all.
    async fn get_for(&self, time: Duration) -> (usize, usize) {
        let (end, mut reached, mut sum) = (Instant::now() + time, 0, 0);
        while Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(50)).await; // paced: what waits in the sockets is bounded
            let (now, bytes) = self.got();
            (reached, sum) = (reached.max(now), sum + bytes);
        }
        (reached, sum)
    }

    /// What has come: how many of them got something, and how many bytes in all.
    fn got(&self) -> (usize, usize) {
        let mut buf = vec![0; 4096];
        let (mut reached, mut sum) = (0, 0);
        for socket in &self.0 {
            let before = sum;
            while let Ok((len, _)) = socket.try_recv_from(&mut buf) {
                sum += len;
            }
            reached += usize::from(sum > before);
        }
        (reached, sum)
    }
}

async fn say(stream: &mut NetStream, kind: i32, addrs: Vec<Vec<u8>>) -> std::io::Result<usize> {
    say_more(stream, kind, addrs, 0).await
}

/// Filled up with so many bytes.
async fn say_more(
    stream: &mut NetStream,
    kind: i32,
    addrs: Vec<Vec<u8>>,
    more: usize,
) -> std::io::Result<usize> {
    let padding = vec![0; more];
    let bytes = HolePunch { kind, addrs, padding }.encode_length_delimited_to_vec();
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    Ok(bytes.len())
}

/// One talk, with or without its end, filled up with so many bytes; the bytes said if the victim has answered.
async fn talk(
    attacker: &TestNode,
    victim: NodeId,
    others: &Others,
    whole: bool,
    more: usize,
) -> Option<usize> {
    let mut stream = attacker.net.open(victim, PUNCH).await.ok()?;
    let said = say_more(&mut stream, CONNECT, others.addrs(), more).await.ok()?;
    let mut answer = [0; 64];
    match soon("an answer or an end", stream.read(&mut answer)).await {
        Ok(1..) if !whole => Some(said),
        Ok(1..) => Some(said + say(&mut stream, SYNC, Vec::new()).await.ok()?),
        _ => None,
    }
}

/// Wishes for so long, in seconds; longer in a campaign.
fn flood() -> Duration {
    let asked = std::env::var("HIVE_CAMPAIGN").ok().and_then(|n| n.parse().ok());
    Duration::from_secs(asked.unwrap_or(12))
}

/// Attackers at a relay, who can be reached through it only, and their victim, which has a connection to each.
async fn attackers(seeds: [u8; 2]) -> ((TestNode, Relay), TestNode, Vec<TestNode>) {
    let (relay, victim) = (member(110).await, member(111).await);
    let service = relay.net.serve_relay(RelayLimits::default()).unwrap();
    victim.dial(&relay).await;
    let mut all = Vec::new();
    for seed in seeds {
        let attacker = member_with(seed, |config| {
            config.direct = false;
            config.listen = ListenAddrs::Exactly(Vec::new());
        })
        .await;
        attacker.net.allow_direct(vec![relay.id()]).await;
        attacker.dial(&relay).await;
        let circuit = soon("a reservation", attacker.net.reserve(relay.id())).await;
        honest::echoing(&attacker);
        victim.net.learn(attacker.id(), vec![circuit.unwrap()]).await;
        let mut pulse = honest::Pulse::to(&victim, attacker.id()).await;
        pulse.p99(1).await;
        all.push(attacker);
    }
    ((relay, service), victim, all)
}

/// What has come to the victim from an attacker, over the circuit it has opened to it.
fn came_from(attacker: &TestNode, (_, service): &(TestNode, Relay)) -> usize {
    let circuits = service.circuits();
    let back = circuits.iter().filter(|c| c.to == attacker.id()).map(|c| c.back);
    usize::try_from(back.sum::<u64>()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn punches_at_others_are_few_and_do_not_pile_up() {
    let _alone = honest::alone().await;
    let (relay, victim, all) = attackers([112, 113]).await;
    let others = Others::new().await;

    let mut said = None;
    until("the victim takes part", async || {
        said = talk(&all[0], victim.id(), &others, true, FULL).await;
        said.is_some()
    })
    .await;
    let said = said.unwrap();
    let (reached, one) = others.get_for(ROUND).await;
    let came = came_from(&all[0], &relay);
    println!("punching: a talk of {said} bytes of {came} sends {one} to {reached} addresses");
    assert!((1..=MOST).contains(&reached), "{reached}");
    assert!(one >= DIAL, "what an honest node says pays for a dial: {one}");
    assert!(one <= DIAL + MOST * OPENER, "{one}");
    assert!(one <= FACTOR * came, "{one} for {came}");

    // A talk that breaks off: what had begun ends with it.
    talk(&all[0], victim.id(), &others, false, 0).await.unwrap();
    let (_, rest) = others.get_for(ROUND).await;
    println!("punching: a talk that breaks off sends {rest}");
    assert!(rest <= MOST * OPENER, "{rest}");

    let (began, mut asked, mut answered, mut bytes) = (Instant::now(), 0, 0, 0);
    while began.elapsed() < flood() {
        asked += 1;
        let talked = talk(&all[1], victim.id(), &others, true, 0).await;
        answered += usize::from(talked.is_some());
        bytes += others.get_for(Duration::from_millis(100)).await.1;
    }
    bytes += others.get_for(ROUND).await.1;
    let came = came_from(&all[1], &relay);
    println!(
        "punching: {asked} wishes in {:?}: {answered} answered, {bytes} bytes for {came}",
        flood()
    );
    assert!(asked > 20 && (1..=6).contains(&answered), "{answered} of {asked}");
    assert!(bytes <= answered * (PATIENT + MOST * OPENER), "{bytes}");
    assert!(bytes <= FACTOR * came, "{bytes} for {came}");
}
