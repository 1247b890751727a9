//! How long a command waits for a job that does not move, and for a daemon that is away.

use super::explain;
use crate::output::{CliError, Exit};
use hive_api::client::Client;
use hive_runtime::port::{JobView, Kind, Problem, Refused};
use std::time::{Duration, Instant};

/// Pause between tries to reach a daemon that is being restarted.
const AGAIN: Duration = Duration::from_millis(200);
/// How long a daemon may be away before a command gives up on it (the job itself goes on once it is back).
const DAEMON_AWAY: Duration = Duration::from_secs(60);

/// Watches a job that may be unable to move.
#[derive(Debug)]
pub struct Patience {
    most: Duration,
    since: Option<Instant>,
}

/// Whether waiting may be in vain, and the exit code if it is.
fn hopeless(waiting: &Problem) -> Option<Exit> {
    if waiting.code == "place.busy" {
        // Somebody fits and has other work: a turn will come.
        None
    } else if waiting.code.starts_with("place.") {
        Some(Exit::NO_FIT)
    } else if waiting.code.starts_with("wallet.") || waiting.code == "job.budget" {
        Some(Exit::NO_CREDIT)
    } else if waiting.code.starts_with("credential.") || waiting.code.starts_with("member.") {
        // A clock that is off, an account shut out: waiting mends neither. A credential that is missing may still come:
        // that is what patience is for.
        Some(Exit::of(Kind::Denied))
    } else {
        // An authority that is away comes back.
        None
    }
}

impl Patience {
    /// Waits at most this long while nothing runs.
    pub const fn new(most: Duration) -> Self {
        Self { most, since: None }
    }

    /// Looks at the job. Once patience has run out: what to stop for.
    pub fn look<'a>(&mut self, job: &'a JobView, now: Instant) -> Option<(&'a Problem, Exit)> {
        let stuck = job
            .waiting
            .as_ref()
            .filter(|_| job.running == 0 && job.assigned == 0)
            .and_then(|w| hopeless(w).map(|exit| (w, exit)));
        let Some(stuck) = stuck else {
            self.since = None;
            return None;
        };
        let since = *self.since.get_or_insert(now);
        (now.saturating_duration_since(since) >= self.most).then_some(stuck)
    }
}

/// The error for a job given up: its reason, the funnel, the nearest fixes.
pub async fn given_up(client: &Client, job: &JobView, why: &Problem, exit: Exit) -> CliError {
    let mut error = CliError::internal(&why.code, why.message.clone()).exit(exit);
    error.retryable = true;
    error.hint.clone_from(&why.hint);
    if let Ok(funnel) = client.explain_job(&job.job).await {
        if !funnel.needs.is_empty() {
            error = error.note("needs", funnel.needs.clone());
        }
        if !funnel.steps.is_empty() {
            error = error.note("nodes", explain::line(&funnel));
        }
        for fix in &funnel.fixes {
            error = error.note("try", fix.clone());
        }
        error = error.details(serde_json::json!({ "funnel": funnel }));
    }
    error.note("more", format!("hivenode job explain {}", job.job))
}

/// Whether the daemon is away (restarting), not refusing.
pub fn away(refused: &Refused) -> bool {
    refused.retryable && refused.kind == Kind::Unreachable && refused.code.starts_with("daemon.")
}

/// Asks again while the daemon is away. Only for questions: a change could be done twice.
pub async fn ask<T, F: Future<Output = Result<T, Refused>>>(
    mut question: impl FnMut() -> F,
) -> Result<T, Refused> {
    let deadline = Instant::now() + DAEMON_AWAY;
    loop {
        match question().await {
            Err(refused) if away(&refused) && Instant::now() < deadline => tokio::time::sleep(AGAIN).await,
            other => return other,
        }
    }
}

#[cfg(test)]
pub mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hive_protocol::task::Limits;

    /// A job in which nothing has happened yet.
    pub fn job(state: &str, waiting: Option<&str>) -> JobView {
        JobView {
            job: "j_x".into(),
            name: "x".into(),
            state: state.into(),
            waiting: waiting.map(|code| Problem {
                code: code.into(),
                message: "why".into(),
                hint: None,
            }),
            submitted: 0,
            ended: 0,
            tasks: 1,
            queued: 1,
            assigned: 0,
            running: 0,
            succeeded: 0,
            failed: 0,
            stopped: 0,
            retried: 0,
            cost: 0,
            budget: 0,
            fuel: 0,
            bytes_in: 0,
            by_worker: Vec::new(),
            module: String::new(),
            limits: Limits::default(),
        }
    }

    #[test]
    fn patience_ends_only_for_jobs_that_cannot_move() {
        let start = Instant::now();
        let later = start + Duration::from_secs(31);
        let mut p = Patience::new(Duration::from_secs(30));
        let stuck = job("waiting", Some("place.no_fit"));
        assert!(p.look(&stuck, start).is_none());
        assert_eq!(p.look(&stuck, later).unwrap().1, Exit::NO_FIT);
        // Movement starts the clock anew.
        assert!(p.look(&job("running", None), later).is_none());
        assert!(p.look(&stuck, later).is_none());
        let mut p = Patience::new(Duration::ZERO);
        assert_eq!(
            p.look(&job("waiting", Some("wallet.insufficient")), start)
                .unwrap()
                .1,
            Exit::NO_CREDIT
        );
        for denied in ["credential.missing", "member.clock_skew"] {
            let stuck = job("waiting", Some(denied));
            assert_eq!(p.look(&stuck, start).unwrap().1, Exit::of(Kind::Denied));
        }
        assert!(p.look(&job("waiting", Some("place.busy")), later).is_none());
        assert!(
            p.look(&job("waiting", Some("authority.unreachable")), later)
                .is_none()
        );
    }
}
