//! What the submitter core wants done. STABLE: the runtime shell and netsim are written against this file.
//!
//! Effects must be carried out in order; those that wait for something (authority, blobs, signatures) are
//! started in order and answered by an input whenever they are through.

use hive_protocol::{
    ids::{AccountId, CommandId, DemandId, HoldId, JobId, LeaseId, NodeId, TaskIndex},
    keys::Signed,
    money::{MicroCpt, Price},
    receipt::{Countersigned, HoldGrant, Receipt},
    resources::Resources,
    task::{Placement, Program, RuntimeKind, TaskResult},
    time::Timestamp,
    work::WorkMsg,
};
use std::sync::Arc;

use super::record::{JobRecord, JobState, TaskEnd, TaskRecord, Totals};

/// One thing to do.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Publish (again) this demand by gossip. The shell adds credential, addresses and its node id.
    PublishDemand(Box<DemandDraft>),
    /// The demand is met or gone; offers for it are ignored from now on. Nothing need be sent.
    WithdrawDemand {
        /// The demand.
        demand: DemandId,
    },
    /// Ask the authority for a hold: `CommandBody::Hold` with these ids. Answer with `HoldGranted` or
    /// `HoldRefused`, exactly once for each time it is asked; asked again it has the same ids.
    RequestHold {
        /// The lease it pays for.
        lease: LeaseId,
        /// The job.
        job: JobId,
        /// Client-made id of the hold.
        hold: HoldId,
        /// Idempotency key of the command.
        command: CommandId,
        /// The worker's account.
        payee: AccountId,
        /// How much.
        amount: MicroCpt,
        /// When the hold ends.
        expires: Timestamp,
    },
    /// Send `WorkMsg::LeaseRequest` to this worker; the shell adds the credential.
    RequestLease {
        /// The worker.
        to: NodeId,
        /// The rest of the request.
        request: Box<LeaseDraft>,
    },
    /// Send this on the work stream to this node; drop it if there is no connection (the core sends again
    /// what matters after `PeerConnected`). Never blocks the core: a full stream counts as a lost one.
    Send {
        /// The node.
        to: NodeId,
        /// The message.
        message: WorkMsg,
    },
    /// Connect to this node if there is no work stream (leases wait for it). Answered by `PeerConnected`,
    /// if it works.
    Connect {
        /// The node.
        to: NodeId,
    },
    /// Fetch and verify all blobs of this result that are not inline. Answer `ResultStored` or
    /// `ResultStoreFailed`. Not asked for results whose blobs are all inline.
    FetchResult {
        /// Who has them.
        from: NodeId,
        /// The lease that allows it.
        lease: LeaseId,
        /// The job.
        job: JobId,
        /// The result.
        result: Box<TaskResult>,
    },
    /// Countersign this receipt: the core has checked signature, counts and amount. Answer `Countersigned`.
    Countersign {
        /// The lease.
        lease: LeaseId,
        /// The worker's receipt.
        receipt: Signed<Receipt>,
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
    /// Write an ended task to the journal. Comes before the event that says so.
    JournalTask {
        /// The job.
        job: JobId,
        /// The task.
        index: TaskIndex,
        /// Its record.
        record: Box<TaskRecord>,
    },
    /// An ended task runs again (a user's retry): take it out of the journal.
    UnjournalTask {
        /// The job.
        job: JobId,
        /// The task.
        index: TaskIndex,
    },
    /// Write where a job stands to the journal. Comes before any countersignature that spends more.
    JournalJob {
        /// The job.
        job: JobId,
        /// Its record.
        record: Box<JobRecord>,
    },
    /// Log bytes of a running task, for whoever follows.
    Log {
        /// The job.
        job: JobId,
        /// The task.
        index: TaskIndex,
        /// Which try.
        attempt: u16,
        /// Who runs it.
        node: NodeId,
        /// Whether it is standard error.
        stderr: bool,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Something people may want to see.
    Event(Event),
}

/// A demand without what only the shell knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DemandDraft {
    /// The same over re-announcements, new with every new need.
    pub id: DemandId,
    /// The job.
    pub job: JobId,
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
    /// When this announcement is made.
    pub issued: Timestamp,
    /// Ignored from then on.
    pub expires: Timestamp,
}

