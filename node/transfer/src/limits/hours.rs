//! Limits that differ by the hour of the day.

use std::{fmt, str::FromStr};

/// Ranges of one schedule; the first that fits counts.
pub const MAX_HOURS: usize = 24;
const DAY: u32 = 24 * 60;

/// A part of every day, in minutes; over midnight if it ends before it begins. `from` counts, `to` does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hours {
    from: u32,
    to: u32,
}

/// Why a text is no range of hours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no range of hours; one is written `22:00-07:00`")]
pub struct BadHours(String);

impl Hours {
    /// Whether a minute of the day (0..1440) is in it. Equal ends: the whole day.
    #[must_use]
    pub const fn contains(&self, minute: u32) -> bool {
        if self.from < self.to {
            minute >= self.from && minute < self.to
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

fn minute(text: &str) -> Option<u32> {
    let (h, m) = text.trim().split_once(':')?;
    if h.is_empty() || h.len() > 2 || m.len() != 2 || !(h.to_owned() + m).bytes().all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let (h, m): (u32, u32) = (h.parse().ok()?, m.parse().ok()?);
    let at = h * 60 + m;
    (m < 60 && at <= DAY).then_some(at)
}

impl FromStr for Hours {
    type Err = BadHours;
    fn from_str(s: &str) -> Result<Self, BadHours> {
        let bad = || BadHours(s.chars().take(40).collect());
        let (from, to) = s.split_once('-').ok_or_else(bad)?;
        let (from, to) = (minute(from).ok_or_else(bad)?, minute(to).ok_or_else(bad)?);
        Ok(Self { from: from % DAY, to })
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (a, b) = (self.from, self.to);
        write!(f, "{:02}:{:02}-{:02}:{:02}", a / 60, a % 60, b / 60, b % 60)
    }
}

/// Bytes a second, by the hour. `None`: no limit. `Some(0)`: nothing moves.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Schedule {
    /// What counts outside all hours named.
    pub base: Option<u64>,
    /// At most [`MAX_HOURS`]; the first that contains the moment counts, further ones are ignored.
    pub hours: Vec<(Hours, Option<u64>)>,
}

impl Schedule {
    /// One limit all day.
    #[must_use]
    pub const fn always(base: Option<u64>) -> Self {
        Self {
            base,
            hours: Vec::new(),
        }
    }

    /// The limit at a minute of the day.
    #[must_use]
    pub fn at(&self, minute: u32) -> Option<u64> {
        self.hours
            .iter()
            .take(MAX_HOURS)
            .find(|(h, _)| h.contains(minute))
            .map_or(self.base, |(_, rate)| *rate)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn hours_switch_at_the_minute_and_wrap_over_midnight() {
        let night: Hours = "22:00-07:00".parse().unwrap();
        let seen: Vec<bool> = [21 * 60 + 59, 22 * 60, 0, 6 * 60 + 59, 7 * 60]
            .map(|m| night.contains(m))
            .to_vec();
        assert_eq!(seen, [false, true, true, true, false]);
        let day: Hours = "8:30-24:00".parse().unwrap();
        assert!(day.contains(510) && day.contains(1439) && !day.contains(0) && !day.contains(509));
        let all: Hours = "00:00-00:00".parse().unwrap();
        assert!((0..1440).all(|m| all.contains(m)));
        assert_eq!(night.to_string().parse::<Hours>().unwrap(), night);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for bad in [
            "",
            "22-7",
            "22:00",
            "25:00-1:00",
            "1:60-2:00",
            "+1:00-2:00",
            "1:0-2:00",
            "24:01-1:00",
            "-",
            "é:00-1:00",
        ] {
            assert!(bad.parse::<Hours>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_first_range_that_fits_counts() {
        let schedule = Schedule {
            base: Some(5),
            hours: vec![
                ("10:00-12:00".parse().unwrap(), Some(0)),
                ("11:00-13:00".parse().unwrap(), None),
            ],
        };
        let at = |h: u32| schedule.at(h * 60);
        assert_eq!(
            [at(9), at(10), at(11), at(12), at(13)],
            [Some(5), Some(0), Some(0), None, Some(5)]
        );
    }
}
