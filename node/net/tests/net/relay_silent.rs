//! Relays that take a request and say nothing, at the first one or when it is renewed; and those that grant next to
//! nothing, so that asking would not end.

use crate::mesh::{TestNode, member, member_with, soon};
use hive_net::{ListenAddrs, NetError, NetEvent, NetStream, ProtocolPolicy, RelayLimits};
use hive_protocol::ids::NodeId;
use prost::Message;
use std::{
    ops::Range,
    time::{Duration, SystemTime},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::{Instant, timeout},
};

const HOP: &str = "/libp2p/circuit/relay/0.2.0/hop";
/// `HopMessage.Type`: an answer.
const STATUS: i32 = 2;
/// `Status`.
const OK: i32 = 100;
/// What a reservation lasts; it is renewed at three quarters of it. A machine that stands still for as long before the
/// answer is read would take it for one that has ended.
const LIFE: Duration = Duration::from_secs(12);
/// A request has failed by then: this node waits for 15 s, libp2p by itself for 60.
const UNANSWERED: Duration = Duration::from_secs(45);
/// A renewal has: that only libp2p knows of.
const LAPSED: Duration = Duration::from_secs(180);

#[derive(Clone, PartialEq, Message)]
struct Hop {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "3")]
    reservation: Option<Reservation>,
    #[prost(int32, optional, tag = "5")]
    status: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Reservation {
    #[prost(uint64, tag = "1")]
    expire: u64,
    #[prost(bytes = "vec", repeated, tag = "2")]
    addrs: Vec<Vec<u8>>,
}

/// Grants what is asked for on this stream.
async fn grant(stream: &mut NetStream, at: &str, life: Duration) {
    // The request is shorter than 128 bytes.
    let length = stream.read_u8().await.unwrap();
    stream.read_exact(&mut vec![0; length.into()]).await.unwrap();
    let ends = SystemTime::now() + life;
    let answer = Hop {
        kind: STATUS,
        reservation: Some(Reservation {
            expire: ends.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(),
            addrs: vec![at.parse::<libp2p::Multiaddr>().unwrap().to_vec()],
        }),
        status: Some(OK),
    };
    stream
        .write_all(&answer.encode_length_delimited_to_vec())
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
}

/// A member that takes requests for reservations, grants those with these numbers for this time, and never says a word
/// to the others; tells of each.
async fn silent_but(grants: Range<usize>, life: Duration, seed: u8) -> (TestNode, mpsc::Receiver<Instant>) {
    let relay = member(seed).await;
    let mut requests = relay.net.serve(HOP, ProtocolPolicy::default()).unwrap();
    let at = format!("{}/p2p/{}", relay.tcp()[0], crate::greeter::peer(relay.id()));
    let (tells, told) = mpsc::channel(64);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Some((_, mut stream)) = requests.accept().await {
            let _ = tells.try_send(Instant::now());
            if grants.contains(&held.len()) {
                grant(&mut stream, &at, life).await;
            }
            held.push(stream);
        }
    });
    (relay, told)
}

/// Whether one of the addresses this node listens at leads through this relay.
fn through(node: &TestNode, relay: NodeId) -> bool {
    let name = crate::greeter::peer(relay).to_string();
    node.net.listen_addrs().iter().any(|a| a.contains(&name))
}

