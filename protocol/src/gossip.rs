//! Wire protocol `hive/<mesh>/…` over gossipsub: what every node hears.
//!
//! Participants: all members. Three topics: demands of submitters, presence of nodes, prices of workers.
//! Goals: every worker hears of demand in one or two hops; single tasks are never gossiped. A message is
//! validated (bounds, credential, time, author) before it is forwarded; the author is the gossipsub source.

use crate::{
    codec::Message,
    credential::Credential,
    ids::{DemandId, JobId, NetworkId, NodeId},
    keys::Signed,
    money::{MicroCpt, Price},
    resources::{Capabilities, Resources, Role},
    task::{Placement, RuntimeKind},
    time::{Millis, Timestamp},
};
use serde::{Deserialize, Serialize};

/// A demand lives at most this long and is announced again while it stands.
pub const DEMAND_LIFE: Millis = Millis::secs(30);
/// Presence and prices live this long.
pub const PRESENCE_LIFE: Millis = Millis::secs(60);

/// The topic's name.
#[must_use]
pub fn topic(network: NetworkId, kind: &str) -> String {
    format!("hive/{}/{kind}/1", network.short())
}

/// Topic kind of demands.
pub const DEMAND: &str = "demand";
/// Topic kind of presence.
pub const PRESENCE: &str = "presence";
/// Topic kind of prices.
pub const PRICE: &str = "price";

/// A submitter wants slots.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Demand {
    /// Changes with every new need; the same over re-announcements.
    pub id: DemandId,
    /// The job it is for.
    pub job: JobId,
    /// Who asks; must be the gossip source.
    pub submitter: NodeId,
    /// The asker's credential.
    pub credential: Signed<Credential>,
    /// Where the asker listens (multiaddresses), at most [`crate::member::MAX_ADDRS`].
    pub addrs: Vec<String>,
    /// The engine needed.
    pub runtime: RuntimeKind,
    /// What one slot needs.
    pub need: Resources,
    /// How many slots could be used now.
    pub slots: u32,
    /// Where it may run.
    pub placement: Placement,
    /// Highest price, µCPT per Gfuel.
    pub max_price: MicroCpt,
    /// When this announcement was made.
    pub issued: Timestamp,
    /// Ignored from then on.
    pub expires: Timestamp,
}

impl Message for Demand {
    const NAME: &'static str = "demand";
    const PROTO: u16 = 7;
    const VERSION: u16 = 1;
    const MAX: usize = 4096;
}

/// A node is here.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Presence {
    /// Who; must be the gossip source.
    pub node: NodeId,
    /// Its credential.
    pub credential: Signed<Credential>,
    /// Its roles now.
    pub roles: Vec<Role>,
    /// What it offers.
    pub capabilities: Capabilities,
    /// What is free of it.
    pub free: Resources,
    /// Tasks running.
    pub running: u32,
    /// Where it listens (multiaddresses), at most [`crate::member::MAX_ADDRS`].
    pub addrs: Vec<String>,
    /// Whether it is leaving.
    pub leaving: bool,
    /// When this was said.
    pub issued: Timestamp,
}

impl Message for Presence {
    const NAME: &'static str = "presence";
    const PROTO: u16 = 8;
    const VERSION: u16 = 1;
    const MAX: usize = 4096;
}

/// What a worker asks for its work.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct PriceNotice {
    /// Who; must be the gossip source.
    pub node: NodeId,
    /// Its price.
    pub price: Price,
    /// When this was said.
    pub issued: Timestamp,
}

impl Message for PriceNotice {
    const NAME: &'static str = "price notice";
    const PROTO: u16 = 9;
    const VERSION: u16 = 1;
    const MAX: usize = 256;
}
