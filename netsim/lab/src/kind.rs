//! Kinds of NAT, as rules of the kernel's packet filter.

use std::{fmt, net::Ipv4Addr, str::FromStr};

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
    /// No UDP at all; TCP as [`NatKind::PortRestricted`].
    UdpBlocked,
}

impl NatKind {
    /// All of them, most open first.
    pub const ALL: [Self; 6] = [
        Self::Open,
        Self::FullCone,
        Self::AddressRestricted,
        Self::PortRestricted,
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
            Self::UdpBlocked => "udp-blocked",
        }
    }

    /// The rules of a router whose side towards the internet is the interface `outer`, its hosts' side `inner`, and to
    /// whose host `inside` unknown senders are led where the kind lets them in.
    ///
    /// Unsolicited packets are dropped without an answer, as home routers do: a router that answers them breaks hole
    /// punching and is a fault of the laboratory, not a kind of NAT.
    #[must_use]
    pub fn rules(self, inside: Ipv4Addr) -> String {
        let masquerade = match self {
            Self::Open => return String::new(),
            Self::Symmetric => "masquerade fully-random",
            _ => "masquerade",
        };
        let lead = match self {
            Self::FullCone => format!("iifname \"outer\" meta l4proto {{ tcp, udp }} dnat to {inside}"),
            Self::AddressRestricted => {
                format!("iifname \"outer\" ip saddr @spoken meta l4proto {{ tcp, udp }} dnat to {inside}")
            }
            _ => String::new(),
        };
        let outward = match self {
            Self::AddressRestricted => "iifname \"inner\" oifname \"outer\" update @spoken { ip daddr }",
            Self::UdpBlocked => "meta l4proto udp drop",
            _ => "",
        };
        format!(
            "table ip lab {{
    set spoken {{
        type ipv4_addr
        flags dynamic,timeout
        timeout 120s
    }}
    chain lead {{
        type nat hook prerouting priority dstnat
        {lead}
    }}
    chain leave {{
        type nat hook postrouting priority srcnat
        oifname \"outer\" {masquerade}
    }}
    chain through {{
        type filter hook forward priority filter; policy drop
        {outward}
        iifname \"inner\" accept
        ct state established,related accept
        ct status dnat accept
    }}
    chain into {{
        type filter hook input priority filter; policy accept
        iifname \"outer\" ct state established,related accept
        iifname \"outer\" drop
    }}
}}
"
        )
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
