//! Sizes in bytes.

/// Units, largest first. `G` and `GiB` are the same: memory and disks are asked for in binary units.
const UNITS: [(&str, u64); 4] = [("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];

/// Reads `512M`, `8G`, `1.5GiB`, `1000` (bytes).
///
/// # Errors
/// A line that says what may be written.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let bad =
        || format!("`{text}` is not a size: write bytes or a number with K, M, G or T, such as 512M or 8G");
    let upper = text.trim().to_ascii_uppercase();
    let body = upper
        .strip_suffix("IB")
        .or_else(|| upper.strip_suffix('B'))
        .unwrap_or(&upper);
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| body.strip_suffix(name).map(|n| (n, *unit)))
        .unwrap_or((body, 1));
    let (whole, part) = number.trim().split_once('.').unwrap_or((number.trim(), ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 6 {
        return Err(bad());
    }
    let whole: u128 = whole.parse().map_err(|_| bad())?;
    let part: u128 = format!("{part:0<6}").parse().map_err(|_| bad())?;
    let bytes = whole
        .checked_mul(1_000_000)
        .and_then(|w| w.checked_add(part))
        .and_then(|m| m.checked_mul(u128::from(unit)))
        .ok_or_else(bad)?
        / 1_000_000;
    u64::try_from(bytes).map_err(|_| bad())
}

/// Bytes with one decimal in the largest unit that keeps the number at or above one.
pub fn show_size(bytes: u64) -> String {
    for (name, unit) in UNITS {
        if bytes >= unit {
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            return format!("{}.{} {name}iB", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sizes_read_and_show() {
        assert_eq!(parse_size("8G").unwrap(), 8 << 30);
        assert_eq!(parse_size("1.5GiB").unwrap(), 3 << 29);
        assert_eq!(parse_size("512mb").unwrap(), 512 << 20);
        assert_eq!(parse_size("1000").unwrap(), 1000);
        assert_eq!(show_size(3 << 29), "1.5 GiB");
        assert_eq!(show_size(1023), "1023 B");
        for bad in ["", "G", "-1", "1e9", "8 GG", "99999999999999999999T", "1.2.3"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
