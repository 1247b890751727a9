//! Every setting: its name, meaning, default and what may be written.

use super::checks::{
    address, announce, any, cap, connections, count, cpus, folder, format, hours, integer, listen, money,
    name, offset, on_off, rate, relay, size, time, transports,
};

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
        "a port, `loopback`, `none`, or multiaddresses separated by commas; any port on all interfaces when empty"
    ),
    key!(
        "transports",
        "both",
        transports,
        "what connections go over: both, quic (UDP) or tcp"
    ),
    key!("ipv6", "on", on_off, "whether IPv6 is used: on or off"),
    key!(
        "upnp",
        "on",
        on_off,
        "whether the router is asked to let connections in (UPnP, NAT-PMP, PCP): on or off"
    ),
    key!(
        "direct",
        "on",
        on_off,
        "off: others than authorities and relays are reached through relays only"
    ),
    key!(
        "connections",
        "",
        connections,
        "connections at a time, at least 16 (for a router or machine that bears few); 512 when empty, 4096 for authorities and relays"
    ),
    key!(
        "announce",
        "",
        announce,
        "addresses at which this node is known to be reachable (a forwarded port), separated by commas; told to others without a test"
    ),
    key!(
        "relay",
        "auto",
        relay,
        "whether this node relays for others: auto (once it is found to be reachable from everywhere), on or off"
    ),
    key!(
        "relay_reservations",
        "",
        count,
        "nodes that may be reachable through this relay; what `relay limits` shows when empty, as for all limits below: relaying by itself (relay = auto) is bounded for a home line, relay = on is not"
    ),
    key!(
        "relay_reservations_per_block",
        "",
        count,
        "the same for one address block (a /24 of IPv4, a /48 of IPv6)"
    ),
    key!("relay_circuits", "", count, "circuits at a time"),
    key!(
        "relay_circuits_per_peer",
        "",
        count,
        "circuits at a time one node has opened"
    ),
    key!(
        "relay_circuits_per_block",
        "",
        count,
        "circuits at a time one address block has opened"
    ),
    key!(
        "relay_circuit_life",
        "",
        time,
        "how long a circuit lasts at most, such as 24h"
    ),
    key!(
        "relay_circuit_bytes",
        "",
        cap,
        "bytes each way of one circuit, such as 10G, or off"
    ),
    key!(
        "relay_circuit_rate",
        "",
        cap,
        "bytes a second of one circuit, such as 10M, or off"
    ),
    key!(
        "relay_peer_rate",
        "",
        cap,
        "bytes a second of one node's circuits, or off"
    ),
    key!(
        "relay_block_rate",
        "",
        cap,
        "bytes a second of one address block, or off"
    ),
    key!(
        "relay_total_rate",
        "",
        cap,
        "bytes a second of all circuits, or off"
    ),
    key!(
        "relay_peer_day",
        "",
        cap,
        "bytes a day of the circuits one node has opened, or off"
    ),
    key!(
        "relay_block_day",
        "",
        cap,
        "bytes a day of the circuits one address block has opened, or off"
    ),
    key!("relay_total_day", "", cap, "bytes a day of all circuits, or off"),
    key!(
        "relay_requests_per_minute",
        "",
        count,
        "requests for a reservation or circuit a minute of one node"
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
        "warn,libp2p_kad=error,hive=info",
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
