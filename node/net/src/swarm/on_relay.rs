//! Being reachable through relays.
//!
//! The relay client renews a reservation by itself but says nothing when it is lost, and a listener may close without
//! naming its addresses (libp2p issues 6141, 6165): so every wish is watched here by its listener's id and by the time
//! of its last renewal, and asked for again with a growing pause.

use super::Node;
use crate::{counters::count, error::NetError, handle::Reply, names};
use hive_protocol::ids::NodeId;
use libp2p::{Multiaddr, PeerId, core::transport::ListenerId, multiaddr::Protocol, relay::client};
use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

/// Relays through which one node may want to be reachable: two are kept, one more while changing.
pub const MAX_RELAYS: usize = 4;
/// Callers that may wait for one reservation.
const MAX_WAITING: usize = 16;
/// Addresses kept of one reservation.
const MAX_ADDRS: usize = 8;
/// First pause before a lost reservation is asked for again.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// So many pauses stay that short: a relay that restarts is back within seconds.
const SHORT_PAUSES: u32 = 40;
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A reservation without a renewal for this long is taken for lost: relays give an hour and renewal is at three
/// quarters of it.
const STALE: Duration = Duration::from_secs(3600);
/// A renewal sooner than this after the one before is hasty: libp2p renews at three quarters of what a relay grants, however
/// little that is, and would ask without a pause.
const HASTY: Duration = Duration::from_secs(5);
/// So many hasty renewals in a row, and the relay is left alone for [`LONGEST_PAUSE`].
const MAX_HASTY: u32 = 8;
/// A relay that has said nothing to a request for this long is asked anew.
const UNANSWERED: Duration = Duration::from_secs(15);

/// A relay through which this node wants to be reachable.
struct Wish {
    /// The listener that stands for the reservation or for the request for one.
    listener: Option<ListenerId>,
    /// The addresses others reach this node by, while the reservation stands: one for each of the relay's.
    addresses: Vec<Multiaddr>,
    /// When it was last asked for or renewed.
    since: Instant,
    /// When to ask again, without a listener.
    again: Instant,
    pause: Duration,
    tries: u32,
    /// Hasty renewals in a row.
    hasty: u32,
    waiting: Vec<Reply<String>>,
}

/// All wishes.
#[derive(Default)]
pub(super) struct Relays(BTreeMap<PeerId, Wish>);

impl Relays {
    /// Whether this node wants to be reachable through this peer.
    pub(super) fn wished(&self, peer: &PeerId) -> bool {
        self.0.contains_key(peer)
    }

    fn by_listener(&mut self, id: ListenerId) -> Option<&mut Wish> {
        self.0.values_mut().find(|wish| wish.listener == Some(id))
    }
}

impl Node {
    pub(super) fn reserve(&mut self, relay: NodeId, reply: Reply<String>) {
        let peer = match self.peer(relay) {
            Ok(peer) => peer,
            Err(e) => {
                let _ = reply.send(Err(e));
                return;
            }
        };
        if let Some(address) = self.relays.0.get(&peer).and_then(|w| w.addresses.first()) {
            let _ = reply.send(Ok(address.to_string()));
            return;
        }
        let known = self.relays.0.contains_key(&peer);
        if !known && self.relays.0.len() >= MAX_RELAYS {
            let _ = reply.send(Err(NetError::Busy {
                what: "relays",
                limit: MAX_RELAYS,
            }));
            return;
        }
        if !known && self.table.preferred(&peer).is_none() {
            let _ = reply.send(Err(NetError::NoAddress { node: relay }));
            return;
        }
        let now = Instant::now();
        let wish = self.relays.0.entry(peer).or_insert_with(|| Wish {
            listener: None,
            addresses: Vec::new(),
            since: now,
            again: now,
            pause: FIRST_PAUSE,
            tries: 0,
            hasty: 0,
            waiting: Vec::new(),
        });
        wish.waiting.retain(|waiting| !waiting.is_closed());
        if wish.waiting.len() < MAX_WAITING {
            wish.waiting.push(reply);
        }
        self.ask_relay(peer, now);
    }

    pub(super) fn unreserve(&mut self, relay: NodeId) {
        let Ok(peer) = self.peer(relay) else { return };
        if let Some(wish) = self.relays.0.remove(&peer)
            && let Some(listener) = wish.listener
        {
            self.swarm.remove_listener(listener);
            for address in &wish.addresses {
                self.on_listening(address, false);
            }
        }
    }

    /// Asks a relay for a reservation, if that is wished for and due. Only over a connection that is there: its
    /// address is one that works.
    fn ask_relay(&mut self, peer: PeerId, now: Instant) {
        let due = self
            .relays
            .0
            .get(&peer)
            .is_some_and(|w| w.listener.is_none() && w.again <= now);
        if !due {
            return;
        }
        let connection = self
            .table
            .get(&peer)
            .filter(|known| known.is_member())
            .and_then(|known| {
                let direct = |c: &&super::table::Connection| names::ip(&c.addr).is_some();
                known
                    .connections
                    .iter()
                    .filter(direct)
                    .map(|c| (c.dialer, c.addr.clone()))
                    .max_by_key(|(dialer, _)| *dialer)
            });
        let Some((dialer, seen)) = connection else { return };
        // Of a connection that came in only the port it came from is known; where the relay listens is in the book.
        let listening = if dialer {
            Some(seen)
        } else {
            self.book
                .get(&peer)
                .iter()
                .find(|a| names::ip(a).is_some())
                .cloned()
        };
        let Some(address) = listening else { return };
        let address = address.with(Protocol::P2p(peer)).with(Protocol::P2pCircuit);
        let asked = self.swarm.listen_on(address);
        let Some(wish) = self.relays.0.get_mut(&peer) else {
            return;
        };
        (wish.since, wish.hasty) = (now, 0);
        match asked {
            Ok(listener) => wish.listener = Some(listener),
            Err(e) => {
                tracing::debug!(%peer, error = %e, "a relay cannot be asked");
                wish.pause_from(now);
            }
        }
    }

