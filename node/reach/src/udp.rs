//! Whether UDP passes: a connection over QUIC shows that it does; tries of QUIC addresses of peers that are
//! connected over TCP show that it does not.

use crate::{
    addr::{self, Carrier},
    report::UdpState,
};
use hive_protocol::{
    ids::NodeId,
    time::{Millis, Timestamp},
};
use std::collections::BTreeSet;

/// Failed tries, of different addresses, before UDP counts as blocked.
const FAILED: usize = 2;
/// With fewer peers at hand, failed tries of the same address count after as many.
const TRIES: u8 = 3;

/// Pause between two tries: a lost packet or a peer that restarts is over by then.
const TRY_EVERY: Millis = Millis::secs(3);
/// A try that nobody answers for is over after this time.
const TRY_LIMIT: Millis = Millis::secs(20);

/// What is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Udp {
    open: bool,
    failed: BTreeSet<String>,
    tries: u8,
    asked: Option<(String, Timestamp)>,
    /// No try before.
    next: Timestamp,
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

    /// Which address to try over UDP now, if that would tell something. `on_tcp`: peers that are connected over TCP,
    /// where, and where else they listen.
    pub(crate) fn try_of<'a>(
        &mut self,
        now: Timestamp,
        on_tcp: impl Iterator<Item = (NodeId, &'a str, &'a [String])>,
    ) -> Option<(NodeId, String)> {
        if self.asked.as_ref().is_some_and(|(_, at)| now >= *at + TRY_LIMIT) {
            self.asked = None;
        }
        if self.state() != UdpState::Unknown || self.asked.is_some() || now < self.next {
            return None;
        }
        self.next = now + TRY_EVERY;
        let mut found: Vec<(NodeId, &String)> = Vec::new();
        for (node, via, addrs) in on_tcp {
            let Some(tcp) = addr::parse(via).filter(|d| d.carrier == Carrier::Tcp) else {
                continue;
            };
            let same = |text: &&String| {
                addr::parse(text)
                    .is_some_and(|d| d.carrier == Carrier::Quic && d.ip == tcp.ip && d.ip.is_some())
            };
            found.extend(addrs.iter().find(same).map(|addr| (node, addr)));
        }
        // One that was not tried yet tells more.
        let (node, addr) = found.iter().min_by_key(|(_, addr)| self.failed.contains(*addr))?;
        let (node, addr) = (*node, (*addr).clone());
        self.asked = Some((addr.clone(), now));
        Some((node, addr))
    }

    /// When a try may be due; `wanted`: whether there is anybody to try.
    pub(crate) fn next_due(&self, wanted: bool) -> Option<Timestamp> {
        if self.state() != UdpState::Unknown || !wanted {
            return None;
        }
        Some(self.asked.as_ref().map_or(self.next, |(_, at)| *at + TRY_LIMIT))
    }

    pub(crate) fn tried(&mut self, text: &str, reached: bool) {
        if self.asked.as_ref().is_some_and(|(asked, _)| asked == text) {
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
        let mut now = Timestamp(1);
        assert!(!udp.connected(TCP));
        let on = |via: &'static str| [(node, via, addrs.as_slice())].into_iter();
        assert_eq!(udp.try_of(now, on(QUIC)), None, "is on QUIC");
        now = now + TRY_EVERY;
        for _ in 0..3 {
            assert_eq!(udp.state(), UdpState::Unknown);
            assert_eq!(udp.try_of(now, on(TCP)), Some((node, QUIC.to_owned())));
            assert_eq!(udp.try_of(now, on(TCP)), None, "one at a time");
            udp.tried(QUIC, false);
            assert_eq!(udp.try_of(now, on(TCP)), None, "not at once");
            now = now + TRY_EVERY;
        }
        assert_eq!(udp.state(), UdpState::Blocked);
        udp.connected(QUIC);
        assert_eq!(udp.state(), UdpState::Open);
    }
}
