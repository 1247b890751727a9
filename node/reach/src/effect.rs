//! What the core wants done.

use hive_protocol::ids::NodeId;

/// Why an address is told to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PublishedKind {
    /// The operator says it leads here.
    Announced,
    /// Others have reached this node there.
    Confirmed,
    /// The router says it leads here.
    Mapped,
    /// An interface of this machine: reaches those at the same place, or everybody if nothing is in between.
    Local,
    /// Through a relay.
    Circuit,
}

impl PublishedKind {
    /// Its name for people and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Announced => "announced",
            Self::Confirmed => "confirmed",
            Self::Mapped => "mapped",
            Self::Local => "local",
            Self::Circuit => "circuit",
        }
    }
}

/// An address told to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The address.
    pub addr: String,
    /// Why.
    pub kind: PublishedKind,
    /// The relay of a circuit.
    pub relay: Option<NodeId>,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Tell others these addresses from now on, most useful first.
    Publish(Vec<Published>),
    /// Answer hash table queries of others, or not.
    KadServer(bool),
    /// Have all addresses tested now.
    Test,
    /// Relay for others, or no more.
    Serve(bool),
    /// Say in the hash table that this node relays, or no more.
    AnnounceRelay(bool),
    /// Ask the hash table who relays; answer with `Found`.
    FindRelays,
    /// Ask a relay how it is; answer with `RelayTold` or `RelaySilent`.
    AskRelay {
        /// Which.
        node: NodeId,
        /// Where it listens.
        addrs: Vec<String>,
    },
    /// Become reachable through a relay; answer with `Reserved` or `ReserveFailed`.
    Reserve {
        /// Which.
        relay: NodeId,
        /// Where it listens.
        addrs: Vec<String>,
    },
    /// End that.
    Unreserve {
        /// Which.
        relay: NodeId,
    },
    /// Connect to a member; answer with `Connected` or `DialFailed`.
    Dial {
        /// Whom.
        node: NodeId,
        /// Where it listens.
        addrs: Vec<String>,
    },
    /// Never close connections to these for room, and keep room for them.
    Protect(Vec<NodeId>),
    /// Find out whether UDP or TCP passes: try this address of a peer that is connected over the other one; answer
    /// with `Tried`.
    Try {
        /// Whose.
        node: NodeId,
        /// Which.
        addr: String,
    },
}

impl Effect {
    /// Whether it says how things are from now on, so that only the newest of its kind counts.
    pub(crate) const fn is_state(&self) -> bool {
        matches!(
            self,
            Self::Publish(_)
                | Self::KadServer(_)
                | Self::Serve(_)
                | Self::AnnounceRelay(_)
                | Self::Protect(_)
        )
    }
}
