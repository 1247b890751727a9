//! Asks and what becomes of them: the books of who owes which groups.

use super::{Effect, Swarm, peer::Ask};
use hive_protocol::{
    ids::NodeId,
    time::{Millis, Timestamp},
};

impl Swarm {
    pub(super) fn make_ask(&mut self, id: NodeId, segment: u32, mask: u64) {
        let now = self.now;
        let (Some(peer), Some(content)) = (self.peers.get_mut(&id), &self.content) else {
            return;
        };
        if mask == 0 || peer.ask(segment).is_some() {
            return;
        }
        if peer.asks.is_empty() {
            peer.rate.busy(now);
            peer.heard = now;
            peer.mark = (peer.received, now);
        }
        peer.asks.push_back(Ask {
            segment,
            mask,
            given: 0,
            at: now,
        });
        let hashes = !content.hashes(segment);
        if peer.seeds() {
            self.walk = segment.saturating_add(1);
        }
        self.asked.entry(segment).or_default().push(id);
        self.reckon_flight(segment);
        self.effects.push_back(Effect::Ask {
            peer: id,
            segment,
            mask,
            hashes,
        });
    }

    /// The ask is over, in whatever way.
    fn end_ask(&mut self, id: NodeId, segment: u32) -> Option<Ask> {
        let ask = self.peers.get_mut(&id)?.take_ask(segment)?;
        self.unbook(id, segment);
        Some(ask)
    }

    /// Strikes a peer that has no ask for the segment any more from the books.
    pub(super) fn unbook(&mut self, id: NodeId, segment: u32) {
        if let Some(askers) = self.asked.get_mut(&segment) {
            askers.retain(|p| *p != id);
            if askers.is_empty() {
                self.asked.remove(&segment);
            }
        }
        self.reckon_flight(segment);
        self.dirty = true;
    }

    fn reckon_flight(&mut self, segment: u32) {
        let askers = self.asked.get(&segment).map_or(&[][..], Vec::as_slice);
        let mask = askers
            .iter()
            .filter_map(|p| self.peers.get(p)?.ask(segment))
            .fold(0, |sum, ask| sum | ask.mask);
        if let Some(content) = &mut self.content {
            content.set_flight(segment, mask);
        }
    }

    pub(super) fn on_bytes(&mut self, id: NodeId, bytes: u64) {
        let now = self.now;
        self.received = self.received.saturating_add(bytes);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.heard = now;
            peer.received = peer.received.saturating_add(bytes);
            peer.rate.bytes(now, bytes);
            self.heard = now;
        }
    }

    pub(super) fn on_groups(&mut self, id: NodeId, segment: u32, mask: u64) {
        let Some(content) = &mut self.content else {
            return;
        };
        let new = content.here(segment, mask);
        content.knows_hashes(segment);
        content.begin(segment);
        let over = content.missing(segment) == 0;
        self.useful = self.useful.saturating_add(new);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.useful = peer.useful.saturating_add(new);
            peer.redeemed();
            if let Some(ask) = peer.asks.iter_mut().find(|a| a.segment == segment) {
                ask.given |= mask;
            }
        }
        let more = self.peers.get(&id).is_some_and(|p| p.asks.len() == 1) && self.has_room(&id);
        if more {
            self.dirty = true;
        }
        if over || self.asked.get(&segment).is_some_and(|a| a.len() > 1) {
            self.spare(segment);
            self.dirty = true;
        }
    }

    pub(super) fn on_done(&mut self, id: NodeId, segment: u32) {
        let Some(ask) = self.peers.get(&id).and_then(|p| p.ask(segment)).copied() else {
            return;
        };
        self.on_groups(id, segment, ask.mask);
        // What `spare` has cancelled meanwhile was somebody else's: this ask has given all of its groups.
        self.end_ask(id, segment);
        let (now, content) = (self.now, &self.content);
        if let (Some(peer), Some(content)) = (self.peers.get_mut(&id), content) {
            let from = ask.at.max(peer.done_at);
            peer.rate.answered(now, from, content.bytes(segment, ask.mask));
            peer.done_at = now;
            peer.heard = now;
        }
    }

    /// Cancels asks for a segment of which nothing is missing any more and more would still come.
    pub(super) fn spare(&mut self, segment: u32) {
        let Some(content) = &self.content else { return };
        let missing = content.missing(segment);
        let idle: Vec<NodeId> = self
            .asked
            .get(&segment)
            .into_iter()
            .flatten()
            .filter(|id| {
                let ask = self.peers.get(id).and_then(|p| p.ask(segment));
                ask.is_some_and(|a| a.mask & missing == 0 && a.given != a.mask)
            })
            .copied()
            .collect();
        for peer in idle {
            self.end_ask(peer, segment);
            self.effects.push_back(Effect::Cancel { peer, segment });
        }
    }

    /// Takes all asks of a peer back.
    pub(super) fn cancel_peer(&mut self, id: NodeId) {
        let segments: Vec<u32> = self
            .peers
            .get(&id)
            .into_iter()
            .flat_map(|p| p.asks.iter().map(|a| a.segment))
            .collect();
        for segment in segments {
            self.end_ask(id, segment);
            self.effects.push_back(Effect::Cancel { peer: id, segment });
        }
    }

    pub(super) fn cancel_all(&mut self) {
        for id in self.peers.keys().copied().collect::<Vec<_>>() {
            self.cancel_peer(id);
        }
    }

    /// An ask that failed; false if there was none.
    pub(super) fn fail_ask(&mut self, id: NodeId, segment: u32) -> bool {
        self.end_ask(id, segment).is_some()
    }

    /// Bytes a peer owes.
    pub(super) fn owed(&self, id: &NodeId) -> u64 {
        self.owed_before(id, u32::MAX)
    }

    /// Bytes a peer owes before it comes to the ask for a segment, that ask's own included.
    pub(super) fn owed_before(&self, id: &NodeId, segment: u32) -> u64 {
        let (Some(peer), Some(content)) = (self.peers.get(id), &self.content) else {
            return 0;
        };
        let mut sum = 0;
        for ask in &peer.asks {
            sum += content.bytes(ask.segment, ask.mask & !ask.given);
            if ask.segment == segment {
                break;
            }
        }
        sum
    }

    pub(super) fn asks(&self) -> usize {
        self.peers.values().map(|p| p.asks.len()).sum()
    }

    /// Since when a peer that owes something has been silent.
    pub(super) fn silent_since(&self, id: &NodeId) -> Option<Timestamp> {
        let peer = self.peers.get(id)?;
        (!peer.asks.is_empty()).then_some(peer.heard)
    }

    pub(super) const fn later(&self, by: Millis) -> Timestamp {
        Timestamp(self.now.0.saturating_add(by.0))
    }
}
