//! How far the loop lags behind: a machine without time to spare answers late, and hears late.

use std::time::{Duration, Instant};

/// A lag counts for this long.
const REMEMBERED: Duration = Duration::from_secs(10);
/// With a lag above this, silence says nothing about anybody else.
const TOO_MUCH: Duration = Duration::from_millis(500);
/// A lag of the loop is there several times on the way to an answer: in both loops, going and coming.
const TIMES: u32 = 4;
/// Patience is not made longer than by this.
const MOST: Duration = Duration::from_secs(8);

/// The worst of the last seconds.
#[derive(Debug, Default)]
pub(super) struct Lag {
    last: Option<Instant>,
    worst: Option<(Duration, Instant)>,
}

impl Lag {
    /// The loop has come round; it should have after `every`.
    pub(super) fn round(&mut self, now: Instant, every: Duration) {
        if let Some(last) = self.last.replace(now) {
            let lag = now.saturating_duration_since(last).saturating_sub(every);
            let over = |(worst, at)| lag >= worst || now.saturating_duration_since(at) >= REMEMBERED;
            if self.worst.is_none_or(over) {
                self.worst = Some((lag, now));
            }
        }
    }

    fn worst(&self) -> Duration {
        self.worst.map_or(Duration::ZERO, |(worst, _)| worst)
    }

    /// How much longer than usual anything may take.
    pub(super) fn patience(&self) -> Duration {
        self.worst().saturating_mul(TIMES).min(MOST)
    }

    /// Whether nothing is to be concluded from silence now.
    pub(super) fn is_too_much(&self) -> bool {
        self.worst() > TOO_MUCH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_the_last_seconds_counts() {
        let (mut lag, every, start) = (Lag::default(), Duration::from_millis(300), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        lag.round(start, every);
        lag.round(at(300), every);
        assert_eq!(lag.patience(), Duration::ZERO);
        lag.round(at(1300), every);
        assert!(lag.is_too_much());
        assert_eq!(lag.patience(), Duration::from_millis(2800));
        lag.round(at(1600), every);
        assert!(lag.is_too_much(), "not forgotten at once");
        for n in 0..40 {
            lag.round(at(1900 + 300 * n), every);
        }
        assert!(!lag.is_too_much() && lag.patience().is_zero());
        lag.round(at(1_000_000), every);
        assert_eq!(lag.patience(), MOST);
    }
}
