//! Peers that come, fail, lie and go.

use super::{
    DropReason, Effect, Failure, MAX_BUSY, MAX_PAST, MAX_PEERS, Named, Path, Swarm,
    bits::Bits,
    peer::{Past, Peer},
};
use hive_protocol::{ids::NodeId, time::Millis};

/// Parts a peer may lack though it said it has them, before it is dropped.
const MAX_LACKS: usize = 3;
/// The shortest pause after `Busy`: a peer that says 0 is not asked in a loop.
const MIN_BUSY: Millis = Millis(50);

impl Swarm {
    pub(super) fn on_up(&mut self, id: NodeId, path: Path, whole: bool) {
        if id == self.config.me || self.past.get(&id).is_some_and(|p| p.banned) {
            return;
        }
        let count = self.content.as_ref().map(super::content::Content::count);
        self.dirty = true;
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.path = path;
            if whole && !peer.whole {
                peer.whole = peer.lacks.is_empty();
                if let Some(count) = count {
                    peer.set_have(count, true, &[]);
                }
            }
            return;
        }
        if self.peers.len() >= MAX_PEERS && !self.make_room(whole) {
            return;
        }
        let mut peer = Peer::new(self.now, path, whole, count);
        if let Some(past) = self.past.remove(&id) {
            peer.rate = past.rate.map(super::pace::Rate::known).unwrap_or_default();
            peer.strikes = past.strikes;
            peer.lacks = past.lacks;
            peer.received = past.received;
            peer.useful = past.useful;
            peer.hold = past.hold;
            if let Some(count) = count {
                peer.set_have(count, whole, &[]);
            }
        }
        self.named.remove(&id);
        self.peers.insert(id, peer);
        self.refresh_crew();
    }

    /// A full table takes a seeder in for a partial peer that owes nothing and has given least.
    fn make_room(&mut self, whole: bool) -> bool {
        let worst = self
            .peers
            .iter()
            .filter(|(_, p)| !p.whole && p.asks.is_empty())
            .min_by_key(|(_, p)| (p.useful, p.have.count()))
            .map(|(id, _)| *id);
        match worst {
            Some(id) if whole => {
                self.remove(id, false);
                true
            }
            _ => false,
        }
    }

    /// Takes a peer out of all books; nothing is said about it.
    fn remove(&mut self, id: NodeId, banned: bool) {
        let Some(peer) = self.peers.remove(&id) else {
            return;
        };
        for ask in &peer.asks {
            self.unbook(id, ask.segment);
        }
        self.remember(
            id,
            Past {
                banned,
                strikes: peer.strikes,
                rate: peer.rate.measured(),
                lacks: peer.lacks,
                received: peer.received,
                useful: peer.useful,
                hold: peer.hold,
                at: self.now,
            },
        );
        self.refresh_crew();
        self.dirty = true;
    }

    fn remember(&mut self, id: NodeId, past: Past) {
        if self.past.len() >= MAX_PAST && !self.past.contains_key(&id) {
            let oldest = self.past.iter().min_by_key(|(_, p)| (p.banned, p.at));
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                self.past.remove(&oldest);
            }
        }
        self.past.insert(id, past);
    }

    pub(super) fn on_gone(&mut self, id: NodeId) {
        self.remove(id, false);
        let (first, tried) = (self.now, Some(self.now));
        if let Some(named) = self.named.get_mut(&id) {
            named.away = true;
            named.failed = named.failed.saturating_add(1);
        } else if self.is_named(&id) {
            self.named.insert(
                id,
                Named {
                    first,
                    tried,
                    away: true,
                    failed: 1,
                },
            );
        }
        self.dirty = true;
    }

    pub(super) fn drop_peer(&mut self, id: NodeId, reason: DropReason) {
        if !self.peers.contains_key(&id) {
            return;
        }
        self.remove(id, reason == DropReason::WrongBytes);
        self.effects.push_back(Effect::DropPeer { peer: id, reason });
    }

    pub(super) fn on_failed(&mut self, id: NodeId, segment: u32, why: Failure) {
        if !self.fail_ask(id, segment) {
            return;
        }
        match why {
            Failure::NotFound => self.on_lack(id, segment),
            Failure::Changed => self.drop_peer(id, DropReason::Changed),
            Failure::Busy { retry } => {
                let until = self.later(retry.clamp(MIN_BUSY, MAX_BUSY));
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.hold_until(until);
                }
            }
            Failure::Stalled => self.stalled(id),
            Failure::Broken => self.strike(id, DropReason::Breaks),
        }
    }

    fn on_lack(&mut self, id: NodeId, segment: u32) {
        let Some(count) = self.content.as_ref().map(super::content::Content::count) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if !peer.lacks.contains(&segment) {
            peer.lacks.push(segment);
        }
        if peer.lacks.len() >= MAX_LACKS {
            return self.drop_peer(id, DropReason::Lacks);
        }
        if peer.whole {
            peer.have = Bits::full(count);
        }
        // From now on it is asked only for what it names.
        peer.whole = false;
        peer.have.set(segment, false);
        peer.haves.next = self.now;
        self.refresh_crew();
    }

    /// A peer has gone silent: what it owes goes to others.
    pub(super) fn stalled(&mut self, id: NodeId) {
        self.cancel_peer(id);
        self.strike(id, DropReason::Stalls);
    }

    /// One failure more. Several asks that fail together are one failure.
    pub(super) fn strike(&mut self, id: NodeId, reason: DropReason) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if !peer.usable(now) {
            return;
        }
        peer.strike(now, &self.config);
        self.dirty = true;
        if peer.strikes >= self.config.strikes {
            self.drop_peer(id, reason);
        }
    }
}
