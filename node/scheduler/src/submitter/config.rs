//! What the submitter core can be told to do otherwise, with the defaults it is shipped with.

use hive_protocol::{
    ids::{AccountId, NetworkId, NodeId},
    time::Millis,
};

/// Most jobs in memory; more are refused (`job.too_many_jobs`). Finished ones count until forgotten.
pub const MAX_JOBS: usize = 1024;
/// Most tasks of all jobs in memory: about 300 bytes each before arguments.
pub const MAX_TASKS: usize = 2_000_000;
/// Most nodes remembered for `explain`.
pub const MAX_NODES: usize = 10_000;
/// Most offers kept for one job between hearing and choosing; further ones are dropped.
pub const MAX_OFFERS: usize = 256;
/// Most leases of one job at once, those being asked for included.
pub const MAX_LEASES_PER_JOB: usize = 256;
/// Most leases in memory in all, those being settled included.
pub const MAX_LEASES: usize = 4096;

/// Settings of the submitter core.
#[derive(Clone, Debug)]
pub struct Config {
    /// The mesh.
    pub network: NetworkId,
    /// This node.
    pub node: NodeId,
    /// The account that pays.
    pub account: AccountId,
    /// How often an unmet demand is announced again.
    pub demand_every: Millis,
    /// How long offers are gathered after the first before the best are chosen.
    pub offer_window: Millis,
    /// How long to wait for the answer to a lease request before asking again.
    pub lease_answer: Millis,
    /// How often a lease request is made before the worker counts as silent.
    pub lease_tries: u32,
    /// How long a worker that refused, lost or cheated is left alone at first; doubled each time up to 32 fold.
    pub worker_pause: Millis,
    /// How long a hold lasts. Tasks may run almost as long; a lease is replaced before.
    pub hold_life: Millis,
    /// How long an open job without tasks keeps its leases.
    pub idle_lease: Millis,
    /// How many milliseconds of work a slot should have queued.
    pub queue_ms: u64,
    /// Most slots one job asks for.
    pub max_slots: u32,
    /// First pause before a refused hold or capture is tried again; doubled up to 16 fold.
    pub authority_pause: Millis,
    /// A straggler is run a second time when it takes this many times the average (and at least
    /// [`Config::straggler_min`]) while other slots are idle.
    pub straggler_factor: u32,
    /// No task is run a second time before it has taken this long.
    pub straggler_min: Millis,
}

impl Config {
    /// The shipped settings.
    #[must_use]
    pub const fn new(network: NetworkId, node: NodeId, account: AccountId) -> Self {
        Self {
            network,
            node,
            account,
            demand_every: Millis(2000),
            offer_window: Millis(10),
            lease_answer: Millis(2000),
            lease_tries: 3,
            worker_pause: Millis(1000),
            hold_life: Millis::mins(30),
            idle_lease: Millis::mins(5),
            queue_ms: 100,
            max_slots: 1024,
            authority_pause: Millis(500),
            straggler_factor: 3,
            straggler_min: Millis(1000),
        }
    }
}
