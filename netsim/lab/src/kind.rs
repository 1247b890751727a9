//! Kinds of NAT: their names and what each means.

use std::{fmt, str::FromStr};

/// How a router treats what its hosts send and what comes back (the classic names of RFC 3489; mapping and filtering
/// as RFC 4787 calls them).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NatKind {
    /// No NAT and no firewall: a plain router.
    Open,
    /// Endpoint-independent mapping and filtering: whoever knows the port gets in.
    FullCone,
    /// Endpoint-independent mapping; in comes whose address was spoken to.
    AddressRestricted,
    /// Port-preserving mapping; in comes who was spoken to from this port. What most homes have.
    PortRestricted,
    /// A new random port for every destination, and only that destination gets in.
    Symmetric,
    /// As [`NatKind::Symmetric`], but the next port counted up for every destination: it can be foreseen.
    Counting,
    /// No UDP at all; TCP as [`NatKind::PortRestricted`].
    UdpBlocked,
}

impl NatKind {
    /// All of them, most open first.
    pub const ALL: [Self; 7] = [
        Self::Open,
        Self::FullCone,
        Self::AddressRestricted,
        Self::PortRestricted,
        Self::Counting,
        Self::Symmetric,
        Self::UdpBlocked,
    ];

    /// The name in descriptions and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::FullCone => "full-cone",
            Self::AddressRestricted => "address-restricted",
            Self::PortRestricted => "port-restricted",
            Self::Symmetric => "symmetric",
            Self::Counting => "counting",
            Self::UdpBlocked => "udp-blocked",
        }
    }

    /// Whether one port of a host has one port outside, whoever it speaks to.
    #[must_use]
    pub const fn one_port(self) -> bool {
        !matches!(self, Self::Symmetric | Self::Counting)
    }
}

impl fmt::Display for NatKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for NatKind {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|k| k.name() == s).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|k| k.name()).collect();
            format!("`{s}` is no kind of NAT; there are {}", names.join(", "))
        })
    }
}
