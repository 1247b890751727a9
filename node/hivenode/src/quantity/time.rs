//! Points in time, in milliseconds since 1970.

use super::show_duration;
use std::time::Duration;

/// UTC as RFC 3339 with seconds.
pub fn rfc3339(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Civil date from a day number (Hinnant): eras of 400 years that begin on 1 March.
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3600,
        second % 3600 / 60,
        second % 60
    )
}

/// How long before `now` something was: `3m05s ago`; `-` for never.
pub fn age(now: u64, then: u64) -> String {
    if then == 0 {
        return "-".into();
    }
    if then > now {
        return format!("in {}", show_duration(Duration::from_millis(then - now)));
    }
    format!("{} ago", show_duration(Duration::from_millis(now - then)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_709_251_199_000), "2024-02-29T23:59:59Z");
        assert_eq!(rfc3339(1_795_235_123_000), "2026-11-21T04:25:23Z");
        assert_eq!(age(10_000, 4_000), "6.0 s ago");
        assert_eq!(age(4_000, 0), "-");
    }
}
