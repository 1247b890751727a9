//! Why the ledger refuses an operation. Nothing has changed then.

use hive_protocol::{
    ids::{AccountId, HoldId, InviteId},
    money::MicroCpt,
    time::Timestamp,
};

/// A refused operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Less free money than asked for.
    #[error(
        "{what} needs {need}, free are {have} ({held} more are held); earn or receive {}, or wait until holds end",
        need.saturating_sub(*have)
    )]
    Insufficient {
        /// What the money is for.
        what: &'static str,
        /// µCPT needed.
        need: MicroCpt,
        /// µCPT free.
        have: MicroCpt,
        /// µCPT held.
        held: MicroCpt,
    },
    /// No such account in this mesh.
    #[error("{0} is no account of this mesh; it becomes one by joining with a ticket")]
    UnknownAccount(AccountId),
    /// More accounts than the ledger may have.
    #[error("the ledger is full: it has {0} accounts")]
    Full(usize),
    /// An amount of nothing where there must be some.
    #[error("the amount is zero")]
    Zero,
    /// Money sent to oneself.
    #[error("sender and receiver are the same account")]
    SelfTransfer,
    /// No such hold, or it ended long ago and is forgotten.
    #[error("hold {0} is not known (or it ended long ago)")]
    HoldUnknown(HoldId),
    /// The id is taken by a hold with other terms.
    #[error("hold id {0} is already used with other terms; make a new id")]
    HoldExists(HoldId),
    /// An end that is past or too far away.
    #[error("a hold must end after now ({now}) and at most {max_ms} ms later, not at {expires}", now = .now.0, expires = .expires.0)]
    HoldExpiry {
        /// The end asked for.
        expires: Timestamp,
        /// The time of the record.
        now: Timestamp,
        /// Longest life in milliseconds.
        max_ms: u64,
    },
    /// One account has too many open holds.
    #[error("the account has {0} open holds, no more are allowed; release some or wait until they end")]
    HoldTooMany(usize),
    /// Already paid out.
    #[error("hold {hold} has already been paid out: {paid}")]
    HoldCaptured {
        /// The hold.
        hold: HoldId,
        /// What was paid.
        paid: MicroCpt,
    },
    /// Already given back.
    #[error("hold {0} has been released by the payee")]
    HoldReleased(HoldId),
    /// Already ended by time.
    #[error("hold {hold} ended at {} and its money went back to the payer", .ended.0)]
    HoldExpired {
        /// The hold.
        hold: HoldId,
        /// When.
        ended: Timestamp,
    },
    /// More asked than set aside.
    #[error("{asked} asked of hold {hold}, which has {amount}")]
    HoldExceeded {
        /// The hold.
        hold: HoldId,
        /// µCPT asked.
        asked: MicroCpt,
        /// µCPT set aside.
        amount: MicroCpt,
    },
    /// The id of an invitation is taken.
    #[error("invitation id {0} is already used; make a new id")]
    ReserveExists(InviteId),
    /// An end that is past or too far away.
    #[error("an invitation must end after now ({now}) and at most {max_ms} ms later, not at {expires}", now = .now.0, expires = .expires.0)]
    ReserveExpiry {
        /// The end asked for.
        expires: Timestamp,
        /// The time of the record.
        now: Timestamp,
        /// Longest life in milliseconds.
        max_ms: u64,
    },
    /// No reserve of this invitation with uses left.
    #[error("invitation {0} has nothing set aside any more")]
    ReserveUnknown(InviteId),
    /// One account has too many open invitations.
    #[error(
        "the account has {0} open invitations, no more are allowed; revoke some with `hivenode invite rm`"
    )]
    ReserveTooMany(usize),
    /// A sum that no amount can hold: the state is inconsistent. Refused rather than wrapped.
    #[error("arithmetic overflow in {0}; nothing was changed")]
    Overflow(&'static str),
}

impl LedgerError {
    /// Stable dotted code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Insufficient { .. } => "wallet.insufficient",
            Self::UnknownAccount(_) => "wallet.unknown_account",
            Self::Full(_) => "wallet.full",
            Self::Zero => "wallet.zero",
            Self::SelfTransfer => "wallet.self",
            Self::HoldUnknown(_) => "hold.unknown",
            Self::HoldExists(_) => "hold.exists",
            Self::HoldExpiry { .. } => "hold.expiry",
            Self::HoldTooMany(_) => "hold.too_many",
            Self::HoldCaptured { .. } => "hold.captured",
            Self::HoldReleased(_) => "hold.released",
            Self::HoldExpired { .. } => "hold.expired",
            Self::HoldExceeded { .. } => "hold.exceeded",
            Self::ReserveExists(_) => "invite.exists",
            Self::ReserveExpiry { .. } => "invite.expiry",
            Self::ReserveUnknown(_) => "ticket.unknown",
            Self::ReserveTooMany(_) => "invite.too_many",
            Self::Overflow(_) => "wallet.overflow",
        }
    }
}
