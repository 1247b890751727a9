//! What the worker core can be told to do otherwise, with the defaults it is shipped with.

use super::input::Terms;
use hive_protocol::{
    ids::{AccountId, NetworkId, NodeId},
    time::Millis,
};

/// Most leases at once; each may have an executor process.
pub const MAX_LEASES: usize = 64;
/// Most leases that have ended but are not settled (captured, released, or their hold expired).
pub const MAX_SETTLING: usize = 4096;
/// Most demands remembered, so that each is answered once in a while and not with every announcement.
pub const MAX_DEMANDS: usize = 1024;
/// Most leases one submitter may have at once.
pub const MAX_LEASES_PER_PEER: usize = 16;

/// Settings of the worker core.
#[derive(Clone, Debug)]
pub struct Config {
    /// The mesh.
    pub network: NetworkId,
    /// This node.
    pub node: NodeId,
    /// The account that is paid.
    pub account: AccountId,
    /// What it offers and asks at first.
    pub terms: Terms,
    /// The same demand is answered again at most this often.
    pub offer_again: Millis,
    /// How often a lease's executor is started again after it died.
    pub executor_restarts: u32,
    /// How long running tasks may go on when draining.
    pub drain_grace: Millis,
    /// A lease is closed this long before its hold expires, so that the capture is in time.
    pub expiry_margin: Millis,
    /// First pause before a capture is tried again; doubled up to 16 fold.
    pub authority_pause: Millis,
    /// How long a submitter may leave receipts uncountersigned, connected, before the lease is closed as `lease.unpaid`.
    pub unpaid_grace: Millis,
    /// How long the worker waits after `Close` for the last countersignature.
    pub close_grace: Millis,
    /// A lease that has never had a task ends after this long; so does one that has been idle for this long.
    pub idle_grace: Millis,
    /// Tasks handed to the executor beyond its slots, for each slot, when tasks are very short.
    pub max_ahead: u32,
}

impl Config {
    /// The shipped settings.
    #[must_use]
    pub const fn new(network: NetworkId, node: NodeId, account: AccountId, terms: Terms) -> Self {
        Self {
            network,
            node,
            account,
            terms,
            offer_again: Millis(1500),
            executor_restarts: 3,
            drain_grace: Millis::secs(30),
            expiry_margin: Millis::secs(60),
            authority_pause: Millis(500),
            unpaid_grace: Millis::secs(60),
            close_grace: Millis::secs(20),
            idle_grace: Millis::mins(10),
            max_ahead: 16,
        }
    }
}
