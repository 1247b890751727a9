//! What the worker core is told. STABLE: the runtime shell and netsim are written against this file.
//!
//! The shell checks signatures of credentials and hold grants; the hand under a countersigned receipt the
//! core checks itself. Every message of `/hive/work/1` a submitter sends goes in as [`Input::Message`],
//! except lease requests, which go in as [`Input::LeaseRequested`] with the outcome of those checks.

use hive_protocol::{
    command::Refusal,
    credential::Credential,
    gossip::Demand,
    ids::{HoldId, LeaseId, NodeId, TaskIndex},
    keys::Signed,
    money::{MicroCpt, Price},
    receipt::{Countersigned, HoldGrant, Receipt},
    resources::Capabilities,
    task::TaskResult,
    time::Timestamp,
    work::{LeaseRequest, WorkMsg},
};

/// One thing that has happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// A demand was heard by gossip (again); its credential verified and decoded.
    DemandHeard {
        /// The demand.
        demand: Box<Demand>,
        /// The asker's credential.
        credential: Box<Credential>,
    },
    /// A submitter asks for a lease ([`WorkMsg::LeaseRequest`]).
    LeaseRequested {
        /// The connection's peer.
        from: NodeId,
        /// The request.
        request: Box<LeaseRequest>,
        /// The verified grant and credential, or the named refusal (`lease.hold_invalid`, `lease.trust`,
        /// `lease.clock`) to answer with. The core itself checks that the grant is for this lease, this
        /// payee and not near its expiry.
        checked: Result<Box<Checked>, Refusal>,
    },
    /// Any other message from a submitter.
    Message {
        /// The connection's peer.
        from: NodeId,
        /// The message.
        message: WorkMsg,
    },
    /// A work stream to this node is up (first or again).
    PeerConnected {
        /// The node.
        node: NodeId,
    },
    /// The work stream to this node is gone.
    PeerLost {
        /// The node.
        node: NodeId,
    },
    /// The lease's executor runs and has the module compiled ([`super::Effect::StartExecutor`]).
    ExecutorReady {
        /// The lease.
        lease: LeaseId,
    },
    /// The executor could not start. With `retryable` the worker is at fault (spawn failed, disk full,
    /// module not fetched): the lease is closed and its tasks are given back. Otherwise the program is
    /// (`module.not_wasm`, `module.unknown_imports`, `module.compile_limit`, …): every task of the lease
    /// fails with this code.
    ExecutorFailed {
        /// The lease.
        lease: LeaseId,
        /// Stable code.
        code: String,
        /// One line for people.
        detail: String,
        /// Whether another worker may do better.
        retryable: bool,
    },
    /// The executor process has died with tasks in it. It is started again up to
    /// [`super::Config::executor_restarts`] times; tasks that had been started are reported as `exec.died`,
    /// those that had not are kept.
    ExecutorDied {
        /// The lease.
        lease: LeaseId,
        /// One line for people (signal, exit code).
        detail: String,
    },
    /// The executor has begun a task.
    TaskStarted {
        /// The lease.
        lease: LeaseId,
        /// The task.
        index: TaskIndex,
        /// Which try.
        attempt: u16,
    },
    /// A task has ended (also after [`super::Effect::CancelTask`], with whatever outcome); the blobs of its
    /// result are in this node's store and will be served to the submitter.
    TaskDone {
        /// The lease.
        lease: LeaseId,
        /// The result.
        result: Box<TaskResult>,
    },
    /// Log bytes of a running task, at most [`hive_protocol::work::MAX_LOG_CHUNK`].
    TaskLog {
        /// The lease.
        lease: LeaseId,
        /// The task.
        index: TaskIndex,
        /// Which try.
        attempt: u16,
        /// Whether it is standard error.
        stderr: bool,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// All blobs a task reads are here ([`super::Effect::FetchBlobs`]).
    BlobsReady {
        /// The lease.
        lease: LeaseId,
        /// The task.
        index: TaskIndex,
        /// Which try.
        attempt: u16,
    },
    /// A blob a task reads could not be had; the task is given back as retryable with this code.
    BlobsFailed {
        /// The lease.
        lease: LeaseId,
        /// The task.
        index: TaskIndex,
        /// Which try.
        attempt: u16,
        /// Stable code: `blob.unavailable`, `store.quota`, …
        code: String,
        /// One line for people.
        detail: String,
    },
    /// The shell has signed ([`super::Effect::SignReceipt`]).
    ReceiptSigned {
        /// The lease.
        lease: LeaseId,
        /// The receipt.
        receipt: Signed<Receipt>,
    },
    /// A capture is durable (or the authority says that the hold is settled already).
    CaptureDone {
        /// The lease.
        lease: LeaseId,
        /// What was paid.
        paid: MicroCpt,
    },
    /// A capture was refused, or no authority could be reached (code `authority.…`: tried again until the
    /// hold's expiry).
    CaptureFailed {
        /// The lease.
        lease: LeaseId,
        /// Why.
        refusal: Refusal,
    },
    /// A receipt kept over a restart of the daemon ([`super::Effect::KeepReceipt`] without a
    /// [`super::Effect::DropReceipt`]): its lease is over, the money is not in yet.
    KeptReceipt {
        /// The lease.
        lease: LeaseId,
        /// Its hold.
        hold: HoldId,
        /// When the hold ends.
        expires: Timestamp,
        /// The receipt.
        receipt: Box<Countersigned>,
    },
    /// A release was answered, well or badly; nothing hangs on it.
    ReleaseDone {
        /// The lease.
        lease: LeaseId,
    },
    /// This node's own credential, at start and after each renewal. No offers are made without.
    OwnCredential(Box<Credential>),
    /// What this node offers and asks has changed (configuration, measurement). Running leases keep price
    /// and resources; new ones wait where less is free than nothing.
    Configure(Box<Terms>),
    /// Share of this machine's CPU in use, in thousandths, for ranking.
    Load {
        /// 0 to 1000.
        milli: u32,
    },
    /// Take no new leases (true), or again (false). With true running leases are given
    /// [`super::Config::drain_grace`] to finish their running tasks; queued tasks are given back at once.
    Drain(bool),
    /// An authority answers (again).
    AuthorityUp,
    /// No authority answers.
    AuthorityDown,
    /// The time of [`super::Worker::poll_timeout`] has come.
    Tick,
}

/// What the shell has verified of a lease request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checked {
    /// The decoded grant, signed by an authority of this mesh.
    pub grant: HoldGrant,
    /// The decoded credential of the asking node.
    pub credential: Credential,
}

/// What a worker offers and asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Terms {
    /// What it has; `total` is what leases may use.
    pub capabilities: Capabilities,
    /// What it asks.
    pub price: Price,
    /// Most slots over all leases, at least 1; a need of nothing would fit without end.
    pub max_slots: u32,
}
