//! What the network tells its owner.

use crate::path::Path;
use hive_protocol::{
    gossip,
    ids::{NetworkId, NodeId},
    member::Hello,
};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Events not yet read. When so many wait, gossip is ignored (and counted) and the swarm is not driven further
/// until there is room; commands are still taken, so that a reader that waits for a command never deadlocks.
pub const EVENT_QUEUE: usize = 1024;

/// Something that happened.
#[derive(Debug, Clone)]
pub enum NetEvent {
    /// A node passed the gate on both sides: all protocols are open. Once per node, not per connection.
    Connected {
        /// Who.
        node: NodeId,
        /// The remote address of the connection.
        addr: String,
        /// Whether this node dialed.
        dialer: bool,
        /// What the node said of itself, judged `Welcome` by the gate.
        hello: Box<Hello>,
    },
    /// A node is connected but one side refused the other; only the join protocol is open, and the connection is
    /// closed when it is not used.
    JoinOnly {
        /// Who.
        node: NodeId,
        /// The remote address of the connection.
        addr: String,
        /// Whether this node dialed.
        dialer: bool,
        /// Why.
        admission: Admission,
    },
    /// The last connection to a node that was `Connected` (or `JoinOnly`) has ended.
    Disconnected {
        /// Who.
        node: NodeId,
        /// Whether it had passed the gate.
        member: bool,
        /// What ended it.
        cause: String,
    },
    /// A gossip message whose signature holds. It goes no further until [`crate::NetHandle::validated`] says so.
    Gossip {
        /// What to answer with.
        id: GossipId,
        /// Who wrote and signed it.
        source: NodeId,
        /// Which topic.
        topic: Topic,
        /// The message, at most [`crate::MAX_GOSSIP`] bytes.
        bytes: Vec<u8>,
    },
    /// This node listens on one more address.
    Listening {
        /// The multiaddress.
        addr: String,
    },
    /// This node listens no longer on an address (an interface went down).
    NotListening {
        /// The multiaddress.
        addr: String,
    },
    /// A dial failed on all addresses.
    DialFailed {
        /// Whom.
        node: NodeId,
        /// One line for each address tried.
        reasons: Vec<String>,
    },
    /// A member this node dialed directly says where it sees this node. Once for each connection and change; the
    /// port is the real mapped one, because dials leave from the listen port where the transport allows it.
    Observed {
        /// Who says so. One observer may lie: believe two at different places.
        by: NodeId,
        /// The address it was dialed at.
        by_addr: String,
        /// This node as it sees it: IP, port and transport.
        addr: String,
        /// How the connection is carried: mappings of UDP and TCP differ.
        transport: Transport,
    },
    /// A member connected directly from an IP address to which this node has sent nothing for ten minutes: whatever
    /// stands before this node lets strangers in.
    Reached {
        /// Who.
        by: NodeId,
        /// Where it came from.
        by_addr: String,
        /// The address it says it dialed, if it is of the right kind.
        addr: Option<String>,
    },
    /// An address of this node was tested because [`crate::NetHandle::test_again`] asked for it.
    Tested {
        /// The address.
        addr: String,
        /// Who was asked to test it.
        server: NodeId,
        /// Whether a connection came in.
        reachable: bool,
        /// Whether it came from an IP address to which this node has sent nothing for ten minutes: only then it says
        /// anything about strangers.
        stranger: bool,
        /// One line for people.
        detail: String,
    },
    /// A router lets connections to this address in.
    Mapped {
        /// The address outside. It may be private itself: then there is another router in front.
        addr: String,
        /// By which protocol the router was asked.
        by: Mapper,
        /// For how long, unless it is renewed, which happens by itself.
        lifetime: Duration,
    },
    /// A mapping that was there is there no longer.
    Unmapped {
        /// The address outside.
        addr: String,
        /// By which protocol the router had been asked.
        by: Mapper,
        /// Why.
        reason: String,
    },
    /// No router gives a mapping; it is tried again later. Told once until something changes.
    MapFailed {
        /// What each protocol came to, on one line.
        reason: String,
    },
    /// A connected member is reached in another way than before: long-lived streams are better opened anew.
    Path {
        /// Who.
        node: NodeId,
        /// How it is reached now.
        path: Path,
        /// Remote address of the preferred connection.
        addr: Option<String>,
    },
    /// The preferred connection to a member is carried by another transport than before, its path being the same.
    Carried {
        /// Who.
        node: NodeId,
        /// Remote address of the connection that is preferred now.
        addr: String,
    },
    /// A member told us where it listens.
    PeerAddrs {
        /// Who.
        node: NodeId,
        /// Multiaddresses, at most [`hive_protocol::member::MAX_ADDRS`].
        addrs: Vec<String>,
    },
}

