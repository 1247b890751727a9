//! What a node's network is made with.

use crate::gate::Gate;
use hive_protocol::{ids::NetworkId, keys::SecretKey};
use std::sync::Arc;

/// What [`crate::spawn`] needs. The secret key is the node's identity on every connection.
pub struct Config {
    /// The node's key; its public half is the `NodeId`.
    pub secret: SecretKey,
    /// The mesh; names the gossip topics and the hash table's protocol.
    pub network: NetworkId,
    /// Where to listen.
    pub listen: ListenAddrs,
    /// Where to listen for bulk connections.
    pub bulk: BulkListen,
    /// Which transports are used, for listening and for dialing.
    pub transports: Transports,
    /// Whether [`ListenAddrs::Port`] listens on IPv6 beside IPv4, where the system has it.
    pub ipv6: bool,
    /// Whether the router is asked (UPnP, NAT-PMP, PCP) to let connections to the listen ports in.
    pub upnp: bool,
    /// Whether this node may be connected directly, to anybody: off for one that shows its address to relays and
    /// authorities only (see [`crate::NetHandle::allow_direct`]). Nothing is punched then.
    pub direct: bool,
    /// Whether this node answers hash table queries of others: yes for nodes that can be dialed.
    pub kad_server: bool,
    /// Bounds.
    pub limits: Limits,
    /// Version of the program, as told to peers; at most 32 bytes are used.
    pub version: String,
    /// Says and judges the first words on each connection.
    pub gate: Arc<dyn Gate>,
}

/// Which transports a node uses. With neither it reaches nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transports {
    /// QUIC over UDP.
    pub quic: bool,
    /// TCP with TLS and Yamux.
    pub tcp: bool,
}

impl Default for Transports {
    fn default() -> Self {
        Self {
            quic: true,
            tcp: true,
        }
    }
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddrs {
    /// QUIC and TCP on this port of all interfaces, IPv4 and (unless [`Config::ipv6`] is off or the system has none)
    /// IPv6; 0 lets the system choose a port that is free for all.
    Port(u16),
    /// QUIC and TCP on this port of the loopback interface only; 0 as above.
    Loopback(u16),
    /// Exactly these multiaddresses, such as `/ip4/0.0.0.0/udp/4001/quic-v1`; empty: a node that only dials.
    Exactly(Vec<String>),
}

impl ListenAddrs {
    /// Whether the system chooses the port.
    #[must_use]
    pub const fn is_any_port(&self) -> bool {
        matches!(self, Self::Port(0) | Self::Loopback(0))
    }
}

/// Whether bulk streams may have TCP connections of their own, and where they come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BulkListen {
    /// All bulk bytes go over the mesh: this node neither listens for bulk connections nor makes any.
    Off,
    /// On this TCP port of every address the mesh listens on; 0 lets the system choose one at each start.
    Port(u16),
}

impl Default for BulkListen {
    fn default() -> Self {
        Self::Port(0)
    }
}

/// Neighbours gossip is passed on to: docs/BENCHMARKS.md says why so many. Lost ones are asked for at the next heartbeat;
/// half of them this node has chosen itself.
const NEIGHBOURS: usize = 6;

/// Bounds of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Established connections in all. Each costs about 130 KB here.
    pub connections: u32,
    /// Handshakes under way outbound; inbound there are eight times as many places over each transport, shared
    /// between address blocks: what an attacker can make us start.
    pub pending: u32,
    /// Connections to one peer; above 2 to leave room for simultaneous dials and reconnects.
    pub per_peer: u32,
    /// No further connection is taken when the process holds more memory than this, in bytes.
    pub memory_bytes: usize,
    /// Connections above which idle ones (no stream, not in the gossip mesh) are closed, oldest first.
    pub comfortable: usize,
    /// Neighbours gossip is passed on to, at least 2: each more makes every node hear everything once more, and a
    /// message arrives in fewer hops.
    pub neighbours: usize,
}

impl Limits {
    /// Those of a node like any other.
    pub const DEFAULT: Self = Self {
        connections: 512,
        pending: 64,
        per_peer: 8,
        memory_bytes: 1 << 30,
        comfortable: 128,
        neighbours: NEIGHBOURS,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
