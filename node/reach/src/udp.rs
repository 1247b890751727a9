//! Whether UDP passes: a connection over QUIC shows that it does; tries of QUIC addresses of peers that are
//! connected over TCP show that it does not.

use crate::{
    addr::{self, Carrier},
    report::UdpState,
};
use hive_protocol::ids::NodeId;
use std::collections::BTreeSet;

/// Failed tries, of different addresses, before UDP counts as blocked.
const FAILED: usize = 2;
/// With fewer peers at hand, failed tries of the same address count after as many.
const TRIES: u8 = 3;

/// What is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Udp {
    open: bool,
    failed: BTreeSet<String>,
    tries: u8,
    asked: Option<String>,
}

impl Udp {
    pub(crate) fn state(&self) -> UdpState {
        if self.open {
            UdpState::Open
        } else if self.failed.len() >= FAILED || (!self.failed.is_empty() && self.tries >= TRIES) {
            UdpState::Blocked
        } else {
            UdpState::Unknown
        }
    }

    /// Addresses have changed: everything may be different.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// A direct connection stands over this address.
    pub(crate) fn connected(&mut self, text: &str) -> bool {
        let quic = addr::parse(text).is_some_and(|d| d.carrier == Carrier::Quic);
        if quic && !self.open {
            self.reset();
            self.open = true;
            return true;
        }
        false
    }

    /// Which address of a peer connected over `via` to try over UDP, if that would tell something.
    pub(crate) fn try_of(&mut self, node: NodeId, via: &str, addrs: &[String]) -> Option<(NodeId, String)> {
        if self.state() != UdpState::Unknown || self.asked.is_some() {
            return None;
        }
        let tcp = addr::parse(via).filter(|d| d.carrier == Carrier::Tcp)?;
        let same = |text: &&String| {
            addr::parse(text).is_some_and(|d| d.carrier == Carrier::Quic && d.ip == tcp.ip && d.ip.is_some())
        };
        let addr = addrs.iter().find(same)?.clone();
        self.asked = Some(addr.clone());
        Some((node, addr))
    }

    pub(crate) fn tried(&mut self, text: &str, reached: bool) {
        if self.asked.as_deref() == Some(text) {
            self.asked = None;
        }
        if reached {
            self.open = true;
        } else if !self.open {
            self.tries = self.tries.saturating_add(1);
            if self.failed.len() < FAILED {
                self.failed.insert(text.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const QUIC: &str = "/ip4/203.0.113.1/udp/4001/quic-v1";
    const TCP: &str = "/ip4/203.0.113.1/tcp/4001";

    #[test]
    fn one_quic_connection_shows_that_udp_passes() {
        let mut udp = Udp::default();
        assert_eq!(udp.state(), UdpState::Unknown);
        assert!(udp.connected(QUIC) && !udp.connected(QUIC));
        assert_eq!(udp.state(), UdpState::Open);
        udp.tried(QUIC, false);
        assert_eq!(udp.state(), UdpState::Open, "one lost try is not a wall");
    }

    #[test]
    fn tries_of_a_peer_on_tcp_show_that_it_does_not() {
        let (mut udp, node) = (Udp::default(), NodeId([1; 32]));
        let addrs = [TCP.to_owned(), QUIC.to_owned()];
        assert!(!udp.connected(TCP));
        assert_eq!(udp.try_of(node, QUIC, &addrs), None, "is on QUIC");
        for _ in 0..3 {
            assert_eq!(udp.state(), UdpState::Unknown);
            assert_eq!(udp.try_of(node, TCP, &addrs), Some((node, QUIC.to_owned())));
            assert_eq!(udp.try_of(node, TCP, &addrs), None, "one at a time");
            udp.tried(QUIC, false);
        }
        assert_eq!(udp.state(), UdpState::Blocked);
        udp.connected(QUIC);
        assert_eq!(udp.state(), UdpState::Open);
    }
}
