//! Commands to the authorities: data signed by the account that gives them (or a node it delegates to).
//!
//! Participants: an account owner or its node; the authorities. Goal: an authority can order and refuse
//! commands, never invent one. The client makes the 128-bit command id and keeps it over retries, so a
//! command takes effect at most once however often it is sent.

use crate::{
    credential::Delegation,
    ids::{AccountId, CommandId, HoldId, InviteId, LeaseId, NetworkId, NodeId},
    keys::{Document, Signed},
    money::MicroCpt,
    receipt::Countersigned,
    resources::{Capabilities, Role},
    time::{Millis, Timestamp},
};
use serde::{Deserialize, Serialize};

/// Longest memo of a transfer, in bytes.
pub const MAX_MEMO: usize = 128;
/// A command may be valid for at most this long; authorities remember command ids for at least as long.
pub const MAX_COMMAND_LIFE: Millis = Millis::hours(24);
/// A hold may last at most this long.
pub const MAX_HOLD_LIFE: Millis = Millis::hours(24 * 7);
/// An invitation may last at most this long.
pub const MAX_INVITE_LIFE: Millis = Millis::hours(24 * 90);

/// A command and the frame that makes it safe to send twice.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Command {
    /// The mesh it is for.
    pub network: NetworkId,
    /// The account that gives it. The signer is this account's key or, for holds, captures and
    /// releases, a node the account delegates to.
    pub account: AccountId,
    /// Idempotency key.
    pub id: CommandId,
    /// Refused from then on.
    pub not_after: Timestamp,
    /// What to do.
    pub body: CommandBody,
}

impl Document for Command {
    const DOMAIN: &'static str = "command/1";
    const MAX: usize = 4096;
}

/// What a command does.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum CommandBody {
    /// Moves money from the commanding account.
    Transfer {
        /// The receiver.
        to: AccountId,
        /// How much.
        amount: MicroCpt,
        /// A note, at most [`MAX_MEMO`] bytes.
        memo: String,
    },
    /// Sets money of the commanding account aside for a lease.
    Hold {
        /// Client-made id of the hold.
        hold: HoldId,
        /// The lease it pays for.
        lease: LeaseId,
        /// Who may be paid from it.
        payee: AccountId,
        /// How much.
        amount: MicroCpt,
        /// What is not captured by then goes back.
        expires: Timestamp,
    },
    /// Pays out a countersigned receipt and releases the rest of its hold. Either party may send it.
    Capture {
        /// The receipt both nodes have signed.
        receipt: Countersigned,
    },
    /// Gives a hold back to the payer; only the payee may (the payer waits for expiry).
    Release {
        /// The hold.
        hold: HoldId,
    },
    /// Makes an invitation; the grant for every use is set aside at once.
    Invite {
        /// Client-made id.
        invite: InviteId,
        /// BLAKE3-derived hash of the ticket's secret ([`crate::ticket::Ticket::secret_hash`]).
        secret_hash: [u8; 32],
        /// Role admitted to.
        role: Role,
        /// Score the joiner starts with; above the default only from accounts of tier high.
        score: u32,
        /// µCPT each joiner receives from the inviter.
        grant: MicroCpt,
        /// How often it can be redeemed, at least 1.
        uses: u32,
        /// When it ends.
        expires: Timestamp,
    },
    /// Ends an invitation; the unused grants go back.
    RevokeInvite {
        /// The invitation.
        invite: InviteId,
    },
    /// Redeems an invitation: the commanding account and its node become members.
    Join {
        /// The invitation.
        invite: InviteId,
        /// The ticket's secret.
        secret: [u8; 16],
        /// The account's word for its node.
        delegation: Signed<Delegation>,
        /// Wished name of the node, at most 64 bytes; made unique by the authority.
        name: String,
        /// Measured capabilities.
        capabilities: Capabilities,
    },
    /// Renews the account's word for a node (before the old one ends).
    Delegate {
        /// The new delegation.
        delegation: Signed<Delegation>,
    },
    /// Takes a node of the commanding account (or, by the founder, any node) out of the mesh.
    RemoveNode {
        /// The node.
        node: NodeId,
    },
    /// Sets an account's score by hand; founder only.
    SetScore {
        /// The account.
        account: AccountId,
        /// The new score, 0 to [`crate::genesis::MAX_SCORE`].
        score: u32,
        /// Why, at most [`MAX_MEMO`] bytes.
        reason: String,
    },
}

impl CommandBody {
    /// The name in audit lines and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Transfer { .. } => "transfer",
            Self::Hold { .. } => "hold",
            Self::Capture { .. } => "capture",
            Self::Release { .. } => "release",
            Self::Invite { .. } => "invite",
            Self::RevokeInvite { .. } => "revoke-invite",
            Self::Join { .. } => "join",
            Self::Delegate { .. } => "delegate",
            Self::RemoveNode { .. } => "remove-node",
            Self::SetScore { .. } => "set-score",
        }
    }

    /// Whether a delegated node key may sign it; otherwise only the account key may.
    #[must_use]
    pub const fn node_may_sign(&self) -> bool {
        matches!(
            self,
            Self::Hold { .. } | Self::Capture { .. } | Self::Release { .. }
        )
    }
}

/// Why the authorities refuse a command. Refusals are answers, not log entries' failures: nothing has changed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Refusal {
    /// Stable dotted code, such as `wallet.insufficient`, `ticket.expired`, `ticket.used`, `ticket.revoked`, `hold.unknown`.
    pub code: String,
    /// One line for people, at most 512 bytes.
    pub detail: String,
}

impl Refusal {
    /// A refusal with this code and text; the text is cut to 512 bytes.
    #[must_use]
    pub fn new(code: &str, detail: impl Into<String>) -> Self {
        let mut detail: String = detail.into();
        if detail.len() > 512 {
            let mut cut = 512;
            while !detail.is_char_boundary(cut) {
                cut -= 1;
            }
            detail.truncate(cut);
        }
        Self {
            code: code.to_owned(),
            detail,
        }
    }
}
