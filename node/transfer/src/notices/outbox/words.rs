//! What the outbox hears, what it wants done, and why it refuses.

use super::Standing;
use crate::notices::Write;
use hive_protocol::{
    command::Refusal,
    ids::{NodeId, NoticeId},
    keys::Signed,
    notice::{DeliveryState, Notice, NoticeMsg},
};

/// What happens to the outbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// A notice to be delivered, signed by this node.
    Send(Box<(Notice, Signed<Notice>)>),
    /// A member is connected.
    PeerUp(NodeId),
    /// A member is no longer connected.
    PeerDown(NodeId),
    /// What was said to a node last has not gone out, or the stream it went out on has broken.
    LinkBroken(NodeId),
    /// Whose mailboxes may be used.
    Authorities(Vec<NodeId>),
    /// A recipient says where a notice stands.
    State {
        /// Who.
        from: NodeId,
        /// Which notice.
        id: NoticeId,
        /// Where it stands.
        state: DeliveryState,
    },
    /// An authority answers a deposit.
    Deposited {
        /// Who.
        from: NodeId,
        /// Which notice.
        id: NoticeId,
        /// For whom it is kept.
        kept: Vec<NodeId>,
        /// Why not for the others.
        refused: Option<Refusal>,
    },
    /// A withdrawal has arrived.
    Noted {
        /// Where.
        from: NodeId,
        /// Of these.
        ids: Vec<NoticeId>,
    },
    /// Take a notice back.
    Cancel(NoticeId),
    /// Forget an ended notice.
    Forget(NoticeId),
    /// Time has passed.
    Tick,
}

/// What is to be done, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Make this durable before anything that comes after it.
    Write(Write),
    /// Say this to a node; connect to it if need be. When it cannot be said: [`Input::LinkBroken`].
    Say {
        /// To whom.
        to: NodeId,
        /// What.
        msg: Box<NoticeMsg>,
    },
    /// It stands otherwise with a recipient now.
    Changed {
        /// Which notice.
        id: NoticeId,
        /// With whom.
        node: NodeId,
        /// How.
        standing: Standing,
    },
}

/// Why a notice is not sent, or not taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutboxError {
    /// Too much waits already.
    #[error(
        "{what} wait to be delivered already, at most {limit} may; cancel some with `hivenode push cancel`"
    )]
    Full {
        /// What.
        what: &'static str,
        /// How many.
        limit: usize,
    },
    /// Made with an id that is in use.
    #[error("a notice with this id has been sent already")]
    Twice,
    /// No such notice.
    #[error("no notice {0} has been sent from here")]
    Unknown(NoticeId),
    /// It has ended.
    #[error("the notice {0} has ended: nothing is left to take back")]
    Ended(NoticeId),
    /// It has not ended.
    #[error("the notice {0} has not ended yet; cancel it first")]
    Open(NoticeId),
}
