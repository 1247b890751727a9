//! What the pull of one content tells those who watch it.

use hive_protocol::ids::NodeId;
use hive_transfer::swarm::State;
use std::collections::BTreeMap;

/// Why bytes come or do not come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Standing {
    /// They come.
    #[default]
    Moving,
    /// Paused by its user.
    Paused,
    /// Nobody known could be asked.
    NoProviders,
    /// Nobody there has what is missing.
    NobodyHasRest,
    /// This one is let alone for a while.
    Waiting(NodeId),
    /// This one owes bytes.
    Silent(NodeId),
    /// No room here.
    DiskFull,
}

impl From<State> for Standing {
    fn from(state: State) -> Self {
        match state {
            State::Moving => Self::Moving,
            State::Paused => Self::Paused,
            State::NoProviders => Self::NoProviders,
            State::NobodyHasRest => Self::NobodyHasRest,
            State::Waiting { peer, .. } => Self::Waiting(peer),
            State::Silent { peer } => Self::Silent(peer),
        }
    }
}

/// A provider's share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerShare {
    /// Who.
    pub node: NodeId,
    /// How its bytes travel.
    pub path: &'static str,
    /// Whether it has all.
    pub whole: bool,
    /// Bytes it gave.
    pub bytes: u64,
    /// Bytes a second.
    pub rate: u64,
}

/// How one content stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContentReport {
    /// Its size, if known.
    pub size: Option<u64>,
    /// Verified bytes here.
    pub here: u64,
    /// Payload bytes that came over the network.
    pub fetched: u64,
    /// Its providers.
    pub peers: Vec<PeerShare>,
    /// Providers not asked any more, and why.
    pub dropped: BTreeMap<NodeId, String>,
    /// Why bytes come or do not come.
    pub standing: Standing,
}
