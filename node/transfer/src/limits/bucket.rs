//! One token bucket: tokens are thousandths of a byte, so that no rate loses anything to rounding.

use hive_protocol::time::{Millis, Timestamp};

/// What a bucket holds at most, in time at its rate: a pause of the shell's timers must not cost rate.
const BURST: Millis = Millis(250);
/// And at least this many bytes, so that a slow rate still moves whole grants.
const MIN_BURST: u64 = 64 << 10;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    /// Bytes a second; `None`: no limit.
    rate: Option<u64>,
    tokens: u64,
    at: Timestamp,
}

impl Bucket {
    /// Full.
    pub(crate) const fn new(rate: Option<u64>, now: Timestamp) -> Self {
        let tokens = match rate {
            Some(rate) => Self::most(rate),
            None => 0,
        };
        Self {
            rate,
            tokens,
            at: now,
        }
    }

    /// In thousandths of a byte. A bucket of rate 0 holds nothing.
    const fn most(rate: u64) -> u64 {
        if rate == 0 {
            return 0;
        }
        let by_time = rate.saturating_mul(BURST.0);
        let least = MIN_BURST * 1000;
        if by_time > least { by_time } else { least }
    }

    /// Bytes it holds at most.
    pub(crate) const fn burst(&self) -> u64 {
        match self.rate {
            Some(rate) => Self::most(rate) / 1000,
            None => u64::MAX,
        }
    }

    /// When it was last used.
    pub(crate) const fn last(&self) -> Timestamp {
        self.at
    }

    pub(crate) const fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// Fills up to now under the rate so far, then goes on with another. What was saved up counts only as far as the
    /// new rate would have let it; from no limit it begins empty.
    pub(crate) fn set(&mut self, now: Timestamp, rate: Option<u64>) {
        self.fill(now);
        if self.rate == rate {
            return;
        }
        self.rate = rate;
        self.tokens = rate.map_or(0, |r| self.tokens.min(Self::most(r)));
    }

    pub(crate) fn fill(&mut self, now: Timestamp) {
        let took = now.since(self.at);
        self.at = self.at.max(now);
        if let Some(rate) = self.rate {
            let more = self.tokens.saturating_add(rate.saturating_mul(took.0));
            self.tokens = more.min(Self::most(rate));
        }
    }

    /// Whole bytes that may go.
    pub(crate) const fn bytes(&self) -> u64 {
        match self.rate {
            Some(_) => self.tokens / 1000,
            None => u64::MAX,
        }
    }

    pub(crate) const fn take(&mut self, bytes: u64) {
        if self.rate.is_some() {
            self.tokens = self.tokens.saturating_sub(bytes.saturating_mul(1000));
        }
    }

    /// How long until it holds so many bytes; `None`: never at this rate.
    pub(crate) const fn wait(&self, bytes: u64) -> Option<Millis> {
        match self.rate {
            None => Some(Millis(0)),
            Some(0) => None,
            Some(rate) => {
                let short = bytes.saturating_mul(1000).saturating_sub(self.tokens);
                Some(Millis(short.div_ceil(rate)))
            }
        }
    }
}
