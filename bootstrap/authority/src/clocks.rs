//! Two clocks that are too far apart, in words: both times, and by how much.

use hive_protocol::time::{MAX_CLOCK_SKEW, Timestamp};

/// What is wrong when two clocks are further apart than a mesh allows; `None` when they are not. Each with whose it
/// is, such as `this machine's`.
#[must_use]
pub fn apart((whose, here): (&str, Timestamp), (others, there): (&str, Timestamp)) -> Option<String> {
    let (way, by) = if here > there {
        ("ahead of", here.since(there))
    } else {
        ("behind", there.since(here))
    };
    (by > MAX_CLOCK_SKEW).then(|| {
        format!(
            "{whose} clock says {}, {others} {}: {}.{:03} s {way} it, {} s are allowed",
            utc(here),
            utc(there),
            by.0 / 1000,
            by.0 % 1000,
            MAX_CLOCK_SKEW.0 / 1000
        )
    })
}

/// `2026-11-21T04:13:03Z`.
fn utc(t: Timestamp) -> String {
    let seconds = t.0 / 1000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01 in the proleptic Gregorian calendar (after Howard Hinnant's `civil_from_days`).
    let z = days.saturating_add(719_468);
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (
        doy - (153 * mp + 2) / 5 + 1,
        if mp < 10 { mp + 3 } else { mp - 9 },
    );
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_as_dates() {
        assert_eq!(utc(Timestamp(0)), "1970-01-01T00:00:00Z");
        assert_eq!(utc(Timestamp(951_782_400_000)), "2000-02-29T00:00:00Z");
        assert_eq!(utc(Timestamp(1_795_234_383_000)), "2026-11-21T04:13:03Z");
        assert!(utc(Timestamp(u64::MAX)).ends_with('Z'));
    }
}
