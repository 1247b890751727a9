//! Addresses as far as decisions need them: where they go, over what, and how far away that can be.

// Numbers only: sockets are in `std`.
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest address text looked at, in bytes.
pub const MAX_TEXT: usize = 256;

/// What a direct address is carried over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Carrier {
    /// QUIC over UDP.
    Quic,
    /// TCP.
    Tcp,
}

/// Who can use an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// This machine.
    Loopback,
    /// This wire.
    Link,
    /// The same site (RFC 1918, unique local).
    Private,
    /// The customers of one carrier (RFC 6598).
    Carrier,
    /// Everybody, as far as the number says. The ranges for documentation count: they are nobody's, and
    /// laboratories use them for the public side.
    Global,
}

/// A block of addresses that one owner is likely to have: a /24 of IPv4, a /48 of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block([u8; 7]);

/// A direct address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Direct {
    /// The machine; none when it is a name.
    pub ip: Option<IpAddr>,
    /// The port, not 0.
    pub port: u16,
    /// Over what.
    pub carrier: Carrier,
}

impl Direct {
    /// Who can use it. A name is for everybody.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.ip.map_or(Scope::Global, Scope::of)
    }
}

impl Scope {
    /// Who can use this number.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => Self::of_v6(ip),
        }
    }

    const fn of_v4(ip: Ipv4Addr) -> Self {
        let [a, b, ..] = ip.octets();
        if ip.is_loopback() {
            Self::Loopback
        } else if ip.is_link_local() {
            Self::Link
        } else if ip.is_private() {
            Self::Private
        } else if a == 100 && b & 0xc0 == 64 {
            Self::Carrier
        } else {
            Self::Global
        }
    }

    const fn of_v6(ip: Ipv6Addr) -> Self {
        if ip.is_loopback() {
            Self::Loopback
        } else if ip.is_unicast_link_local() {
            Self::Link
        } else if ip.is_unique_local() {
            Self::Private
        } else {
            Self::Global
        }
    }
}

impl Block {
    /// The block of this number.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                Self([4, a, b, c, 0, 0, 0])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, ..] = ip.octets();
                Self([6, a, b, c, d, e, f])
            }
        }
    }
}

/// Whether an address leads through a relay.
#[must_use]
pub fn is_circuit(text: &str) -> bool {
    text.split('/').any(|part| part == "p2p-circuit")
}

/// Reads a direct address: `/ip4/…/tcp/…`, `/ip4/…/udp/…/quic-v1`, the same with `ip6`, `dns`, `dns4`, `dns6`, and
/// with or without `/p2p/…` behind. None for circuits and everything else, and for numbers nobody can dial.
#[must_use]
pub fn parse(text: &str) -> Option<Direct> {
    if text.len() > MAX_TEXT || is_circuit(text) {
        return None;
    }
    let mut parts = text.strip_prefix('/')?.split('/');
    let (kind, host) = (parts.next()?, parts.next()?);
    let ip = match kind {
        "ip4" => Some(IpAddr::V4(host.parse().ok()?)),
        "ip6" => Some(IpAddr::V6(host.parse().ok()?).to_canonical()),
        "dns" | "dns4" | "dns6" if !host.is_empty() => None,
        _ => return None,
    };
    if ip.is_some_and(|ip| ip.is_unspecified() || ip.is_multicast()) {
        return None;
    }
    let (over, port) = (parts.next()?, parts.next()?.parse::<u16>().ok()?);
    let carrier = match over {
        "tcp" => Carrier::Tcp,
        "udp" if parts.next() == Some("quic-v1") => Carrier::Quic,
        _ => return None,
    };
    let rest: Vec<&str> = parts.collect();
    let named = matches!(rest.as_slice(), [] | ["p2p", _]);
    (port != 0 && named).then_some(Direct { ip, port, carrier })
}

/// The address without the peer's name behind it.
#[must_use]
pub fn plain(text: &str) -> &str {
    match text.rfind("/p2p/") {
        Some(at) if !is_circuit(text) => text.get(..at).unwrap_or(text),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_are_read_and_others_refused() {
        let quic = parse("/ip4/203.0.113.7/udp/4001/quic-v1/p2p/12D3KooWx").unwrap();
        assert_eq!((quic.carrier, quic.port), (Carrier::Quic, 4001));
        assert_eq!(parse("/ip6/2001:db8::1/tcp/9").unwrap().carrier, Carrier::Tcp);
        assert_eq!(parse("/dns4/relay.example/tcp/9").unwrap().ip, None);
        for wrong in [
            "",
            "/",
            "/ip4",
            "/ip4/1.2.3/tcp/1",
            "/ip4/0.0.0.0/tcp/1",
            "/ip4/1.2.3.4/tcp/0",
            "/ip4/1.2.3.4/tcp/70000",
            "/ip4/1.2.3.4/udp/1",
            "/ip4/1.2.3.4/tcp/1/ws",
            "/ip4/1.2.3.4/tcp/1/p2p/12D3KooWx/p2p-circuit",
            "/dns4//tcp/1",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(plain("/ip4/1.2.3.4/tcp/1/p2p/12D3KooWx"), "/ip4/1.2.3.4/tcp/1");
        let circuit = "/ip4/1.2.3.4/tcp/1/p2p/12D3KooWx/p2p-circuit";
        assert_eq!(plain(circuit), circuit);
    }

    #[test]
    fn scopes_and_blocks() {
        for (text, scope) in [
            ("127.0.0.1", Scope::Loopback),
            ("::1", Scope::Loopback),
            ("::ffff:10.0.0.1", Scope::Private),
            ("169.254.1.1", Scope::Link),
            ("fe80::1", Scope::Link),
            ("192.168.1.1", Scope::Private),
            ("fd00::1", Scope::Private),
            ("100.64.0.1", Scope::Carrier),
            ("100.127.255.255", Scope::Carrier),
            ("100.128.0.1", Scope::Global),
            ("203.0.113.1", Scope::Global),
            ("2001:db8::1", Scope::Global),
        ] {
            assert_eq!(Scope::of(text.parse().unwrap()), scope, "{text}");
        }
        let block = |t: &str| Block::of(t.parse().unwrap());
        assert_eq!(block("203.0.113.1"), block("203.0.113.200"));
        assert_ne!(block("203.0.113.1"), block("203.0.114.1"));
        assert_eq!(block("2001:db8:1::1"), block("2001:db8:1:2::1"));
        assert_ne!(block("2001:db8:1::1"), block("2001:db8:2::1"));
    }
}
