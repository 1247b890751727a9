//! Names: which ones a file system holds, and under which one a thing is kept aside.

use hive_protocol::{manifest::MAX_NAME, time::Timestamp};
use std::borrow::Cow;

/// What a file system says to names.
pub trait Names {
    /// Why it cannot hold one name of a path, if it cannot.
    fn refuses(&self, name: &str) -> Option<&'static str>;
    /// Two paths with the same key are the same place to it.
    fn key<'p>(&self, path: &'p str) -> Cow<'p, str>;
    /// Whether different paths may have the same key at all.
    fn folds(&self) -> bool;
}

/// A file system that holds every name and tells all apart, as those of Linux do.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnyName;

impl Names for AnyName {
    fn refuses(&self, _: &str) -> Option<&'static str> {
        None
    }
    fn key<'p>(&self, path: &'p str) -> Cow<'p, str> {
        Cow::Borrowed(path)
    }
    fn folds(&self) -> bool {
        false
    }
}

/// A file system with Windows' rules (FAT, exFAT, NTFS, shares): letters of both cases are the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct WindowsNames;

/// Names of devices there, with or without something after a dot.
const DEVICES: &[&str] = &[
    "con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9",
    "lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

impl Names for WindowsNames {
    fn refuses(&self, name: &str) -> Option<&'static str> {
        if name.contains(['<', '>', ':', '"', '\\', '|', '?', '*']) || name.chars().any(|c| (c as u32) < 32) {
            return Some("a character this file system cannot hold in a name");
        }
        if name.ends_with(['.', ' ']) {
            return Some("a name this file system cannot hold: it ends with a dot or a space");
        }
        let stem = name.split('.').next().unwrap_or(name).trim_end().to_lowercase();
        DEVICES
            .contains(&stem.as_str())
            .then_some("the name of a device on this file system")
    }
    fn key<'p>(&self, path: &'p str) -> Cow<'p, str> {
        Cow::Owned(path.to_lowercase())
    }
    fn folds(&self) -> bool {
        true
    }
}

/// The time as it stands in names: `yyyymmdd-hhmmss`, UTC.
#[must_use]
pub fn stamp(now: Timestamp) -> String {
    let seconds = now.0 / 1000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Days to a civil date by eras of 400 years that begin on the first of March (year 0 is day 719,468 before 1970).
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!(
        "{year:04}{month:02}{day:02}-{:02}{:02}{:02}",
        of_day / 3600,
        of_day % 3600 / 60,
        of_day % 60
    )
}

/// The path under which what lies at `path` is kept: `<path>.conflict-<time>-<node>`, with a number when that is
/// `taken`, and with its name shortened to what a name may have.
#[must_use]
pub fn conflict_name(path: &str, now: Timestamp, node: &str, taken: &dyn Fn(&str) -> bool) -> String {
    let (folder, name) = match path.rsplit_once('/') {
        Some((folder, name)) => (format!("{folder}/"), name),
        None => (String::new(), path),
    };
    let node: String = node
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(12)
        .collect();
    let mut number = 1u64;
    loop {
        let mut tail = format!(".conflict-{}-{node}", stamp(now));
        if number > 1 {
            tail.push_str(&format!("-{number}"));
        }
        let mut cut = name.len().min(MAX_NAME - tail.len());
        while !name.is_char_boundary(cut) {
            cut -= 1;
        }
        let found = format!("{folder}{}{tail}", name.get(..cut).unwrap_or_default());
        if !taken(&found) {
            return found;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_names() {
        assert_eq!(stamp(Timestamp(0)), "19700101-000000");
        assert_eq!(stamp(Timestamp(951_782_400_000)), "20000229-000000");
        assert_eq!(stamp(Timestamp(1_795_245_198_999)), "20261121-071318");
        assert_eq!(stamp(Timestamp(4_102_444_799_000)), "20991231-235959");
    }

    #[test]
    fn kept_names_are_free_and_fit() {
        let first = conflict_name("a/b.txt", Timestamp(0), "n_k7qz", &|_| false);
        assert_eq!(first, "a/b.txt.conflict-19700101-000000-nk7qz");
        let second = conflict_name("a/b.txt", Timestamp(0), "n_k7qz", &|p| p == first);
        assert_eq!(second, format!("{first}-2"));
        let long = conflict_name(&"ü".repeat(127), Timestamp(0), "n_k7qz", &|_| false);
        assert!(long.len() <= MAX_NAME && long.starts_with("üü"), "{}", long.len());
    }

    #[test]
    fn what_windows_does_not_hold() {
        for name in ["a:b", "con", "NUL.txt", "a.", "b ", "q?", "tab\t"] {
            assert!(WindowsNames.refuses(name).is_some(), "{name}");
        }
        for name in ["console", "a.b", ".hidden", "é", "com10"] {
            assert!(WindowsNames.refuses(name).is_none(), "{name}");
        }
    }
}
