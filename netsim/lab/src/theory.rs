//! What theory allows for each pair of NATs: the table that a run is held against, written down before it.
//!
//! Two hosts that both know how the other is seen by a third party send to each other at the same time. A packet gets
//! in where the receiver's NAT lets its source in. A NAT whose mapping depends on the destination sends from a port
//! nobody knows, so it only gets in where the filter does not look at the port (Ford, Srisuresh, Kegel: "Peer-to-Peer
//! Communication Across Network Address Translators", 2005).

use crate::kind::NatKind;

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

/// Whether a packet whose source port is known (`known`) or not gets through the NAT in front of its receiver, who
/// has just sent to where he believes the packet comes from.
const fn lets_in(kind: NatKind, udp: bool, known: bool) -> bool {
    match kind {
        NatKind::Open | NatKind::FullCone | NatKind::AddressRestricted => true,
        NatKind::PortRestricted | NatKind::Symmetric => known,
        NatKind::UdpBlocked => !udp && known,
    }
}

/// Whether what leaves through this NAT has a port that a third party can tell.
const fn port_is_known(kind: NatKind) -> bool {
    !matches!(kind, NatKind::Symmetric)
}

/// What a pair has over UDP (`udp`: QUIC) or TCP. One direction that gets in makes a connection, if its first packet
/// reaches a port that exists: a symmetric NAT has none that could be told to the other side.
#[must_use]
pub const fn expected(a: NatKind, b: NatKind, udp: bool) -> Way {
    if udp && (matches!(a, NatKind::UdpBlocked) || matches!(b, NatKind::UdpBlocked)) {
        return Way::Relay;
    }
    let a_to_b = port_is_known(b) && lets_in(b, udp, port_is_known(a));
    let b_to_a = port_is_known(a) && lets_in(a, udp, port_is_known(b));
    if a_to_b || b_to_a { Way::Direct } else { Way::Relay }
}

#[cfg(test)]
mod tests {
    use super::*;
    use NatKind::*;

    #[test]
    fn the_table_as_it_stands_in_the_books() {
        for (a, b, udp, way) in [
            (PortRestricted, PortRestricted, true, Way::Direct),
            (PortRestricted, Symmetric, true, Way::Relay),
            (AddressRestricted, Symmetric, true, Way::Direct),
            (FullCone, Symmetric, true, Way::Direct),
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
}
