//! What applying an entry has brought about.

use hive_protocol::{
    authority::ScoreChange,
    command::Refusal,
    ids::{AccountId, CommandId, HoldId, InviteId, NodeId},
    money::MicroCpt,
    receipt::HoldGrant,
    resources::Role,
    time::Timestamp,
};

/// The result of applying one entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// The time it was applied at, which is the time the record must carry: not before any earlier record's, and
    /// not before any refused command's either, or a replay would decide differently.
    pub time: Timestamp,
    /// What to answer.
    pub outcome: Result<Accepted, Refusal>,
    /// What happened, in order; expiries first, also when the command is refused.
    pub events: Vec<Event>,
}

/// A command that has taken effect; the shell makes a `Done` of it by signing the grant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// The command; zeros for a tick.
    pub id: CommandId,
    /// The log entry in which it took effect.
    pub index: u64,
    /// For a capture: what was paid.
    pub paid: MicroCpt,
    /// For a hold: the grant, unsigned.
    pub grant: Option<HoldGrant>,
    /// It had taken effect before and this is the same answer again; nothing is to be logged.
    pub repeated: bool,
}

/// One thing that happened, for metrics, audit lines and subscribers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A node became a member, or came back with a new ticket.
    Joined {
        /// Its account.
        account: AccountId,
        /// The node.
        node: NodeId,
        /// The role admitted to.
        role: Role,
        /// Its name in the mesh.
        name: String,
        /// What the inviter granted.
        grant: MicroCpt,
    },
    /// An account has renewed its word for a node.
    Delegated {
        /// The node.
        node: NodeId,
    },
    /// A node is no member any more: its credential must not be renewed.
    NodeRemoved {
        /// The node.
        node: NodeId,
    },
    /// Money was sent.
    Transferred {
        /// The sender.
        from: AccountId,
        /// The receiver.
        to: AccountId,
        /// How much.
        amount: MicroCpt,
    },
    /// Money was set aside.
    Held {
        /// The hold.
        hold: HoldId,
        /// Who pays.
        payer: AccountId,
        /// Who may be paid.
        payee: AccountId,
        /// How much.
        amount: MicroCpt,
    },
    /// A receipt was paid out.
    Captured {
        /// The hold.
        hold: HoldId,
        /// Who paid.
        payer: AccountId,
        /// Who was paid.
        payee: AccountId,
        /// How much.
        paid: MicroCpt,
    },
    /// A hold was given back by the payee.
    Released {
        /// The hold.
        hold: HoldId,
    },
    /// A hold ended by time.
    Expired {
        /// The hold.
        hold: HoldId,
    },
    /// An invitation was made.
    Invited {
        /// The invitation.
        invite: InviteId,
        /// By whom.
        by: AccountId,
    },
    /// An invitation is over: used up, revoked or expired.
    InviteEnded {
        /// The invitation.
        invite: InviteId,
    },
    /// A score moved.
    Score {
        /// Whose.
        account: AccountId,
        /// To what and why.
        change: ScoreChange,
    },
}
