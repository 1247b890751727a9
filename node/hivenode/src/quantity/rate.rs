//! Rates by the hour, hours, and distances from UTC.

use super::parse_size;
use hive_runtime::config::{Hours, Rate};

/// Exceptions by the hour at most: one for each hour of the day.
const MOST_HOURS: usize = 24;

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':').unwrap_or((text, "0"));
    let plain = |t: &str| !t.is_empty() && t.len() <= 2 && t.bytes().all(|b| b.is_ascii_digit());
    if !plain(hour) || !plain(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (minute < 60 && hour * 60 + minute <= 1440).then_some(hour * 60 + minute)
}

/// Reads `22:00-07:00`.
///
/// # Errors
/// A line that says what may be written.
pub fn parse_hours(text: &str) -> Result<Hours, String> {
    let read = || {
        let (from, to) = text.trim().split_once('-')?;
        let (from, to) = (minute(from.trim())?, minute(to.trim())?);
        (from < 1440 && from != to).then_some(Hours { from, to })
    };
    read().ok_or_else(|| format!("`{text}`: write hours such as 22:00-07:00"))
}

fn bytes(text: &str) -> Result<Option<u64>, String> {
    if matches!(text, "" | "off" | "0") {
        return Ok(None);
    }
    let number = text.strip_suffix("/s").unwrap_or(text);
    match parse_size(number) {
        Ok(0) => Ok(None),
        Ok(rate) => Ok(Some(rate)),
        Err(_) => Err(format!(
            "`{text}` is not a rate: write bytes a second such as 10M, or off"
        )),
    }
}

/// Reads `10M`, `off`, or with exceptions by the hour `10M, 22:00-07:00=off`.
///
/// # Errors
/// A line that says what may be written.
pub fn parse_rate(text: &str) -> Result<Rate, String> {
    let mut rate = Rate::default();
    for (at, part) in text.split(',').map(str::trim).enumerate() {
        match part.split_once('=') {
            Some((hours, value)) => rate.hours.push((parse_hours(hours)?, bytes(value.trim())?)),
            None if at == 0 => rate.base = bytes(part)?,
            None => {
                return Err(format!(
                    "`{part}`: after the first a rate needs its hours: 22:00-07:00=10M"
                ));
            }
        }
    }
    if rate.hours.len() > MOST_HOURS {
        return Err(format!("{} exceptions; at most {MOST_HOURS}", rate.hours.len()));
    }
    Ok(rate)
}

/// Reads `+02:00`, `-5`, `0`: minutes ahead of UTC.
///
/// # Errors
/// A line that says what may be written.
pub fn parse_offset(text: &str) -> Result<i32, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(0);
    }
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    minute(rest)
        .filter(|m| *m <= 14 * 60)
        .map(|m| sign * i32::from(m))
        .ok_or_else(|| format!("`{text}`: write the distance from UTC such as +02:00"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rates_hours_and_offsets_read() {
        assert_eq!(parse_rate("").unwrap(), Rate::default());
        assert_eq!(parse_rate("off").unwrap(), Rate::default());
        assert_eq!(parse_rate("10M/s").unwrap().base, Some(10 << 20));
        let night = parse_rate("1M, 22:00-07:30=off, 12-13=2K").unwrap();
        let hours = |from, to| Hours { from, to };
        assert_eq!(night.base, Some(1 << 20));
        assert_eq!(
            night.hours,
            [(hours(1320, 450), None), (hours(720, 780), Some(2048))]
        );
        for bad in ["x", "1M,2M", "25:00-1=1M", "1M,7-7=1M", "-1", "1M,=5"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_offset("+02:00").unwrap(), 120);
        assert_eq!(parse_offset("-5").unwrap(), -300);
        assert!(parse_offset("+15:00").is_err() && parse_offset("cet").is_err());
    }
}
