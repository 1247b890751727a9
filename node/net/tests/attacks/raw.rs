//! The words of gossip and identify as they are on the wire, written by hand so that they can be wrong.

use crate::mesh::{TestNode, secret, until};
use hive_net::{NetHandle, NetStream, Topic};
use hive_protocol::{
    codec,
    gossip::{Announcement, DEMAND},
    ids::NodeId,
};
use libp2p::identity::Keypair;
use tokio::io::AsyncWriteExt;

const GOSSIP: &str = "/meshsub/1.1.0";
/// Every name gossip is spoken by.
pub const VERSIONS: [&str; 4] = ["/meshsub/1.3.0", "/meshsub/1.2.0", GOSSIP, "/meshsub/1.0.0"];
pub const PUSH: &str = "/ipfs/id/push/1.0.0";

/// What one gossip node sends to another.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Rpc {
    #[prost(message, repeated, tag = "1")]
    pub subscriptions: Vec<Subscription>,
    #[prost(message, repeated, tag = "2")]
    pub publish: Vec<Words>,
    #[prost(message, optional, tag = "3")]
    pub control: Option<Control>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Subscription {
    #[prost(bool, optional, tag = "1")]
    pub subscribe: Option<bool>,
    #[prost(string, optional, tag = "2")]
    pub topic: Option<String>,
}

/// One message.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Words {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub from: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub data: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub number: Option<Vec<u8>>,
    #[prost(string, required, tag = "4")]
    pub topic: String,
    #[prost(bytes = "vec", optional, tag = "5")]
    pub signature: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "6")]
    pub key: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Control {
    #[prost(message, repeated, tag = "1")]
    pub ihave: Vec<Have>,
    #[prost(message, repeated, tag = "2")]
    pub iwant: Vec<Want>,
    #[prost(message, repeated, tag = "3")]
    pub graft: Vec<Graft>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Have {
    #[prost(string, optional, tag = "1")]
    pub topic: Option<String>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub ids: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Want {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub ids: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Graft {
    #[prost(string, optional, tag = "1")]
    pub topic: Option<String>,
}

/// What identify says.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Identify {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub key: Option<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub listen: Vec<Vec<u8>>,
    #[prost(string, repeated, tag = "3")]
    pub protocols: Vec<String>,
    #[prost(string, optional, tag = "5")]
    pub version: Option<String>,
    #[prost(string, optional, tag = "6")]
    pub agent: Option<String>,
}

/// The key of a test node in libp2p's clothes.
pub fn key(seed: u8) -> Keypair {
    Keypair::ed25519_from_bytes(secret(seed).seed()).unwrap()
}

/// An announcement as its author signs it.
pub fn announcement(author: u8, number: u64, kind: &str, data: &[u8]) -> Announcement {
    Announcement::sign(&secret(author), crate::mesh::MESH, kind, number, data.to_vec())
}

/// These bytes on the topic of demands, with nothing beside them.
pub fn bare(data: Vec<u8>) -> Words {
    Words {
        data: Some(data),
        topic: Topic::Demand.name(crate::mesh::MESH),
        ..Default::default()
    }
}

/// An announcement on the topic of demands, whatever it was signed for.
pub fn on_demand(announcement: &Announcement) -> Words {
    bare(codec::seal(announcement).unwrap())
}

/// A demand as its author signs it.
pub fn signed(author: u8, number: u64, data: &[u8]) -> Words {
    on_demand(&announcement(author, number, DEMAND, data))
}

pub fn publish(words: Vec<Words>) -> Rpc {
    Rpc {
        publish: words,
        ..Default::default()
    }
}

/// A stream to the victim on which anything can be said.
pub async fn stream(attacker: &TestNode, victim: NodeId, protocol: &'static str) -> NetStream {
    attacker.net.open(victim, protocol).await.unwrap()
}

/// What an attacker says on its own gossip stream before it opens another.
pub const BEGUN: &[u8] = b"begun";

/// A gossip stream to the victim. The attacker's own comes first: a later one would take its place.
pub async fn gossip(attacker: &TestNode, victim: &NetHandle) -> NetStream {
    let before = victim.counters().gossip_received;
    until("the attacker's gossip has begun", async || {
        let said = attacker.net.publish(Topic::Demand, BEGUN.to_vec()).await;
        said.unwrap_or(false)
    })
    .await;
    // Said once: of two, the later might come after the other stream, and on one of its own.
    until("the attacker was heard", async || {
        victim.counters().gossip_received > before
    })
    .await;
    stream(attacker, victim.me(), GOSSIP).await
}

/// Says this; an error means that the victim has closed the stream.
pub async fn say(stream: &mut NetStream, what: &impl prost::Message) -> std::io::Result<()> {
    say_bytes(stream, &what.encode_length_delimited_to_vec()).await
}

/// The same with what has been put into bytes before.
pub async fn say_bytes(stream: &mut NetStream, what: &[u8]) -> std::io::Result<()> {
    stream.write_all(what).await?;
    stream.flush().await?;
    // What sends the connection's packets has just been woken, and runs on this thread when this task lets it: one that
    // only writes, and never has to wait, would keep everything to itself until its own node takes the peer for dead.
    tokio::task::yield_now().await;
    Ok(())
}
