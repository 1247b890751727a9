//! Rates: when bytes may go, and how often one may ask. Pure.

use std::time::Duration;

/// How far ahead of its rate a circuit may be.
pub(super) const BURST: Duration = Duration::from_millis(500);
/// Half a minute's requests may be made at once.
const ASKING_BURST: Duration = Duration::from_secs(30);

/// A rate, kept by telling everyone in turn when to go: what is taken ahead is waited for, so that those who share it
/// are served in the order they ask. Half a second's worth may go at once.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bucket {
    /// When everything taken so far has been worked off.
    free_at: Duration,
}

impl Bucket {
    /// Takes bytes at this rate, 0 for none; returns how long to wait before they go.
    pub(super) fn take(&mut self, now: Duration, bytes: u64, rate: u64) -> Duration {
        if rate == 0 {
            return Duration::ZERO;
        }
        let micros = u128::from(bytes) * 1_000_000 / u128::from(rate);
        let cost = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        self.free_at = self.free_at.max(now).saturating_add(cost);
        self.free_at.saturating_sub(now).saturating_sub(BURST)
    }

    /// Whether one more request may be made at so many a minute, 0 for any number; counts it if so.
    pub(super) fn ask(&mut self, now: Duration, per_minute: u32) -> bool {
        if per_minute == 0 {
            return true;
        }
        let next = self.free_at.max(now) + Duration::from_secs(60) / per_minute;
        let allowed = next <= now + ASKING_BURST.max(Duration::from_secs(60) / per_minute);
        if allowed {
            self.free_at = next;
        }
        allowed
    }

    /// Whether nothing taken earlier holds anybody back any more.
    pub(super) fn idle(&self, now: Duration) -> bool {
        self.free_at <= now
    }
}

/// Bytes a second, averaged over the last whole seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Speed {
    /// Which second each slot is of, and its bytes.
    slots: [(u64, u64); Speed::SLOTS],
}

impl Speed {
    /// The second under way and five whole ones.
    const SLOTS: usize = 6;

    pub(super) fn add(&mut self, now: Duration, bytes: u64) {
        let second = now.as_secs();
        let Some(slot) = self.slots.get_mut((second % Self::SLOTS as u64) as usize) else {
            return;
        };
        if slot.0 != second {
            *slot = (second, 0);
        }
        slot.1 = slot.1.saturating_add(bytes);
    }

    pub(super) fn rate(&self, now: Duration) -> u64 {
        let second = now.as_secs();
        let whole = second.saturating_sub(Self::SLOTS as u64 - 1)..second;
        let sum: u64 = self
            .slots
            .iter()
            .filter(|s| whole.contains(&s.0))
            .map(|s| s.1)
            .sum();
        sum / (Self::SLOTS as u64 - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_at_their_rate_after_a_burst() {
        let mut bucket = Bucket::default();
        let made = |bucket: &mut Bucket, at: u64| {
            (0..1000)
                .filter(|_| bucket.ask(Duration::from_secs(at), 60))
                .count()
        };
        assert_eq!(made(&mut bucket, 0), 30, "half a minute's at once");
        assert_eq!(made(&mut bucket, 1), 1);
        assert_eq!(made(&mut bucket, 11), 10);
        assert_eq!(made(&mut bucket, 3611), 30, "no more is saved up");
        assert!((0..1000).all(|_| bucket.ask(Duration::ZERO, 0)));
        let mut rare = Bucket::default();
        assert!(rare.ask(Duration::ZERO, 1) && !rare.ask(Duration::from_secs(59), 1));
        assert!(rare.ask(Duration::from_secs(60), 1));
    }

    #[test]
    fn the_speed_is_that_of_the_last_seconds() {
        let mut speed = Speed::default();
        for second in 10..20 {
            speed.add(Duration::from_secs(second), 1000);
        }
        assert_eq!(speed.rate(Duration::from_secs(20)), 1000);
        assert_eq!(speed.rate(Duration::from_secs(22)), 600);
        assert_eq!(speed.rate(Duration::from_secs(40)), 0);
    }
}
