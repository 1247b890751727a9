//! What theory allows between two hosts: the table that a run is held against, written down before it.
//!
//! Two hosts that both know how the other is seen by a third party send to each other at the same time. A packet gets
//! in where the receiver's NAT lets its source in. A NAT whose mapping depends on the destination sends from a port
//! nobody knows, so it only gets in where the filter does not look at the port (Ford, Srisuresh, Kegel: "Peer-to-Peer
//! Communication Across Network Address Translators", 2005). Of NATs in a row the strictest decides. Hosts behind the
//! same NAT, but not on the same wire, need it to turn packets round (hairpin). IPv6 firewalls translate nothing and
//! let answers in: both hosts have an address there, they connect.

use crate::{
    kind::NatKind,
    plan::{Plan, Router},
};
use std::fmt;

/// What two hosts can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// A connection of their own.
    Direct,
    /// A connection through a relay.
    Relay,
}

impl Way {
    /// The word in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Relay => "relay",
        }
    }
}

/// What two hosts may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transports {
    /// QUIC only.
    Quic,
    /// TCP only.
    Tcp,
    /// Both, as shipped.
    Both,
}

impl Transports {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Quic, Self::Tcp, Self::Both];

    /// The word in tables and settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Tcp => "tcp",
            Self::Both => "both",
        }
    }
}

impl fmt::Display for Transports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whether a packet whose source port is known (`known`) or not gets through the NAT in front of its receiver, who
/// has just sent to where he believes the packet comes from.
const fn lets_in(kind: NatKind, udp: bool, known: bool) -> bool {
    match kind {
        NatKind::Open | NatKind::FullCone | NatKind::AddressRestricted => true,
        NatKind::PortRestricted | NatKind::Symmetric | NatKind::Counting => known,
        NatKind::UdpBlocked => !udp && known,
    }
}

/// What two hosts behind these NATs in a row have over UDP or TCP. One direction that gets in makes a connection, if
/// its first packet reaches a port that exists: a symmetric NAT has none that could be told to the other side.
fn rows(a: &[NatKind], b: &[NatKind], udp: bool) -> Way {
    if udp && a.iter().chain(b).any(|k| *k == NatKind::UdpBlocked) {
        return Way::Relay;
    }
    let known = |row: &[NatKind]| row.iter().all(|k| k.one_port());
    let into =
        |row: &[NatKind], from: &[NatKind]| known(row) && row.iter().all(|k| lets_in(*k, udp, known(from)));
    if into(a, b) || into(b, a) {
        Way::Direct
    } else {
        Way::Relay
    }
}

/// What a host behind one NAT has with one behind another over UDP (`udp`: QUIC) or TCP.
#[must_use]
pub fn expected(a: NatKind, b: NatKind, udp: bool) -> Way {
    rows(&[a], &[b], udp)
}

fn over_v4(plan: &Plan, ways: [&[&Router]; 2], udp: bool) -> Way {
    let kinds = |way: &[&Router]| way.iter().map(|r| r.kind).collect::<Vec<_>>();
    let [a, b] = ways;
    let shared = a.iter().find(|r| b.iter().any(|other| other.name == r.name));
    // Behind a shared NAT packets to the outer address have to be turned round where that address is.
    let nats = |r: &&&Router| r.kind != NatKind::Open && plan.net(&r.lower).is_some_and(|n| n.v4.is_some());
    if shared.is_some() && !a.iter().rfind(nats).is_some_and(|r| r.hairpin) {
        return Way::Relay;
    }
    rows(&kinds(a), &kinds(b), udp)
}

fn over_v6(ways: [&[&Router]; 2], udp: bool) -> Way {
    // A firewall lets in answers only, whatever the router does to IPv4; its hosts' ports are known.
    let firewall = |r: &&Router| match r.kind {
        NatKind::Open | NatKind::UdpBlocked => r.kind,
        _ => NatKind::PortRestricted,
    };
    let [a, b] = ways.map(|way| way.iter().map(firewall).collect::<Vec<_>>());
    rows(&a, &b, udp)
}

