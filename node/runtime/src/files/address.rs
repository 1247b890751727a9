//! Which of a node's addresses a ticket names: the one that most can use.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The first of the addresses that most can use.
pub(super) fn best(addrs: &[String]) -> String {
    let first = addrs.iter().min_by_key(|a| reach_of(a));
    first.cloned().unwrap_or_default()
}

/// From where an address can be used: 0 everywhere, 1 its own network, 2 its own machine.
fn reach_of(addr: &str) -> u8 {
    let mut parts = addr.split('/').skip(1);
    let ip = match (parts.next(), parts.next()) {
        (Some("ip4"), Some(text)) => text.parse::<Ipv4Addr>().ok().map(|ip| {
            let shared = ip.octets()[0] == 100 && (64..128).contains(&ip.octets()[1]);
            let near = ip.is_private() || ip.is_link_local() || shared;
            (ip.is_loopback() || ip.is_unspecified(), near)
        }),
        (Some("ip6"), Some(text)) => text.parse::<Ipv6Addr>().ok().map(|ip| {
            let near = ip.is_unique_local() || ip.is_unicast_link_local();
            (ip.is_loopback() || ip.is_unspecified(), near)
        }),
        _ => None,
    };
    match ip {
        Some((true, _)) => 2,
        Some((_, true)) => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_names_the_way_that_most_can_use() {
        let list = |addrs: &[&str]| addrs.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>();
        let relayed = "/ip4/203.0.113.1/tcp/4001/p2p/12D3KooWX/p2p-circuit";
        for (addrs, chosen) in [
            (
                list(&["/ip4/127.0.0.1/tcp/1", "/ip4/10.1.0.2/tcp/1", relayed]),
                relayed,
            ),
            (
                list(&["/ip4/198.51.100.7/tcp/1", "/ip4/10.1.0.2/tcp/1", relayed]),
                "/ip4/198.51.100.7/tcp/1",
            ),
            (
                list(&["/ip6/::1/tcp/1", "/ip6/fd00::2/tcp/1"]),
                "/ip6/fd00::2/tcp/1",
            ),
            (
                list(&["/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/udp/1/quic-v1"]),
                "/ip4/127.0.0.1/tcp/1",
            ),
            (
                list(&["/ip4/100.64.0.9/tcp/1", "/dns4/hive.example/tcp/1"]),
                "/dns4/hive.example/tcp/1",
            ),
            (Vec::new(), ""),
        ] {
            assert_eq!(best(&addrs), chosen, "{addrs:?}");
        }
    }
}
