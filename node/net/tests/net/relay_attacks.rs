//! What attackers do to a relay, each of them a member: taking more than they are given, holding what others need, and
//! being slow.

use crate::{
    mesh::{TestNode, member, quickest, soon, until},
    relay::{
        HOP, LIMIT, OK, RESERVATION_REFUSED, STOP, Three, connect, connect_to, open, reserve, take, three,
    },
};
use hive_net::{NetStream, ProtocolPolicy, RelayLimits};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Writes as fast as it can until it cannot any more; says how many bytes were taken.
async fn flood(mut to: NetStream, piece: usize) -> u64 {
    let piece = vec![7; piece];
    let mut sum = 0;
    while to.write_all(&piece).await.is_ok() && to.flush().await.is_ok() {
        sum += piece.len() as u64;
    }
    sum
}

/// Reads to the end or to an error; says how many bytes came, and whether it was a clean end.
async fn drain(mut from: NetStream) -> (u64, bool) {
    let mut piece = vec![0; 64 << 10];
    let mut sum = 0;
    loop {
        match soon("bytes, or an end", from.read(&mut piece)).await {
            Ok(0) => return (sum, true),
            Ok(n) => sum += n as u64,
            Err(_) => return (sum, false),
        }
    }
}

/// How often each case is tried: 10 in every run, more in a campaign.
fn rounds() -> u64 {
    std::env::var("HIVE_CAMPAIGN")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_byte_goes_beyond_a_circuits_cap_whatever_its_size() {
    let mut three = three(1, RelayLimits::default()).await;
    assert_eq!(reserve(&three.b, &three.relay).await, OK);
    for round in 0..rounds() {
        // Caps around pieces and buffers, and some that are neither.
        let cap = [1, 16_383, 16_384, 16_385, 131_073, 500_001][(round % 6) as usize] + round * 7;
        three.service.set_limits(RelayLimits {
            circuit_bytes: cap,
            requests_per_minute: 0,
            ..RelayLimits::default()
        });
        let before = three.service.counts();
        let (near, far) = open(&mut three).await;
        let piece = 1 + (round as usize * 7919) % 70_000;
        let (_, got) = tokio::join!(flood(near, piece), drain(far));
        assert_eq!(got.0, cap, "in pieces of {piece}");
        assert!(!got.1, "a cut is no end");
        let counts = three.service.counts();
        assert_eq!(
            (counts.bytes - before.bytes, counts.cut_bytes - before.cut_bytes),
            (cap, 1)
        );
    }
    until("all circuits are gone", async || {
        three.service.counts().circuits == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_days_bytes_are_shared_by_all_circuits_of_a_node_to_the_byte() {
    // A day that ends meanwhile would give them another one.
    let to_midnight = || 86_400 - std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() % 86_400;
    while to_midnight() < 120 {
        tokio::time::sleep(Duration::from_secs(1)).await; // paced: the next day begins by the clock
    }
    let day = 1_000_003;
    let limits = RelayLimits {
        peer_day: day,
        ..RelayLimits::default()
    };
    let mut three = three(4, limits).await;
    assert_eq!(reserve(&three.b, &three.relay).await, OK);
    let (mut opened, mut running) = (Vec::new(), Vec::new());
    for _ in 0..8 {
        opened.push(open(&mut three).await);
    }
    for (way, (near, far)) in opened.into_iter().enumerate() {
        let (from, to) = if way % 2 == 0 { (near, far) } else { (far, near) };
        running.push(tokio::spawn(async move {
            tokio::join!(flood(from, 9_999), drain(to)).1.0
        }));
    }
    let mut sum = 0;
    for one in running {
        sum += soon("a circuit's end", one).await.unwrap();
    }
    assert_eq!(sum, day);
    let (status, _) = connect(&three.a, &three.relay, three.b.id()).await;
    assert_eq!(status, LIMIT);
    let view = three.service.peers();
    // Who has opened them pays; who was called does not.
    let paid = |node: &TestNode| view.iter().find(|p| p.node == node.id()).map(|p| p.bytes_today);
    assert_eq!((paid(&three.a), paid(&three.b)), (Some(day), Some(0)), "{view:?}");
    assert_eq!(three.service.counts().bytes, day);
    // A relay that begins anew goes on with the day.
    let kept = three.service.day();
    assert_eq!(
        (kept.total, kept.peers.as_slice()),
        (day, [(three.a.id(), day)].as_slice())
    );
    three.service.stop();
    let mut again = None;
    until("the relay serves anew", async || {
        again = three.relay.net.serve_relay(limits).ok();
        again.is_some()
    })
    .await;
    again.unwrap().take_up(&kept);
    assert_eq!(reserve(&three.b, &three.relay).await, OK);
    let (status, _) = connect(&three.a, &three.relay, three.b.id()).await;
    assert_eq!(status, LIMIT, "the day's bytes are used");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_all_it_may_leaves_room_for_others() {
    let limits = RelayLimits {
        reservations: 3,
        ..RelayLimits::default()
    };
    let mut three = three(7, limits).await;
    let (c, d) = (member(10).await, member(11).await);
    c.dial(&three.relay).await;
    d.dial(&three.relay).await;
    let _served = c.net.serve(STOP, ProtocolPolicy::default()).unwrap();
    for node in [&three.b, &three.a, &c] {
        assert_eq!(reserve(node, &three.relay).await, OK);
    }
    assert_eq!(
        reserve(&d, &three.relay).await,
        RESERVATION_REFUSED,
        "all are taken"
    );
    // One node takes what it can get of another one's circuits: that is a part.
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(open(&mut three).await);
    }
    assert_eq!(
        connect(&three.a, &three.relay, three.b.id()).await.0,
        LIMIT,
        "no more to this one"
    );
    let (opened, _end) = tokio::join!(connect(&d, &three.relay, three.b.id()), take(&mut three.ends));
    assert_eq!(opened.0, OK, "a third node reaches the one that is hoarded");
    drop(opened);
    // Who has gone has no reservation: its place is free.
    three.a.net.shutdown().await;
    until("its reservation is forgotten", async || {
        three.service.load().reservations == 2
    })
    .await;
    assert_eq!(reserve(&d, &three.relay).await, OK);
    until("its circuits have ended", async || {
        three.service.counts().circuits == 0
    })
    .await;
}

/// A request comes within this time or has lost its place.
const ASKED: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_requests_take_nobodys_place() {
    let mut three = three(13, RelayLimits::default()).await;
    assert_eq!(reserve(&three.b, &three.relay).await, OK);
    // A member opens as many requests as it can and says nothing on them.
    let attacker = member(16).await;
    attacker.dial(&three.relay).await;
    let began = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..200 {
        match attacker.net.open(three.relay.id(), HOP).await {
            Ok(stream) => silent.push(stream),
            Err(_) => break,
        }
    }
    let opened = silent.len() as u64;
    assert!(opened > 50, "{opened}");
    let _circuit = soon("a circuit for others", open(&mut three)).await;
    // All are turned away, but those that had a place, which lose it. Nobody counts twice.
    until("none is left", async || {
        let counts = three.service.counts();
        counts.refused_rate + counts.malformed == opened
    })
    .await;
    // Places are given again when those who had them have lost them: on a machine on which it takes so long to ask.
    let rounds = 1 + began.elapsed().as_secs() / ASKED.as_secs();
    let had = three.service.counts().malformed;
    assert!(
        (8..=8 * rounds).contains(&had),
        "{had} had a place in {rounds} rounds"
    );
    assert_eq!(three.service.counts().circuits, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_never_answers_holds_up_nobody_else() {
    /// What is held up waits for ten seconds.
    const MOMENT: Duration = Duration::from_secs(3);
    let mut three = three(19, RelayLimits::default()).await;
    assert_eq!(reserve(&three.b, &three.relay).await, OK);
    let mute = member(22).await;
    mute.dial(&three.relay).await;
    let mut inbound = mute.net.serve(STOP, ProtocolPolicy::default()).unwrap();
    assert_eq!(reserve(&mute, &three.relay).await, OK);
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let mut stream = three.a.net.open(three.relay.id(), HOP).await.unwrap();
        stream.write_all(&connect_to(mute.id())).await.unwrap();
        stream.flush().await.unwrap();
        waiting.push((stream, soon("it is asked", inbound.accept()).await));
    }
    let taken = quickest(MOMENT, async |_| {
        let asked = Instant::now();
        let (mut near, mut far) = open(&mut three).await;
        near.write_all(b"through").await.unwrap();
        near.flush().await.unwrap();
        let mut got = [0; 7];
        soon("the circuit", far.read_exact(&mut got)).await.unwrap();
        let taken = asked.elapsed();
        drop(near);
        let mut rest = Vec::new();
        let _ = soon("its end", far.read_to_end(&mut rest)).await;
        taken
    })
    .await;
    assert!(taken < MOMENT, "{taken:?}");
    until("the promised ones are given back", async || {
        let counts = three.service.counts();
        counts.unreachable == 4 && counts.circuits == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_does_not_read_costs_neither_memory_nor_others() {
    let mut three = three(25, RelayLimits::default()).await;
    assert_eq!(reserve(&three.b, &three.relay).await, OK);
    let (mut near, stuck) = open(&mut three).await;
    let (mut live, mut end) = open(&mut three).await;
    let stopped = tokio::spawn(async move {
        let piece = vec![1; 1 << 20];
        let mut sum = 0usize;
        // It is over when nothing moves for half a second.
        while let Ok(Ok(())) = tokio::time::timeout(Duration::from_millis(500), near.write_all(&piece)).await
        {
            sum += piece.len();
        }
        (near, sum)
    });
    let (_near, sum) = soon("the writer is held up", stopped).await.unwrap();
    assert!(sum < 64 << 20, "{sum} bytes wait somewhere");
    let sent = vec![9; 4 << 20];
    let copy = sent.clone();
    let writing = tokio::spawn(async move {
        live.write_all(&copy).await.unwrap();
        live.shutdown().await.unwrap();
        live
    });
    let mut got = Vec::new();
    soon("the other circuit", end.read_to_end(&mut got))
        .await
        .unwrap();
    assert!(got == sent);
    drop((stuck, writing.await.unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_too_often_is_refused_and_then_served_again() {
    let limits = RelayLimits {
        requests_per_minute: 60,
        ..RelayLimits::default()
    };
    let three = three(28, limits).await;
    // One more each second: a machine on which asking takes long is refused late.
    let mut served = 0;
    while reserve(&three.a, &three.relay).await == OK {
        served += 1;
        assert!(served < 1000, "never refused");
    }
    assert!(served >= 30, "refused after {served}");
    assert_eq!(reserve(&three.b, &three.relay).await, OK, "others are not");
    until("in time it may again", async || {
        reserve(&three.a, &three.relay).await == OK
    })
    .await;
}

async fn said(node: &TestNode, three: &Three) -> u64 {
    reserve(node, &three.relay).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_and_then_cuts_and_both_ends_learn_it() {
    let mut three = three(31, RelayLimits::default()).await;
    assert_eq!(said(&three.b, &three).await, OK);
    let mut cut = 0;
    // Time enough for one to go by itself, on whatever machine.
    for patience in [700, 5_000, 20_000] {
        let (done, end) = open(&mut three).await;
        let (near, far) = open(&mut three).await;
        let service = three.service.clone();
        let draining = tokio::spawn(async move { service.drained(Duration::from_millis(patience)).await });
        until("it drains", async || three.service.load().draining).await;
        assert_eq!(said(&three.b, &three).await, RESERVATION_REFUSED);
        drop((done, end));
        cut = soon("the drain", draining).await.unwrap();
        for one in [near, far] {
            assert_eq!(drain(one).await, (0, false), "broken off, not ended");
        }
        three.service.resume();
        if cut == 1 {
            break;
        }
        until("the circuits are gone", async || {
            three.service.counts().circuits == 0
        })
        .await;
    }
    assert_eq!(cut, 1, "one went by itself, one was cut");
    assert_eq!(said(&three.b, &three).await, OK);
    let begun = Instant::now();
    assert_eq!(three.service.drained(Duration::from_secs(60)).await, 0);
    assert!(begun.elapsed() < Duration::from_secs(30), "nothing to wait for");
    three.service.stop();
    until("another may serve", async || {
        three.relay.net.serve_relay(RelayLimits::default()).is_ok()
    })
    .await;
    assert_eq!(said(&three.b, &three).await, OK);
}
