//! The daemon's clock: what it decides by.

use hive_protocol::time::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reads the machine's clock once and then counts on from it, so that a clock that is set while the daemon
/// runs moves nothing backwards; the offset is a setting. The time a machine sleeps is counted, too: a laptop that was
/// closed for a minute would else be refused by everybody as one whose clock is wrong.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    base: u64,
    start: Duration,
}

/// Since the machine was started, sleep included.
fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(secs, nanos)
}

impl Clock {
    /// A clock that runs `offset_ms` ahead of (or, negative, behind) the machine's.
    #[must_use]
    pub fn new(offset_ms: i64) -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ms = u64::try_from(unix.as_millis()).unwrap_or(0);
        Self {
            base: ms.saturating_add_signed(offset_ms),
            start: since_boot(),
        }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.when(since_boot())
    }

    fn when(&self, since_boot: Duration) -> Timestamp {
        let gone = since_boot.saturating_sub(self.start).as_millis();
        Timestamp(self.base.saturating_add(u64::try_from(gone).unwrap_or(u64::MAX)))
    }

    /// The moment of the runtime's timer for a time of this clock; now for one that has passed, and a year from now at
    /// the latest. The timer stands still while the machine sleeps, so it is to be asked for anew after each event.
    #[must_use]
    pub fn instant(&self, at: Timestamp) -> tokio::time::Instant {
        const FAR: Duration = Duration::from_secs(86_400 * 365);
        let left = Duration::from_millis(at.0.saturating_sub(self.now().0));
        tokio::time::Instant::now() + left.min(FAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_what_the_machine_sleeps_and_runs_with_its_offset() {
        let clock = Clock {
            base: 1_000_000,
            start: Duration::from_secs(50),
        };
        assert_eq!(clock.when(Duration::from_secs(50)), Timestamp(1_000_000));
        // The lid was closed for eight hours.
        let night = Duration::from_secs(50 + 8 * 3600);
        assert_eq!(clock.when(night), Timestamp(1_000_000 + 8 * 3_600_000));
        assert_eq!(
            clock.when(Duration::ZERO),
            Timestamp(1_000_000),
            "never backwards"
        );

        let (exact, ahead) = (Clock::new(0), Clock::new(60_000));
        let apart = ahead.now().0 - exact.now().0;
        assert!((60_000..120_000).contains(&apart), "{apart}");
    }

    #[test]
    fn a_timer_goes_off_no_sooner_than_its_time() {
        let clock = Clock::new(0);
        let before = tokio::time::Instant::now();
        assert!(
            clock.instant(Timestamp(0)) <= tokio::time::Instant::now(),
            "passed"
        );
        let at = Timestamp(clock.now().0 + 60_000);
        let timer = clock.instant(at);
        assert!(timer >= before + Duration::from_secs(59) && clock.now() < at);
        assert!(clock.instant(Timestamp(u64::MAX)) > before, "far");
    }
}