/// A lease request without the credential.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseDraft {
    /// The lease.
    pub lease: LeaseId,
    /// The demand offered for.
    pub demand: DemandId,
    /// The job.
    pub job: JobId,
    /// Slots wished.
    pub slots: u32,
    /// The price of the offer.
    pub price: Price,
    /// The authority's word.
    pub hold: Signed<HoldGrant>,
    /// What all tasks share.
    pub program: Arc<Program>,
}

/// What people may want to see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A submit, restore or addition was not taken. Codes: `job.exists`, `job.unknown`, `job.closed`,
    /// `job.too_many_jobs`, `job.too_many_tasks`, `job.shape`.
    JobRejected {
        /// The job.
        job: JobId,
        /// Stable code.
        code: &'static str,
    },
    /// A job has changed its state.
    JobState {
        /// The job.
        job: JobId,
        /// The new state.
        state: JobState,
    },
    /// All tasks of a job have ended (it is finished or stopped).
    JobFinished {
        /// The job.
        job: JobId,
        /// Its counts. `spent` may still grow by the last receipts.
        totals: Totals,
    },
    /// All leases of a finished job are settled: `spent` is final, the job may be forgotten.
    JobSettled {
        /// The job.
        job: JobId,
        /// Its counts.
        totals: Totals,
    },
    /// A worker says that it runs this task now.
    TaskStarted {
        /// The job.
        job: JobId,
        /// The task.
        index: TaskIndex,
        /// Which try.
        attempt: u16,
        /// The worker.
        node: NodeId,
    },
    /// A task has ended for good; the record went before ([`Effect::JournalTask`]).
    TaskEnded {
        /// The job.
        job: JobId,
        /// The task.
        index: TaskIndex,
        /// How.
        end: TaskEnd,
        /// Which try.
        attempt: u16,
        /// The worker, if it ever had one.
        node: Option<NodeId>,
    },
    /// A try went wrong by its worker's fault; the task goes back to the queue.
    TaskRetried {
        /// The job.
        job: JobId,
        /// The task.
        index: TaskIndex,
        /// The try that went wrong.
        attempt: u16,
        /// The worker.
        node: NodeId,
        /// Stable code: `lease.lost`, `result.unfetchable`, or the worker's.
        code: String,
        /// One line for people.
        detail: String,
    },
    /// A worker has given slots.
    LeaseOpened {
        /// The job.
        job: JobId,
        /// The lease.
        lease: LeaseId,
        /// The worker.
        node: NodeId,
        /// Its slots.
        slots: u32,
        /// Its price.
        price: Price,
        /// The money set aside.
        hold: MicroCpt,
    },
    /// A lease was refused by its worker, or its hold by the authority.
    LeaseRefused {
        /// The job.
        job: JobId,
        /// The lease.
        lease: LeaseId,
        /// The worker.
        node: NodeId,
        /// Stable code.
        code: String,
        /// One line for people.
        detail: String,
    },
    /// A lease is over.
    LeaseEnded {
        /// The job.
        job: JobId,
        /// The lease.
        lease: LeaseId,
        /// The worker.
        node: NodeId,
        /// Stable code: `lease.done`, `lease.lost`, `receipt.too_much`, or the worker's.
        code: String,
        /// One line for people.
        detail: String,
        /// Paid tasks in the last countersigned receipt.
        tasks: u64,
        /// µCPT in the last countersigned receipt.
        owed: MicroCpt,
    },
    /// A receipt was refused: the worker claims what it has not done. Evidence for the trust score.
    ReceiptRefused {
        /// The lease.
        lease: LeaseId,
        /// The worker.
        node: NodeId,
        /// Stable code: `receipt.signature`, `receipt.wrong_lease`, `receipt.backwards`, `receipt.too_much`, `receipt.price`, `receipt.over_hold`.
        code: &'static str,
        /// One line for people.
        detail: String,
    },
}
