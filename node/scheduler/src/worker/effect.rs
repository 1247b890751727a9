//! What the worker core wants done. STABLE: the runtime shell and netsim are written against this file.
//!
//! Effects must be carried out in order; those that wait for something are started in order and answered
//! by an input whenever they are through.

use hive_protocol::{
    ids::{CommandId, DemandId, HoldId, JobId, LeaseId, NodeId, TaskIndex},
    money::{MicroCpt, Price},
    receipt::{Countersigned, Receipt},
    resources::{Capabilities, Resources},
    task::{BlobRef, Program, TaskOrder},
    time::Timestamp,
    work::WorkMsg,
};
use std::sync::Arc;

/// One thing to do.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Send `WorkMsg::Offer` to this submitter, connecting first if need be; the shell adds the credential.
    SendOffer {
        /// The submitter.
        to: NodeId,
        /// Where it said that it listens.
        addrs: Vec<String>,
        /// The rest of the offer.
        offer: Box<OfferDraft>,
    },
    /// Send this on the work stream to this node; drop it if there is no connection (the core sends again
    /// what matters after `PeerConnected`). Never blocks the core: a full stream counts as a lost one.
    Send {
        /// The node.
        to: NodeId,
        /// The message.
        message: WorkMsg,
    },
    /// Fetch the module from the submitter if it is not here, start an executor with this many slots, and
    /// compile. Answer `ExecutorReady` or `ExecutorFailed`.
    StartExecutor {
        /// The lease.
        lease: LeaseId,
        /// The submitter, who has the module.
        from: NodeId,
        /// Most tasks at once.
        slots: u32,
        /// What to run.
        program: Arc<Program>,
    },
    /// End the lease's executor; no answer. Blobs kept only for the lease may go, results stay until their
    /// grace time is over.
    StopExecutor {
        /// The lease.
        lease: LeaseId,
    },
    /// Fetch the blobs a queued task reads (those not inline). Answer `BlobsReady` or `BlobsFailed`.
    /// Not asked for tasks without such blobs. Of standard input it is enough that it can be read in order.
    FetchBlobs {
        /// The lease.
        lease: LeaseId,
        /// The submitter, who has them.
        from: NodeId,
        /// The task.
        index: TaskIndex,
        /// Which try.
        attempt: u16,
        /// The blobs of its input files.
        blobs: Vec<BlobRef>,
        /// Its standard input, if that is a blob.
        stdin: Option<BlobRef>,
    },
    /// Run a task in the lease's executor, after those already handed to it. At most as many as
    /// `StartExecutor` said run at once; a few more are handed over ahead so that the executor never waits.
    /// Answer `TaskStarted` and `TaskDone`.
    RunTask {
        /// The lease.
        lease: LeaseId,
        /// The task.
        order: Box<TaskOrder>,
    },
    /// Stop a task handed to the executor; answered by `TaskDone` all the same.
    CancelTask {
        /// The lease.
        lease: LeaseId,
        /// The task.
        index: TaskIndex,
        /// Which try.
        attempt: u16,
    },
    /// Sign this receipt with the node key. Answer `ReceiptSigned`.
    SignReceipt {
        /// The lease.
        lease: LeaseId,
        /// The receipt.
        receipt: Box<Receipt>,
    },
    /// Write the last countersigned receipt of a lease where it survives kill -9, replacing the one before,
    /// so that a restarted worker can still capture it.
    KeepReceipt {
        /// The lease.
        lease: LeaseId,
        /// Its hold.
        hold: HoldId,
        /// When the hold ends.
        expires: Timestamp,
        /// The receipt.
        receipt: Box<Countersigned>,
    },
    /// The lease is settled; a kept receipt may go.
    DropReceipt {
        /// The lease.
        lease: LeaseId,
    },
    /// Send the capture (`CommandBody::Capture`) to the authority. Answer `CaptureDone` or `CaptureFailed`,
    /// exactly once for each time it is asked.
    Capture {
        /// The lease.
        lease: LeaseId,
        /// Its hold.
        hold: HoldId,
        /// Idempotency key of the command.
        command: CommandId,
        /// The last receipt.
        receipt: Box<Countersigned>,
    },
    /// Give a hold back of which nothing is owed (`CommandBody::Release`). Answer `ReleaseDone`.
    Release {
        /// The lease.
        lease: LeaseId,
        /// Its hold.
        hold: HoldId,
        /// Idempotency key of the command.
        command: CommandId,
    },
    /// What is free has changed: for heartbeats and presence.
    ResourcesChanged {
        /// Free of what is offered.
        free: Resources,
        /// Tasks running.
        running: u32,
    },
    /// Something people may want to see.
    Event(Event),
}

/// An offer without the credential.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OfferDraft {
    /// The demand.
    pub demand: DemandId,
    /// Slots free for it now.
    pub slots: u32,
    /// What it asks.
    pub price: Price,
    /// Share of its CPU in use, in thousandths.
    pub load_milli: u32,
    /// What it has.
    pub capabilities: Capabilities,
    /// What is free of it.
    pub free: Resources,
    /// When the offer ends.
    pub expires: Timestamp,
}

/// What people may want to see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A lease was given.
    LeaseOpened {
        /// The lease.
        lease: LeaseId,
        /// The job it is for.
        job: JobId,
        /// Who submits.
        submitter: NodeId,
        /// Its slots.
        slots: u32,
        /// The price agreed on.
        price: Price,
    },
    /// A lease request was refused.
    LeaseRefused {
        /// The lease.
        lease: LeaseId,
        /// Who asked.
        submitter: NodeId,
        /// Stable code.
        code: &'static str,
        /// One line for people.
        detail: String,
    },
    /// A lease is over; settling goes on.
    LeaseEnded {
        /// The lease.
        lease: LeaseId,
        /// The job.
        job: JobId,
        /// Who submitted.
        submitter: NodeId,
        /// Stable code.
        code: String,
        /// One line for people.
        detail: String,
        /// Tasks ended that are to be paid.
        tasks: u64,
        /// µCPT owed.
        owed: MicroCpt,
    },
    /// Money has come in.
    Earned {
        /// The lease.
        lease: LeaseId,
        /// Who paid.
        submitter: NodeId,
        /// How much.
        amount: MicroCpt,
    },
    /// What is owed will not come (capture refused, or the hold has expired).
    Unpaid {
        /// The lease.
        lease: LeaseId,
        /// Who owes.
        submitter: NodeId,
        /// How much was owed beyond what was paid.
        amount: MicroCpt,
        /// Stable code.
        code: String,
    },
    /// A task runs here now.
    TaskStarted {
        /// The lease.
        lease: LeaseId,
        /// The job.
        job: JobId,
        /// The task.
        index: TaskIndex,
    },
    /// A task has ended here.
    TaskEnded {
        /// The lease.
        lease: LeaseId,
        /// The job.
        job: JobId,
        /// The task.
        index: TaskIndex,
        /// `ok`, `task.exit` or the failure's code.
        code: String,
    },
    /// An executor died and is started again (or not).
    ExecutorDied {
        /// The lease.
        lease: LeaseId,
        /// Times it has died so far.
        deaths: u32,
        /// One line for people.
        detail: String,
    },
}
