//! Time that only goes forward, in the units of the cores: a wall clock that jumps must not stall a transfer.

use hive_protocol::time::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// A point from which time is counted.
#[derive(Debug, Clone, Copy)]
pub struct Mono(Instant);

impl Mono {
    /// Counts from now on, beginning at 1 s so that there is a past.
    pub fn new() -> Self {
        let now = Instant::now();
        Self(now.checked_sub(Duration::from_secs(1)).unwrap_or(now))
    }

    /// Now.
    pub fn now(self) -> Timestamp {
        Timestamp(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// When a moment of the cores is; the present when it has passed.
    pub fn when(self, at: Timestamp) -> Instant {
        self.0
            .checked_add(Duration::from_millis(at.0))
            .unwrap_or_else(Instant::now)
    }
}
