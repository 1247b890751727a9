//! From how far away an IP address can be reached, by its range. Knows no peers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far an address reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Nowhere: unspecified, multicast, broadcast.
    Nowhere,
    /// This machine.
    Loopback,
    /// One cable: link-local.
    Link,
    /// A household, a company, the inside of a carrier's network.
    Private,
    /// Everywhere, unless something stands before it.
    Global,
}

/// The scope of an address.
pub(crate) fn of(ip: IpAddr) -> Scope {
    match ip.to_canonical() {
        IpAddr::V4(ip) => of_v4(ip),
        IpAddr::V6(ip) => of_v6(ip),
    }
}

/// Whether a router may stand before it that opens ports: only for private addresses of IPv4.
pub(crate) fn mappable(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_ipv4() && of(ip) == Scope::Private
}

fn of_v4(ip: Ipv4Addr) -> Scope {
    let [a, b, ..] = ip.octets();
    if ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() || a == 0 {
        Scope::Nowhere
    } else if ip.is_loopback() {
        Scope::Loopback
    } else if ip.is_link_local() {
        Scope::Link
    } else if ip.is_private() || (a == 100 && (64..128).contains(&b)) {
        // 100.64.0.0/10 is between a carrier's router and its customers'.
        Scope::Private
    } else {
        Scope::Global
    }
}

fn of_v6(ip: Ipv6Addr) -> Scope {
    if ip.is_unspecified() || ip.is_multicast() {
        Scope::Nowhere
    } else if ip.is_loopback() {
        Scope::Loopback
    } else if ip.is_unicast_link_local() {
        Scope::Link
    } else if ip.is_unique_local() {
        Scope::Private
    } else {
        Scope::Global
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ranges_are_told_apart() {
        for (ip, scope) in [
            ("0.0.0.0", Scope::Nowhere),
            ("224.0.0.1", Scope::Nowhere),
            ("127.3.2.1", Scope::Loopback),
            ("169.254.1.1", Scope::Link),
            ("10.1.2.3", Scope::Private),
            ("192.168.0.1", Scope::Private),
            ("100.64.0.1", Scope::Private),
            ("100.128.0.1", Scope::Global),
            ("203.0.113.5", Scope::Global),
            ("::1", Scope::Loopback),
            ("::ffff:10.0.0.1", Scope::Private),
            ("fe80::1", Scope::Link),
            ("fd00::1", Scope::Private),
            ("2001:db8::1", Scope::Global),
            ("ff02::1", Scope::Nowhere),
        ] {
            assert_eq!(of(ip.parse().unwrap()), scope, "{ip}");
        }
    }
}
