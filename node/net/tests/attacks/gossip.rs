//! Members that flood the mesh or say what is wrong: scored, then not heard.

use crate::{
    honest::{self, Pulse, echoing, rss},
    mesh::{TestNode, member, member_with, soon, until},
    raw::{self, BEGUN, Graft, Have, Rpc, announcement, on_demand, publish, signed},
};
use hive_net::{Admission, Judgement, ListenAddrs, NetEvent, NetHandle, ProtocolPolicy, Topic};
use hive_protocol::gossip::DEMAND;
use prost::Message;
use std::time::{Duration, Instant};
use tokio::{sync::mpsc, time::timeout};

/// Takes what a node hears: the author's first byte and what it said. Everything is good that does not begin with `bad`.
pub fn ears(mut node: TestNode) -> (NetHandle, mpsc::Receiver<Vec<u8>>) {
    let (heard, out) = mpsc::channel(4096);
    let net = node.net.clone();
    tokio::spawn(async move {
        while let Some(event) = node.events.next().await {
            if let NetEvent::Gossip { id, bytes, .. } = event {
                let good = !bytes.starts_with(b"bad");
                let judgement = if good {
                    Judgement::Accept
                } else {
                    Judgement::Reject
                };
                node.net.validated(id, judgement).await;
                // Full: nobody looks at this one's messages.
                let _ = heard.try_send(bytes);
            }
        }
    });
    (net, out)
}

/// A victim that listens, and a member connected to it.
async fn pair(first: u8) -> (TestNode, TestNode) {
    let victim = member(first).await;
    victim.net.subscribe(Topic::Demand).await.unwrap();
    let attacker = member(first + 1).await;
    attacker.net.subscribe(Topic::Demand).await.unwrap();
    attacker.dial(&victim).await;
    (victim, attacker)
}

/// Waits until this has been heard; everything else is passed over.
async fn wait_for(out: &mut mpsc::Receiver<Vec<u8>>, what: &[u8]) {
    soon("the message", async {
        while out.recv().await.unwrap() != what {}
    })
    .await;
}

/// So long what is wrong is held against who has said it so that nothing of it is heard: a little of it is forgiven
/// every second.
const HELD_AGAINST: Duration = Duration::from_secs(2);
/// As often it is tried to say everything within that time.
const TRIES: u8 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_what_is_wrong_is_soon_not_heard_any_more() {
    let _beside = honest::beside_others().await;
    for n in 0..TRIES {
        let (taken, heard) = wrong_and_then_good(10 + 5 * n).await;
        if taken < HELD_AGAINST {
            assert!(heard.is_empty(), "graylisted, and still heard: {heard:?}");
            return;
        }
    }
    panic!("this machine is too slow to say anything within {HELD_AGAINST:?}");
}

