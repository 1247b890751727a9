//! The description of a laboratory: a few lines of text.
//!
//! ```text
//! net wan 203.0.113.0/24 2001:db8::/64    # a wire everybody on it shares: IPv4, IPv6 or both
//! host relay wan                          # a host on it; it gets the next address of each
//! router ra symmetric wan lana 10.1.0.0/24 rate=100mbit hairpin
//! host a lana delay=20ms loss=1%          # behind the router, which has the first address of lana
//! ```
//!
//! A router's upper net may be another router's lower one: two NATs in a row. Over IPv6 a router translates nothing;
//! unless it is open, it lets in only answers.

mod cases;
mod read;

use crate::kind::NatKind;
use std::{
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

pub use cases::{Case, special};

/// A range of IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range4 {
    /// Its first address.
    pub base: Ipv4Addr,
    /// Length of its prefix, 8 to 28.
    pub prefix: u8,
}

/// A range of IPv6 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range6 {
    /// Its first address.
    pub base: Ipv6Addr,
    /// Length of its prefix, 32 to 64.
    pub prefix: u8,
}

impl Range4 {
    /// The `n`th address.
    #[must_use]
    pub fn at(&self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.base).saturating_add(n))
    }
}

impl Range6 {
    /// The `n`th address.
    #[must_use]
    pub fn at(&self, n: u32) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(self.base).saturating_add(n.into()))
    }
}

/// A wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Net {
    /// Its name.
    pub name: String,
    /// Its IPv4 addresses, if it has any.
    pub v4: Option<Range4>,
    /// Its IPv6 addresses, if it has any.
    pub v6: Option<Range6>,
}

/// What a cable does to packets, each way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cable {
    /// Time a packet is on its way.
    pub delay: Duration,
    /// Packets lost of ten thousand.
    pub loss: u32,
    /// Bandwidth, as `tc` writes it; none for no limit.
    pub rate: Option<String>,
}

impl Cable {
    /// Whether it takes more than a pair of the kernel's interfaces.
    #[must_use]
    pub const fn slow(&self) -> bool {
        !self.delay.is_zero() || self.loss > 0
    }
}

/// A host on a net.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its net.
    pub net: String,
    /// Its IPv4 address, if the net has such.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address, if the net has such.
    pub v6: Option<Ipv6Addr>,
    /// Its cable.
    pub cable: Cable,
}

/// A router between two nets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// Its name.
    pub name: String,
    /// What it does to packets.
    pub kind: NatKind,
    /// The net towards the internet.
    pub upper: String,
    /// Its IPv4 address there.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address there.
    pub v6: Option<Ipv6Addr>,
    /// The net of its hosts; it has the first address there.
    pub lower: String,
    /// Whether its hosts reach one another at their outer addresses.
    pub hairpin: bool,
    /// Its cable towards the internet.
    pub cable: Cable,
}

/// A whole laboratory as described.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Wires.
    pub nets: Vec<Net>,
    /// Hosts.
    pub hosts: Vec<Host>,
    /// Routers.
    pub routers: Vec<Router>,
}

impl Plan {
    /// A net by name.
    #[must_use]
    pub fn net(&self, name: &str) -> Option<&Net> {
        self.nets.iter().find(|n| n.name == name)
    }

    /// A host by name.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|h| h.name == name)
    }

    /// A router by name.
    #[must_use]
    pub fn router(&self, name: &str) -> Option<&Router> {
        self.routers.iter().find(|r| r.name == name)
    }

    /// The routers from a net outwards to the internet.
    #[must_use]
    pub fn way_out(&self, net: &str) -> Vec<&Router> {
        let mut way: Vec<&Router> = Vec::new();
        let mut at = net;
        // A net is made by one router above an earlier net: there are no circles.
        while let Some(router) = self.routers.iter().find(|r| r.lower == at) {
            way.push(router);
            at = &router.upper;
        }
        way
    }

    /// The text of [`Plan::pair`].
    #[must_use]
    pub fn pair_text(a: NatKind, b: NatKind) -> String {
        let side = |host: &str, kind: NatKind, n: u8| match kind {
            NatKind::Open => format!("host {host} wan\n"),
            _ => format!("router r{host} {kind} wan lan{host} 10.{n}.0.0/24\nhost {host} lan{host}\n"),
        };
        format!(
            "net wan 203.0.113.0/24\nhost relay wan\nhost other wan\n{}{}",
            side("a", a, 1),
            side("b", b, 2)
        )
    }

    /// Two public hosts, `relay` and `other`, and one host, `a` and `b`, behind a router of each kind; a host behind
    /// an open one is public.
    #[must_use]
    pub fn pair(a: NatKind, b: NatKind) -> Self {
        // The text is made of constants and is in order; an empty plan would fail at once.
        Self::pair_text(a, b).parse().unwrap_or_default()
    }
}
