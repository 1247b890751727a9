//! Exit codes.

use hive_runtime::port::Kind;

/// An exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(pub u8);

impl Exit {
    /// Done.
    pub const OK: Self = Self(0);
    /// Failed.
    pub const FAILED: Self = Self(1);
    /// Wrong usage or a request that is wrong in itself.
    pub const USAGE: Self = Self(2);
    /// No such thing.
    pub const NOT_FOUND: Self = Self(3);
    /// Some did, some did not.
    pub const PARTIAL: Self = Self(9);
    /// Cannot be placed.
    pub const NO_FIT: Self = Self(7);
    /// Not enough credits.
    pub const NO_CREDIT: Self = Self(8);
    /// Took too long.
    pub const TIMEOUT: Self = Self(6);
    /// Daemon or mesh out of reach.
    pub const UNREACHABLE: Self = Self(5);
    /// Lost with its worker after all retries.
    pub const LOST: Self = Self(124);
    /// Waiting for a task failed by our own fault.
    pub const OWN_FAULT: Self = Self(125);
    /// Interrupted.
    pub const INTERRUPTED: Self = Self(130);

    /// The code of a family of refusals.
    pub const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Invalid => Self::USAGE,
            Kind::NotFound => Self::NOT_FOUND,
            Kind::Denied => Self(4),
            Kind::Conflict | Kind::Internal => Self::FAILED,
            Kind::Unreachable => Self::UNREACHABLE,
            Kind::Timeout => Self::TIMEOUT,
            Kind::NoFit => Self::NO_FIT,
            Kind::NoCredit => Self::NO_CREDIT,
        }
    }
}

/// What `help exit-codes` prints.
pub const EXIT_CODES: &str = "\
EXIT CODES
    0   ok
    1   failed; for a job: every task failed; for a push: no receiver took it
    2   wrong usage, or a request that is wrong in itself
    3   no such thing
    4   denied: membership, trust, ownership
    5   daemon, authority or peer out of reach
    6   took too long
    7   cannot be placed on any node
    8   not enough credits
    9   partial: some tasks failed, or some receivers did not take a push (all are listed on standard error)
  130   interrupted

`doctor` and `net check` end with 0 when all is well, 1 with warnings, 2 when something does not work.

`task wait` and `task submit --wait` end with the task's own code, and
  124   when the task was lost with its worker after all retries
  125   when the failure is hivenode's own (limits, placement, unreachable daemon)
";
