//! Lengths of time.

use std::time::Duration;

/// Longest duration understood: a hundred years, far from any overflow.
const MOST_MS: u64 = 100 * 366 * 86_400_000;

/// Reads `500ms`, `60s`, `10m`, `24h`, `7d` and sums such as `1h30m`; a bare number is seconds.
///
/// # Errors
/// A line that says what may be written.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is not a duration: write such as 500ms, 60s, 10m, 24h or 1h30m");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(bad());
    }
    let mut sum = 0_u64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit = match unit.trim() {
            "ms" => 1,
            "" | "s" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(bad()),
        };
        let number: u64 = number.parse().map_err(|_| bad())?;
        sum = number
            .checked_mul(unit)
            .and_then(|ms| sum.checked_add(ms))
            .filter(|ms| *ms <= MOST_MS)
            .ok_or_else(bad)?;
        rest = tail;
    }
    Ok(Duration::from_millis(sum))
}

/// A duration in its two largest units.
pub fn show_duration(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0 => format!("{} ms", d.as_millis()),
        1..60 => format!("{s}.{} s", d.subsec_millis() / 100),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d{:02}h", s / 86_400, s % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_read_and_show() {
        assert_eq!(parse_duration("24h").unwrap(), Duration::from_secs(86_400));
        assert_eq!(parse_duration("1h30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(parse_duration("60").unwrap(), Duration::from_secs(60));
        assert_eq!(parse_duration("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(show_duration(Duration::from_secs(5400)), "1h30m");
        assert_eq!(show_duration(Duration::from_millis(2140)), "2.1 s");
        for bad in [
            "",
            "h",
            "-1s",
            "1.5h",
            "3 parsecs",
            "99999999999999999999s",
            "9999999d",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