/// Whether the wait for a relay's word has ended: the caller's, or that for the relay, whichever came first.
fn gave_up(error: &NetError) -> bool {
    matches!(error.code(), "net.timeout" | "net.reservation")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_says_nothing_is_given_up_and_others_serve_meanwhile() {
    // They only wait, and long: at a time.
    tokio::join!(
        at_the_first(),
        at_the_renewal(),
        until_it_is_asked_again(),
        but_grants_nothing_long()
    );
}

/// Whether this node is told in this time that it listens through a relay, or does so no longer.
async fn hears(node: &mut TestNode, within: Duration, listens: bool) -> bool {
    let hearing = async {
        while let Some(event) = node.events.next().await {
            match event {
                NetEvent::Listening { .. } if listens => break,
                NetEvent::NotListening { .. } if !listens => break,
                _ => {}
            }
        }
    };
    timeout(within, hearing).await.is_ok()
}

/// One that never answers.
async fn at_the_first() {
    let (silent, mut asked) = silent_but(0..0, LIFE, 80).await;
    let good = member(81).await;
    let _service = good.net.serve_relay(RelayLimits::default()).unwrap();
    let node = member_with(82, |c| c.listen = ListenAddrs::Exactly(Vec::new())).await;
    node.dial(&silent).await;
    node.dial(&good).await;
    let waits = tokio::spawn({
        let (net, relay) = (node.net.clone(), silent.id());
        async move { timeout(UNANSWERED, net.reserve(relay)).await }
    });
    let first = soon("it is asked", asked.recv()).await.unwrap();
    // It goes to another one at once, whatever becomes of the first.
    let address = timeout(UNANSWERED, node.net.reserve(good.id())).await;
    assert!(address.expect("another one answers").is_ok());
    let refused = waits.await.unwrap().expect("it has been given up").unwrap_err();
    println!("given up after {:?}", first.elapsed());
    assert!(gave_up(&refused), "{refused}");
    // As long as that is wished for it is asked anew, ...
    timeout(UNANSWERED, asked.recv())
        .await
        .expect("it is asked anew")
        .unwrap();
    // ... and no longer.
    node.net.unreserve(silent.id()).await;
    assert!(!through(&node, silent.id()) && through(&node, good.id()));
    assert!(node.net.counters().reservations_lost >= 1);
}

/// One that grants a reservation, and then does not renew it.
async fn at_the_renewal() {
    let (silent, mut asked) = silent_but(0..1, LIFE, 85).await;
    let mut node = member_with(86, |c| c.listen = ListenAddrs::Exactly(Vec::new())).await;
    node.dial(&silent).await;
    let reserved = timeout(UNANSWERED, node.net.reserve(silent.id())).await;
    reserved.expect("it is granted").unwrap();
    assert!(through(&node, silent.id()));
    let first = asked.recv().await.unwrap();
    let renewal = timeout(UNANSWERED, asked.recv()).await.expect("it is renewed");
    println!("renewed after {:?}", renewal.unwrap() - first);
    assert!(hears(&mut node, LAPSED, false).await, "it is taken for lost");
    println!("lost {:?} after that", renewal.unwrap().elapsed());
    assert!(node.net.counters().reservations_lost >= 1);
    // Others are told of it no more, and the relay is asked again.
    assert!(node.net.told_addrs().is_empty());
    timeout(UNANSWERED, asked.recv())
        .await
        .expect("it is asked anew")
        .unwrap();
}

/// One that answers the second request. Sixty seconds after the first, libp2p takes what is granted by then for failed
/// with it: it is asked for once more.
async fn until_it_is_asked_again() {
    /// Longer than libp2p waits. A version of it that is right says nothing then, and that is as good.
    const THROWN_AWAY: Duration = Duration::from_secs(75);
    let (late, mut asked) = silent_but(1..usize::MAX, Duration::from_secs(3600), 90).await;
    let mut node = member_with(91, |c| c.listen = ListenAddrs::Exactly(Vec::new())).await;
    node.dial(&late).await;
    let refused = timeout(UNANSWERED, node.net.reserve(late.id())).await;
    assert!(gave_up(&refused.expect("it is given up").unwrap_err()));
    assert!(hears(&mut node, LAPSED, true).await, "the second answer counts");
    for _ in 0..2 {
        soon("it has been asked", asked.recv()).await.unwrap();
    }
    if hears(&mut node, THROWN_AWAY, false).await {
        soon("it is asked anew", asked.recv()).await.unwrap();
        assert!(hears(&mut node, LAPSED, true).await, "the third answer counts");
    }
    assert!(through(&node, late.id()));
}

/// One that grants each time what is to be renewed at once. It is left alone.
async fn but_grants_nothing_long() {
    /// Longer than any renewal of that takes to come, and than any short pause.
    const QUIET: Duration = Duration::from_secs(6);
    let (stingy, mut asked) = silent_but(0..usize::MAX, Duration::from_secs(2), 95).await;
    let node = member_with(96, |c| c.listen = ListenAddrs::Exactly(Vec::new())).await;
    node.dial(&stingy).await;
    let reserved = timeout(UNANSWERED, node.net.reserve(stingy.id())).await;
    assert!(reserved.is_ok(), "it answers");
    let mut requests = 0;
    let left_alone = async {
        while timeout(QUIET, asked.recv()).await.is_ok() {
            requests += 1;
        }
    };
    timeout(LAPSED, left_alone)
        .await
        .expect("it is asked without end");
    println!("left alone after {requests} requests");
    assert!(requests > 3, "it was renewed");
    assert!(!through(&node, stingy.id()));
}
