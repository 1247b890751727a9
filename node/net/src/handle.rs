//! The handle: what a program asks of its network.

use crate::{
    bulk::{Bulk, BulkInbound},
    counters::{Counters, Tally},
    error::NetError,
    event::{Admission, GossipId, Judgement, NetEvent, PeerView, Topic},
    path::{Attempt, PathView},
    reach::{Reach, resolve},
    registry::{Inbound, ProtocolPolicy, Registry},
    stream::NetStream,
    swarm::MAX_GOSSIP,
};
use hive_protocol::ids::{BlobHash, NodeId};
use std::{
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// Commands that may wait for the swarm's loop; a sender waits when it is full.
pub(crate) const COMMAND_QUEUE: usize = 256;
/// A stream is open, or opening it has failed, within this time, dial and gate included.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
/// A dial has succeeded, gate included, or failed within this time.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(15);
/// A question to the hash table is answered within this time.
pub const DHT_TIMEOUT: Duration = Duration::from_secs(20);
/// Connections are closed in order for at most this long at shutdown.
pub(crate) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, NetError>>;

/// What the loop is asked.
#[derive(Debug)]
pub(crate) enum Command {
    Dial {
        node: NodeId,
        addrs: Vec<String>,
        reply: Reply<Admission>,
    },
    Open {
        node: NodeId,
        protocol: &'static str,
        reply: Reply<NetStream>,
    },
    Publish {
        topic: Topic,
        bytes: Vec<u8>,
        reply: Reply<bool>,
    },
    Subscribe {
        topic: Topic,
        on: bool,
        reply: Reply<()>,
    },
    Validated {
        id: GossipId,
        judgement: Judgement,
    },
    FindNode {
        node: NodeId,
        reply: Reply<Vec<String>>,
    },
    Provide {
        hash: BlobHash,
        reply: Reply<()>,
    },
    Unprovide {
        hash: BlobHash,
    },
    Providers {
        hash: BlobHash,
        reply: Reply<Vec<NodeId>>,
    },
    Learn {
        node: NodeId,
        addrs: Vec<String>,
    },
    SetMember {
        node: NodeId,
        member: bool,
    },
    Regate {
        node: NodeId,
        reply: Reply<Admission>,
    },
    Disconnect {
        node: NodeId,
        reason: String,
    },
    Peers {
        reply: Reply<Vec<PeerView>>,
    },
    SetKadServer {
        server: bool,
    },
    SetScore {
        node: NodeId,
        score: f64,
    },
    Reserve {
        relay: NodeId,
        reply: Reply<String>,
    },
    Unreserve {
        relay: NodeId,
    },
    Path {
        node: NodeId,
        reply: Reply<PathView>,
    },
    Paths {
        reply: Reply<Vec<PathView>>,
    },
    Attempts {
        node: NodeId,
        reply: Reply<Vec<Attempt>>,
    },
    Trace {
        node: NodeId,
        addrs: Vec<String>,
        reply: Reply<Vec<Attempt>>,
    },
    Punch {
        node: NodeId,
        reply: Reply<()>,
    },
    Protect {
        nodes: Vec<NodeId>,
    },
    AllowDirect {
        nodes: Vec<NodeId>,
    },
    SetPublished {
        addrs: Vec<String>,
    },
    Tell {
        event: Box<NetEvent>,
    },
    Shutdown {
        reply: Reply<()>,
    },
}

/// What the handle and the loop share without a message.
#[derive(Default)]
pub(crate) struct Shared {
    pub registry: Arc<Registry>,
    pub tally: Tally,
    pub listen: RwLock<Vec<String>>,
    pub bulk: Bulk,
    pub reach: Reach,
}

impl Shared {
    /// Where this node listens now.
    pub(crate) fn listen_addrs(&self) -> Vec<String> {
        let addrs = self.listen.read().unwrap_or_else(PoisonError::into_inner);
        addrs.clone()
    }
}

/// A clonable handle to this node's network. When the last one is dropped the network shuts down.
#[derive(Clone)]
pub struct NetHandle {
    pub(crate) me: NodeId,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) shared: Arc<Shared>,
}

impl std::fmt::Debug for NetHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NetHandle({:?})", self.me)
    }
}

impl NetHandle {
    /// This node.
    #[must_use]
    pub const fn me(&self) -> NodeId {
        self.me
    }

    /// Where this node listens now, as multiaddresses with real ports; QUIC first.
    #[must_use]
    pub fn listen_addrs(&self) -> Vec<String> {
        self.shared.listen_addrs()
    }

