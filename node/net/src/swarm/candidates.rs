//! Where this node may be reached from outside, as others have seen it: what it names before a punch.
//!
//! Guesses cost a packet; an address that is missing costs the connection. So everything that may be true is named,
//! best first, within a bound.

use super::table::is_loopback;
use crate::{event::Transport, names};
use libp2p::{Multiaddr, multiaddr::Protocol, swarm::ConnectionId};
use std::{collections::BTreeSet, net::IpAddr};

/// Observations kept, newest last: one for each connection, of the last connections.
const MAX_SEEN: usize = 32;
/// Addresses named: some 300 bytes of them.
pub(super) const MAX_NAMED: usize = 28;
/// Private addresses of each transport among them, and public IPv6 addresses.
const MAX_MACHINES: usize = 3;
/// Public IPv4 addresses among them, the best two: a carrier's NAT with a pool may give QUIC and TCP different ones, and
/// where this node has moved, one transport may have been seen at the old one only.
const MAX_PUBLIC_V4: usize = 2;
/// Public addresses of each transport: those seen, and those foreseen.
const MAX_PUBLIC: usize = 11;
/// Addresses over QUIC in a chosen list.
pub(super) const MAX_OPENED: usize = MAX_PUBLIC + 2 * MAX_MACHINES;
/// Ports foreseen of a router that counts them up. It goes on counting with everything that is sent meanwhile.
const FORESEEN: u16 = 8;
/// Two ports so far apart are still taken for counted up.
const COUNTED: u16 = 32;

struct Seen {
    connection: ConnectionId,
    addr: Multiaddr,
}

/// What others have seen.
#[derive(Default)]
pub(super) struct Candidates(Vec<Seen>);

impl Candidates {
    /// Somebody has seen this node at an address; true when nobody had before.
    pub(super) fn seen(&mut self, connection: ConnectionId, addr: &Multiaddr) -> bool {
        let addr = names::plain(addr.clone());
        if names::is_circuit(&addr) || !names::dialable(&addr) {
            return false;
        }
        let new = self.0.iter().all(|s| s.addr != addr);
        self.0.retain(|s| s.connection != connection);
        if self.0.len() >= MAX_SEEN {
            self.0.remove(0);
        }
        self.0.push(Seen { connection, addr });
        new
    }

    /// A connection is gone, and with it the mapping that was seen through it, as far as anybody knows. The last
    /// one of its kind is kept: an old guess is better than none.
    pub(super) fn gone(&mut self, connection: ConnectionId) {
        let Some(at) = self.0.iter().position(|s| s.connection == connection) else {
            return;
        };
        let Some(kind) = self.0.get(at).map(|s| kind(&s.addr)) else {
            return;
        };
        if self.0.iter().filter(|s| self::kind(&s.addr) == kind).count() > 1 {
            self.0.remove(at);
        }
    }

    /// What to name to a peer: seen addresses newest first, others known (mapped by the router), guesses for TCP,
    /// and where this node listens in its own network. Loopback only when `loopback`.
    pub(super) fn named(&self, listen: &[Multiaddr], known: &[Multiaddr], loopback: bool) -> Vec<Multiaddr> {
        let seen = self.0.iter().rev().map(|s| s.addr.clone());
        let mut all: Vec<Multiaddr> = seen.chain(known.iter().cloned()).collect();
        all.extend(self.guesses(listen));
        all.extend(
            [Transport::Quic, Transport::Tcp]
                .into_iter()
                .flat_map(|t| self.foreseen(t)),
        );
        all.extend(listen.iter().cloned());
        choose(all, loopback)
    }

    /// Whether a router counts this node's ports up, so that what is named of them includes some that are foreseen.
    pub(super) fn counts(&self, transport: Transport) -> bool {
        !self.foreseen(transport).is_empty()
    }

    /// A router that gives every destination another port, and counts, gives the next destination the next one: the
    /// ports that may be given to the peer now.
    fn foreseen(&self, transport: Transport) -> Vec<Multiaddr> {
        let ports = |s: &Seen| Some((names::ip(&s.addr).filter(IpAddr::is_ipv4)?, port(&s.addr)?));
        let of_transport = self
            .0
            .iter()
            .rev()
            .filter(|s| names::transport(&s.addr) == Some(transport));
        let mut seen = of_transport.filter_map(ports);
        let (Some((ip, last)), Some((other, before))) = (seen.next(), seen.next()) else {
            return Vec::new();
        };
        let counted = (1..=COUNTED).contains(&last.wrapping_sub(before));
        if ip != other || !counted {
            return Vec::new();
        }
        (1..=FORESEEN)
            .filter_map(|n| last.checked_add(n))
            .map(|port| match transport {
                Transport::Quic => Multiaddr::from(ip)
                    .with(Protocol::Udp(port))
                    .with(Protocol::QuicV1),
                _ => Multiaddr::from(ip).with(Protocol::Tcp(port)),
            })
            .collect()
    }

