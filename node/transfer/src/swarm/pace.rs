//! How fast a peer gives, and how fast it gains: both measured, neither believed.

use hive_protocol::time::{Millis, Timestamp};

/// Bytes a second taken for granted for a peer that has not shown its own.
pub(crate) const DEFAULT_RATE: u64 = 8 << 20;
/// The shortest span a rate is taken over; shorter ones measure buffers.
const SAMPLE: Millis = Millis(100);
/// A rate is refreshed by so many bytes even within [`SAMPLE`] when an answer is over.
const ENOUGH: u64 = 1 << 20;

/// A moving average of bytes a second while something is owed, and the delay before the first byte.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rate {
    per_sec: u64,
    window: u64,
    since: Option<Timestamp>,
    /// Set while the first byte after an idle time is awaited.
    first: Option<Timestamp>,
    delay: Option<Millis>,
}

impl Rate {
    pub(crate) const fn known(per_sec: u64) -> Self {
        Self {
            per_sec,
            window: 0,
            since: None,
            first: None,
            delay: None,
        }
    }

    /// Bytes a second, measured or taken for granted; never 0.
    pub(crate) const fn get(&self) -> u64 {
        if self.per_sec == 0 {
            DEFAULT_RATE
        } else {
            self.per_sec
        }
    }

    pub(crate) const fn measured(&self) -> Option<u64> {
        if self.per_sec == 0 {
            None
        } else {
            Some(self.per_sec)
        }
    }

    /// How long the first byte takes after an ask, at best.
    pub(crate) fn delay(&self) -> Millis {
        self.delay.unwrap_or_default()
    }

    /// An ask was made of a peer that owed nothing.
    pub(crate) const fn busy(&mut self, now: Timestamp) {
        self.first = Some(now);
        self.since = None;
        self.window = 0;
    }

    pub(crate) fn bytes(&mut self, now: Timestamp, bytes: u64) {
        if let Some(asked) = self.first.take() {
            let took = now.since(asked);
            // The least of late: a full queue is no distance. It drifts up, so that a changed path is noticed.
            let drift = self.delay.map_or(took, |d| Millis(d.0 + d.0 / 8 + 1));
            self.delay = Some(took.min(drift));
        }
        let Some(since) = self.since else {
            // When these set out is not known: the measure begins with what follows them.
            self.since = Some(now);
            return;
        };
        self.window = self.window.saturating_add(bytes);
        if now.since(since) >= SAMPLE {
            self.sample(now, since);
        }
    }

    /// An answer of that many bytes is over; it had the line to itself since `from`.
    pub(crate) fn answered(&mut self, now: Timestamp, from: Timestamp, bytes: u64) {
        if self.window >= ENOUGH
            && let Some(since) = self.since
        {
            self.sample(now, since);
        } else if self.per_sec == 0 {
            self.per_sec = (bytes.saturating_mul(1000) / now.since(from).0.max(1)).max(1);
        }
    }

    fn sample(&mut self, now: Timestamp, since: Timestamp) {
        let took = now.since(since).0.max(1);
        let sample = self.window.saturating_mul(1000) / took;
        self.per_sec = if self.per_sec == 0 {
            sample
        } else {
            (self.per_sec.saturating_mul(3).saturating_add(sample)) / 4
        }
        .max(1);
        self.window = 0;
        self.since = Some(now);
    }

    /// The rate to reckon with when nothing has come for that long: silence makes it fall.
    pub(crate) const fn after(&self, silence: Millis) -> u64 {
        fallen(self.get(), silence)
    }
}

/// A rate after a silence: half a second is nothing, then it falls.
pub(crate) const fn fallen(rate: u64, silence: Millis) -> u64 {
    let falls = 1 + silence.0.saturating_sub(500) / 250;
    let rate = rate / falls;
    if rate == 0 { 1 } else { rate }
}

/// How fast another fetcher gains the segments of its stretch.
#[derive(Clone, Debug)]
pub(crate) struct Gain {
    stretch: (u32, u32),
    own: u32,
    at: Timestamp,
    /// When it last gained a segment of any stretch.
    grew: Timestamp,
    /// Thousandths of a segment a second; 0 before the first gain.
    milli: u64,
}

impl Gain {
    pub(crate) const fn new(now: Timestamp) -> Self {
        Self {
            stretch: (0, 0),
            own: 0,
            at: now,
            grew: now,
            milli: 0,
        }
    }

    /// It has `own` segments of its stretch now.
    pub(crate) fn seen(&mut self, now: Timestamp, stretch: (u32, u32), own: u32, grew: bool) {
        if grew {
            self.grew = now;
        }
        if stretch != self.stretch {
            self.stretch = stretch;
            self.own = own;
            if grew {
                self.at = now;
            }
            return;
        }
        if own <= self.own {
            return;
        }
        let gained = u64::from(own - self.own);
        let sample = gained * 1_000_000 / now.since(self.at).0.max(1);
        self.milli = if self.milli == 0 {
            sample
        } else {
            (self.milli * 3 + sample) / 4
        };
        self.own = own;
        self.at = now;
    }

    /// When it last gained anything.
    pub(crate) fn last(&self) -> Timestamp {
        self.at.max(self.grew)
    }

    /// Thousandths of a segment a second, if it has gained any.
    pub(crate) const fn milli(&self) -> Option<u64> {
        if self.milli == 0 { None } else { Some(self.milli) }
    }
}

/// Milliseconds that `bytes` take at a rate, rounded up.
pub(crate) const fn takes(bytes: u64, per_sec: u64) -> Millis {
    let per_sec = if per_sec == 0 { 1 } else { per_sec };
    Millis(bytes.saturating_mul(1000).div_ceil(per_sec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_flow_is_measured_and_silence_lowers_it() {
        let mut rate = Rate::default();
        assert_eq!(rate.get(), DEFAULT_RATE);
        rate.busy(Timestamp(1000));
        for i in 1..=100 {
            rate.bytes(Timestamp(1040 + i * 10), 10_000);
        }
        assert_eq!(rate.delay(), Millis(50));
        let got = rate.get();
        assert!((900_000..=1_150_000).contains(&got), "{got}");
        assert!(rate.after(Millis(400)) == got && rate.after(Millis(2000)) < got / 4);
        assert!(Rate::known(1).after(Millis(u64::MAX)) >= 1);
    }

    #[test]
    fn a_gain_is_per_second_and_a_new_stretch_begins_anew() {
        let mut gain = Gain::new(Timestamp(0));
        gain.seen(Timestamp(0), (0, 10), 0, false);
        gain.seen(Timestamp(500), (0, 10), 2, true);
        assert_eq!(gain.milli(), Some(4000));
        gain.seen(Timestamp(900), (0, 5), 2, false);
        assert_eq!((gain.last(), gain.milli()), (Timestamp(500), Some(4000)));
    }
}
