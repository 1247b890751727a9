//! Why something asked of the notices is not done.

use hive_protocol::ids::NoticeId;
use hive_store::JournalError;
use hive_transfer::notices::{inbox::InboxError, outbox::OutboxError};

/// Why notices cannot be begun with.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The protocol is served already.
    #[error(transparent)]
    Net(#[from] hive_net::NetError),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
}

impl StartError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Journal(e) => e.code(),
            Self::Net(e) => e.code(),
            Self::Random(_) => "notice.stopped",
        }
    }
}

/// Why a notice is not sent, or not dealt with as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// Nobody to send to.
    #[error("a notice needs 1 to 256 recipients other than its sender; these are {0}")]
    Recipients(usize),
    /// A bound of its form.
    #[error("the notice cannot be sent: {0}")]
    Invalid(&'static str),
    /// How long it lives.
    #[error("a notice lives between a second and 90 days, not {0} ms")]
    Life(u64),
    /// Too much waits.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// Not in the inbox, or not in such a state.
    #[error(transparent)]
    Inbox(#[from] InboxError),
    /// The journal did not take it.
    #[error("it could not be kept, so it was not done: {0}")]
    NotKept(String),
    /// It could not be signed.
    #[error("the notice {0} could not be signed: {1}")]
    Sign(NoticeId, String),
    /// The daemon is shutting down.
    #[error("notices are no longer dealt with: the daemon is stopping")]
    Stopped,
}

impl PushError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Recipients(_) => "notice.recipients",
            Self::Invalid(_) => "notice.invalid",
            Self::Life(_) => "notice.life",
            Self::Outbox(OutboxError::Full { .. }) => "notice.too_many",
            Self::Outbox(OutboxError::Twice) => "notice.twice",
            Self::Outbox(OutboxError::Unknown(_)) | Self::Inbox(InboxError::Unknown(_)) => "notice.unknown",
            Self::Outbox(OutboxError::Ended(_)) => "notice.ended",
            Self::Outbox(OutboxError::Open(_)) => "notice.open",
            Self::Inbox(InboxError::Several(_)) => "notice.several",
            Self::Inbox(InboxError::State { .. }) => "notice.state",
            Self::Inbox(InboxError::Dest(_)) => "notice.destination",
            Self::NotKept(_) => "notice.not_kept",
            Self::Sign(..) => "notice.sign",
            Self::Stopped => "notice.stopped",
        }
    }
}
