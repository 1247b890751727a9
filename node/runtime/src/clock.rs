//! The daemon's clock: the only place that reads the machine's.

use hive_protocol::time::Timestamp;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Reads the machine's clock once and then counts on from it, so that a clock that is set while the daemon
/// runs moves nothing backwards; the offset is a setting.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    base: u64,
    start: Instant,
}

impl Clock {
    /// A clock that runs `offset_ms` ahead of (or, negative, behind) the machine's.
    #[must_use]
    pub fn new(offset_ms: i64) -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ms = u64::try_from(unix.as_millis()).unwrap_or(0);
        Self {
            base: ms.saturating_add_signed(offset_ms),
            start: Instant::now(),
        }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let gone = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        Timestamp(self.base.saturating_add(gone))
    }

    /// The moment of the runtime's timer for a time of this clock.
    #[must_use]
    pub fn instant(&self, at: Timestamp) -> tokio::time::Instant {
        let ms = at.0.saturating_sub(self.base);
        let far = std::time::Duration::from_secs(86_400 * 365);
        let gone = std::time::Duration::from_millis(ms).min(far);
        tokio::time::Instant::from_std(self.start) + gone
    }
}
