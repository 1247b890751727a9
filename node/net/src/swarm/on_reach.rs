//! What is seen of this node from outside, and what it tells of itself.

use super::{Node, look_around::Looks};
use crate::{
    event::{NetEvent, Transport},
    names,
    reach::{Arrival, Scope, scope_of},
};
use hive_protocol::ids::NodeId;
use libp2p::{
    Multiaddr, PeerId,
    core::{ConnectedPoint, Endpoint, transport::PortUse},
    swarm::ConnectionId,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// Changes of what one connection's peer sees this node as that are believed: a router that forgets, a laptop that
/// moves; not a peer that likes to talk.
const MAX_CHANGES: u8 = 16;
/// Connections remembered that wait for their gate or for a word of identify. Those over it are not looked at.
const MAX_SIGHTS: usize = 4096;

/// What a peer tells of itself is acted on once in this time: each change costs the hash table and the owner something.
const BETWEEN_WORDS: Duration = Duration::from_secs(5);

/// What is known of one direct connection.
struct Sight {
    peer: PeerId,
    /// Whether it came in from where nothing had been sent.
    stranger: bool,
    /// Whether it went out from the listen port in the ordinary way: then what the peer sees is the router's mapping.
    telling: bool,
    /// What the peer says last, and has not been told on.
    says: Option<Multiaddr>,
    told: Option<Multiaddr>,
    changes: u8,
}

/// What the loop keeps about being reached.
#[derive(Default)]
pub(super) struct Reaching {
    /// At most [`MAX_SIGHTS`].
    sights: BTreeMap<ConnectionId, Sight>,
    /// What the swarm was told to tell: addresses given to it by this file.
    external: BTreeSet<Multiaddr>,
    /// Whether connected peers have not heard of the last change yet.
    unheard: bool,
    /// When to be looked at again.
    pub(super) looks: Looks,
    /// When a connected peer's word was last believed, and whether it has said something else since.
    words: BTreeMap<PeerId, (Instant, bool)>,
}

impl Reaching {
    /// Whether what a peer tells of itself may be acted on now; otherwise it waits for [`Reaching::late`].
    pub(super) fn listens_to(&mut self, peer: PeerId, now: Instant) -> bool {
        match self.words.get_mut(&peer) {
            Some((at, waits)) if now.saturating_duration_since(*at) < BETWEEN_WORDS => {
                *waits = true;
                false
            }
            _ => {
                self.words.insert(peer, (now, false));
                true
            }
        }
    }

    /// Peers whose last word has waited long enough. Those that are gone are forgotten.
    pub(super) fn late(&mut self, now: Instant, here: impl Fn(&PeerId) -> bool) -> Vec<PeerId> {
        self.words.retain(|peer, _| here(peer));
        let mut late = Vec::new();
        for (peer, (at, waits)) in &mut self.words {
            if *waits && now.saturating_duration_since(*at) >= BETWEEN_WORDS {
                (*at, *waits) = (now, false);
                late.push(*peer);
            }
        }
        late
    }
}

impl Node {
    /// A connection stands: notes where it came from or went to. `addr` is the remote address.
    pub(super) fn arrived(
        &mut self,
        peer: PeerId,
        node: NodeId,
        id: ConnectionId,
        addr: &Multiaddr,
        endpoint: &ConnectedPoint,
    ) {
        let (Some(ip), Some(transport)) = (names::ip(addr), names::transport(addr)) else {
            return;
        };
        let now = Instant::now();
        let reach = &self.shared.reach;
        let stranger = match endpoint {
            ConnectedPoint::Listener { .. } => {
                let stranger = reach.sent.stranger(ip, now);
                reach.arrivals.note(Arrival {
                    node,
                    ip,
                    stranger,
                    at: now,
                });
                stranger
            }
            ConnectedPoint::Dialer { .. } => {
                reach.facts.dialed(transport);
                false
            }
        };
        reach.sent.note(ip, now);
        let telling = matches!(
            endpoint,
            ConnectedPoint::Dialer {
                role_override: Endpoint::Dialer,
                port_use: PortUse::Reuse,
                ..
            }
        );
        if self.reaching.sights.len() < MAX_SIGHTS {
            let sight = Sight {
                peer,
                stranger,
                telling,
                says: None,
                told: None,
                changes: 0,
            };
            self.reaching.sights.insert(id, sight);
        }
    }

    /// A connection has ended.
    pub(super) fn left(&mut self, id: ConnectionId) {
        self.reaching.sights.remove(&id);
    }

    /// What identify says this node is seen as on one connection.
    pub(super) fn sighted(&mut self, id: ConnectionId, addr: &Multiaddr) {
        if let Some(sight) = self.reaching.sights.get_mut(&id) {
            let addr = names::plain(addr.clone());
            sight.says = (sight.told.as_ref() != Some(&addr)).then_some(addr);
        }
    }

    /// Tells the owner what a member sees this node as.
    pub(super) fn sightings(&mut self, peer: PeerId) {
        let Some(known) = self.table.get(&peer).filter(|known| known.is_member()) else {
            return;
        };
        let by = known.node;
        let mut news = Vec::new();
        for connection in &known.connections {
            let Some(sight) = self.reaching.sights.get_mut(&connection.id) else {
                continue;
            };
            if sight.peer != peer || sight.changes >= MAX_CHANGES {
                continue;
            }
            let Some(addr) = sight.says.take() else { continue };
            sight.told = Some(addr.clone());
            sight.changes = sight.changes.saturating_add(1);
            let addr = Some(addr).filter(|a| fits(a, &connection.addr, connection.transport));
            if sight.telling {
                if let Some(addr) = addr {
                    news.push((connection.addr.clone(), addr, connection.transport));
                }
            } else if std::mem::take(&mut sight.stranger) {
                self.outbox_reached(by, &connection.addr.clone(), addr);
                // Only one of them can be told while the table is looked at; the next word of identify tells others.
                break;
            }
        }
        for (by_addr, addr, transport) in news {
            self.shared.reach.seen.note(by, addr.clone(), Instant::now());
            self.tell(NetEvent::Observed {
                by,
                by_addr: by_addr.to_string(),
                addr: addr.to_string(),
                transport,
            });
        }
    }

    fn outbox_reached(&mut self, by: NodeId, by_addr: &Multiaddr, addr: Option<Multiaddr>) {
        self.tell(NetEvent::Reached {
            by,
            by_addr: by_addr.to_string(),
            addr: addr.map(|a| a.to_string()),
        });
    }

    /// The owner says what others are to be told.
    pub(super) fn publish_addrs(&mut self, addrs: Vec<String>) {
        if self.shared.reach.published().as_ref() == Some(&addrs) {
            return;
        }
        self.shared.reach.publish(addrs);
        self.tell_addrs();
    }

    /// Gives the swarm what others are to be told: identify and the hash table take it from there.
    pub(super) fn tell_addrs(&mut self) {
        let told = self.shared.told_addrs();
        let wanted: BTreeSet<Multiaddr> = told
            .iter()
            .filter_map(|a| names::address(a).ok())
            .filter(names::dialable)
            .collect();
        let before = std::mem::take(&mut self.reaching.external);
        for gone in before.difference(&wanted) {
            self.swarm.remove_external_address(gone);
        }
        for new in wanted.difference(&before) {
            self.swarm.add_external_address(new.clone());
        }
        self.reaching.unheard |= before != wanted;
        self.reaching.external = wanted;
    }

    /// An interface has come or gone. What others saw before says nothing any more.
    pub(super) fn interfaces_changed(&mut self, addr: &Multiaddr) {
        if !names::is_circuit(addr) {
            self.shared.reach.seen.forget();
            self.reaching.looks.reset();
            self.network_changed();
            self.listeners_changed();
        }
        self.tell_addrs();
    }

    /// Tells the mapper which ports are to be opened.
    pub(super) fn listeners_changed(&mut self) {
        let addrs = self.shared.listen_addrs();
        // Nobody listens when mapping is off.
        let _ = self.ports.send(addrs);
    }

    /// Once a second: connected peers hear of changes, many at once.
    pub(super) fn push_addrs(&mut self) {
        if std::mem::take(&mut self.reaching.unheard) {
            let peers = self.table.ids();
            self.swarm.behaviour_mut().identify.push(peers);
        }
    }
}

/// Whether an address this node is said to have fits the connection it is said on: same transport and family, and as
/// far-reaching.
fn fits(said: &Multiaddr, remote: &Multiaddr, transport: Transport) -> bool {
    let (Some(own), Some(other)) = (names::ip(said), names::ip(remote)) else {
        return false;
    };
    let (own_scope, other_scope) = (scope_of(own), scope_of(other));
    names::dialable(said)
        && names::transport(said) == Some(transport)
        && own.is_ipv4() == other.is_ipv4()
        && (own_scope == Scope::Loopback) == (other_scope == Scope::Loopback)
        && own_scope > Scope::Nowhere
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_talkative_peer_is_believed_once_in_five_seconds_and_its_last_word_counts() {
        let mut reaching = Reaching::default();
        let (peer, now) = (PeerId::random(), Instant::now());
        assert!(reaching.listens_to(peer, now));
        assert!(
            reaching.late(now + BETWEEN_WORDS, |_| true).is_empty(),
            "nothing waits"
        );
        for _ in 0..100 {
            assert!(!reaching.listens_to(peer, now));
        }
        assert!(reaching.late(now, |_| true).is_empty(), "too early");
        assert_eq!(reaching.late(now + BETWEEN_WORDS, |_| true), [peer]);
        assert!(reaching.late(now + BETWEEN_WORDS, |_| true).is_empty());
        assert!(!reaching.listens_to(peer, now + BETWEEN_WORDS));
        assert!(reaching.late(now + 3 * BETWEEN_WORDS, |_| false).is_empty());
        assert!(reaching.words.is_empty());
    }

    #[test]
    fn what_does_not_fit_the_connection_is_not_believed() {
        let at = |text: &str| -> Multiaddr { text.parse().unwrap() };
        let remote = at("/ip4/198.51.100.1/udp/4001/quic-v1");
        assert!(fits(
            &at("/ip4/203.0.113.5/udp/4001/quic-v1"),
            &remote,
            Transport::Quic
        ));
        for wrong in [
            "/ip4/203.0.113.5/tcp/4001",
            "/ip6/2001:db8::1/udp/4001/quic-v1",
            "/ip4/127.0.0.1/udp/4001/quic-v1",
            "/ip4/0.0.0.0/udp/4001/quic-v1",
            "/ip4/203.0.113.5/udp/0/quic-v1",
            "/dns4/example.org/udp/4001/quic-v1",
            "/ip4/203.0.113.5/udp/1/quic-v1/p2p/12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo/p2p-circuit",
        ] {
            assert!(!fits(&at(wrong), &remote, Transport::Quic), "{wrong}");
        }
    }
}
