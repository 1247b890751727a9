//! Members that flood the mesh or say what is wrong: scored, then not heard.

use crate::{
    honest::{self, Pulse, echoing},
    mesh::{TestNode, member, soon, until},
    raw::{self, BEGUN, Graft, Have, Rpc, publish, signed},
};
use hive_net::{Judgement, NetEvent, NetHandle, Topic};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_what_is_wrong_is_soon_not_heard_any_more() {
    let _beside = honest::beside_others().await;
    let (victim, attacker) = pair(10).await;
    let id = victim.id();
    let (net, mut out) = ears(victim);
    let mut stream = raw::gossip(&attacker, &net).await;
    // What is good is heard: this is how the attacker would be heard later, too.
    raw::say(&mut stream, &publish(vec![signed(11, 1, Topic::Demand, b"good")]))
        .await
        .unwrap();
    wait_for(&mut out, b"good").await;
    for n in 2..5 {
        let mut wrong = signed(11, n, Topic::Demand, b"forged");
        wrong.data = Some(b"other".to_vec());
        raw::say(&mut stream, &publish(vec![wrong])).await.unwrap();
    }
    for n in 10..20 {
        let good = signed(11, n, Topic::Demand, b"too late");
        if raw::say(&mut stream, &publish(vec![good])).await.is_err() {
            break;
        }
    }
    // Another member is heard all the same, after all that the attacker has said.
    let friend = member(12).await;
    friend.net.subscribe(Topic::Demand).await.unwrap();
    let addrs = net.listen_addrs();
    friend.net.dial(id, addrs).await.unwrap();
    until("the friend publishes", async || {
        let said = friend.net.publish(Topic::Demand, b"friend".to_vec()).await;
        said.unwrap()
    })
    .await;
    let mut heard = Vec::new();
    soon("the friend's message", async {
        loop {
            let words = out.recv().await.unwrap();
            if words == b"friend" {
                return;
            }
            if words != BEGUN {
                heard.push(words);
            }
        }
    })
    .await;
    assert!(heard.is_empty(), "graylisted, and still heard: {heard:?}");
}

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

    let mut stream = raw::gossip(&attacker, &net).await;
    let flood = tokio::spawn(async move {
        for batch in 0..100_u64 {
            let words = (0..50).map(|n| signed(21, 1000 + batch * 50 + n, Topic::Demand, b"flood"));
            if raw::say(&mut stream, &publish(words.collect())).await.is_err() {
                break;
            }
        }
        stream
    });
    let mut worst = Duration::ZERO;
    for n in 0..20 {
        let words = format!("friend {n}").into_bytes();
        let began = Instant::now();
        assert!(friend.net.publish(Topic::Demand, words.clone()).await.unwrap());
        wait_for(&mut out, &words).await;
        worst = worst.max(began.elapsed());
    }
    let trips = pulse.p99(50).await;
    let _stream = soon("the flood", flood).await.unwrap();
    let after = net.counters();
    println!("through the flood: message {worst:?}, round trip p99 {trips:?}");
    // What was handed on of 5000 is what the rate allows, and honest messages were all among it.
    let heard = after.gossip_received - before.gossip_received;
    assert!(heard < 1500, "{heard} messages of a flood were handed on");
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
