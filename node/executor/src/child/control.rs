//! How a running guest is stopped: one control per slot, looked at by the guest on every epoch tick and
//! in every blocking host call.

use super::lock;
use super::quota::Watched;
use super::sinks::Sinks;
use crate::task::Failure;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

/// Why a guest was stopped by the executor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stop {
    #[error("cancelled")]
    Cancelled,
    #[error("still running after {ms} ms")]
    Timeout { ms: u64 },
    #[error("{wanted} bytes of memory wanted")]
    Memory { wanted: u64 },
    #[error("{what}: {bytes} bytes are over the limit of {limit}")]
    Output { what: String, bytes: u64, limit: u64 },
    #[error("{what}: over the limit of {limit}")]
    Files { what: &'static str, limit: u64 },
    #[error("{0}")]
    Input(String),
    #[error("{0}")]
    Host(String),
}

impl Stop {
    pub(super) fn failure(&self) -> Failure {
        let code = match self {
            Self::Cancelled => "task.cancelled",
            Self::Timeout { .. } => "task.timeout",
            Self::Memory { .. } => "task.memory",
            Self::Output { .. } => "task.output_limit",
            Self::Files { .. } => "task.files_limit",
            Self::Input(_) => "task.input",
            Self::Host(_) => "exec.io",
        };
        Failure::new(code, self.to_string())
    }
}

/// The control of one slot.
#[derive(Default)]
pub(super) struct Control {
    /// Set with `state.stop`, so that the tick needs no lock.
    stopped: AtomicBool,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    task: Option<u64>,
    stop: Option<Stop>,
    sinks: Option<Arc<Sinks>>,
    watched: Option<Arc<Watched>>,
}

impl Control {
    /// The slot takes this task.
    pub(super) fn begin(&self, task: u64) {
        let mut state = lock(&self.state);
        *state = State {
            task: Some(task),
            ..State::default()
        };
        self.stopped.store(false, Ordering::Release);
    }

    /// What the other threads look after while the task runs.
    pub(super) fn attach(&self, sinks: Option<Arc<Sinks>>, watched: Option<Arc<Watched>>) {
        let mut state = lock(&self.state);
        state.sinks = sinks;
        state.watched = watched;
    }

    /// The guest has ended; tells whether it was stopped.
    pub(super) fn end(&self) -> Option<Stop> {
        std::mem::take(&mut *lock(&self.state)).stop
    }

    /// Stops this task if it is the one that runs here and is not being stopped already.
    pub(super) fn stop(&self, task: u64, why: Stop) -> bool {
        let mut state = lock(&self.state);
        if state.task != Some(task) {
            return false;
        }
        if state.stop.is_none() {
            state.stop = Some(why);
            self.stopped.store(true, Ordering::Release);
            self.wake.notify_all();
        }
        true
    }

    pub(super) fn sinks(&self) -> Option<Arc<Sinks>> {
        lock(&self.state).sinks.clone()
    }

    pub(super) fn watched(&self) -> Option<Arc<Watched>> {
        lock(&self.state).watched.clone()
    }

    /// Called by the guest's thread: whether it must end now.
    pub(super) fn check(&self, deadline: &Deadline) -> Result<(), Stop> {
        if self.stopped.load(Ordering::Acquire)
            && let Some(stop) = &lock(&self.state).stop
        {
            return Err(stop.clone());
        }
        deadline.check()
    }

    /// Sleeps on behalf of the guest until `until`, a stop or the task's deadline.
    pub(super) fn sleep(&self, until: Instant, deadline: &Deadline) -> Result<(), Stop> {
        let mut state = lock(&self.state);
        loop {
            if let Some(stop) = &state.stop {
                return Err(stop.clone());
            }
            deadline.check()?;
            let left = until.min(deadline.at).saturating_duration_since(Instant::now());
            if until <= Instant::now() {
                return Ok(());
            }
            state = match self.wake.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

/// The wall-clock limit of one task.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    at: Instant,
    ms: u64,
}

/// No task runs longer than a year, so that instants can be added.
const LONGEST_MS: u64 = 366 * 24 * 3_600_000;

impl Deadline {
    pub(super) fn new(start: Instant, ms: u64) -> Self {
        let ms = ms.min(LONGEST_MS);
        Self {
            at: start + std::time::Duration::from_millis(ms),
            ms,
        }
    }

    fn check(&self) -> Result<(), Stop> {
        if Instant::now() >= self.at {
            Err(Stop::Timeout { ms: self.ms })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_stop_reaches_only_the_task_it_names() {
        let control = Control::default();
        control.begin(7);
        assert!(!control.stop(6, Stop::Cancelled));
        let deadline = Deadline::new(Instant::now(), 60_000);
        assert_eq!(control.check(&deadline), Ok(()));
        assert!(control.stop(7, Stop::Cancelled));
        assert_eq!(control.check(&deadline), Err(Stop::Cancelled));
        assert_eq!(control.end(), Some(Stop::Cancelled));
        control.begin(8);
        assert_eq!(control.check(&deadline), Ok(()));
    }

    #[test]
    fn a_sleeping_guest_wakes_for_a_stop_and_for_its_deadline() {
        let control = Arc::new(Control::default());
        control.begin(1);
        let far = Instant::now() + Duration::from_secs(3600);
        let short = Deadline::new(Instant::now(), 1);
        assert_eq!(control.sleep(far, &short), Err(Stop::Timeout { ms: 1 }));
        let other = Arc::clone(&control);
        let sleeper = std::thread::spawn(move || other.sleep(far, &Deadline::new(Instant::now(), 60_000)));
        control.stop(1, Stop::Cancelled);
        assert_eq!(sleeper.join().unwrap(), Err(Stop::Cancelled));
    }
}
