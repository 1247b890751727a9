//! What the inbox hears, what it wants done, and why it refuses.

use super::{Key, MAX_DEST, News, Order};
use crate::notices::{Write, policy::Policy};
use hive_protocol::{
    credential::Tier,
    ids::{NodeId, NoticeId},
    notice::{Notice, NoticeMsg},
};

/// What happens to the inbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// A notice that has passed [`crate::notices::check`] came from its sender.
    Notice(Box<Notice>, Option<Tier>),
    /// A page of mail.
    Mail {
        /// The authority.
        from: NodeId,
        /// Those that have passed [`crate::notices::check`], with their senders' tiers.
        notices: Vec<(Notice, Option<Tier>)>,
        /// Ids of those that never can.
        useless: Vec<NoticeId>,
        /// Whether the page was empty: there is no more.
        end: bool,
    },
    /// A member is connected.
    PeerUp(NodeId),
    /// A member is no longer connected.
    PeerDown(NodeId),
    /// What was said to a node last has not gone out, or the stream it went out on has broken.
    LinkBroken(NodeId),
    /// Whose mailboxes are asked.
    Authorities(Vec<NodeId>),
    /// A sender has the final states of these.
    Noted {
        /// Who.
        from: NodeId,
        /// Of these.
        ids: Vec<NoticeId>,
    },
    /// A sender takes one back.
    Withdrawn {
        /// Who.
        from: NodeId,
        /// Which.
        id: NoticeId,
    },
    /// A place for a file was found, or why not.
    Placed(Key, Result<String, String>),
    /// A pull says how it goes.
    Pull(Key, News),
    /// Somebody accepts one, and says where it should go.
    Accept(NoticeId, Option<String>),
    /// Somebody declines one, and says why.
    Decline(NoticeId, String),
    /// Take an ended one off the list.
    Remove(NoticeId),
    /// The policy from now on.
    Policy(Box<Policy>),
    /// Bytes free where files go, and the minute of the day.
    Surroundings {
        /// `None` when it cannot be told.
        free: Option<u64>,
        /// 0 to 1439.
        minute: u16,
    },
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
    /// Find a free place: [`Input::Placed`].
    Place(Box<Order>),
    /// Begin to pull, or go on with it: [`Input::Pull`].
    Begin(Box<Order>),
    /// Give it up.
    Stop(Box<Order>),
    /// A notice has been taken.
    Arrived(Key),
    /// It stands otherwise now.
    Changed(Key),
}

/// Why a notice in the list is not dealt with as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InboxError {
    /// No such notice.
    #[error("there is no notice {0} in the inbox")]
    Unknown(NoticeId),
    /// Several senders gave the same id.
    #[error("the inbox has several notices {0} of different senders")]
    Several(NoticeId),
    /// It is not in such a state.
    #[error("the notice {id} {why}")]
    State {
        /// Which.
        id: NoticeId,
        /// Why not.
        why: &'static str,
    },
    /// The destination is too long.
    #[error("a destination of {0} bytes; at most {MAX_DEST} are allowed")]
    Dest(usize),
}
