//! Announcements that are forged, repeated, or of another network.

use crate::{
    gossip::ears,
    honest,
    mesh::{MESH, TestNode, member, soon, until},
    raw::{self, BEGUN, Rpc, Subscription, Words, key, publish, signed},
};
use hive_net::Topic;
use hive_protocol::ids::NetworkId;

/// Every way to be wrong: what makes it so, and the message.
fn wrong(author: u8, other: u8) -> Vec<(&'static str, Words)> {
    let good = |n| signed(author, n, Topic::Demand, b"words");
    let change = |n, how: fn(&mut Words)| {
        let mut words = good(n);
        how(&mut words);
        words
    };
    let mut named = good(100);
    named.from = Some(key(other).public().to_peer_id().to_bytes());
    let mut keyed = good(101);
    keyed.key = Some(key(other).public().encode_protobuf());
    let mut stolen = good(102);
    stolen.signature = signed(other, 102, Topic::Demand, b"words").signature;
    let mut elsewhere = good(103);
    elsewhere.topic = Topic::Demand.name(NetworkId([8; 32]));
    vec![
        ("another's name", named),
        ("a key that is not its author's", keyed),
        ("another's signature", stolen),
        ("moved to another mesh's topic", elsewhere),
        ("no signature", change(104, |w| w.signature = None)),
        ("no author", change(105, |w| w.from = None)),
        ("no number", change(106, |w| w.number = None)),
        ("other data", change(107, |w| w.data = Some(b"else".to_vec()))),
        ("another number", change(108, |w| w.number = Some(vec![0; 8]))),
        (
            "a number of nine bytes",
            change(109, |w| w.number = Some(vec![0; 9])),
        ),
        (
            "an author that is no key",
            change(110, |w| w.from = Some(vec![1; 34])),
        ),
        ("a topic of its own", change(111, |w| w.topic = "mine".into())),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_forged_is_heard() {
    let _beside = honest::beside_others().await;
    for (n, (what, words)) in wrong(42, 43).into_iter().enumerate() {
        // A node of its own for each: the third wrong message would silence the attacker.
        let victim = member(40).await;
        victim.net.subscribe(Topic::Demand).await.unwrap();
        let attacker = member(42).await;
        attacker.dial(&victim).await;
        let (net, mut out) = ears(victim);
        let mut stream = raw::gossip(&attacker, &net).await;
        raw::say(&mut stream, &publish(vec![words])).await.unwrap();
        let good = signed(42, n as u64, Topic::Demand, b"good");
        raw::say(&mut stream, &publish(vec![good])).await.unwrap();
        let first = soon("the good message", async {
            loop {
                let words = out.recv().await.unwrap();
                if words != BEGUN {
                    return words;
                }
            }
        })
        .await;
        assert_eq!(first, b"good", "{what}: was heard");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_announcement_is_heard_once_whoever_brings_it() {
    let _beside = honest::beside_others().await;
    let victim = member(50).await;
    victim.net.subscribe(Topic::Demand).await.unwrap();
    let mut attackers: Vec<TestNode> = Vec::new();
    for seed in [51, 52] {
        let attacker = member(seed).await;
        attacker.dial(&victim).await;
        attackers.push(attacker);
    }
    let (net, mut out) = ears(victim);
    let words = signed(53, 7, Topic::Demand, b"once");
    for attacker in &attackers {
        let mut stream = raw::gossip(attacker, &net).await;
        for _ in 0..50 {
            raw::say(&mut stream, &publish(vec![words.clone()]))
                .await
                .unwrap();
        }
        let end = signed(51, u64::from(attacker.id().0[0]) + 1000, Topic::Demand, b"end");
        raw::say(&mut stream, &publish(vec![end])).await.unwrap();
    }
    let mut heard = Vec::new();
    soon("both ends", async {
        while heard.iter().filter(|w: &&Vec<u8>| *w == b"end").count() < 2 {
            heard.push(out.recv().await.unwrap());
        }
    })
    .await;
    assert_eq!(heard.iter().filter(|w| *w == b"once").count(), 1, "{heard:?}");
    assert_eq!(net.counters().gossip_rejected, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_of_another_mesh_are_not_kept() {
    let _beside = honest::beside_others().await;
    let victim = member(55).await;
    victim.net.subscribe(Topic::Demand).await.unwrap();
    let attacker = member(56).await;
    attacker.dial(&victim).await;
    let mut stream = raw::gossip(&attacker, &victim.net).await;
    let subscriptions = (0..200_u32).map(|n| Subscription {
        subscribe: Some(true),
        topic: Some(format!("hive/other/{n}/1")),
    });
    let rpc = Rpc {
        subscriptions: subscriptions.collect(),
        ..Default::default()
    };
    for _ in 0..20 {
        raw::say(&mut stream, &rpc).await.unwrap();
    }
    let own = Rpc {
        subscriptions: vec![Subscription {
            subscribe: Some(true),
            topic: Some(Topic::Demand.name(MESH)),
        }],
        ..Default::default()
    };
    raw::say(&mut stream, &own).await.unwrap();
    // It works on, and knows of the one topic that is its own.
    until("the victim publishes", async || {
        victim.net.publish(Topic::Demand, b"here".to_vec()).await.unwrap()
    })
    .await;
    assert!(!victim.net.publish(Topic::Price, b"here".to_vec()).await.unwrap());
}
