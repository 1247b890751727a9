//! What may be written for a setting: each check says in a line what is wrong.

use crate::quantity::{parse_duration, parse_hours, parse_offset, parse_rate, parse_size};
use hive_protocol::{money::MicroCpt, resources::MAX_NAME};
use hive_runtime::config::MIN_CONNECTIONS;
use std::net::SocketAddr;

/// Addresses a node may announce at most: as many as it may publish.
const MOST_ANNOUNCED: usize = 4;

pub(super) fn hours(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    parse_hours(text).map(drop)
}

pub(super) fn rate(text: &str) -> Result<(), String> {
    parse_rate(text).map(drop)
}

pub(super) fn offset(text: &str) -> Result<(), String> {
    parse_offset(text).map(drop)
}

pub(super) fn folder(text: &str) -> Result<(), String> {
    if text.is_empty() || std::path::Path::new(text).is_absolute() {
        return Ok(());
    }
    Err(format!("`{text}`: write a whole path, beginning with /"))
}

#[allow(clippy::unnecessary_wraps)] // one shape for all checks
pub(super) const fn any(_: &str) -> Result<(), String> {
    Ok(())
}

pub(super) fn name(text: &str) -> Result<(), String> {
    if text.len() > MAX_NAME {
        return Err(format!("{} bytes; at most {MAX_NAME}", text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err("a control character in it".into());
    }
    Ok(())
}

pub(super) fn listen(text: &str) -> Result<(), String> {
    if matches!(text, "loopback" | "none") || text.parse::<u16>().is_ok() {
        return Ok(());
    }
    match text.split(',').map(str::trim).find(|a| !a.starts_with('/')) {
        Some(bad) if !text.is_empty() => Err(format!(
            "`{bad}` is not a port such as 4001, `loopback`, `none`, or a multiaddress such as /ip4/0.0.0.0/udp/4001/quic-v1"
        )),
        _ => Ok(()),
    }
}

pub(super) fn cpus(text: &str) -> Result<(), String> {
    super::node::cpu_milli(text, 1).map(drop)
}

pub(super) fn size(text: &str) -> Result<(), String> {
    if text.is_empty() {
        Ok(())
    } else {
        parse_size(text).map(drop)
    }
}

pub(super) fn money(text: &str) -> Result<(), String> {
    text.parse::<MicroCpt>().map(drop).map_err(|e| e.to_string())
}

pub(super) fn integer(text: &str) -> Result<(), String> {
    text.parse::<i64>()
        .map(drop)
        .map_err(|_| format!("`{text}` is not a whole number"))
}

pub(super) fn address(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    text.parse::<SocketAddr>()
        .map(drop)
        .map_err(|_| format!("`{text}` is not an address such as 127.0.0.1:7787"))
}

pub(super) fn format(text: &str) -> Result<(), String> {
    match text {
        "text" | "json" => Ok(()),
        _ => Err(format!("`{text}`: write text or json")),
    }
}

pub(super) fn transports(text: &str) -> Result<(), String> {
    match text {
        "both" | "quic" | "tcp" => Ok(()),
        _ => Err(format!("`{text}`: write both, quic or tcp")),
    }
}

pub(super) fn on_off(text: &str) -> Result<(), String> {
    match text {
        "on" | "off" => Ok(()),
        _ => Err(format!("`{text}`: write on or off")),
    }
}

pub(super) fn relay(text: &str) -> Result<(), String> {
    match text {
        "auto" | "on" | "off" => Ok(()),
        _ => Err(format!("`{text}`: write auto, on or off")),
    }
}

pub(super) fn announce(text: &str) -> Result<(), String> {
    let all: Vec<&str> = text.split(',').map(str::trim).filter(|a| !a.is_empty()).collect();
    if all.len() > MOST_ANNOUNCED {
        return Err(format!("{} addresses; at most {MOST_ANNOUNCED}", all.len()));
    }
    match all.iter().find(|a| !reachable(a)) {
        Some(bad) => Err(format!(
            "`{bad}` is not a multiaddress others can use, such as /ip4/203.0.113.7/udp/4001/quic-v1 or /dns4/node.example/tcp/4001"
        )),
        None => Ok(()),
    }
}

/// Whether a text has the form of a multiaddress with a host and a port.
fn reachable(addr: &str) -> bool {
    let mut parts = addr.split('/');
    let (empty, family, host) = (parts.next(), parts.next(), parts.next());
    let (over, port, rest) = (parts.next(), parts.next(), parts.next());
    let host = host.unwrap_or_default();
    let host_fits = match family {
        Some("ip4") => host
            .parse::<std::net::Ipv4Addr>()
            .is_ok_and(|ip| !ip.is_unspecified()),
        Some("ip6") => host
            .parse::<std::net::Ipv6Addr>()
            .is_ok_and(|ip| !ip.is_unspecified()),
        Some("dns" | "dns4" | "dns6") => !host.is_empty(),
        _ => false,
    };
    let carried = matches!((over, rest), (Some("udp"), Some("quic-v1")) | (Some("tcp"), None));
    let port = port.is_some_and(|p| p.parse::<u16>().is_ok_and(|p| p != 0));
    empty == Some("") && host_fits && carried && port && parts.next().is_none()
}

/// A number of things, at least one; empty for what is built in.
pub(super) fn count(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    match text.parse::<u32>() {
        Ok(1..) => Ok(()),
        _ => Err(format!("`{text}` is not a number above 0")),
    }
}

/// How many connections; empty for what is built in.
pub(super) fn connections(text: &str) -> Result<(), String> {
    match text.parse::<u32>() {
        _ if text.is_empty() => Ok(()),
        Ok(MIN_CONNECTIONS..) => Ok(()),
        _ => Err(format!("`{text}` is not a number from {MIN_CONNECTIONS} on")),
    }
}

/// A length of time above zero; empty for what is built in.
pub(super) fn time(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    match parse_duration(text) {
        Ok(d) if d.is_zero() => Err("a time above 0".to_owned()),
        Ok(_) => Ok(()),
        Err(why) => Err(why),
    }
}

/// Bytes (a second), `off` for no limit; empty for what is built in.
pub(super) fn cap(text: &str) -> Result<(), String> {
    match text {
        "" | "off" => Ok(()),
        text => parse_size(text.strip_suffix("/s").unwrap_or(text)).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_announce() {
        for good in [
            "",
            "/ip4/203.0.113.7/udp/4001/quic-v1",
            "/ip4/203.0.113.7/udp/4001/quic-v1, /dns4/a.example/tcp/4001",
            "/ip6/2001:db8::1/tcp/4001",
        ] {
            assert_eq!(announce(good), Ok(()));
        }
        for bad in [
            "203.0.113.7:4001",
            "/ip4/0.0.0.0/tcp/4001",
            "/ip4/203.0.113.7/tcp/0",
            "/ip4/203.0.113.7/udp/4001",
            "/ip4/203.0.113.7/tcp/4001/p2p/x",
            "/ip4/x/tcp/1",
            "/tcp/1",
        ] {
            assert!(announce(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_and_switches() {
        assert!(count("0").is_err() && count("x").is_err() && count("3").is_ok());
        assert!(cap("10M/s").is_ok() && cap("off").is_ok() && cap("fast").is_err());
        assert!(time("0").is_err() && time("1h30m").is_ok());
        assert!(transports("udp").is_err() && relay("yes").is_err() && on_off("auto").is_err());
    }
}
