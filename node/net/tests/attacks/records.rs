//! Announcing to the hash table whatever comes to mind, thousands of times.

use crate::{
    honest,
    mesh::{MESH, TestNode, member, member_with, soon, until},
    raw,
};
use hive_net::{MAX_PROVIDERS, NetStream};
use hive_protocol::ids::{BlobHash, NodeId};

/// Keys each attacker announces; two of them fill what a node keeps for others.
const KEYS: u32 = 3000;
/// `ADD_PROVIDER`.
const ANNOUNCE: i32 = 2;

/// What one node of the hash table says to another: the parts that announce.
#[derive(Clone, PartialEq, prost::Message)]
struct Words {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
    #[prost(message, repeated, tag = "9")]
    providers: Vec<Provider>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Provider {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    addrs: Vec<Vec<u8>>,
}

fn announce(seed: u8, key: &[u8]) -> Words {
    let addr = |n: u16| -> libp2p::Multiaddr { format!("/ip4/10.1.1.1/tcp/{n}").parse().unwrap() };
    Words {
        kind: ANNOUNCE,
        key: key.to_vec(),
        providers: vec![Provider {
            id: raw::key(seed).public().to_peer_id().to_bytes(),
            addrs: (1..40).map(|n| addr(n).to_vec()).collect(),
        }],
    }
}

/// A member that asks and announces and keeps nothing for others.
async fn client(seed: u8, of: &TestNode) -> TestNode {
    let node = member_with(seed, |c| c.kad_server = false).await;
    node.dial(of).await;
    node
}

async fn stream(attacker: &TestNode, victim: NodeId) -> NetStream {
    let protocol = format!("/hive/kad/1/{}", MESH.short());
    raw::stream(attacker, victim, Box::leak(protocol.into_boxed_str())).await
}

/// How many announcements the victim has dealt with.
fn heard(victim: &TestNode) -> u64 {
    let counters = victim.net.counters();
    counters.dht_records_stored + counters.dht_records_refused
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_announce_thousands_of_keys_take_nobodys_place() {
    let _beside = honest::beside_others().await;
    // Nobody else keeps anything: what is found is found there.
    let victim = member(230).await;
    for seed in [231, 232] {
        let attacker = client(seed, &victim).await;
        let mut words = stream(&attacker, victim.id()).await;
        let before = heard(&victim);
        for n in 0..KEYS {
            let key = BlobHash::of(&[&[seed][..], &n.to_le_bytes()].concat());
            let what = announce(seed, key.as_bytes());
            soon("an announcement", raw::say(&mut words, &what))
                .await
                .unwrap();
        }
        until("all was heard", async || {
            heard(&victim) >= before + u64::from(KEYS)
        })
        .await;
        let counters = victim.net.counters();
        assert_eq!(counters.dht_records_refused, 0);
        println!(
            "{} kept, {} of them in place of others",
            counters.dht_records_stored, counters.dht_records_displaced
        );
        assert!(
            counters.dht_records_displaced > 0,
            "each may have as many as an honest node"
        );
    }
    let (friend, asker) = (client(233, &victim).await, client(234, &victim).await);
    for n in 0..5_u8 {
        let (theirs, own) = (BlobHash::of(&[n]), BlobHash::of(&[n, n]));
        until("the friend's is found", async || {
            friend.net.provide(theirs).await.unwrap();
            let found = asker.net.providers(theirs).await;
            found.is_ok_and(|found| found == [friend.id()])
        })
        .await;
        victim.net.provide(own).await.unwrap();
        let found = asker.net.providers(own).await.unwrap();
        assert_eq!(found, [victim.id()], "the victim's own");
    }
    // What was said before is there as well.
    let found = asker.net.providers(BlobHash::of(&[0])).await.unwrap();
    assert_eq!(found, [friend.id()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_none_are_refused_and_a_crowded_key_leaves_room_for_the_nodes_own() {
    let _beside = honest::beside_others().await;
    let victim = member(180).await;
    let crowd = u8::try_from(MAX_PROVIDERS).unwrap() + 2;
    let key = BlobHash::of(b"all want to have it");
    let mut around = Vec::new();
    for seed in 181..181 + crowd {
        let node = client(seed, &victim).await;
        let mut words = stream(&node, victim.id()).await;
        let wrong = [&key.as_bytes()[..31], &[0; 33], &[1; 4000]];
        for name in wrong.into_iter().chain([&key.as_bytes()[..]]) {
            let what = announce(seed, name);
            soon("an announcement", raw::say(&mut words, &what))
                .await
                .unwrap();
        }
        around.push((node, words));
    }
    until("all was heard", async || heard(&victim) >= 4 * u64::from(crowd)).await;
    let counters = victim.net.counters();
    // Lots decide which two of the crowd are not kept.
    let (kept, displaced) = (counters.dht_records_stored, counters.dht_records_displaced);
    assert_eq!(kept - displaced, u64::try_from(MAX_PROVIDERS).unwrap());
    assert_eq!(counters.dht_records_refused + displaced, 3 * u64::from(crowd) + 2);
    victim.net.provide(key).await.unwrap();
    let found = around[0].0.net.providers(key).await.unwrap();
    assert!(found.contains(&victim.id()), "{found:?}");
}
