//! A hash table in which some lie: asked for anything, they name each other, and there are more of them near the key
//! than a look-up asks.

use crate::{
    honest,
    mesh::{MESH, TestNode, id, member, member_with, soon, until},
    raw,
};
use hive_net::{NetEvent, NetStream, ProtocolPolicy};
use hive_protocol::ids::{BlobHash, NodeId};
use libp2p::{Multiaddr, PeerId, kad::KBucketKey};
use prost::Message as _;
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Once, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::io::AsyncReadExt;

/// A look-up is content when the twenty nearest have answered, and asks up to twenty more meanwhile: with so many
/// liars nobody else comes to be asked on its way.
const LIARS: u8 = 42;
const FIRST_LIAR: u8 = 10;
/// Names of honest nodes.
const KEEPER: u8 = 60;
const MIDDLE: u8 = 61;
const NEAR: u8 = 62;
const PROVIDER: u8 = 63;
const ASKER: u8 = 64;
/// Longest question.
const MOST: usize = 4096;

/// What one node of the hash table says to another: the parts a look-up needs.
#[derive(Clone, PartialEq, prost::Message)]
struct Words {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
    #[prost(message, repeated, tag = "8")]
    closer: Vec<Peer>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Peer {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    addrs: Vec<Vec<u8>>,
    #[prost(int32, tag = "3")]
    connected: i32,
}

fn peer_id(seed: u8) -> PeerId {
    raw::key(seed).public().to_peer_id()
}

/// A key that all liars are nearer to than whoever keeps its record.
fn key_among_liars() -> BlobHash {
    (0_u32..)
        .map(|n| BlobHash::of(&n.to_le_bytes()))
        .find(|hash| {
            let key = KBucketKey::new(hash.as_bytes().to_vec());
            let far = |seed| key.distance(&KBucketKey::from(peer_id(seed)));
            (FIRST_LIAR..FIRST_LIAR + LIARS).all(|liar| far(liar) < far(KEEPER))
        })
        .unwrap()
}

async fn question(stream: &mut NetStream) -> std::io::Result<Words> {
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let byte = stream.read_u8().await?;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            break;
        }
    }
    assert!(length <= MOST);
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Words::decode(&bytes[..]).map_err(std::io::Error::other)
}

/// Answers every question with the same names, and is counted when it is asked first.
fn lie(liar: &TestNode, names: Arc<OnceLock<Vec<Peer>>>, asked: Arc<AtomicUsize>) {
    let protocol = format!("/hive/kad/1/{}", MESH.short());
    let protocol = Box::leak(protocol.into_boxed_str());
    let mut inbound = liar.net.serve(protocol, ProtocolPolicy::default()).unwrap();
    let first = Arc::new(Once::new());
    tokio::spawn(async move {
        while let Some((_, mut stream)) = inbound.accept().await {
            let (names, first, count) = (Arc::clone(&names), Arc::clone(&first), Arc::clone(&asked));
            tokio::spawn(async move {
                while let Ok(asked) = question(&mut stream).await {
                    first.call_once(|| {
                        count.fetch_add(1, Ordering::Relaxed);
                    });
                    let closer = names.get().cloned().unwrap_or_default();
                    if raw::say(&mut stream, &Words { closer, ..asked }).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// The node has put these into its routing table.
async fn knows(node: &mut TestNode, others: &[NodeId]) {
    let mut missing: BTreeSet<_> = others.iter().copied().collect();
    while !missing.is_empty() {
        let heard = node.wait(|e| match e {
            NetEvent::PeerAddrs { node, .. } => Some(node),
            _ => None,
        });
        missing.remove(&heard.await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_up_that_liars_lead_astray_finds_the_record_on_another_path() {
    let _beside = honest::beside_others().await;
    let key = key_among_liars();
    // The record is where two steps among honest nodes lead.
    let keeper = member(KEEPER).await;
    let provider = member_with(PROVIDER, |c| c.kad_server = false).await;
    provider.dial(&keeper).await;
    until("the record is kept", async || {
        let _ = provider.net.provide(key).await;
        keeper.net.counters().dht_records_stored > 0
    })
    .await;
    let mut middle = member(MIDDLE).await;
    middle.dial(&keeper).await;
    knows(&mut middle, &[keeper.id()]).await;
    let mut near = member(NEAR).await;
    near.dial(&middle).await;
    knows(&mut near, &[middle.id()]).await;

    let (names, asked) = (
        Arc::<OnceLock<Vec<Peer>>>::default(),
        Arc::<AtomicUsize>::default(),
    );
    let (mut liars, mut all) = (Vec::new(), Vec::new());
    for seed in FIRST_LIAR..FIRST_LIAR + LIARS {
        let liar = member_with(seed, |c| c.kad_server = false).await;
        lie(&liar, Arc::clone(&names), Arc::clone(&asked));
        let addr: Multiaddr = liar.tcp()[0].parse().unwrap();
        all.push(Peer {
            id: peer_id(seed).to_bytes(),
            addrs: vec![addr.to_vec()],
            connected: 1,
        });
        liars.push(liar);
    }
    names.set(all).unwrap();

    let mut asker = member_with(ASKER, |c| c.kad_server = false).await;
    asker.dial(&near).await;
    asker.dial(&liars[0]).await;
    knows(&mut asker, &[near.id(), liars[0].id()]).await;
    let found = soon("the look-up ends", asker.net.providers(key)).await.unwrap();
    assert_eq!(found, [id(PROVIDER)]);
    let led_astray = asked.load(Ordering::Relaxed);
    assert!(led_astray > 20, "the liars were asked: {led_astray}");
}