    /// Routers that keep the port over UDP keep it over TCP too: where no TCP connection has shown it, the listening
    /// port is guessed.
    fn guesses<'a>(&'a self, listen: &'a [Multiaddr]) -> impl Iterator<Item = Multiaddr> + 'a {
        let tcp_seen = |ip: IpAddr| {
            let tcp = |s: &Seen| names::transport(&s.addr) == Some(Transport::Tcp);
            self.0.iter().any(|s| tcp(s) && names::ip(&s.addr) == Some(ip))
        };
        let ips = self.0.iter().filter_map(|s| names::ip(&s.addr));
        ips.filter(move |ip| !tcp_seen(*ip)).filter_map(move |ip| {
            let port = listen
                .iter()
                .find_map(|addr| match (names::ip(addr)?, addr.iter().nth(1)?) {
                    (own, Protocol::Tcp(port)) if own.is_ipv4() == ip.is_ipv4() => Some(port),
                    _ => None,
                })?;
            Some(Multiaddr::from(ip).with(Protocol::Tcp(port)))
        })
    }
}

/// What a mapping is the same for: transport, and family of addresses.
fn kind(addr: &Multiaddr) -> (Option<Transport>, Option<bool>) {
    (names::transport(addr), names::ip(addr).map(|ip| ip.is_ipv4()))
}

/// Whether an address is out in the internet, as far as its number says.
pub(super) fn is_public(addr: &Multiaddr) -> bool {
    match names::ip(addr) {
        Some(IpAddr::V4(ip)) => {
            let shared = ip.octets()[0] == 100 && (ip.octets()[1] & 0xc0) == 64;
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || shared)
        }
        Some(IpAddr::V6(ip)) => {
            let first = ip.segments()[0];
            !(ip.is_loopback() || ip.is_unspecified() || first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80)
        }
        None => false,
    }
}

fn port(addr: &Multiaddr) -> Option<u16> {
    match addr.iter().nth(1)? {
        Protocol::Udp(port) | Protocol::Tcp(port) => Some(port),
        _ => None,
    }
}

/// Public machines admitted so far: of IPv4 a few addresses, of IPv6 a few of one network, the first one's. A host has
/// several there, one of them its own for what it sends.
#[derive(Default)]
struct Machines(BTreeSet<IpAddr>);

impl Machines {
    fn admit(&mut self, ip: IpAddr) -> bool {
        if self.0.contains(&ip) {
            return true;
        }
        let network = |ip: &IpAddr| match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => Some(ip.to_bits() >> 64),
        };
        let mut family = self.0.iter().filter(|other| other.is_ipv4() == ip.is_ipv4());
        let most = if ip.is_ipv4() { MAX_PUBLIC_V4 } else { MAX_MACHINES };
        let room = family.clone().count() < most && family.all(|other| network(other) == network(&ip));
        room && self.0.insert(ip)
    }
}

