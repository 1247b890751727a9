//! The hash table: finding nodes and blobs through others.

use crate::mesh::{MESH, TestNode, id, member, member_with, until};
use hive_net::MAX_SHARED;
use hive_protocol::{ids::BlobHash, relay::rendezvous};
use std::time::{Duration, Instant};

/// Nodes that know each other only through the first.
async fn star(first: u8, count: u8) -> Vec<TestNode> {
    let hub = member(first).await;
    let mut nodes = vec![hub];
    for n in 1..count {
        let node = member(first + n).await;
        node.dial(&nodes[0]).await;
        nodes.push(node);
    }
    nodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_found_through_another() {
    let nodes = star(100, 4).await;
    let (asker, sought) = (&nodes[1], &nodes[3]);
    until("the hub knows the node", async || {
        let found = asker.net.find_node(sought.id()).await;
        found.is_ok_and(|addrs| addrs.contains(&sought.tcp()[0]))
    })
    .await;
    let error = asker.net.find_node(id(199)).await.unwrap_err();
    assert_eq!(error.code(), "net.no_address");
    // What was found is good for opening a stream at once.
    let _inbound = sought.net.serve("/test/1", Default::default()).unwrap();
    asker.net.open(sought.id(), "/test/1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_is_found_through_another() {
    let nodes = star(110, 4).await;
    let hash = BlobHash::of(b"a shared module");
    until("the provider knows the hub", async || {
        nodes[1].net.find_node(nodes[2].id()).await.is_ok()
    })
    .await;
    nodes[1].net.provide(hash).await.unwrap();
    until("the blob is found", async || {
        let found = nodes[3].net.providers(hash).await;
        found.is_ok_and(|nodes_| nodes_ == [nodes[1].id()])
    })
    .await;
    let nobody = nodes[3].net.providers(BlobHash::of(b"nothing")).await;
    assert_eq!(nobody.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_seek_each_other_at_the_same_time_find_each_other() {
    // What one asks another that it is just being connected to waits for the gate, not for another connection (which is
    // tested beside the source). An ask that is lost costs ten seconds, and one that is under way on the second of two
    // connections when that is closed is lost: libp2p's hash table takes note of a peer's last connection only. So a
    // machine on which asks take long needs some rounds; in the end everybody is found.
    let nodes = star(210, 7).await;
    let mut finds = tokio::task::JoinSet::new();
    for asker in &nodes {
        for sought in nodes.iter().map(|n| n.id()).filter(|n| *n != asker.id()) {
            let net = asker.net.clone();
            finds.spawn(async move {
                let mut longest = Duration::ZERO;
                loop {
                    let began = Instant::now();
                    let found = net.find_node(sought).await;
                    longest = longest.max(began.elapsed());
                    if found.is_ok() {
                        return longest;
                    }
                    // paced: the others hear of a newcomer a moment later
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
    }
    let all = async {
        let mut longest = Duration::ZERO;
        while let Some(found) = finds.join_next().await {
            longest = longest.max(found.unwrap());
        }
        longest
    };
    let longest = tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .expect("everybody is found");
    println!("the longest look took {longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_announces_all_the_blobs_it_may_is_found_all_the_same() {
    /// Announced at a time.
    const AT_ONCE: usize = 16;
    let keeper = member(220).await;
    let [relay, asker] = [221, 222].map(|seed| member_with(seed, |c| c.kad_server = false));
    let (relay, asker) = (relay.await, asker.await);
    relay.dial(&keeper).await;
    asker.dial(&keeper).await;
    let place = rendezvous(MESH);
    until("the keeper is asked", async || {
        relay.net.provide(place).await.is_ok() && keeper.net.counters().dht_records_stored > 0
    })
    .await;
    let blobs: Vec<_> = (0..MAX_SHARED).map(|n| BlobHash::of(&n.to_le_bytes())).collect();
    for some in blobs.chunks(AT_ONCE) {
        let all = some.iter().map(|blob| relay.net.provide(*blob));
        for announced in futures::future::join_all(all).await {
            announced.unwrap();
        }
    }
    let more = relay.net.provide(BlobHash::of(b"one more")).await.unwrap_err();
    assert_eq!(more.code(), "net.busy");
    // What was announced last may still be on its way to the keeper.
    let found = async |hash, what: &str| {
        until(what, async || {
            let found = asker.net.providers(hash).await;
            found.is_ok_and(|found| found == [relay.id()])
        })
        .await;
    };
    found(place, "the relay is found").await;
    // Not before the blobs only, but after them as well.
    relay.net.unprovide(place).await;
    relay.net.provide(place).await.unwrap();
    found(blobs[MAX_SHARED - 1], "the last blob is found").await;
}
