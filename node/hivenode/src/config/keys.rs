//! Every setting: its name, meaning, default and what may be written.

use crate::quantity::{parse_hours, parse_offset, parse_rate, parse_size};
use hive_protocol::{money::MicroCpt, resources::MAX_NAME};
use std::net::SocketAddr;

/// One setting.
#[derive(Debug)]
pub struct Key {
    /// Name in the file; `HIVENODE_<NAME>` in the environment.
    pub name: &'static str,
    /// What holds when nothing is said.
    pub default: &'static str,
    /// One line for people.
    pub help: &'static str,
    check: fn(&str) -> Result<(), String>,
}

impl Key {
    /// The environment variable.
    pub fn env(&self) -> String {
        format!("HIVENODE_{}", self.name.to_ascii_uppercase())
    }
    /// Says what is wrong with a value.
    ///
    /// # Errors
    /// One line.
    pub fn check(&self, value: &str) -> Result<(), String> {
        (self.check)(value)
    }
}

macro_rules! key {
    ($name:literal, $default:literal, $check:expr, $help:literal) => {
        Key {
            name: $name,
            default: $default,
            help: $help,
            check: $check,
        }
    };
}

/// All settings.
pub const KEYS: &[Key] = &[
    key!(
        "name",
        "",
        name,
        "name of this node in the mesh; the host's name when empty"
    ),
    key!(
        "listen",
        "",
        listen,
        "a port, `loopback`, or multiaddresses separated by commas; any port on all interfaces when empty"
    ),
    key!(
        "cpus",
        "50%",
        cpus,
        "cores offered: a number such as 4 or 1.5, or a share such as 50%"
    ),
    key!("mem", "", size, "memory offered, such as 8G; measured when empty"),
    key!(
        "disk",
        "",
        size,
        "scratch disk offered, such as 50G; measured when empty"
    ),
    key!("location", "", name, "where the node stands, such as eu-fra"),
    key!("price", "0.001", money, "price asked, CPT per Gfuel"),
    key!(
        "store_quota",
        "",
        size,
        "most bytes the blob store may take; no quota when empty"
    ),
    key!(
        "push_accept",
        "own",
        any,
        "whose pushes are taken at once: own (nodes of this account; others wait in the inbox), all, ask, none, or names and ids of nodes"
    ),
    key!(
        "push_dir",
        "",
        folder,
        "folder for what others push, with one for each sender; ~/hivenode/inbox when empty (below --data: its folder inbox)"
    ),
    key!(
        "push_max_size",
        "",
        size,
        "most bytes of one push; any when empty"
    ),
    key!(
        "push_min_free",
        "1G",
        size,
        "bytes a push must leave free on the disk"
    ),
    key!(
        "push_hours",
        "",
        hours,
        "when pushes are fetched, such as 22:00-07:00; always when empty"
    ),
    key!(
        "rate_in",
        "",
        rate,
        "bytes a second that come in, such as 10M, or by the hour: 10M, 22:00-07:00=off; no limit when empty"
    ),
    key!("rate_out", "", rate, "bytes a second that go out, likewise"),
    key!(
        "rate_peer",
        "",
        rate,
        "bytes a second from and to one peer, likewise"
    ),
    key!(
        "utc_offset",
        "",
        offset,
        "distance from UTC of the hours above, such as +02:00; UTC when empty"
    ),
    key!(
        "cache_dir",
        "",
        any,
        "folder for compiled modules; the cache folder when empty"
    ),
    key!(
        "clock_offset_ms",
        "0",
        integer,
        "milliseconds added to the machine's clock"
    ),
    key!(
        "api_listen",
        "",
        address,
        "loopback address of the API besides its socket, such as 127.0.0.1:7787; none when empty"
    ),
    key!(
        "log",
        "warn,hive=info",
        any,
        "what is logged: a filter such as warn,hive=debug"
    ),
    key!("log_format", "text", format, "text or json"),
];

/// The setting of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.name == name)
}

/// The name nearest to a misspelt one.
pub fn closest(name: &str) -> Option<&'static str> {
    KEYS.iter()
        .map(|k| (distance(name, k.name), k.name))
        .min()
        .filter(|(d, right)| *d <= 1 + right.len() / 3)
        .map(|(_, right)| right)
}

/// Number of letters to change, add or leave out.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut line: Vec<usize> = (0..=b.len()).collect();
    // Longer words cannot be near any key.
    for (i, x) in a.chars().take(64).enumerate() {
        let mut corner = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (above, y) in line.iter().skip(1).zip(&b) {
            let cell = (corner + usize::from(x != *y)).min(above + 1).min(left + 1);
            corner = *above;
            left = cell;
            next.push(cell);
        }
        line = next;
    }
    line.last().copied().unwrap_or(usize::MAX)
}

fn hours(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    parse_hours(text).map(drop)
}

fn rate(text: &str) -> Result<(), String> {
    parse_rate(text).map(drop)
}

fn offset(text: &str) -> Result<(), String> {
    parse_offset(text).map(drop)
}

fn folder(text: &str) -> Result<(), String> {
    if text.is_empty() || std::path::Path::new(text).is_absolute() {
        return Ok(());
    }
    Err(format!("`{text}`: write a whole path, beginning with /"))
}

#[allow(clippy::unnecessary_wraps)] // one shape for all checks
const fn any(_: &str) -> Result<(), String> {
    Ok(())
}

fn name(text: &str) -> Result<(), String> {
    if text.len() > MAX_NAME {
        return Err(format!("{} bytes; at most {MAX_NAME}", text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err("a control character in it".into());
    }
    Ok(())
}

fn listen(text: &str) -> Result<(), String> {
    if text == "loopback" || text.parse::<u16>().is_ok() {
        return Ok(());
    }
    match text.split(',').map(str::trim).find(|a| !a.starts_with('/')) {
        Some(bad) if !text.is_empty() => Err(format!(
            "`{bad}` is not a port such as 4001, `loopback`, or a multiaddress such as /ip4/0.0.0.0/udp/4001/quic-v1"
        )),
        _ => Ok(()),
    }
}

fn cpus(text: &str) -> Result<(), String> {
    super::node::cpu_milli(text, 1).map(drop)
}

fn size(text: &str) -> Result<(), String> {
    if text.is_empty() {
        Ok(())
    } else {
        parse_size(text).map(drop)
    }
}

fn money(text: &str) -> Result<(), String> {
    text.parse::<MicroCpt>().map(drop).map_err(|e| e.to_string())
}

fn integer(text: &str) -> Result<(), String> {
    text.parse::<i64>()
        .map(drop)
        .map_err(|_| format!("`{text}` is not a whole number"))
}

fn address(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    text.parse::<SocketAddr>()
        .map(drop)
        .map_err(|_| format!("`{text}` is not an address such as 127.0.0.1:7787"))
}

fn format(text: &str) -> Result<(), String> {
    match text {
        "text" | "json" => Ok(()),
        _ => Err(format!("`{text}`: write text or json")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_pass_their_own_checks_and_guesses_are_near() {
        for key in KEYS {
            assert_eq!(key.check(key.default), Ok(()), "{}", key.name);
        }
        for good in [
            "4001",
            "loopback",
            "/ip4/0.0.0.0/tcp/4001,/ip4/0.0.0.0/udp/4001/quic-v1",
        ] {
            assert_eq!(listen(good), Ok(()));
        }
        assert!(listen("70000").is_err() && listen("4001,4002").is_err());
        assert_eq!(closest("lisen"), Some("listen"));
        assert_eq!(closest("prise"), Some("price"));
        assert_eq!(closest("zzzzzzzzzz"), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