/// How long it took to say what is wrong, and then what is good, until all of it had been looked at; and what was heard
/// of it.
async fn wrong_and_then_good(first: u8) -> (Duration, Vec<Vec<u8>>) {
    let (victim, attacker) = pair(first).await;
    let id = victim.id();
    let witness = member(first + 4).await;
    witness.net.subscribe(Topic::Demand).await.unwrap();
    witness.dial(&victim).await;
    let (witness, mut seen) = ears(witness);
    let (net, mut out) = ears(victim);
    let friend = member(first + 2).await;
    friend.net.subscribe(Topic::Demand).await.unwrap();
    friend.net.dial(id, net.listen_addrs()).await.unwrap();
    until("the friend publishes", async || {
        let said = friend.net.publish(Topic::Demand, b"good".to_vec()).await;
        said.unwrap()
    })
    .await;
    let mut stream = raw::gossip(&attacker, &net).await;
    // What is good is heard, here and beyond: this is how the attacker would be heard later, too.
    let mut number = 1_000;
    until("what is good goes on", async || {
        number += 1;
        let good = publish(vec![signed(first + 1, number, b"goes on")]);
        raw::say(&mut stream, &good).await.unwrap();
        // Slower than an author may speak.
        let goes_on = async { while seen.recv().await.unwrap() != b"goes on" {} };
        timeout(Duration::from_millis(100), goes_on).await.is_ok()
    })
    .await;
    wait_for(&mut out, b"goes on").await;
    // In another's name: it is held against whoever brings it.
    let mut words = Vec::new();
    for n in 2..5 {
        let mut wrong = announcement(first + 3, n, DEMAND, b"forged");
        wrong.bytes = b"other".to_vec();
        words.push(publish(vec![on_demand(&wrong)]));
    }
    words.extend((10..20).map(|n| publish(vec![signed(first + 1, n, b"too late")])));
    let words: Vec<u8> = words
        .iter()
        .flat_map(Message::encode_length_delimited_to_vec)
        .collect();
    let began = Instant::now();
    raw::say_bytes(&mut stream, &words).await.unwrap();
    until("what is wrong was refused", async || {
        net.counters().gossip_rejected == 3
    })
    .await;
    // Another member is heard all the same, after all that the attacker has said.
    assert!(
        friend
            .net
            .publish(Topic::Demand, b"friend".to_vec())
            .await
            .unwrap()
    );
    let mut heard = Vec::new();
    soon("the friend's message", async {
        loop {
            let words = out.recv().await.unwrap();
            if words == b"friend" {
                return;
            }
            if words != BEGUN && words != b"good" && words != b"goes on" {
                heard.push(words);
            }
        }
    })
    .await;
    let taken = began.elapsed();
    assert_eq!(net.counters().gossip_rejected, 3);
    // The witness hears what comes after it, and has never met what is forged.
    wait_for(&mut seen, b"friend").await;
    assert_eq!(witness.counters().gossip_rejected, 0);
    for node in [net, witness, attacker.net, friend.net] {
        node.shutdown().await;
    }
    (taken, heard)
}

/// Messages of a flood, and how many are said at once.
const FLOOD: u64 = 5000;
const BATCH: u64 = 50;
/// Messages of a friend, at least; at most as many as an author may say at once.
const FRIENDS: usize = 20;
const FRIENDS_MOST: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_messages_does_not_drown_what_others_say() {
    let _alone = honest::alone().await;
    let (victim, attacker) = pair(20).await;
    let id = victim.id();
    echoing(&victim);
    let friend = member(22).await;
    friend.net.subscribe(Topic::Demand).await.unwrap();
    friend.dial(&victim).await;
    let (net, mut out) = ears(victim);
    until("the friend publishes", async || {
        let said = friend.net.publish(Topic::Demand, b"first".to_vec()).await;
        said.unwrap()
    })
    .await;
    wait_for(&mut out, b"first").await;
    let mut pulse = Pulse::to(&friend, id).await;
    let before = net.counters();

    // Signed before: while it signs, nobody floods.
    let batches = (0..FLOOD).step_by(BATCH as usize).map(|first| {
        let words = (first..first + BATCH).map(|n| signed(21, 1000 + n, b"flood"));
        publish(words.collect()).encode_length_delimited_to_vec()
    });
    let batches: Vec<Vec<u8>> = batches.collect();
    let mut stream = raw::gossip(&attacker, &net).await;
    let flood = tokio::spawn(async move {
        for (n, batch) in batches.iter().enumerate() {
            if let Err(e) = raw::say_bytes(&mut stream, batch).await {
                println!("the flood ends after {n} of {} batches: {e}", batches.len());
                break;
            }
        }
        stream
    });
    wait_for(&mut out, b"flood").await;
    let mut times = Vec::new();
    while times.len() < FRIENDS || (times.len() < FRIENDS_MOST && !flood.is_finished()) {
        let words = format!("friend {}", times.len()).into_bytes();
        let began = Instant::now();
        assert!(friend.net.publish(Topic::Demand, words.clone()).await.unwrap());
        wait_for(&mut out, &words).await;
        times.push(began.elapsed());
    }
    let trips = pulse.p99(50).await;
    let _stream = soon("the flood", flood).await.unwrap();
    let after = net.counters();
    times.sort();
    // All but the worst: the machine may stand still once.
    let (count, most) = (times.len(), times[times.len() - 2]);
    println!("through the flood: {count} messages within {most:?}, round trip p99 {trips:?}");
    assert!(most < Duration::from_secs(5), "{most:?}");
    assert!(trips < Duration::from_secs(2), "{trips:?}");
    // What was handed on of 5000 is what the rate allows, and honest messages were all among it.
    let heard = after.gossip_received - before.gossip_received;
    assert!(heard < 1500, "{heard} messages of a flood were handed on");
    // Who floods is sent away, and not let in again for a while.
    until("the flooder is shut out", async || {
        let dropped = net.counters().gossip_dropped_flood - before.gossip_dropped_flood;
        dropped >= 512 && net.peers().await.iter().all(|p| p.node != attacker.id())
    })
    .await;
    until("the flooder has noticed", async || {
        attacker
            .net
            .peers()
            .await
            .iter()
            .all(|p| p.node != id || !p.member)
    })
    .await;
    let again = soon("an answer", attacker.net.dial(id, net.listen_addrs())).await;
    assert!(!matches!(again, Ok(Admission::Member)), "{again:?}");
    // Nor is it sought: the hash table would.
    let addrs = attacker.net.listen_addrs();
    let sought = soon("an answer", net.dial(attacker.id(), addrs))
        .await
        .unwrap_err();
    assert!(sought.to_string().contains("shut out"), "{sought}");
    assert!(
        net.peers()
            .await
            .iter()
            .any(|p| p.node == friend.id() && p.member)
    );
}

