//! Quantities as people write and read them: sizes, durations, times, money, cores.

mod duration;
mod rate;
mod size;
mod time;

pub use duration::{parse_duration, show_duration};
pub use rate::{parse_hours, parse_offset, parse_rate};
pub use size::{parse_size, show_size};
pub use time::{age, rfc3339};

use hive_protocol::money::MicroCpt;

/// µCPT as decimal CPT.
pub fn money(micro: u64) -> String {
    MicroCpt(micro).to_string()
}

/// A signed change in µCPT.
pub fn money_change(delta: i64) -> String {
    let sign = if delta < 0 { "-" } else { "+" };
    format!("{sign}{}", MicroCpt(delta.unsigned_abs()))
}

/// Fuel in units of 10^9, with three digits.
pub fn fuel(units: u64) -> String {
    format!(
        "{}.{:03} Gfuel",
        units / 1_000_000_000,
        units % 1_000_000_000 / 1_000_000
    )
}

/// Thousandths of a core as cores.
pub fn cores(milli: u32) -> String {
    if milli.is_multiple_of(1000) {
        format!("{}", milli / 1000)
    } else {
        format!("{}.{}", milli / 1000, milli % 1000 / 100)
    }
}