/// Reads the events in order; `None` after shutdown.
#[derive(Debug)]
pub struct NetEvents {
    pub(crate) receiver: mpsc::Receiver<NetEvent>,
}

impl NetEvents {
    /// The next event. Cancel safe.
    pub async fn next(&mut self) -> Option<NetEvent> {
        self.receiver.recv().await
    }

    /// The next event if one is waiting.
    pub fn try_next(&mut self) -> Option<NetEvent> {
        self.receiver.try_recv().ok()
    }
}

/// What became of the membership gate on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Both sides welcomed each other.
    Member,
    /// This node refused the peer.
    RefusedByUs {
        /// Stable code, such as `member.wrong_mesh`; `member.timeout` when the peer said nothing in time.
        code: String,
        /// One line for people.
        detail: String,
    },
    /// The peer refused this node.
    RefusedByPeer {
        /// Stable code, such as `member.no_credential`.
        code: String,
        /// One line for people.
        detail: String,
    },
}

/// One of the three topics of a mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Demands of submitters.
    Demand,
    /// Presence of nodes.
    Presence,
    /// Prices of workers.
    Price,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Demand, Self::Presence, Self::Price];

    /// Its name on the wire.
    #[must_use]
    pub fn name(self, network: NetworkId) -> String {
        gossip::topic(network, self.kind())
    }

    /// The kind of topic, as announcements are signed for it.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::Demand => gossip::DEMAND,
            Self::Presence => gossip::PRESENCE,
            Self::Price => gossip::PRICE,
        }
    }
}

/// Names a received gossip message until it is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GossipId {
    pub(crate) id: [u8; 32],
    /// The neighbour that passed it on.
    pub from: NodeId,
}

/// What is made of a gossip message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// Good: pass it on.
    Accept,
    /// Wrong in a way no honest node sends: do not pass it on, hold it against the neighbour.
    Reject,
    /// Stale or of no use: do not pass it on.
    Ignore,
}

/// A protocol for asking a router to let connections in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mapper {
    /// UPnP Internet Gateway Device, version 1 or 2.
    Upnp,
    /// NAT-PMP (RFC 6886).
    NatPmp,
    /// Port Control Protocol (RFC 6887).
    Pcp,
}

impl Mapper {
    /// Its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Upnp => "UPnP",
            Self::NatPmp => "NAT-PMP",
            Self::Pcp => "PCP",
        }
    }
}

/// How a connection is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// QUIC over UDP.
    Quic,
    /// TCP with TLS (or Noise) and Yamux.
    Tcp,
    /// Through a relay, encrypted between the ends.
    Relay,
}

impl Transport {
    /// The word in tables and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Tcp => "tcp",
            Self::Relay => "relay",
        }
    }
}

/// A connected peer as it is now.
#[derive(Debug, Clone)]
pub struct PeerView {
    /// Who.
    pub node: NodeId,
    /// How it is reached.
    pub path: Path,
    /// Remote address of the preferred connection.
    pub addr: String,
    /// Whether the preferred connection goes straight to the peer.
    pub direct: bool,
    /// The relay it goes through, if not.
    pub relay: Option<NodeId>,
    /// How it is carried.
    pub transport: Transport,
    /// Whether this node dialed the preferred connection.
    pub dialer: bool,
    /// Last round trip measured, if any.
    pub rtt: Option<Duration>,
    /// When the oldest connection to it was made.
    pub since: Instant,
    /// Whether it has passed the gate and was not revoked.
    pub member: bool,
    /// Connections to it, normally 1.
    pub connections: usize,
    /// Streams open with it, of protocols served or opened through this crate.
    pub streams: usize,
    /// Its program version from the gate, if it has said.
    pub version: Option<String>,
}