/// A member that takes the stream on which gossip is said to it and never reads a byte.
async fn deaf(seed: u8, victim: &TestNode) -> TestNode {
    // Where it listens nowhere it dials from a port that is free.
    let node = member_with(seed, |c| c.listen = ListenAddrs::Exactly(vec![])).await;
    // Before its own gossip is asked, in every version there is.
    for protocol in raw::VERSIONS {
        let mut inbound = node.net.serve(protocol, ProtocolPolicy::default()).unwrap();
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Some((_, stream)) = inbound.accept().await {
                held.push(stream);
            }
        });
    }
    // Over TCP, where less fits into a stream that nobody reads.
    node.net.dial(victim.id(), victim.tcp()).await.unwrap();
    // Not by its own gossip: that would connect anew now and then, because nobody greets it.
    let topic = Some(Topic::Demand.name(crate::mesh::MESH));
    let subscribe = Some(true);
    let listens = Rpc {
        subscriptions: vec![raw::Subscription { subscribe, topic }],
        ..Rpc::default()
    };
    let mut stream = raw::stream(&node, victim.id(), raw::VERSIONS[2]).await;
    raw::say(&mut stream, &listens).await.unwrap();
    let _held = tokio::spawn(async move {
        std::future::pending::<()>().await;
        drop(stream);
    });
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbour_that_never_reads_is_given_up_and_others_hear_everything() {
    const ROUNDS: usize = 8;
    /// From each of the three that speak; all rounds are below what an author may say at once.
    const EACH: usize = 30;
    const SIZE: usize = 7000;
    let _alone = honest::alone().await;
    let hub = member(60).await;
    hub.net.subscribe(Topic::Demand).await.unwrap();
    // The first that comes, so that it is a neighbour for certain.
    let deaf = deaf(64, &hub).await;
    until("its subscription has come", async || {
        hub.net.publish(Topic::Demand, b"first".to_vec()).await.unwrap()
    })
    .await;
    let mut authors = Vec::new();
    for seed in [61, 62] {
        let author = member(seed).await;
        author.net.subscribe(Topic::Demand).await.unwrap();
        author.dial(&hub).await;
        authors.push(author);
    }
    let friend = member(63).await;
    friend.net.subscribe(Topic::Demand).await.unwrap();
    friend.dial(&hub).await;
    let (hub_net, _) = ears(hub);
    let (friend_net, mut heard) = ears(friend);
    let mut nets = vec![hub_net.clone()];
    nets.extend(authors.into_iter().map(|a| ears(a).0));
    for (n, net) in nets.iter().enumerate() {
        let words = format!("here {n}").into_bytes();
        until("the author is heard", async || {
            let _ = net.publish(Topic::Demand, words.clone()).await;
            // Slower than an author may speak: what it may say at once is for the rounds.
            let here = async { while heard.recv().await.unwrap() != words {} };
            timeout(Duration::from_millis(100), here).await.is_ok()
        })
        .await;
    }
    let before = rss();
    for round in 0..ROUNDS {
        for n in 0..EACH {
            for (who, net) in nets.iter().enumerate() {
                let mut words = format!("{round} {n} {who} ").into_bytes();
                words.resize(SIZE, b'.');
                assert!(net.publish(Topic::Demand, words).await.unwrap());
            }
        }
        let mut missing = EACH * nets.len();
        soon("everything of a round", async {
            while missing > 0 {
                missing -= usize::from(heard.recv().await.unwrap().len() == SIZE);
            }
        })
        .await;
    }
    let counters = friend_net.counters();
    let more = async || {
        for _ in 0..10 {
            let _ = hub_net.publish(Topic::Demand, vec![b'.'; SIZE]).await;
        }
        hub_net.counters()
    };
    until("it is noticed", async || more().await.gossip_slow_peers > 0).await;
    let grown = rss().saturating_sub(before);
    println!("beside a deaf neighbour: {grown} KiB grown");
    assert_eq!(
        (counters.gossip_dropped_flood, counters.gossip_dropped_full),
        (0, 0)
    );
    assert!(grown < 128_000, "{grown} KiB");
    let first = hub_net.counters();
    // As often it is told of at least before it is sent away; a machine that is slow itself may have come so far already.
    if first.gossip_slow_peers < 6 {
        assert_eq!(first.gossip_deaf_sent_away, 0, "at the first word");
    }
    until("it is sent away", async || more().await.gossip_deaf_sent_away > 0).await;
    until("it is gone", async || {
        hub_net.peers().await.iter().all(|p| p.node != deaf.id())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_messages_cannot_be_used_to_make_it_work() {
    let _alone = honest::alone().await;
    let (victim, attacker) = pair(30).await;
    let id = victim.id();
    echoing(&victim);
    let friend = member(32).await;
    friend.dial(&victim).await;
    let mut pulse = Pulse::to(&friend, id).await;
    let topic = Some(Topic::Demand.name(crate::mesh::MESH));
    let mut stream = raw::gossip(&attacker, &victim.net).await;
    let storm = tokio::spawn(async move {
        for n in 0..2000_u32 {
            let ids = (0..64_u32).map(|m| [n.to_le_bytes(), m.to_le_bytes()].concat());
            let rpc = Rpc {
                control: Some(raw::Control {
                    ihave: vec![Have {
                        topic: topic.clone(),
                        ids: ids.collect(),
                    }],
                    iwant: vec![raw::Want {
                        ids: vec![vec![1; 32]; 64],
                    }],
                    graft: vec![Graft { topic: topic.clone() }; 16],
                }),
                ..Default::default()
            };
            if raw::say(&mut stream, &rpc).await.is_err() {
                break;
            }
        }
        stream
    });
    let trips = pulse.p99(200).await;
    println!("round trip p99 in a storm of control messages: {trips:?}");
    let _stream = soon("the storm", storm).await.unwrap();
    assert!(trips < Duration::from_millis(500), "{trips:?}");
    assert!(victim.net.peers().await.iter().any(|p| p.node == friend.id()));
}
