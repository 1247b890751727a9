//! Finding out what this node's own router makes of its packets, for each transport: somebody outside has to see them.
//!
//! A node with both families reaches a public peer over IPv6 and would never be seen over IPv4; one that speaks QUIC to
//! all would never be seen over TCP. Its punches would then name nothing. So what is missing is made up for by one more
//! connection, from the listen port, to a member that is connected anyway; both sides close it as a duplicate.

use super::Node;
use crate::{
    event::Transport,
    names,
    reach::{Scope, scope_of},
};
use libp2p::{
    Multiaddr, PeerId,
    swarm::dial_opts::{DialOpts, PeerCondition},
};
use std::time::{Duration, Instant};

/// A sight counts for this long; then it is looked for again.
const FRESH: Duration = Duration::from_secs(1200);
/// First and longest pause between two tries for one transport.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// When to look again, for each transport.
#[derive(Default)]
pub(super) struct Looks {
    quic: Look,
    tcp: Look,
}

#[derive(Default)]
struct Look {
    again: Option<Instant>,
    tries: u32,
}

impl Looks {
    fn of(&mut self, transport: Transport) -> &mut Look {
        if transport == Transport::Quic {
            &mut self.quic
        } else {
            &mut self.tcp
        }
    }

    /// An interface has come or gone: at once.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

impl Look {
    fn due(&self, now: Instant) -> bool {
        self.again.is_none_or(|again| again <= now)
    }

    fn tried(&mut self, now: Instant) {
        let pause = FIRST_PAUSE
            .saturating_mul(1 << self.tries.min(8))
            .min(LONGEST_PAUSE);
        self.tries = self.tries.saturating_add(1);
        self.again = Some(now + pause);
    }
}

impl Node {
    /// Once a second: has somebody look at this node over the transports nobody has seen it on.
    pub(super) fn be_seen(&mut self, now: Instant) {
        let own: Vec<Multiaddr> = self
            .shared
            .listen_addrs()
            .iter()
            .filter_map(|a| a.parse().ok())
            .filter(|a| !names::is_circuit(a))
            .collect();
        for transport in [Transport::Quic, Transport::Tcp] {
            let behind = behind_a_router(&own, transport);
            if !behind || !self.reaching.looks.of(transport).due(now) {
                continue;
            }
            let seen = self.shared.reach.seen.within(now, FRESH);
            if seen.iter().any(|a| wide_v4(a, transport)) {
                continue;
            }
            let tries = self.reaching.looks.of(transport).tries;
            let Some((peer, addr)) = self.onlooker(transport, tries) else {
                continue;
            };
            self.reaching.looks.of(transport).tried(now);
            tracing::debug!(%peer, %addr, "connecting once more to be seen");
            let opts = DialOpts::peer_id(peer)
                .condition(PeerCondition::Always)
                .addresses(vec![addr])
                .build();
            if let Err(error) = self.swarm.dial(opts) {
                tracing::debug!(%peer, %error, "could not be dialed to be seen");
            }
        }
    }

    /// A connected member with a public address of this transport; another one at each try.
    fn onlooker(&self, transport: Transport, tries: u32) -> Option<(PeerId, Multiaddr)> {
        let mut found: Vec<_> = self
            .table
            .members()
            .filter_map(|(peer, _)| {
                let known = self.table.get(&peer)?;
                if !known.is_direct() || !self.may_be_direct(&known.node) {
                    return None;
                }
                let (addrs, _) = known.identified.as_ref()?;
                let addr = addrs.iter().find(|a| wide_v4(a, transport))?;
                Some((peer, addr.clone()))
            })
            .collect();
        let at = usize::try_from(tries).ok()?.checked_rem(found.len())?;
        Some(found.swap_remove(at))
    }
}

/// Whether this is a public IPv4 address of this transport.
fn wide_v4(addr: &Multiaddr, transport: Transport) -> bool {
    names::transport(addr) == Some(transport)
        && names::ip(addr).is_some_and(|ip| ip.is_ipv4() && scope_of(ip) == Scope::Global)
}

/// Whether this node listens on IPv4 with this transport, and only at private addresses.
fn behind_a_router(own: &[Multiaddr], transport: Transport) -> bool {
    let scopes = own
        .iter()
        .filter(|a| names::transport(a) == Some(transport))
        .filter_map(names::ip)
        .filter(|ip| ip.is_ipv4())
        .map(scope_of)
        .max();
    scopes == Some(Scope::Private)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(list: &[&str]) -> Vec<Multiaddr> {
        list.iter().map(|a| a.parse().unwrap()).collect()
    }

    #[test]
    fn only_what_is_behind_a_router_is_looked_at() {
        let private = at(&[
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/10.0.0.1/tcp/1",
            "/ip6/2001:db8::1/tcp/1",
        ]);
        assert!(behind_a_router(&private, Transport::Tcp));
        assert!(!behind_a_router(&private, Transport::Quic));
        assert!(!behind_a_router(&at(&["/ip4/127.0.0.1/tcp/1"]), Transport::Tcp));
        assert!(!behind_a_router(
            &at(&["/ip4/10.0.0.1/tcp/1", "/ip4/203.0.113.5/tcp/1"]),
            Transport::Tcp
        ));
        assert!(!behind_a_router(&[], Transport::Tcp));
    }

    #[test]
    fn tries_are_spaced_out_and_begin_anew_on_another_network() {
        let (mut looks, now) = (Looks::default(), Instant::now());
        for pause in [FIRST_PAUSE, FIRST_PAUSE * 2, FIRST_PAUSE * 4] {
            let look = looks.of(Transport::Tcp);
            assert!(look.due(now));
            look.tried(now);
            assert!(!look.due(now + pause - Duration::from_millis(1)));
            assert!(look.due(now + pause));
            look.again = None;
        }
        for _ in 0..20 {
            looks.of(Transport::Tcp).tried(now);
        }
        assert!(looks.of(Transport::Tcp).due(now + LONGEST_PAUSE));
        assert!(looks.of(Transport::Quic).due(now), "each on its own");
        looks.reset();
        assert!(looks.of(Transport::Tcp).due(now));
    }
}
