//! When a change is ripe: after a short quiet, but not later than a while after the first change.

use hive_protocol::time::{Millis, Timestamp};

/// So long without a further change, and what changed is read and sent.
pub const QUIET: Millis = Millis(150);
/// So long after the first change it is sent even if there is no quiet.
pub const MAX_DELAY: Millis = Millis(700);

/// Gathers changes into states.
#[derive(Clone, Copy, Debug, Default)]
pub struct Debounce {
    first: Option<Timestamp>,
    last: Timestamp,
}

impl Debounce {
    /// Something changed.
    pub fn change(&mut self, now: Timestamp) {
        self.first.get_or_insert(now);
        self.last = now;
    }

    /// When the gathered changes are ripe; `None` when there are none.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        self.first.map(|first| (self.last + QUIET).min(first + MAX_DELAY))
    }

    /// Takes the gathered changes if they are ripe.
    pub fn take(&mut self, now: Timestamp) -> bool {
        // A clock that was set back must not hold changes for ever.
        let back = self.first.is_some_and(|first| now < first);
        let ripe = back || self.due().is_some_and(|due| due <= now);
        if ripe {
            self.first = None;
        }
        ripe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_or_long_enough() {
        let mut d = Debounce::default();
        assert!(d.due().is_none() && !d.take(Timestamp(9)));
        d.change(Timestamp(1000));
        assert_eq!(d.due(), Some(Timestamp(1150)));
        assert!(!d.take(Timestamp(1149)));
        assert!(d.take(Timestamp(1150)));
        assert!(!d.take(Timestamp(9999)), "taken once");
        // A stream of changes is sent all the same, and not more often than every so often.
        let (mut sent, mut now) = (Vec::new(), 0);
        while now < 7000 {
            d.change(Timestamp(now));
            if d.take(Timestamp(now)) {
                sent.push(now);
            }
            now += 10;
        }
        assert_eq!(sent.len(), 9, "{sent:?}");
        d.change(Timestamp(50_000));
        assert!(d.take(Timestamp(10)), "the clock was set back");
    }
}
