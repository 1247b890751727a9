//! Wire protocol `/hive/authority/1`: members ask the authorities.
//!
//! Participants: a member; an authority. One long-lived stream for each direction of asking: frames of
//! [`Request`] go up, frames of [`Response`] come back in any order, matched by number. Goals: durable
//! commands (an answer to `Submit` means fdatasync has happened), short-lived credentials, a registry view.
//! Non-goal: replication between authorities.

use crate::{
    codec::Message,
    command::{Command, Refusal},
    credential::{Credential, Tier},
    ids::{AccountId, CommandId, HoldId, InviteId, LeaseId, NetworkId, NodeId},
    keys::Signed,
    money::{MicroCpt, Price},
    receipt::HoldGrant,
    resources::{Capabilities, Resources, Role},
    time::{Millis, Timestamp},
};
use serde::{Deserialize, Serialize};

/// The protocol's name on the wire.
pub const PROTOCOL: &str = "/hive/authority/1";
/// Requests one peer may have unanswered; more are refused with `authority.busy`.
pub const MAX_IN_FLIGHT: usize = 64;
/// Largest page of any listing.
pub const MAX_PAGE: usize = 200;
/// How often a node sends a heartbeat.
pub const HEARTBEAT_EVERY: Millis = Millis::secs(5);
/// A node without a heartbeat for this long is offline.
pub const OFFLINE_AFTER: Millis = Millis::secs(20);

/// A numbered question.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Request {
    /// Chosen by the asker, echoed in the answer.
    pub number: u64,
    /// The question.
    pub body: Ask,
}

impl Message for Request {
    const NAME: &'static str = "authority request";
    const PROTO: u16 = 5;
    const VERSION: u16 = 1;
    const MAX: usize = 16 << 10;
}

/// What can be asked.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Ask {
    /// Carry out a command; answered when it is durable. Sent again with the same id it is answered alike.
    Submit(Signed<Command>),
    /// A fresh credential for the asking node.
    Renew,
    /// I am here, with this free and this load.
    Heartbeat(Heartbeat),
    /// An account's balance, score and holds.
    Account(AccountId),
    /// An account's ledger lines, newest first, older than `before` (line number), at most [`MAX_PAGE`].
    History {
        /// Whose.
        account: AccountId,
        /// Only lines with smaller numbers; `u64::MAX` for the newest.
        before: u64,
        /// How many, at most [`MAX_PAGE`].
        limit: u32,
    },
    /// Registered nodes after this one in key order, at most [`MAX_PAGE`].
    Nodes {
        /// Continue after this node; `None` for the first page.
        after: Option<NodeId>,
    },
    /// Totals of the ledger, for the sum check.
    Totals,
    /// One hold.
    Hold(HoldId),
}

/// A sign of life of a node.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Heartbeat {
    /// What it offers now.
    pub capabilities: Capabilities,
    /// What is free of it.
    pub free: Resources,
    /// Tasks running.
    pub running: u32,
    /// What it asks.
    pub price: Price,
    /// Where it listens (multiaddresses), at most [`crate::member::MAX_ADDRS`].
    pub addrs: Vec<String>,
}

/// A numbered answer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Response {
    /// The question's number.
    pub number: u64,
    /// The answer.
    pub body: Answer,
}

impl Message for Response {
    const NAME: &'static str = "authority response";
    const PROTO: u16 = 6;
    const VERSION: u16 = 1;
    const MAX: usize = 256 << 10;
}

/// What can be answered.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Answer {
    /// The command is durable and has taken effect (now or when it was first sent).
    Done(Done),
    /// Nothing was changed, and why.
    Refused(Refusal),
    /// A credential.
    Credential(Signed<Credential>),
    /// Heard.
    Heard,
    /// An account.
    Account(AccountView),
    /// Ledger lines, newest first.
    History(Vec<LedgerLine>),
    /// Nodes, in key order.
    Nodes(Vec<NodeView>),
    /// Totals.
    Totals(Totals),
    /// A hold.
    Hold(HoldView),
}

/// What a command has done.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Done {
    /// The command.
    pub id: CommandId,
    /// Its place in the ledger's log.
    pub index: u64,
    /// For a hold: the authority's signed word.
    pub grant: Option<Signed<HoldGrant>>,
    /// For a capture: what was paid.
    pub paid: MicroCpt,
}

/// An account as the authorities see it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct AccountView {
    /// The account.
    pub account: AccountId,
    /// Free to spend.
    pub available: MicroCpt,
    /// Set aside in holds and invitations.
    pub held: MicroCpt,
    /// Trust score.
    pub score: u32,
    /// Its tier.
    pub tier: Tier,
    /// Latest reasons the score moved, newest first, at most 20.
    pub reasons: Vec<ScoreChange>,
    /// Open holds it pays for, at most [`MAX_PAGE`].
    pub holds: Vec<HoldView>,
}

/// One move of a score.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ScoreChange {
    /// When.
    pub time: Timestamp,
    /// Score afterwards.
    pub score: u32,
    /// Why, one line.
    pub reason: String,
}

/// A hold as the authorities see it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct HoldView {
    /// The hold.
    pub hold: HoldId,
    /// The lease it pays for.
    pub lease: LeaseId,
    /// Who pays.
    pub payer: AccountId,
    /// Who may be paid.
    pub payee: AccountId,
    /// At most this much.
    pub amount: MicroCpt,
    /// When it ends.
    pub expires: Timestamp,
    /// Where it stands.
    pub state: HoldState,
}

/// Where a hold stands.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum HoldState {
    /// Open.
    Pending,
    /// Paid out, this much; the rest went back.
    Captured(MicroCpt),
    /// Given back by the payee.
    Released,
    /// Ended by time; everything went back.
    Expired,
}

/// One line of an account's history.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct LedgerLine {
    /// Its number in the log.
    pub index: u64,
    /// When.
    pub time: Timestamp,
    /// What: `mint`, `transfer`, `hold`, `capture`, `release`, `expire`, `invite`, `grant`.
    pub kind: String,
    /// The other account, where there is one.
    pub other: Option<AccountId>,
    /// µCPT, positive into this account's free balance, negative out of it.
    pub delta: i64,
    /// Free balance afterwards.
    pub available: MicroCpt,
    /// Hold, lease or memo, one line.
    pub note: String,
}

/// Sums over the whole ledger.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Totals {
    /// The mesh.
    pub network: NetworkId,
    /// µCPT ever minted.
    pub minted: MicroCpt,
    /// Sum of all free balances.
    pub available: MicroCpt,
    /// Sum of everything held.
    pub held: MicroCpt,
    /// Number of accounts.
    pub accounts: u64,
    /// Entries in the log.
    pub entries: u64,
    /// Open invitations.
    pub invites: Vec<InviteId>,
}

/// A node as the registry sees it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct NodeView {
    /// The node.
    pub node: NodeId,
    /// Its account.
    pub account: AccountId,
    /// Its name.
    pub name: String,
    /// Its roles.
    pub roles: Vec<Role>,
    /// Its account's score.
    pub score: u32,
    /// Its account's tier.
    pub tier: Tier,
    /// Whether heartbeats come.
    pub online: bool,
    /// When the last one came; 0 for never.
    pub last_seen: Timestamp,
    /// Last heartbeat or, before the first, what it said on joining.
    pub heartbeat: Heartbeat,
}
