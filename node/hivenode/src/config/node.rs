//! From settings to what the daemon is told.

use super::Settings;
use crate::{
    output::CliError,
    paths::Paths,
    quantity::{parse_hours, parse_offset, parse_rate, parse_size},
};
use hive_protocol::{money::MicroCpt, resources::Resources};
use hive_runtime::config::{AcceptPush, Config, DEFAULT_PRICE, FileConfig};
use std::{net::SocketAddr, path::PathBuf, thread};

/// Most cores that may be offered, far above any machine.
const MOST_CORES: u64 = 100_000;

/// Cores in thousandths from `4`, `1.5` or `50%` of `machine` cores; 0 for an empty text.
///
/// # Errors
/// One line.
pub(super) fn cpu_milli(text: &str, machine: u32) -> Result<u32, String> {
    let bad = || format!("`{text}` is not a number of cores such as 4 or 1.5, nor a share such as 50%");
    if text.is_empty() {
        return Ok(0);
    }
    if let Some(share) = text.strip_suffix('%') {
        let share: u32 = share.trim().parse().map_err(|_| bad())?;
        if !(1..=100).contains(&share) {
            return Err(format!("`{text}`: a share lies between 1% and 100%"));
        }
        // At least one whole core: less could not run a task of the usual size.
        return Ok((machine.saturating_mul(10).saturating_mul(share)).max(1000));
    }
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 3 {
        return Err(bad());
    }
    let whole: u64 = whole.parse().map_err(|_| bad())?;
    let part: u64 = format!("{part:0<3}").parse().map_err(|_| bad())?;
    if whole > MOST_CORES || whole * 1000 + part == 0 {
        return Err(bad());
    }
    u32::try_from(whole * 1000 + part).map_err(|_| bad())
}

/// Cores of this machine.
fn machine_cores() -> u32 {
    thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1))
}

/// Whose pushes are taken; anything but the four words is a list of nodes.
fn accept(text: &str) -> AcceptPush {
    match text.trim() {
        "" | "own" => AcceptPush::Own,
        "all" => AcceptPush::All,
        "ask" => AcceptPush::Ask,
        "none" => AcceptPush::None,
        nodes => AcceptPush::Nodes(nodes.split(',').map(|n| n.trim().to_owned()).collect()),
    }
}

fn mib(text: &str) -> u64 {
    parse_size(text).map_or(0, |bytes| bytes >> 20)
}

impl Settings {
    /// The daemon's configuration. Values were checked when the settings were loaded.
    ///
    /// # Errors
    /// `config.bad_value`.
    pub fn node_config(&self, paths: &Paths) -> Result<Config, CliError> {
        let wrong = |name: &str, why: String| CliError::usage("config.bad_value", format!("`{name}`: {why}"));
        let cpu_milli = cpu_milli(self.text("cpus"), machine_cores()).map_err(|why| wrong("cpus", why))?;
        let cache = self.text("cache_dir");
        let listen = self.text("listen").split(',').map(str::trim);
        Ok(Config {
            data_dir: paths.data.clone(),
            cache_dir: if cache.is_empty() {
                paths.cache.clone()
            } else {
                PathBuf::from(cache)
            },
            name: self.text("name").to_owned(),
            listen: listen.filter(|a| !a.is_empty()).map(str::to_owned).collect(),
            offer: Resources::cpu(cpu_milli, mib(self.text("mem")), mib(self.text("disk"))),
            location: self.text("location").to_owned(),
            price: self.text("price").parse::<MicroCpt>().unwrap_or(DEFAULT_PRICE),
            store_quota: parse_size(self.text("store_quota")).unwrap_or(0),
            clock_offset_ms: self.text("clock_offset_ms").parse().unwrap_or(0),
            files: self.file_config(paths),
            net: self.net_config(),
        })
    }

    fn file_config(&self, paths: &Paths) -> FileConfig {
        let inbox = self.text("push_dir");
        let rate = |name: &str| parse_rate(self.text(name)).unwrap_or_default();
        FileConfig {
            inbox: if inbox.is_empty() {
                paths.inbox.clone()
            } else {
                PathBuf::from(inbox)
            },
            accept: accept(self.text("push_accept")),
            max_size: parse_size(self.text("push_max_size")).unwrap_or(0),
            min_free: parse_size(self.text("push_min_free")).unwrap_or(0),
            hours: parse_hours(self.text("push_hours")).ok(),
            utc_offset_min: parse_offset(self.text("utc_offset")).unwrap_or(0),
            rate_in: rate("rate_in"),
            rate_out: rate("rate_out"),
            rate_peer: rate("rate_peer"),
        }
    }

    /// The API's loopback address, if any.
    pub fn api_listen(&self) -> Option<SocketAddr> {
        self.text("api_listen").parse().ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn cores_as_numbers_and_shares() {
        assert_eq!(cpu_milli("4", 8).unwrap(), 4000);
        assert_eq!(cpu_milli("1.5", 8).unwrap(), 1500);
        assert_eq!(cpu_milli("50%", 8).unwrap(), 4000);
        assert_eq!(cpu_milli("50%", 1).unwrap(), 1000);
        assert_eq!(cpu_milli("", 8).unwrap(), 0);
        for bad in ["0", "0%", "101%", "-1", "x", "1.2345", "999999999999"] {
            assert!(cpu_milli(bad, 8).is_err(), "{bad}");
        }
    }
}