/// What two hosts of a laboratory can have.
#[must_use]
pub fn between(plan: &Plan, one: &str, two: &str, transports: Transports) -> Way {
    let (Some(a), Some(b)) = (plan.host(one), plan.host(two)) else {
        return Way::Relay;
    };
    if a.net == b.net {
        return Way::Direct;
    }
    let (out_a, out_b) = (plan.way_out(&a.net), plan.way_out(&b.net));
    let ways = [&out_a[..], &out_b[..]];
    let protocols: &[bool] = match transports {
        Transports::Quic => &[true],
        Transports::Tcp => &[false],
        Transports::Both => &[true, false],
    };
    let direct = protocols.iter().any(|udp| {
        let v4 = a.v4.is_some() && b.v4.is_some() && over_v4(plan, ways, *udp) == Way::Direct;
        let v6 = a.v6.is_some() && b.v6.is_some() && over_v6(ways, *udp) == Way::Direct;
        v4 || v6
    });
    if direct { Way::Direct } else { Way::Relay }
}

/// Whether two hosts can speak with anybody at all over this: who has no UDP has no QUIC, not even to a relay.
#[must_use]
pub fn possible(plan: &Plan, hosts: [&str; 2], transports: Transports) -> bool {
    let blocked = |host: &str| {
        let net = plan.host(host).map(|h| plan.way_out(&h.net));
        net.is_some_and(|way| way.iter().any(|r| r.kind == NatKind::UdpBlocked))
    };
    transports != Transports::Quic || !hosts.into_iter().any(blocked)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::{Case, special};
    use NatKind::*;

    #[test]
    fn the_table_as_it_stands_in_the_books() {
        for (a, b, udp, way) in [
            (PortRestricted, PortRestricted, true, Way::Direct),
            (PortRestricted, Symmetric, true, Way::Relay),
            (PortRestricted, Counting, true, Way::Relay),
            (AddressRestricted, Symmetric, true, Way::Direct),
            (FullCone, Symmetric, true, Way::Direct),
            (FullCone, Counting, false, Way::Direct),
            (Symmetric, Symmetric, true, Way::Relay),
            (Open, Symmetric, true, Way::Direct),
            (UdpBlocked, Open, true, Way::Relay),
            (UdpBlocked, Open, false, Way::Direct),
            (UdpBlocked, PortRestricted, false, Way::Direct),
            (UdpBlocked, Symmetric, false, Way::Relay),
        ] {
            assert_eq!(expected(a, b, udp), way, "{a} {b}");
            assert_eq!(expected(b, a, udp), way, "{b} {a}");
        }
    }

    #[test]
    fn a_plan_of_a_pair_says_the_same_as_the_table() {
        for case in Case::pairs() {
            let (a, b) = case.kinds.unwrap();
            let plan = case.plan();
            for (transports, udp) in [(Transports::Quic, true), (Transports::Tcp, false)] {
                assert_eq!(
                    between(&plan, "a", "b", transports),
                    expected(a, b, udp),
                    "{}",
                    case.name
                );
            }
            assert_eq!(
                possible(&plan, ["a", "b"], Transports::Quic),
                ![a, b].contains(&UdpBlocked)
            );
        }
    }

    #[test]
    fn networks_that_are_not_a_pair() {
        let ways: Vec<(String, &str)> = special()
            .into_iter()
            .map(|c| {
                let way = between(&c.plan(), "a", "b", Transports::Quic);
                assert_eq!(between(&c.plan(), "a", "b", Transports::Tcp), way, "{}", c.name);
                (c.name, way.name())
            })
            .collect();
        let ways: Vec<_> = ways.iter().map(|(n, w)| (n.as_str(), *w)).collect();
        assert_eq!(
            ways,
            [
                ("same LAN", "direct"),
                ("double NAT × port-restricted", "direct"),
                ("double NAT × double NAT", "direct"),
                ("symmetric carrier × full-cone", "direct"),
                ("one carrier with hairpin", "direct"),
                ("one strict carrier with hairpin", "direct"),
                ("one carrier without hairpin", "relay"),
                ("IPv6 only, firewalls", "direct"),
                ("dual stack, symmetric IPv4", "direct"),
                ("dual stack × IPv4 only", "direct"),
                ("IPv6 only × IPv4 only", "relay"),
                ("port-restricted × port-restricted, 60 ms, 1 % lost", "direct"),
                ("symmetric × symmetric, 80 ms", "relay"),
            ]
        );
    }
}
