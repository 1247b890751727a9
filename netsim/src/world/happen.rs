//! What can happen, and what a run came to.

use super::authority::{Reply, Request};
use crate::{fault::Faults, invariants::Violation};
use hive_protocol::{gossip::Demand, ids::LeaseId, task::TaskOrder, work::WorkMsg};
use hive_scheduler::{submitter, worker};
use std::collections::BTreeMap;

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Happen {
    /// A local answer to a core; void in another life.
    Submitter {
        node: usize,
        life: u64,
        input: Box<submitter::Input>,
    },
    /// The same for the other core.
    Worker {
        node: usize,
        life: u64,
        input: Box<worker::Input>,
    },
    /// An executor is ready, or not.
    Executor {
        node: usize,
        life: u64,
        number: u64,
        input: Box<worker::Input>,
    },
    /// A task's time is over.
    TaskEnds {
        node: usize,
        life: u64,
        number: u64,
        lease: LeaseId,
        order: Box<TaskOrder>,
    },
    /// A message on a work stream arrives.
    Message {
        from: usize,
        to: usize,
        epoch: u64,
        message: Box<WorkMsg>,
    },
    /// An attempt to connect is through.
    Dialled { a: usize, b: usize },
    /// A side hears that a connection is up.
    Up { side: usize, peer: usize, epoch: u64 },
    /// A side hears that a connection is gone.
    Lost { side: usize, peer: usize, epoch: u64 },
    /// A demand arrives by gossip.
    Demand { to: usize, demand: Box<Demand> },
    /// A request reaches the authority.
    ToAuthority {
        from: usize,
        life: u64,
        call: u64,
        request: Box<Request>,
    },
    /// A reply reaches a node.
    FromAuthority {
        to: usize,
        life: u64,
        call: u64,
        reply: Box<Reply>,
    },
    /// A call has taken too long.
    CallTimeout { node: usize, life: u64, call: u64 },
    /// The authority's log is on disk up to here.
    Synced { life: u64, upto: usize },
    /// A node says that it is there, and renews its credential.
    Beat { node: usize },
    /// A blob transfer is through: a result's, or a task's inputs.
    Fetched(Box<super::work::Transfer>),
    /// A user submits a planned job.
    Submit { job: usize },
    /// A user has a whim.
    Whim,
    /// A node crashes.
    Crash,
    /// This one does.
    CrashNode { node: usize },
    /// It comes back.
    Restart { node: usize },
    /// The authority crashes.
    CrashAuthority,
    /// It crashes out of turn: in the middle of a sync, or because every seed has it crash.
    AuthorityDies,
    /// It comes back.
    RestartAuthority,
    /// The mesh falls in two.
    Partition,
    /// It does so out of turn.
    FallInTwo,
    /// It is whole again.
    Whole { number: u64 },
    /// An executor dies.
    KillExecutor,
    /// A rogue says something out of turn.
    Rogue { node: usize },
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Hash of the trace.
    pub hash: String,
    /// Lines of the trace.
    pub lines: u64,
    /// Figures for the summary, in order.
    pub figures: BTreeMap<&'static str, u64>,
    /// Faults that really happened.
    pub faults: Faults,
    /// What was violated, if anything.
    pub violation: Option<Violation>,
    /// The trace, when asked for.
    pub trace: Vec<String>,
}
