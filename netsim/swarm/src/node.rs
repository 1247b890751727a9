//! A node of either kind, and what is counted of it.

use crate::{
    Fail,
    args::{Carrier, Kind},
    hive, plain,
};
use serde::{Deserialize, Serialize};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Hears every message that arrives: its bytes, and whether its author itself brought it.
pub type Ear = Arc<dyn Fn(&[u8], bool) + Send + Sync>;

/// What a node is made with.
pub struct Make {
    /// Which node of the run; names it.
    pub n: u64,
    pub carrier: Carrier,
    /// Whether it can be dialed.
    pub listen: bool,
    /// Whether it serves the hash table and has room for thousands of peers.
    pub serves: bool,
    pub ear: Option<Ear>,
    /// Neighbours a node of ours passes gossip on to, where it is not the default.
    pub neighbours: Option<usize>,
    /// Whether a node of ours passes no gossip on.
    pub silent: bool,
}

/// Counts of one node.
#[derive(Debug, Default)]
pub struct Tally {
    pub peers: AtomicU64,
    pub opened: AtomicU64,
    pub closed: AtomicU64,
    pub failed: AtomicU64,
}

/// The counts as they are now.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    /// Peers that are connected and may do everything.
    pub peers: u64,
    /// Connections made since start.
    pub opened: u64,
    /// Connections ended since start.
    pub closed: u64,
    /// Dials and handshakes that failed.
    pub failed: u64,
    /// Of them inbound.
    pub failed_in: u64,
    /// Connections closed because there was a better one.
    pub duplicate: u64,
}

impl Tally {
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub fn sub(counter: &AtomicU64) {
        counter.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn now(&self) -> Stat {
        let read = |c: &AtomicU64| c.load(Ordering::Relaxed);
        Stat {
            peers: read(&self.peers),
            opened: read(&self.opened),
            closed: read(&self.closed),
            failed: read(&self.failed),
            failed_in: 0,
            duplicate: 0,
        }
    }
}

/// A running node.
pub enum Node {
    Hive(hive::Member),
    Plain(plain::Stock),
}

impl Node {
    /// Starts a node that listens to gossip.
    pub async fn start(kind: Kind, make: Make) -> Result<Self, Fail> {
        Ok(match kind {
            Kind::Hive => Self::Hive(hive::Member::start(make).await?),
            Kind::Plain => Self::Plain(plain::Stock::start(make).await?),
        })
    }

    /// Its name, as text.
    pub fn id(&self) -> String {
        match self {
            Self::Hive(node) => node.id(),
            Self::Plain(node) => node.id(),
        }
    }

    /// Where it can be dialed.
    pub fn addr(&self) -> Option<String> {
        match self {
            Self::Hive(node) => node.addr(),
            Self::Plain(node) => node.addr(),
        }
    }

    /// Connects to another node and returns when everything can be done with it.
    pub async fn join(&self, id: &str, addr: &str) -> Result<(), String> {
        match self {
            Self::Hive(node) => node.join(id, addr).await,
            Self::Plain(node) => node.join(id, addr).await,
        }
    }

    /// Publishes a message; false when nobody is there to take it.
    pub async fn publish(&self, bytes: Vec<u8>) -> Result<bool, String> {
        match self {
            Self::Hive(node) => node.publish(bytes).await,
            Self::Plain(node) => node.publish(bytes).await,
        }
    }

    pub fn stat(&self) -> Stat {
        match self {
            Self::Hive(node) => node.stat(),
            Self::Plain(node) => node.stat(),
        }
    }
}
