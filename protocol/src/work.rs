//! Wire protocol `/hive/work/1`: offers, leases, tasks, results, receipts.
//!
//! Participants: a submitter's daemon and a worker's daemon. Each keeps one long-lived stream towards the
//! other and writes frames of [`WorkFrame`] on it. Goals: thousands of tasks a second between two nodes;
//! a lease outlives its connection. Non-goals: moving blobs (see [`crate::blob`]), moving money.
//!
//! Within a lease each direction numbers its [`LeaseBody`] messages from 1. A receiver takes number n+1 after
//! n, drops what it has seen, and acknowledges with `ack` (cumulative) on whatever it sends next or after
//! [`ACK_WITHIN`]. A sender keeps unacknowledged messages (at most [`MAX_UNACKED`]) and, after a
//! [`WorkMsg::Resume`] that says how far the peer has got, sends the rest again.

use crate::{
    codec::Message,
    credential::Credential,
    ids::{DemandId, HoldId, JobId, LeaseId, TaskIndex},
    keys::Signed,
    money::{MicroCpt, Price},
    receipt::{Countersigned, HoldGrant, Receipt},
    resources::{Capabilities, Resources},
    task::{Program, TaskOrder, TaskResult},
    time::{Millis, Timestamp},
};
use serde::{Deserialize, Serialize};

/// The protocol's name on the wire.
pub const PROTOCOL: &str = "/hive/work/1";
/// Most messages in one frame.
pub const MAX_BATCH: usize = 256;
/// Most tasks in one order, results in one report.
pub const MAX_TASKS_IN_MESSAGE: usize = 128;
/// Most slots one lease may have.
pub const MAX_SLOTS: u32 = 256;
/// Most tasks handed to a lease and not yet reported, per slot, beyond which a worker refuses.
pub const MAX_PIPELINE_PER_SLOT: u32 = 64;
/// Most unacknowledged lease messages a side keeps.
pub const MAX_UNACKED: usize = 1024;
/// An acknowledgement is sent at the latest this long after the message it is for.
pub const ACK_WITHIN: Millis = Millis(200);
/// A lease without a connection for this long is over.
pub const RESUME_GRACE: Millis = Millis::secs(20);
/// An offer stands this long.
pub const OFFER_LIFE: Millis = Millis::secs(10);
/// Most bytes of one log chunk.
pub const MAX_LOG_CHUNK: usize = 16 << 10;
/// Most log bytes of a lease that are kept until the other side has taken them: a minute of a talkative task.
pub const MAX_LOG_UNACKED: usize = 512 << 10;
/// A worker signs a receipt after this many ended tasks …
pub const RECEIPT_EVERY_TASKS: u64 = 256;
/// … or this long after the first unsigned one.
pub const RECEIPT_EVERY: Millis = Millis(500);
/// A worker with this many receipts not countersigned starts no further task of the lease.
pub const MAX_UNSIGNED_RECEIPTS: u64 = 4;

/// A frame: messages in order.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct WorkFrame {
    /// At most [`MAX_BATCH`].
    pub messages: Vec<WorkMsg>,
}

impl Message for WorkFrame {
    const NAME: &'static str = "work frame";
    const PROTO: u16 = 10;
    const VERSION: u16 = 1;
    const MAX: usize = 2 << 20;
}

