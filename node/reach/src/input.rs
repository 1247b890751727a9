//! What the core is told.

use hive_protocol::{
    ids::{AccountId, NodeId},
    time::{Millis, Timestamp},
};

/// Who made a port mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MappedBy {
    /// UPnP IGD.
    Upnp,
    /// NAT-PMP.
    NatPmp,
    /// PCP.
    Pcp,
}

impl MappedBy {
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

/// What is known of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerFacts {
    /// Who.
    pub node: NodeId,
    /// Whose.
    pub account: AccountId,
    /// Its trust score.
    pub score: u32,
    /// Whether it says that it relays.
    pub relays: bool,
    /// Where it listens.
    pub addrs: Vec<String>,
    /// Whether it is leaving, or has left.
    pub leaving: bool,
}

/// What a relay says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RelayLoad {
    /// Whether it takes reservations now.
    pub serving: bool,
    /// Parts in a thousand of its reservations, circuits or bytes of the day that are used, whichever is most.
    pub load_milli: u32,
}

/// Something seen or said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// This node listens on an address (not a circuit).
    Listening {
        /// Text.
        addr: String,
    },
    /// No longer.
    NotListening {
        /// Text.
        addr: String,
    },
    /// A member says how it sees this node.
    Observed {
        /// Who.
        observer: NodeId,
        /// What it sees.
        addr: String,
        /// The observer's own address on that connection, which this node has made.
        from: String,
    },
    /// A member has connected from a machine that this node had sent nothing to for long.
    Reached {
        /// Who.
        by: NodeId,
        /// Its address.
        from: String,
        /// Where it says that it dialed.
        addr: Option<String>,
    },
    /// A test of an address has ended.
    Tested {
        /// Which.
        addr: String,
        /// Who tried.
        server: NodeId,
        /// How it went.
        reachable: bool,
        /// Whether the tester's packets came from a machine this node had sent nothing to.
        stranger: bool,
    },
    /// The router maps a port.
    Mapped {
        /// The address outside.
        addr: String,
        /// How.
        by: MappedBy,
        /// For how long unless renewed.
        life: Millis,
    },
    /// It maps it no longer.
    Unmapped {
        /// The address outside.
        addr: String,
        /// For people.
        detail: String,
    },
    /// A member is connected.
    Connected {
        /// Who.
        node: NodeId,
        /// Its address on this connection.
        addr: String,
        /// Whether this node dialed.
        dialer: bool,
    },
    /// The last connection to a member has ended.
    Disconnected {
        /// Who.
        node: NodeId,
    },
    /// A connected member is reached in another way than before: another carrier, or through a relay.
    Moved {
        /// Who.
        node: NodeId,
        /// Its address on the connection that is used now; a circuit when it is relayed.
        addr: String,
    },
    /// An address was dialed, and nobody has answered there: not even to refuse.
    Silent {
        /// Which.
        addr: String,
    },
    /// A dial that this core asked for has failed.
    DialFailed {
        /// Whom.
        node: NodeId,
    },
    /// One try of an address of a peer over one carrier, for telling whether UDP and TCP pass.
    Tried {
        /// Which.
        addr: String,
        /// How it went.
        reached: bool,
    },
    /// The mesh's authorities.
    Authorities(Vec<NodeId>),
    /// The registry or gossip speaks of a member.
    Heard(PeerFacts),
    /// Nodes that the hash table says relay.
    Found(Vec<NodeId>),
    /// A relay has answered.
    RelayTold {
        /// Which.
        node: NodeId,
        /// Round trip in microseconds.
        rtt_us: u64,
        /// What it says.
        load: RelayLoad,
    },
    /// A relay has not answered in time, or could not be reached.
    RelaySilent {
        /// Which.
        node: NodeId,
    },
    /// A reservation stands; again for each further address.
    Reserved {
        /// Where.
        relay: NodeId,
        /// An address others reach this node by.
        addr: String,
    },
    /// A reservation was refused, or the relay not reached.
    ReserveFailed {
        /// Where.
        relay: NodeId,
        /// For people.
        detail: String,
    },
    /// A reservation's address holds no longer.
    ReservationLost {
        /// Where.
        relay: NodeId,
        /// Which address.
        addr: String,
    },
    /// The owner changes whether this node relays.
    SetMode(super::RelayMode),
    /// The relay is being shut down (true) or takes up again.
    Drain(bool),
    /// Test all addresses and ask all relays again now.
    Fresh,
    /// Time has passed.
    Tick,
}

/// When something was last said.
pub(crate) type When = Timestamp;
