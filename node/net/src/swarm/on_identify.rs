//! What peers tell of themselves by identify: addresses, and whether they serve the hash table.

use super::Node;
use crate::{event::NetEvent, names};
use hive_protocol::member::MAX_ADDRS;
use libp2p::{PeerId, identify::Event};
use std::time::Instant;

impl Node {
    pub(super) fn on_identify(&mut self, event: Event) {
        let Event::Received {
            connection_id,
            peer_id,
            info,
        } = event
        else {
            return;
        };
        self.sighted(connection_id, &info.observed_addr);
        self.observed(peer_id, connection_id, &names::plain(info.observed_addr.clone()));
        let serves_kad = info.protocols.contains(&self.kad_protocol);
        let Some(known) = self.table.get_mut(&peer_id) else {
            return;
        };
        let Some(on) = known.connection(connection_id) else {
            return;
        };
        let seen_from = on.addr.clone();
        let mut addrs: Vec<_> = info
            .listen_addrs
            .into_iter()
            .filter(|a| Self::believable(a, &seen_from))
            .take(MAX_ADDRS)
            .map(names::plain)
            .collect();
        addrs.sort_unstable();
        addrs.dedup();
        let told = Some((addrs, serves_kad));
        let news = known.identified != told;
        known.identified = told;
        if news && self.reaching.listens_to(peer_id, Instant::now()) {
            self.route(peer_id);
        } else {
            self.sightings(peer_id);
        }
    }

    /// Once a second: what talkative peers have told last is believed when its time has come.
    pub(super) fn route_late(&mut self, now: Instant) {
        for peer in self.reaching.late(now, |peer| self.table.get(peer).is_some()) {
            self.route(peer);
        }
    }

    /// Puts what a member has told where it is used: address book, routing table, the owner. Of a peer that is no
    /// member nothing is believed.
    pub(super) fn route(&mut self, peer: PeerId) {
        let Some(known) = self.table.get(&peer) else {
            return;
        };
        let Some((addrs, serves_kad)) = known.identified.clone() else {
            return;
        };
        if !known.is_member() {
            return;
        }
        let node = known.node;
        self.sightings(peer);
        let kad = self.swarm.behaviour_mut().kad.inner();
        // Replaced, not added to: a peer must not fill the table's entry with addresses.
        kad.remove_peer(&peer);
        if serves_kad {
            for addr in &addrs {
                kad.add_address(&peer, addr.clone());
            }
        }
        self.book.learn(peer, addrs.iter().cloned());
        if !addrs.is_empty() {
            self.tell(NetEvent::PeerAddrs {
                node,
                addrs: addrs.iter().map(ToString::to_string).collect(),
            });
        }
    }
}