/// One message between submitter and worker.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum WorkMsg {
    /// Worker: I could take slots of this demand.
    Offer(Box<Offer>),
    /// Submitter: give me these slots, paid from this hold.
    LeaseRequest(Box<LeaseRequest>),
    /// Worker: they are yours.
    LeaseAccept {
        /// The lease.
        lease: LeaseId,
        /// Slots given, at least 1, at most as many as asked.
        slots: u32,
        /// The price agreed on.
        price: Price,
    },
    /// Worker: no. Codes: `lease.no_room`, `lease.hold_invalid`, `lease.trust`, `lease.runtime`, `lease.draining`, `lease.price`, `lease.clock`.
    LeaseRefuse {
        /// The lease.
        lease: LeaseId,
        /// Stable code.
        code: String,
        /// One line for people.
        detail: String,
    },
    /// Either: I know this lease and have taken your messages up to `seen`; send what comes after.
    Resume {
        /// The lease.
        lease: LeaseId,
        /// Last number taken in order from the other side; 0 for none.
        seen: u64,
    },
    /// Either: I do not know this lease (any more); count it as lost.
    Unknown {
        /// The lease.
        lease: LeaseId,
    },
    /// A numbered message of a lease.
    Lease {
        /// The lease.
        lease: LeaseId,
        /// Its number in this direction, from 1.
        seq: u64,
        /// Last number taken in order from the other side.
        ack: u64,
        /// What it says.
        body: LeaseBody,
    },
    /// An acknowledgement by itself.
    Ack {
        /// The lease.
        lease: LeaseId,
        /// Last number taken in order from the other side.
        ack: u64,
    },
    /// Log bytes of a running task that writes faster than they are taken: not numbered, may be lost with the connection
    /// (the result carries the whole).
    Log {
        /// The lease.
        lease: LeaseId,
        /// The task.
        index: TaskIndex,
        /// Which try.
        attempt: u16,
        /// Whether it is standard error.
        stderr: bool,
        /// At most [`MAX_LOG_CHUNK`].
        bytes: Vec<u8>,
    },
}

/// A worker's offer for a demand.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Offer {
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
    /// Its credential.
    pub credential: Signed<Credential>,
    /// When the offer ends.
    pub expires: Timestamp,
}

/// A submitter's wish for a lease.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct LeaseRequest {
    /// Made by the submitter.
    pub lease: LeaseId,
    /// The demand offered for.
    pub demand: DemandId,
    /// The job it is for.
    pub job: JobId,
    /// Slots wished.
    pub slots: u32,
    /// The price of the offer.
    pub price: Price,
    /// The authority's word that it will be paid.
    pub hold: Signed<HoldGrant>,
    /// The submitter's credential.
    pub credential: Signed<Credential>,
    /// What all its tasks share.
    pub program: Program,
}

/// What is said within a lease.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum LeaseBody {
    /// Submitter: run these, in order. At most [`MAX_TASKS_IN_MESSAGE`].
    Tasks(Vec<TaskOrder>),
    /// Submitter: stop or forget these.
    Cancel(Vec<TaskIndex>),
    /// Submitter: your receipt is right, here is my hand.
    Countersign(Box<Countersigned>),
    /// Submitter: I refuse to pay this receipt, and why. The worker may stop.
    RefuseReceipt {
        /// The receipt's sequence.
        sequence: u64,
        /// Stable code such as `receipt.too_much`.
        code: String,
        /// One line for people.
        detail: String,
    },
    /// Submitter: no more tasks; end when all are reported and the last receipt is countersigned.
    Close,
    /// Worker: this task runs now.
    Started(Vec<(TaskIndex, u16)>),
    /// Worker: these have ended. At most [`MAX_TASKS_IN_MESSAGE`].
    Results(Vec<TaskResult>),
    /// Worker: what is owed so far.
    Receipt(Signed<Receipt>),
    /// Worker: the lease ends; unfinished tasks are given back. Codes: `lease.done`, `lease.drained`, `lease.unpaid`, `lease.budget`, `lease.hold_expired`, `exec.died`, `store.quota`.
    Closed {
        /// Stable code.
        code: String,
        /// One line for people.
        detail: String,
        /// µCPT owed in all, for the check.
        owed: MicroCpt,
        /// The hold it was drawn on.
        hold: HoldId,
    },
    /// Worker: log bytes of a running task. Numbered like the rest, so that none is lost with a connection; at most
    /// [`MAX_LOG_UNACKED`] bytes of a lease are said so before the other side has taken some, what goes over it is a
    /// [`WorkMsg::Log`].
    Log {
        /// The task.
        index: TaskIndex,
        /// Which try.
        attempt: u16,
        /// Whether it is standard error.
        stderr: bool,
        /// At most [`MAX_LOG_CHUNK`].
        bytes: Vec<u8>,
    },
}