    /// Connects to a node and runs the gate; returns at once when it is connected and gated already. `addrs` are
    /// added to what is known of the node; unusable ones are passed over, and names (`/dns/…`, `/dns4/…`, `/dns6/…`, two of
    /// them) are looked up. QUIC addresses are tried first, TCP
    /// shortly after. Any [`Admission`] is an `Ok`: the caller may want to join.
    ///
    /// # Errors
    /// `net.no_address`, `net.unreachable` with the reason for each address, `net.timeout`, `net.bad_key`.
    pub async fn dial(&self, node: NodeId, addrs: Vec<String>) -> Result<Admission, NetError> {
        let what = || format!("dialing {node:?}");
        let addrs = resolve(addrs).await;
        self.ask(what, DIAL_TIMEOUT, |reply| Command::Dial { node, addrs, reply })
            .await
    }

    /// Where this node listens for bulk connections now, with real ports; empty when they are switched off.
    #[must_use]
    pub fn bulk_addrs(&self) -> Vec<SocketAddr> {
        self.shared.bulk.doors().to_vec()
    }

    /// Opens a stream on the preferred connection to a node, dialing known addresses if there is none. Returns
    /// when the peer has agreed to the protocol.
    ///
    /// # Errors
    /// As [`NetHandle::dial`], and `net.not_member` (unless the protocol is the join protocol),
    /// `net.not_spoken`, `net.closed_by_peer`.
    pub async fn open(&self, node: NodeId, protocol: &'static str) -> Result<NetStream, NetError> {
        let what = || format!("opening {protocol} to {node:?}");
        self.ask(what, OPEN_TIMEOUT, |reply| Command::Open {
            node,
            protocol,
            reply,
        })
        .await
    }

    /// Begins to serve a protocol; streams come out of the result. A stream over the policy's bounds is reset
    /// and counted, never dropped silently. Takes effect on existing connections too.
    ///
    /// # Errors
    /// `net.served_twice`, `net.busy`.
    pub fn serve(&self, protocol: &'static str, policy: ProtocolPolicy) -> Result<Inbound, NetError> {
        self.shared.registry.serve(protocol, policy)
    }

    /// Begins to serve a protocol on bulk streams, whichever way they come; the policy holds for both together.
    ///
    /// # Errors
    /// `net.served_twice`, `net.busy`.
    pub fn serve_bulk(
        &self,
        protocol: &'static str,
        policy: ProtocolPolicy,
    ) -> Result<BulkInbound, NetError> {
        self.shared.registry.serve_bulk(protocol, policy)
    }

    /// Publishes a signed gossip message. `Ok(false)`: no neighbour subscribes to the topic at the moment.
    ///
    /// # Errors
    /// `net.too_large`, `net.busy` when the neighbours' queues are full.
    pub async fn publish(&self, topic: Topic, bytes: Vec<u8>) -> Result<bool, NetError> {
        if bytes.len() > MAX_GOSSIP {
            return Err(NetError::TooLarge {
                what: "gossip message",
                size: bytes.len(),
                limit: MAX_GOSSIP,
            });
        }
        self.ask(
            || "publishing".to_owned(),
            OPEN_TIMEOUT,
            |reply| Command::Publish { topic, bytes, reply },
        )
        .await
    }

    /// Listens to a topic. None is subscribed at start.
    ///
    /// # Errors
    /// `net.stopped`.
    pub async fn subscribe(&self, topic: Topic) -> Result<(), NetError> {
        self.set_subscribed(topic, true).await
    }

    /// Listens to a topic no longer.
    ///
    /// # Errors
    /// `net.stopped`.
    pub async fn unsubscribe(&self, topic: Topic) -> Result<(), NetError> {
        self.set_subscribed(topic, false).await
    }

    async fn set_subscribed(&self, topic: Topic, on: bool) -> Result<(), NetError> {
        self.ask(
            || "subscribing".to_owned(),
            OPEN_TIMEOUT,
            |reply| Command::Subscribe { topic, on, reply },
        )
        .await
    }

    /// Says what is made of a gossip message; must be called for every [`crate::NetEvent::Gossip`] within a few
    /// seconds, or the message is not passed on.
    pub async fn validated(&self, id: GossipId, judgement: Judgement) {
        self.tell(Command::Validated { id, judgement }).await;
    }

    /// Asks the hash table where a node listens.
    ///
    /// # Errors
    /// `net.no_address` when nobody knows, `net.timeout`, `net.dht`.
    pub async fn find_node(&self, node: NodeId) -> Result<Vec<String>, NetError> {
        let what = || format!("looking for {node:?}");
        self.ask(what, DHT_TIMEOUT, |reply| Command::FindNode { node, reply })
            .await
    }

    /// Announces in the hash table that this node has a blob, now and again until [`NetHandle::unprovide`].
    ///
    /// # Errors
    /// `net.busy` over the store's bound, `net.dht`, `net.timeout`.
    pub async fn provide(&self, hash: BlobHash) -> Result<(), NetError> {
        let what = || format!("announcing {hash:?}");
        self.ask(what, DHT_TIMEOUT, |reply| Command::Provide { hash, reply })
            .await
    }

