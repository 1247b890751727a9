//! Time as data: a moment and a span, in whole milliseconds. Nothing here reads a clock.

use serde::{Deserialize, Serialize};
use std::ops::{Add, Sub};

/// A moment: milliseconds since 1970-01-01T00:00:00Z (or since the start of a simulation).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug, Default)]
pub struct Timestamp(pub u64);

/// A span of time in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// That many seconds.
    #[must_use]
    pub const fn secs(s: u64) -> Self {
        Self(s.saturating_mul(1000))
    }
    /// That many minutes.
    #[must_use]
    pub const fn mins(m: u64) -> Self {
        Self(m.saturating_mul(60_000))
    }
    /// That many hours.
    #[must_use]
    pub const fn hours(h: u64) -> Self {
        Self(h.saturating_mul(3_600_000))
    }
}

impl Timestamp {
    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Millis> for Timestamp {
    type Output = Self;
    fn add(self, d: Millis) -> Self {
        Self(self.0.saturating_add(d.0))
    }
}

impl Sub<Millis> for Timestamp {
    type Output = Self;
    fn sub(self, d: Millis) -> Self {
        Self(self.0.saturating_sub(d.0))
    }
}

/// How far two honest clocks may differ before a signed document is refused as too old or from the future.
pub const MAX_CLOCK_SKEW: Millis = Millis::secs(60);
