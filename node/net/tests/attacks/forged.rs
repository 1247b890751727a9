//! Announcements that are forged, repeated, or of another network.

use crate::{
    gossip::ears,
    honest,
    mesh::{MESH, TestNode, member, secret, soon, until},
    raw::{self, BEGUN, Rpc, Subscription, Words, announcement, bare, key, on_demand, publish, signed},
};
use hive_net::Topic;
use hive_protocol::{
    codec,
    gossip::{Announcement, DEMAND, PRICE},
    ids::{NetworkId, NodeId},
    keys::Signature,
};

/// The order of the group of Ed25519, little endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// The same signature with the order added to its second half: good to whoever does not look closely.
fn second_form(signature: &mut Signature) {
    let mut carry = 0;
    for (byte, order) in signature.0[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = (sum & 0xff) as u8;
        carry = sum >> 8;
    }
}

/// Every way to be wrong: what makes it so, and the message.
fn wrong(author: u8, other: u8, victim: u8) -> Vec<(&'static str, Words)> {
    let good = |n| announcement(author, n, DEMAND, b"words");
    let change = |n, how: &dyn Fn(&mut Announcement)| {
        let mut words = good(n);
        how(&mut words);
        on_demand(&words)
    };
    let bytes = |n, how: &dyn Fn(&mut Vec<u8>)| {
        let mut data = codec::seal(&good(n)).unwrap();
        how(&mut data);
        bare(data)
    };
    let beside = |n, how: &dyn Fn(&mut Words)| {
        let mut words = on_demand(&good(n));
        how(&mut words);
        words
    };
    let other_id = NodeId(secret(other).public());
    let others = announcement(other, 102, DEMAND, b"words").signature;
    let abroad = Announcement::sign(
        &secret(author),
        NetworkId([8; 32]),
        DEMAND,
        103,
        b"words".to_vec(),
    );
    let neutral = {
        let mut point = [0; 32];
        point[0] = 1;
        point
    };
    vec![
        ("another's name", change(100, &|w| w.author = other_id)),
        ("another's signature", change(102, &|w| w.signature = others)),
        ("signed for another mesh", on_demand(&abroad)),
        (
            "moved to another mesh's topic",
            beside(104, &|w| w.topic = Topic::Demand.name(NetworkId([8; 32]))),
        ),
        (
            "signed for another topic",
            on_demand(&announcement(author, 105, PRICE, b"words")),
        ),
        ("a topic of its own", beside(106, &|w| w.topic = "mine".into())),
        ("no signature", change(107, &|w| w.signature = Signature([0; 64]))),
        (
            "a second form of the signature",
            change(108, &|w| second_form(&mut w.signature)),
        ),
        (
            "a key that anybody signs for",
            change(109, &|w| {
                w.author = NodeId(neutral);
                w.signature = Signature([0; 64]);
                w.signature.0[0] = 1;
            }),
        ),
        (
            "an author that is no key",
            change(110, &|w| w.author = NodeId([0xee; 32])),
        ),
        ("other data", change(111, &|w| w.bytes = b"else".to_vec())),
        ("another number", change(112, &|w| w.number = 0)),
        ("cut short", bytes(113, &|b| b.truncate(b.len() - 1))),
        ("a byte too many", bytes(114, &|b| b.push(0))),
        ("another version", bytes(115, &|b| b[2] += 1)),
        ("no announcement", bare(b"words".to_vec())),
        (
            "an author beside it",
            beside(117, &|w| {
                w.from = Some(key(author).public().to_peer_id().to_bytes());
            }),
        ),
        (
            "a number beside it",
            beside(118, &|w| w.number = Some(vec![0; 8])),
        ),
        (
            "a signature beside it",
            beside(119, &|w| w.signature = Some(vec![0; 64])),
        ),
        (
            "a key beside it",
            beside(120, &|w| w.key = Some(key(author).public().encode_protobuf())),
        ),
        ("the victim's own", signed(victim, 121, b"words")),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_forged_is_heard() {
    let _beside = honest::beside_others().await;
    for (n, (what, words)) in wrong(42, 43, 40).into_iter().enumerate() {
        // A node of its own for each: the third wrong message would silence the attacker.
        let victim = member(40).await;
        victim.net.subscribe(Topic::Demand).await.unwrap();
        let attacker = member(42).await;
        attacker.dial(&victim).await;
        let (net, mut out) = ears(victim);
        let mut stream = raw::gossip(&attacker, &net).await;
        raw::say(&mut stream, &publish(vec![words])).await.unwrap();
        let good = signed(42, n as u64, b"good");
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
    let words = signed(53, 7, b"once");
    for attacker in &attackers {
        let mut stream = raw::gossip(attacker, &net).await;
        for _ in 0..50 {
            raw::say(&mut stream, &publish(vec![words.clone()]))
                .await
                .unwrap();
        }
        let end = signed(51, u64::from(attacker.id().0[0]) + 1000, b"end");
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
    // A hundred copies of it cost one look at its signature, as every other message.
    until("each message was checked once", async || {
        let counters = net.counters();
        counters.gossip_verified == counters.gossip_received
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_wrongly_first_does_not_take_the_place_of_what_is_right() {
    let _beside = honest::beside_others().await;
    let victim = member(44).await;
    for topic in Topic::ALL {
        victim.net.subscribe(topic).await.unwrap();
    }
    let attacker = member(45).await;
    let friend = member(46).await;
    attacker.dial(&victim).await;
    friend.dial(&victim).await;
    let (net, mut out) = ears(victim);
    let right = announcement(47, 9, DEMAND, b"right");
    let mut other_form = right.clone();
    second_form(&mut other_form.signature);
    let mut elsewhere = on_demand(&right);
    elsewhere.topic = Topic::Price.name(MESH);
    // Topics that begin alike, with what is missing of the message in the topic.
    let sealed = codec::seal(&right).unwrap();
    let longer = ["\0\u{12}", "\u{12}"].map(|more| Words {
        topic: Topic::Demand.name(MESH) + more,
        ..bare(sealed[more.len()..].to_vec())
    });
    let mut stream = raw::gossip(&attacker, &net).await;
    let mut words = longer.to_vec();
    words.extend([on_demand(&other_form), elsewhere]);
    raw::say(&mut stream, &publish(words)).await.unwrap();
    until("both were refused", async || net.counters().gossip_rejected == 2).await;
    let mut stream = raw::gossip(&friend, &net).await;
    raw::say(&mut stream, &publish(vec![on_demand(&right)]))
        .await
        .unwrap();
    soon("what is right", async {
        while out.recv().await.unwrap() != b"right" {}
    })
    .await;
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