    /// Announces a blob no longer; what was said expires by itself.
    pub async fn unprovide(&self, hash: BlobHash) {
        self.tell(Command::Unprovide { hash }).await;
    }

    /// Nodes that announced a blob, at most [`crate::MAX_PROVIDERS`]; this node not among them.
    ///
    /// # Errors
    /// `net.dht`, `net.timeout`.
    pub async fn providers(&self, hash: BlobHash) -> Result<Vec<NodeId>, NetError> {
        let what = || format!("looking for {hash:?}");
        self.ask(what, DHT_TIMEOUT, |reply| Command::Providers { hash, reply })
            .await
    }

    /// Remembers where a node listens (from a presence, a peer list, a configuration).
    pub async fn learn(&self, node: NodeId, addrs: Vec<String>) {
        let addrs = resolve(addrs).await;
        self.tell(Command::Learn { node, addrs }).await;
    }

    /// Overrules the gate for a connected node: `false` when its credential has expired or was revoked (new
    /// streams are refused both ways and its gossip is ignored; open streams live on), `true` to take it back.
    pub async fn set_member(&self, node: NodeId, member: bool) {
        self.tell(Command::SetMember { node, member }).await;
    }

    /// Runs the gate again on the connection to a node: after joining, or after renewing a credential.
    ///
    /// # Errors
    /// `net.no_address` when not connected, `net.closed_by_peer`, `net.timeout`.
    pub async fn regate(&self, node: NodeId) -> Result<Admission, NetError> {
        let what = || format!("the membership exchange with {node:?}");
        self.ask(what, DIAL_TIMEOUT, |reply| Command::Regate { node, reply })
            .await
    }

    /// Closes all connections to a node. The reason is for the log.
    pub async fn disconnect(&self, node: NodeId, reason: &str) {
        let reason = reason.to_owned();
        self.tell(Command::Disconnect { node, reason }).await;
    }

    /// All connected peers, members or not.
    pub async fn peers(&self) -> Vec<PeerView> {
        self.ask(
            || "listing peers".to_owned(),
            OPEN_TIMEOUT,
            |reply| Command::Peers { reply },
        )
        .await
        .unwrap_or_default()
    }

    /// Whether this node answers hash table queries of others from now on.
    pub async fn set_kad_server(&self, server: bool) {
        self.tell(Command::SetKadServer { server }).await;
    }

    /// What this node's owner thinks of a peer, as part of its gossip score: 0 is neutral, below -10 no gossip is
    /// exchanged. Values are held to ±100.
    pub async fn set_score(&self, node: NodeId, score: f64) {
        let score = if score.is_nan() { 0.0 } else { score };
        let score = score.clamp(-100.0, 100.0);
        self.tell(Command::SetScore { node, score }).await;
    }

    /// Makes this node reachable through a relay it is connected to, from now on: renewed in time, and asked for
    /// again when the relay has restarted, until [`NetHandle::unreserve`]. Returns the address others reach it by.
    ///
    /// # Errors
    /// `net.no_address` when not connected to the relay, `net.reservation` when it refuses, `net.timeout`,
    /// `net.busy` over [`crate::MAX_RELAYS`].
    pub async fn reserve(&self, relay: NodeId) -> Result<String, NetError> {
        let what = || format!("a reservation at {relay:?}");
        self.ask(what, OPEN_TIMEOUT, |reply| Command::Reserve { relay, reply })
            .await
    }

    /// Is reachable through a relay no longer; circuits that are open stay.
    pub async fn unreserve(&self, relay: NodeId) {
        self.tell(Command::Unreserve { relay }).await;
    }

    /// The counters now.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.tally.snapshot()
    }

    /// Closes all connections in order and ends the network; returns when that is done.
    pub async fn shutdown(&self) {
        let _ = self
            .ask(
                || "shutting down".to_owned(),
                SHUTDOWN_TIMEOUT.saturating_mul(2),
                |reply| Command::Shutdown { reply },
            )
            .await;
    }

    pub(crate) async fn tell(&self, command: Command) {
        // An error means that the network is shut down: nothing is left to be told.
        let _ = self.commands.send(command).await;
    }

    pub(crate) async fn ask<T>(
        &self,
        what: impl FnOnce() -> String,
        limit: Duration,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, NetError> {
        let (reply, answer) = oneshot::channel();
        let asking = async {
            self.commands
                .send(command(reply))
                .await
                .map_err(|_| NetError::Stopped)?;
            answer.await.map_err(|_| NetError::Stopped)?
        };
        tokio::time::timeout(limit, asking)
            .await
            .map_err(|_| NetError::Timeout {
                what: what(),
                millis: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
            })?
    }
}
