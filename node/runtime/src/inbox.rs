//! What reaches the daemon's loop from its tasks. Calls of the API have a queue of their own.

use crate::{
    home::Membership,
    jobs::{Accepted, TaskMeta},
    membership::Standing,
    port::{Call, JobView, JoinView, MeshView, Refused, Reply},
};
use hive_net::{NetEvent, NetHandle, NetStream};
use hive_protocol::{
    authority::NodeView,
    credential::Credential,
    ids::{JobId, LeaseId, NodeId},
    keys::Signed,
    work::WorkMsg,
};
use hive_scheduler::{submitter, worker};
use tokio::sync::oneshot;

/// Items that may wait for the loop. Senders wait for a place, so a flooding peer slows its own stream only.
pub const INBOX: usize = 1024;

/// One thing for the loop.
pub enum Inbox {
    /// From the network.
    Net(NetEvent),
    /// An outbound work stream is open.
    WorkOpened(NodeId, NetStream),
    /// A peer has opened its work stream to us: open ours to it.
    WorkInbound(NodeId),
    /// Messages of a peer, in order.
    Work(NodeId, Vec<WorkMsg>),
    /// An outbound work stream ended (its serial), or could not be opened (0).
    WorkDown(NodeId, u64),
    /// A work stream that could not be opened is tried again, if it is still wanted.
    WorkAgain(NodeId),
    /// For the submitter core.
    Submitter(Box<submitter::Input>),
    /// For the worker core.
    Worker(Box<worker::Input>),
    /// Several for the worker core, in order.
    WorkerMany(Vec<worker::Input>),
    /// An executor of a lease has ended for good; forget its handle.
    ExecutorGone(LeaseId),
    /// An authority answers, or none does any more.
    AuthorityUp(bool),
    /// A renewed credential.
    Credential(Box<Signed<Credential>>),
    /// The authorities refuse to renew: this node is no member any more, or its clock is wrong.
    CredentialRefused(Refused),
    /// Something happened that watchers may want to know: kind, subject, text.
    Say(&'static str, String, String),
    /// The registry's list of nodes.
    Registry(Vec<NodeView>),
    /// Somebody outside the loop wants to know who is in the mesh, by an authority's word of now.
    AskWho(Asking),
    /// That has been asked, and what was said is known.
    Informed(Asking),
    /// A node that has just joined, or its mesh, is known to an authority: whoever waits for that is answered.
    Welcome(JoinReply),
    /// A job's sources are in the store (or it is refused).
    JobAccepted(Box<Result<Accepted, Refused>>, Reply<JobView>),
    /// Further tasks of an open job likewise.
    TasksAccepted(JobId, Box<Result<Vec<TaskMeta>, Refused>>, Reply<Vec<String>>),
    /// A join (or the founding of a mesh) has come to an end.
    Joined(Box<Result<Entered, Refused>>, JoinReply),
}

/// Who waits for an authority's word on who is in the mesh.
pub enum Asking {
    /// A call that names members, or lists them.
    Call(Box<Call>),
    /// Another part of the daemon.
    Part(oneshot::Sender<()>),
}

/// A node that is a member now, not yet taken up by the loop.
pub struct Entered {
    /// What to remember.
    pub membership: Membership,
    /// The network it uses.
    pub net: Option<(NetHandle, Standing)>,
}

/// Who waits for a join.
pub enum JoinReply {
    /// A ticket was redeemed.
    Join(Reply<JoinView>),
    /// A mesh was founded.
    Create(Reply<MeshView>),
}
