//! Why a call is refused: a code for programs, a text for people, the next step.

use serde::{Deserialize, Serialize};

/// The family of a refusal; decides the HTTP status and the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The request itself is wrong (HTTP 400, exit 2).
    Invalid,
    /// No such thing (HTTP 404, exit 3).
    NotFound,
    /// Not allowed: membership, trust, ownership (HTTP 403, exit 4).
    Denied,
    /// The thing is in a state that does not permit this (HTTP 409, exit 1).
    Conflict,
    /// Daemon, authority or peer out of reach (HTTP 503, exit 5).
    Unreachable,
    /// Took too long (HTTP 504, exit 6).
    Timeout,
    /// Cannot be placed on any node (HTTP 409, exit 7).
    NoFit,
    /// Not enough CPT (HTTP 402, exit 8).
    NoCredit,
    /// Our own fault, or the machine's (HTTP 500, exit 1).
    Internal,
}

/// A refusal as every layer passes it on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// The family.
    pub kind: Kind,
    /// Stable dotted code, such as `ticket.expired`.
    pub code: String,
    /// What happened, where and why: one line.
    pub message: String,
    /// The next command to type, where there is one.
    pub hint: Option<String>,
    /// Whether the same call may succeed later.
    pub retryable: bool,
}

impl Refused {
    /// A refusal without hint that is not worth retrying.
    #[must_use]
    pub fn new(kind: Kind, code: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: code.to_owned(),
            message: message.into(),
            hint: None,
            retryable: false,
        }
    }
    /// The same with the next command to type.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
    /// The same, worth retrying.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }
    /// The daemon stopped while the call was under way.
    #[must_use]
    pub fn stopping() -> Self {
        Self::new(Kind::Unreachable, "daemon.stopping", "the daemon is stopping").retryable()
    }
}
