//! Whether a connection still carries anything: when it was last heard, and since when an answer is due.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Of one connection. Times are milliseconds since the first use in this process, plus one; 0 is never.
#[derive(Debug)]
pub(crate) struct Pulse {
    heard: AtomicU64,
    waiting: AtomicU64,
}

fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

/// A time as it is kept here: milliseconds since the first use in this process, plus one.
pub(crate) fn millis(now: Instant) -> u64 {
    let since = now.saturating_duration_since(epoch());
    u64::try_from(since.as_millis())
        .unwrap_or(u64::MAX)
        .saturating_add(1)
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            heard: AtomicU64::new(millis(Instant::now())),
            waiting: AtomicU64::new(0),
        }
    }
}

impl Pulse {
    /// Something has come in.
    pub(crate) fn heard(&self) {
        self.heard.store(millis(Instant::now()), Ordering::Relaxed);
        self.waiting.store(0, Ordering::Relaxed);
    }

    /// Something has gone out.
    pub(crate) fn sent(&self) {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            self.waiting.store(millis(Instant::now()), Ordering::Relaxed);
        }
    }

    /// How long nothing has come in.
    pub(crate) fn silence(&self, now: Instant) -> Duration {
        ago(self.heard.load(Ordering::Relaxed), now)
    }

    /// How long something that went out has had nothing come in after it; zero when nothing is due.
    pub(crate) fn waiting(&self, now: Instant) -> Duration {
        match self.waiting.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => ago(since, now),
        }
    }
}

/// How long ago a time kept here was.
pub(crate) fn ago(at: u64, now: Instant) -> Duration {
    Duration::from_millis(millis(now).saturating_sub(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_due_from_the_first_thing_sent_until_something_is_heard() {
        let (pulse, now) = (Pulse::default(), Instant::now());
        let later = now + Duration::from_secs(3600);
        assert_eq!(pulse.waiting(later), Duration::ZERO);
        assert!(pulse.silence(later) >= Duration::from_secs(3599));
        pulse.sent();
        let due = pulse.waiting(later);
        pulse.sent();
        assert!(pulse.waiting(later) == due && due > Duration::from_secs(3000));
        pulse.heard();
        assert_eq!(pulse.waiting(later), Duration::ZERO);
    }
}
