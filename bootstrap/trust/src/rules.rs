//! The rules of mission.md: which worker may run whose task, and in which group it is ranked.
//!
//! Must not know resources, prices or places; those are other filters, asked before or after this one.

use hive_protocol::{credential::Tier, task::RuntimeKind};

/// From this score on an account is of tier high: its tasks may go to workers of tier low.
pub const HIGH_SCORE: u32 = 100;
/// Below this score a worker is of tier low.
pub const NORMAL_SCORE: u32 = 50;
/// A worker without a container runtime takes native processes only from users above this score.
pub const PROCESS_USER_ABOVE: u32 = 50;

/// The rule that keeps a worker from running a user's task. One sentence each, fit for `task explain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Rule {
    /// A worker of tier low runs only tasks of users of tier high.
    #[error(
        "the worker's score {worker} is below {NORMAL_SCORE} (tier low), so it runs only tasks of users with {HIGH_SCORE} or more; this user has {user}"
    )]
    LowWorker {
        /// The worker's score.
        worker: u32,
        /// The user's score.
        user: u32,
    },
    /// A container task needs a container runtime.
    #[error("the worker has no container runtime, so it runs no container tasks")]
    NoContainers,
    /// A native process on a worker without containers needs a user with a better score.
    #[error(
        "the worker has no container runtime, so it runs native processes only for users above {PROCESS_USER_ABOVE}; this user has {user}"
    )]
    ProcessUser {
        /// The user's score.
        user: u32,
    },
}

impl Rule {
    /// Stable dotted code: `trust.low_worker`, `trust.no_containers`, `trust.process_user`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::LowWorker { .. } => "trust.low_worker",
            Self::NoContainers => "trust.no_containers",
            Self::ProcessUser { .. } => "trust.process_user",
        }
    }
}

/// Whether a worker may run a task of this kind for this user; both are admitted members.
/// WASM counts as contained, so the container rule never applies to it.
///
/// # Errors
/// The first rule that forbids it: tier before containers.
pub const fn may_run(
    worker_score: u32,
    worker_has_containers: bool,
    user_score: u32,
    kind: RuntimeKind,
) -> Result<(), Rule> {
    if worker_score < NORMAL_SCORE && user_score < HIGH_SCORE {
        return Err(Rule::LowWorker {
            worker: worker_score,
            user: user_score,
        });
    }
    match kind {
        RuntimeKind::Container if !worker_has_containers => Err(Rule::NoContainers),
        RuntimeKind::Process if !worker_has_containers && user_score <= PROCESS_USER_ABOVE => {
            Err(Rule::ProcessUser { user: user_score })
        }
        RuntimeKind::Wasm | RuntimeKind::Container | RuntimeKind::Process => Ok(()),
    }
}

/// The group a worker is ranked in for a task of this kind, before load and place are looked at:
/// its tier, but low without a container runtime where the task is a container or a native process.
#[must_use]
pub const fn rank_group(worker_score: u32, worker_has_containers: bool, kind: RuntimeKind) -> Tier {
    match kind {
        RuntimeKind::Container | RuntimeKind::Process if !worker_has_containers => Tier::Low,
        RuntimeKind::Wasm | RuntimeKind::Container | RuntimeKind::Process => Tier::of(worker_score),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use RuntimeKind::{Container, Process, Wasm};

    #[test]
    fn every_border_of_every_rule() {
        // (worker score, containers, user score, kind, refusal)
        let table = [
            (49, true, 99, Wasm, Some("trust.low_worker")),
            (49, true, 100, Wasm, None),
            (0, false, 100, Wasm, None),
            (50, false, 0, Wasm, None),
            (100, false, 0, Wasm, None),
            (50, false, 1000, Container, Some("trust.no_containers")),
            (1000, false, 1000, Container, Some("trust.no_containers")),
            (50, true, 0, Container, None),
            (49, false, 99, Container, Some("trust.low_worker")),
            (49, false, 100, Container, Some("trust.no_containers")),
            (49, true, 100, Container, None),
            (50, false, 50, Process, Some("trust.process_user")),
            (50, false, 51, Process, None),
            (50, true, 0, Process, None),
            (49, false, 99, Process, Some("trust.low_worker")),
            (49, false, 100, Process, None),
        ];
        for (worker, containers, user, kind, refusal) in table {
            let got = may_run(worker, containers, user, kind);
            assert_eq!(
                got.err().map(Rule::code),
                refusal,
                "{worker} {containers} {user} {kind:?}"
            );
        }
    }

    #[test]
    fn ranking_group_is_the_tier_unless_containers_are_missing_where_they_matter() {
        assert_eq!(rank_group(100, false, Wasm), Tier::High);
        assert_eq!(rank_group(99, true, Container), Tier::Normal);
        assert_eq!(rank_group(100, false, Container), Tier::Low);
        assert_eq!(rank_group(100, false, Process), Tier::Low);
        assert_eq!(rank_group(100, true, Process), Tier::High);
        assert_eq!(rank_group(49, true, Wasm), Tier::Low);
        assert_eq!(Tier::of(NORMAL_SCORE), Tier::Normal);
        assert_eq!(Tier::of(HIGH_SCORE), Tier::High);
    }
}
