//! Gossip: reaches everyone, and only what was judged good goes on.

use crate::mesh::{TestNode, member, soon, until};
use hive_net::{Judgement, NetEvent, Topic};
use hive_protocol::ids::NodeId;
use std::time::Instant;
use tokio::sync::mpsc;

/// Judges like a runtime: messages that start with `bad` are rejected. What was accepted comes out.
fn judging(mut node: TestNode) -> (hive_net::NetHandle, mpsc::Receiver<(NodeId, Vec<u8>)>) {
    let (accepted, out) = mpsc::channel(1024);
    let net = node.net.clone();
    tokio::spawn(async move {
        while let Some(event) = node.events.next().await {
            if let NetEvent::Gossip {
                id, source, bytes, ..
            } = event
            {
                let good = !bytes.starts_with(b"bad");
                let judgement = if good {
                    Judgement::Accept
                } else {
                    Judgement::Reject
                };
                node.net.validated(id, judgement).await;
                if good && accepted.send((source, bytes)).await.is_err() {
                    return;
                }
            }
        }
    });
    (net, out)
}

async fn chain(first: u8, count: u8) -> Vec<TestNode> {
    let mut nodes = Vec::new();
    for n in 0..count {
        let node = member(first + n).await;
        node.net.subscribe(Topic::Demand).await.unwrap();
        if let Some(last) = nodes.last() {
            node.dial(last).await;
        }
        nodes.push(node);
    }
    nodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_reaches_every_node_of_a_chain() {
    let nodes = chain(70, 6).await;
    let author = nodes[0].id();
    let (nets, mut outs): (Vec<_>, Vec<_>) = nodes.into_iter().map(judging).unzip();
    // The far end has heard something: the chain is whole.
    let far = outs.last_mut().unwrap();
    until("the chain carries", async || {
        let _ = nets[0].publish(Topic::Demand, b"first".to_vec()).await;
        tokio::time::timeout(std::time::Duration::from_millis(100), far.recv())
            .await
            .is_ok()
    })
    .await;
    let start = Instant::now();
    assert!(nets[0].publish(Topic::Demand, b"hello".to_vec()).await.unwrap());
    for out in &mut outs[1..] {
        soon("the message", async {
            loop {
                let (source, bytes) = out.recv().await.unwrap();
                assert_eq!(source, author);
                if bytes == b"hello" {
                    return;
                }
            }
        })
        .await;
    }
    println!("gossip over 5 hops: {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_rejected_goes_no_further() {
    let nodes = chain(80, 3).await;
    let (nets, mut outs): (Vec<_>, Vec<_>) = nodes.into_iter().map(judging).unzip();
    let far = outs.last_mut().unwrap();
    until("the chain carries", async || {
        let _ = nets[0].publish(Topic::Demand, b"first".to_vec()).await;
        tokio::time::timeout(std::time::Duration::from_millis(100), far.recv())
            .await
            .is_ok()
    })
    .await;
    let before = nets[2].counters().gossip_received;
    let accepted = nets[1].counters();
    nets[0].publish(Topic::Demand, b"bad".to_vec()).await.unwrap();
    until("the middle has judged", async || {
        nets[1].counters().gossip_rejected == 1
    })
    .await;
    nets[0].publish(Topic::Demand, b"good".to_vec()).await.unwrap();
    soon("the good one", async {
        while far.recv().await.unwrap().1 != b"good" {}
    })
    .await;
    let after = nets[2].counters();
    assert_eq!(after.gossip_rejected, 0, "the bad one never arrived");
    assert!(after.gossip_received > before);
    assert!(nets[1].counters().gossip_accepted > accepted.gossip_accepted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_too_large_is_refused_here() {
    let a = member(90).await;
    let error = a
        .net
        .publish(Topic::Price, vec![0; hive_net::MAX_GOSSIP + 1])
        .await
        .unwrap_err();
    assert_eq!(error.code(), "net.too_large");
    // Alone in the mesh is not an error.
    assert!(!a.net.publish(Topic::Price, vec![1]).await.unwrap());
}