    /// A listener has said where it listens: if it is a reservation, it stands.
    pub(super) fn reserved(&mut self, listener: ListenerId, address: &Multiaddr) {
        let Some(wish) = self.relays.by_listener(listener) else {
            return;
        };
        wish.since = Instant::now();
        if !wish.left_alone() {
            wish.pause = FIRST_PAUSE;
            wish.tries = 0;
        }
        for waiting in wish.waiting.drain(..) {
            let _ = waiting.send(Ok(address.to_string()));
        }
        let first = wish.addresses.is_empty();
        if wish.addresses.len() < MAX_ADDRS && !wish.addresses.contains(address) {
            wish.addresses.push(address.clone());
        }
        if !first {
            return;
        }
        count(&self.shared.tally.reservations_made);
    }

    /// A listener has closed; true when it stood for a reservation, which is then asked for again.
    pub(super) fn reservation_lost(&mut self, listener: ListenerId, reason: &Result<(), io::Error>) -> bool {
        let Some(wish) = self.relays.by_listener(listener) else {
            return false;
        };
        wish.listener = None;
        wish.pause_from(Instant::now());
        let detail = match reason {
            Ok(()) => "the connection to the relay ended".to_owned(),
            Err(e) => e.to_string(),
        };
        for waiting in wish.waiting.drain(..) {
            let _ = waiting.send(Err(NetError::Reservation {
                detail: detail.clone(),
            }));
        }
        count(&self.shared.tally.reservations_lost);
        tracing::debug!(detail, "a reservation is gone");
        for address in std::mem::take(&mut wish.addresses) {
            self.on_listening(&address, false);
        }
        true
    }

    /// A relay has been connected to again: what was lost with it is asked for at once.
    pub(super) fn relay_is_back(&mut self, peer: PeerId) {
        let now = Instant::now();
        if let Some(wish) = self.relays.0.get_mut(&peer).filter(|w| !w.left_alone()) {
            wish.again = now;
            wish.pause = FIRST_PAUSE;
            wish.tries = 0;
            self.ask_relay(peer, now);
        }
    }

    /// A few times a second: asks again what is due, gives up what nobody answers or renews, connects to relays that are gone.
    pub(super) fn mend_reservations(&mut self, now: Instant) {
        let wishes: Vec<PeerId> = self.relays.0.keys().copied().collect();
        for peer in wishes {
            let Some(wish) = self.relays.0.get(&peer) else {
                continue;
            };
            let age = now.saturating_duration_since(wish.since);
            let dead = match wish.listener {
                Some(listener) if wish.addresses.is_empty() && age >= UNANSWERED => Some(listener),
                Some(listener) if age >= STALE => Some(listener),
                _ => None,
            };
            if let Some(listener) = dead {
                // Its closing comes back as an event, which asks again.
                self.swarm.remove_listener(listener);
            }
            if self.table.get(&peer).is_some() {
                self.ask_relay(peer, now);
            } else if wish.listener.is_none() && wish.again <= now {
                if let Some(wish) = self.relays.0.get_mut(&peer) {
                    wish.pause_from(now);
                }
                if let Some(node) = names::node_id(&peer) {
                    self.connect_eagerly(peer, node);
                }
            }
        }
    }

    pub(super) fn on_relay(&mut self, event: &client::Event) {
        match event {
            client::Event::ReservationReqAccepted {
                relay_peer_id,
                renewal,
                ..
            } => {
                if let Some(wish) = self.relays.0.get_mut(relay_peer_id)
                    && let Some(listener) = wish.renewed(*renewal, Instant::now())
                {
                    tracing::debug!(%relay_peer_id, "a relay grants too little to be worth asking");
                    self.swarm.remove_listener(listener);
                }
            }
            client::Event::OutboundCircuitEstablished { .. }
            | client::Event::InboundCircuitEstablished { .. } => {
                count(&self.shared.tally.circuits_opened);
            }
        }
    }
}

impl Wish {
    /// The relay has granted what was asked for, the first time or again; gives the listener to be closed when it
    /// grants so little that asking would not end.
    fn renewed(&mut self, renewal: bool, now: Instant) -> Option<ListenerId> {
        let hasty = now.saturating_duration_since(self.since) < HASTY;
        self.since = now;
        if renewal {
            self.hasty = if hasty { self.hasty.saturating_add(1) } else { 0 };
        }
        if !self.left_alone() {
            return None;
        }
        (self.pause, self.tries) = (LONGEST_PAUSE, SHORT_PAUSES);
        self.listener
    }

    /// Whether it is left alone: until it is asked again, what it still says shortens nothing.
    const fn left_alone(&self) -> bool {
        self.hasty >= MAX_HASTY
    }

    fn pause_from(&mut self, now: Instant) {
        self.again = now + self.pause;
        self.tries = self.tries.saturating_add(1);
        if self.tries > SHORT_PAUSES {
            self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }
}
