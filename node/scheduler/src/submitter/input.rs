//! What the submitter core is told. STABLE: the runtime shell and netsim are written against this file.
//!
//! The shell checks signatures of credentials and hold grants before it passes them on; the signatures of
//! receipts the core checks itself. Every message of `/hive/work/1` a worker sends goes in as
//! [`Input::Message`], except offers, whose credential has to be checked first. Messages from a peer must
//! come in the order they were received; several inputs may be handed in before effects are drained, which
//! makes larger batches.

use hive_protocol::{
    authority::Heartbeat,
    command::Refusal,
    credential::Credential,
    ids::{JobId, LeaseId, NodeId, TaskIndex},
    keys::Signed,
    money::{MicroCpt, Price},
    receipt::{Countersigned, HoldGrant},
    resources::{Capabilities, Resources},
    task::{JobSpec, TaskSpec},
    work::{Offer, WorkMsg},
};

use super::record::TaskEnd;

/// One thing that has happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// A user's new job, already checked ([`JobSpec::check`], [`TaskSpec::check`]) and journalled by the
    /// shell. `spec.tasks` must equal `tasks.len()`. Answered by [`super::Event::JobState`], or by
    /// [`super::Event::JobRejected`] when a bound is reached.
    Submit {
        /// Its id, made by the shell.
        job: JobId,
        /// What it is.
        spec: Box<JobSpec>,
        /// Its tasks, in index order.
        tasks: Vec<TaskSpec>,
    },
    /// A job from the journal after a restart of the daemon. Tasks not named in `ended` run (again); leases
    /// of the former life are forgotten, their workers keep what was countersigned.
    Restore {
        /// Its id.
        job: JobId,
        /// What it is; `spec.open` as it was last (false after a close or stop).
        spec: Box<JobSpec>,
        /// All its tasks so far.
        tasks: Vec<TaskSpec>,
        /// Tasks that have ended, from [`super::Effect::JournalTask`].
        ended: Vec<(TaskIndex, TaskEnd)>,
        /// µCPT spent so far, from the last [`super::Effect::JournalJob`].
        spent: MicroCpt,
    },
    /// More tasks for an open job; they get the next indices. Ignored (with
    /// [`super::Event::JobRejected`]) when the job is unknown, closed or full.
    AddTasks {
        /// The job.
        job: JobId,
        /// Its further tasks.
        tasks: Vec<TaskSpec>,
    },
    /// No more tasks will be added to this open job; it ends when all have.
    CloseJob {
        /// The job.
        job: JobId,
    },
    /// A user stops a whole job: running tasks are cancelled, what is owed is still paid.
    StopJob {
        /// The job.
        job: JobId,
    },
    /// A user stops one task.
    StopTask {
        /// The job.
        job: JobId,
        /// The task.
        index: TaskIndex,
    },
    /// A user wants an ended task run again (only while the job is in memory); a finished job wakes up.
    RetryTask {
        /// The job.
        job: JobId,
        /// The task.
        index: TaskIndex,
    },
    /// A finished job may be dropped from memory (the journal has it). Ignored while it still runs.
    ForgetJob {
        /// The job.
        job: JobId,
    },
    /// This node's own credential, at start and after each renewal: its score decides who may work for it.
    OwnCredential(Box<Credential>),
    /// A node was heard of (presence by gossip, or the registry): for `explain`, and for knowing how many
    /// workers there may be.
    NodeSeen {
        /// The node.
        node: NodeId,
        /// What is known of it.
        facts: Box<NodeFacts>,
    },
    /// A node's price was heard.
    PriceSeen {
        /// The node.
        node: NodeId,
        /// What it asks.
        price: Price,
    },
    /// A node has left or not been heard of for too long.
    NodeGone {
        /// The node.
        node: NodeId,
    },
    /// A worker's offer ([`WorkMsg::Offer`]); its credential verified and decoded by the shell.
    OfferReceived {
        /// Who offers (the connection's peer).
        from: NodeId,
        /// The offer.
        offer: Box<Offer>,
        /// Its credential, verified to be this peer's.
        credential: Box<Credential>,
    },
    /// The authority has set the money aside ([`super::Effect::RequestHold`]).
    HoldGranted {
        /// The lease.
        lease: LeaseId,
        /// The decoded grant, verified to be an authority's.
        grant: Box<HoldGrant>,
        /// The grant as the worker must see it.
        signed: Signed<HoldGrant>,
    },
    /// The authority has refused the hold, or could not be reached (code `authority.…`: the core asks again
    /// with the same ids).
    HoldRefused {
        /// The lease.
        lease: LeaseId,
        /// Why.
        refusal: Refusal,
    },
    /// A message from a worker, offers apart.
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
    /// The work stream to this node is gone; what was sent may or may not have arrived.
    PeerLost {
        /// The node.
        node: NodeId,
    },
    /// The shell has countersigned ([`super::Effect::Countersign`]).
    Countersigned {
        /// The lease.
        lease: LeaseId,
        /// The receipt with both hands.
        receipt: Box<Countersigned>,
    },
    /// A capture is durable (or the authority says that the hold is settled already).
    CaptureDone {
        /// The lease.
        lease: LeaseId,
        /// What was paid.
        paid: MicroCpt,
    },
    /// A capture was refused, or no authority could be reached (code `authority.…`: tried again).
    CaptureFailed {
        /// The lease.
        lease: LeaseId,
        /// Why.
        refusal: Refusal,
    },
    /// All blobs of a result are here and verified ([`super::Effect::FetchResult`]).
    ResultStored {
        /// The job.
        job: JobId,
        /// The task.
        index: TaskIndex,
        /// The try the result was of.
        attempt: u16,
    },
    /// A blob of a result could not be fetched or stored. The task is run again as if its worker were lost,
    /// unless `code` is `store.quota`, which ends it (this machine's disk is full; elsewhere does not help).
    ResultStoreFailed {
        /// The job.
        job: JobId,
        /// The task.
        index: TaskIndex,
        /// The try the result was of.
        attempt: u16,
        /// Stable code.
        code: String,
        /// One line for people.
        detail: String,
    },
    /// An authority answers (again): waiting holds and captures go out now.
    AuthorityUp,
    /// No authority answers: held leases run on, new ones wait.
    AuthorityDown,
    /// The time of [`super::Submitter::poll_timeout`] has come.
    Tick,
}

/// What is known of a node without talking to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeFacts {
    /// Its verified credential.
    pub credential: Credential,
    /// What it has.
    pub capabilities: Capabilities,
    /// What is free of it.
    pub free: Resources,
    /// Its price, if known.
    pub price: Option<Price>,
    /// Whether it is leaving (draining).
    pub leaving: bool,
    /// Whether it is here now; false for nodes only the registry remembers.
    pub online: bool,
}

impl NodeFacts {
    /// The facts in a heartbeat as the registry lists it.
    #[must_use]
    pub fn of_heartbeat(credential: Credential, heartbeat: &Heartbeat, online: bool) -> Self {
        Self {
            credential,
            capabilities: heartbeat.capabilities.clone(),
            free: heartbeat.free.clone(),
            price: Some(heartbeat.price),
            leaving: false,
            online,
        }
    }
}
