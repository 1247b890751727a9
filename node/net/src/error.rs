//! Why something on the network could not be done. Every kind has a stable dotted code.

use hive_protocol::ids::NodeId;

/// An error of this crate; [`NetError::code`] is stable, the text is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// `net.port_taken`: another program listens there.
    #[error("{address}: the port is taken by another program; stop it or choose another port")]
    PortTaken {
        /// The address asked for.
        address: String,
    },
    /// `net.listen`: listening failed for another reason.
    #[error("{address}: cannot listen: {detail}")]
    Listen {
        /// The address asked for.
        address: String,
        /// What the system said.
        detail: String,
    },
    /// `net.bad_address`: not a multiaddress this program can use.
    #[error("{address}: not a usable multiaddress: {detail}")]
    BadAddress {
        /// The text given.
        address: String,
        /// What is wrong with it.
        detail: String,
    },
    /// `net.bad_key`: the bytes are no Ed25519 key.
    #[error("{node:?} is not a valid node key")]
    BadKey {
        /// The bytes as a node.
        node: NodeId,
    },
    /// `net.setup`: the transports could not be built.
    #[error("the network cannot be set up: {detail}")]
    Setup {
        /// What failed.
        detail: String,
    },
    /// `net.no_address`: the node is not connected and no address of it is known.
    #[error("{node:?}: not connected and no address known")]
    NoAddress {
        /// The node.
        node: NodeId,
    },
    /// `net.unreachable`: no address answered.
    #[error("{node:?}: cannot be reached: {}", reasons.join("; "))]
    Unreachable {
        /// The node.
        node: NodeId,
        /// One line for each address tried.
        reasons: Vec<String>,
    },
    /// `net.not_member`: connected, but the membership gate was not passed; only joining is possible.
    #[error("{node:?}: {by}: {code}: {detail}")]
    NotMember {
        /// The node.
        node: NodeId,
        /// Which side refused.
        by: RefusedBy,
        /// The refusal's stable code, such as `member.expired`.
        code: String,
        /// One line for people.
        detail: String,
    },
    /// `net.not_spoken`: the node does not serve this protocol (to us).
    #[error("{node:?}: does not serve {protocol}; it may be older or have another role")]
    NotSpoken {
        /// The node.
        node: NodeId,
        /// The protocol asked for.
        protocol: String,
    },
    /// `net.closed_by_peer`: the connection ended while a stream was being opened.
    #[error("{node:?}: the connection ended: {detail}")]
    Lost {
        /// The node.
        node: NodeId,
        /// What the transport said.
        detail: String,
    },
    /// `net.timeout`: no answer in time.
    #[error("{what}: no answer within {millis} ms")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long, in milliseconds.
        millis: u64,
    },
    /// `net.busy`: a bound of this node is reached; try again later.
    #[error("{what}: over this node's bound of {limit}")]
    Busy {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// `net.too_large`: a gossip message over the limit.
    #[error("{what}: {size} bytes are over the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// `net.served_twice`: a protocol is already served.
    #[error("{protocol}: served already")]
    ServedTwice {
        /// The protocol.
        protocol: &'static str,
    },
    /// `net.dht`: the distributed hash table could not do it.
    #[error("{what}: {detail}")]
    Dht {
        /// What was asked of it.
        what: &'static str,
        /// Why not.
        detail: String,
    },
    /// `net.reservation`: a relay does not make this node reachable.
    #[error("the relay gives no reservation: {detail}")]
    Reservation {
        /// Why not.
        detail: String,
    },
    /// `net.not_tested`: nobody made the test asked for.
    #[error("the address was not tested: {detail}")]
    NotTested {
        /// Why not.
        detail: String,
    },
    /// `net.stopped`: the network is shut down.
    #[error("the network is shut down")]
    Stopped,
}

impl NetError {
    /// The stable dotted code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::PortTaken { .. } => "net.port_taken",
            Self::Listen { .. } => "net.listen",
            Self::BadAddress { .. } => "net.bad_address",
            Self::BadKey { .. } => "net.bad_key",
            Self::Setup { .. } => "net.setup",
            Self::NoAddress { .. } => "net.no_address",
            Self::Unreachable { .. } => "net.unreachable",
            Self::NotMember { .. } => "net.not_member",
            Self::NotSpoken { .. } => "net.not_spoken",
            Self::Lost { .. } => "net.closed_by_peer",
            Self::Timeout { .. } => "net.timeout",
            Self::Busy { .. } => "net.busy",
            Self::TooLarge { .. } => "net.too_large",
            Self::ServedTwice { .. } => "net.served_twice",
            Self::Dht { .. } => "net.dht",
            Self::Reservation { .. } => "net.reservation",
            Self::NotTested { .. } => "net.not_tested",
            Self::Stopped => "net.stopped",
        }
    }
}

/// Which side of a connection refused the other as a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedBy {
    /// This node refused the peer.
    Us,
    /// The peer refused this node.
    Peer,
}

impl std::fmt::Display for RefusedBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Us => "refused by this node",
            Self::Peer => "refuses this node",
        })
    }
}