/// The best of a list, in order, a few of each kind: whether it is this node's list or a peer's.
pub(super) fn choose(all: impl IntoIterator<Item = Multiaddr>, loopback: bool) -> Vec<Multiaddr> {
    let (mut quic, mut tcp, mut private): (Vec<_>, Vec<_>, Vec<_>) = Default::default();
    let mut machines = Machines::default();
    for addr in all {
        if !names::dialable(&addr) || names::is_circuit(&addr) || (is_loopback(&addr) && !loopback) {
            continue;
        }
        let public = is_public(&addr);
        if public && !names::ip(&addr).is_some_and(|ip| machines.admit(ip)) {
            continue;
        }
        let kind = match (public, names::transport(&addr)) {
            (false, _) => &mut private,
            (true, Some(Transport::Quic)) => &mut quic,
            (true, _) => &mut tcp,
        };
        // A machine has QUIC and TCP at each of its private addresses.
        let most = if public { MAX_PUBLIC } else { 2 * MAX_MACHINES };
        if kind.len() < most && !kind.contains(&addr) {
            kind.push(addr);
        }
    }
    quic.append(&mut tcp);
    quic.append(&mut private);
    quic.truncate(MAX_NAMED);
    quic
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn all(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn what_was_seen_comes_first_and_tcp_is_guessed() {
        let mut seen = Candidates::default();
        let at = |n| ConnectionId::new_unchecked(n);
        let quic = all(&["/ip4/203.0.113.5/udp/4001/quic-v1"]);
        assert!(seen.seen(at(1), &quic[0]));
        assert!(!seen.seen(at(2), &quic[0]), "known already");
        let listen = all(&[
            "/ip4/127.0.0.1/udp/4001/quic-v1",
            "/ip4/10.1.0.2/udp/4001/quic-v1",
            "/ip4/10.1.0.2/tcp/4002",
            "/ip6/::1/tcp/9",
        ]);
        let named = seen.named(&listen, &[], false);
        let expected = all(&[
            "/ip4/203.0.113.5/udp/4001/quic-v1",
            "/ip4/203.0.113.5/tcp/4002",
            "/ip4/10.1.0.2/udp/4001/quic-v1",
            "/ip4/10.1.0.2/tcp/4002",
        ]);
        assert_eq!(named, expected);
        seen.seen(at(3), &"/ip4/203.0.113.5/tcp/5555".parse().unwrap());
        let named = seen.named(&listen, &[], true);
        assert!(named.contains(&"/ip4/203.0.113.5/tcp/5555".parse().unwrap()));
        assert!(
            !named.contains(&"/ip4/203.0.113.5/tcp/4002".parse().unwrap()),
            "no guess"
        );
        assert!(named.iter().any(is_loopback));
        seen.gone(at(3));
        assert!(
            seen.named(&[], &[], false).len() == 2,
            "the last of its kind stays"
        );
    }

    #[test]
    fn a_router_that_counts_is_foreseen_and_one_that_does_not_is_not() {
        let at = |n| ConnectionId::new_unchecked(n);
        let of = |ports: &[u16]| {
            let mut seen = Candidates::default();
            for (n, port) in ports.iter().enumerate() {
                seen.seen(
                    at(n),
                    &format!("/ip4/203.0.113.5/udp/{port}/quic-v1").parse().unwrap(),
                );
            }
            assert_eq!(
                seen.counts(Transport::Quic),
                !seen.foreseen(Transport::Quic).is_empty()
            );
            assert!(!seen.counts(Transport::Tcp), "each transport by itself");
            seen.foreseen(Transport::Quic)
        };
        assert_eq!(
            of(&[9000, 40_000, 40_002])[0],
            "/ip4/203.0.113.5/udp/40003/quic-v1".parse().unwrap()
        );
        assert_eq!(of(&[40_000, 40_002]).len(), usize::from(FORESEEN));
        assert!(of(&[4001, 4001]).is_empty() && of(&[40_002, 40_000]).is_empty());
        assert!(of(&[40_000, 52_111]).is_empty() && of(&[40_000]).is_empty());
        assert!(of(&[65_534, 65_535]).is_empty());
    }

    #[test]
    fn a_list_is_cut_to_a_few_of_each_kind() {
        let many = || {
            (1..60).flat_map(|n| {
                all(&[
                    &format!("/ip4/203.0.113.{n}/tcp/1"),
                    &format!("/ip4/203.0.113.{n}/udp/1/quic-v1"),
                    &format!("/ip4/192.168.0.{n}/tcp/1"),
                    "/ip4/127.0.0.1/tcp/1",
                ])
            })
        };
        let chosen = choose(many(), false);
        let (public, private): (Vec<_>, Vec<_>) = chosen.iter().partition(|a| is_public(a));
        assert_eq!(
            (public.len(), private.len()),
            (2 * MAX_PUBLIC_V4, 2 * MAX_MACHINES)
        );
        let ports = (1..60).flat_map(|n| all(&[&format!("/ip4/203.0.113.1/tcp/{n}")]));
        assert_eq!(
            choose(ports.chain(many()), false).len(),
            MAX_PUBLIC + MAX_PUBLIC_V4 + 2 * MAX_MACHINES
        );
        assert!(!chosen.iter().any(is_loopback));
        let public = ["/ip4/203.0.113.1/tcp/1", "/ip6/2001:db8::1/tcp/1"];
        let private = [
            "/ip4/100.64.0.1/tcp/1",
            "/ip4/169.254.0.1/tcp/1",
            "/ip6/fe80::1/tcp/1",
            "/ip6/fd00::1/tcp/1",
        ];
        assert!(all(&public).iter().all(is_public) && !all(&private).iter().any(is_public));
    }

    #[test]
    fn of_a_peers_public_machines_the_first_few_are_sent_anything() {
        let named = all(&[
            "/ip4/203.0.113.5/udp/1/quic-v1",
            "/ip6/2001:db8:0:1::5/udp/1/quic-v1",
            "/ip4/203.0.113.6/tcp/1",
            "/ip4/203.0.113.7/udp/1/quic-v1",
            "/ip6/::ffff:203.0.113.8/udp/1/quic-v1",
            "/ip6/2001:db8:0:1::6/tcp/1",
            "/ip6/2001:db8:0:2::5/tcp/1",
            "/ip4/203.0.113.5/tcp/2",
        ]);
        let chosen: BTreeSet<_> = choose(named.clone(), false).into_iter().collect();
        let expected: BTreeSet<_> = [0, 1, 2, 5, 7].map(|n| named[n].clone()).into();
        assert_eq!(chosen, expected);
    }
}
