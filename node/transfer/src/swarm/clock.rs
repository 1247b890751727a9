//! What time brings: stalls, answers that do not come, pauses that end.

use super::{Failure, Swarm};
use hive_protocol::{
    ids::NodeId,
    time::{Millis, Timestamp},
};

/// First pause between two searches for providers, doubled each time.
pub(super) const FIRST_LOOK: Millis = Millis::secs(2);
/// The longest such pause while there is nobody.
pub(super) const LONELY_LOOK: Millis = Millis::secs(10);
/// The longest such pause while there is somebody.
pub(super) const LAST_LOOK: Millis = Millis::secs(60);
/// A peer that owes something must give so much within [`TRICKLE_TIME`]; less is a stall that looks alive.
const TRICKLE_BYTES: u64 = 64 << 10;
const TRICKLE_TIME: Millis = Millis::secs(60);

impl Swarm {
    /// The clock shows this.
    pub(super) fn advance(&mut self, clock: Timestamp) {
        let step = clock.since(self.clock);
        self.now = Timestamp(self.now.0.saturating_add(step.0));
        self.clock = clock;
    }

    /// What the clock will show at a moment of this core's time.
    pub(super) fn shown(&self, at: Timestamp) -> Timestamp {
        Timestamp(self.clock.0.saturating_add(at.since(self.now).0))
    }

    /// The next moment at which `Input::Tick` may change something, by the clock `handle` was told last; `None` if
    /// only an input can.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.next_moment().map(|at| self.shown(at))
    }

    fn next_moment(&self) -> Option<Timestamp> {
        if self.dirty || !self.effects.is_empty() {
            return Some(self.now);
        }
        if self.complete {
            return None;
        }
        let looking = (!self.paused && self.look.pause > FIRST_LOOK).then_some(self.look.at);
        let shared = [
            self.recheck,
            self.silence_ends().filter(|at| *at > self.now),
            looking,
        ];
        shared
            .into_iter()
            .flatten()
            .chain(self.peers.keys().filter_map(|id| self.peer_timeout(id)))
            .map(|at| at.max(Timestamp(self.now.0 + 1)))
            .min()
    }

    fn peer_timeout(&self, id: &NodeId) -> Option<Timestamp> {
        let peer = self.peers.get(id)?;
        let stall = self.stall_at(id);
        let hold = peer.hold;
        let running = [peer.haves.until, peer.tree.until];
        let next = if self.paused {
            [None, None]
        } else {
            let usable = |at: Timestamp| at.max(peer.hold.unwrap_or(at));
            let have = (peer.haves.until.is_none() && self.worth_asking(id)).then(|| usable(peer.haves.next));
            let tree = (self.content.is_none() && peer.tree.until.is_none()).then(|| usable(peer.tree.next));
            [have, tree]
        };
        [stall, hold]
            .into_iter()
            .chain(running)
            .chain(next)
            .flatten()
            .min()
    }

    /// When a peer that owes something counts as stalled.
    fn stall_at(&self, id: &NodeId) -> Option<Timestamp> {
        let peer = self.peers.get(id)?;
        let silent = self.silent_since(id)? + self.config.stall_after;
        Some(silent.min(peer.mark.1 + TRICKLE_TIME))
    }

    /// When the state becomes `Silent` unless a byte comes.
    pub(super) fn silence_ends(&self) -> Option<Timestamp> {
        let first = self.peers.keys().filter_map(|id| self.silent_since(id)).max()?;
        Some(first.max(self.heard) + self.config.silent_after)
    }

    /// Does what is due.
    pub(super) fn expire(&mut self) {
        let now = self.now;
        for id in self.peers.keys().copied().collect::<Vec<_>>() {
            self.expire_peer(id);
        }
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        let silent = due(self.silence_ends()) && !matches!(self.state, Some(super::State::Silent { .. }));
        let heard = !due(self.silence_ends()) && matches!(self.state, Some(super::State::Silent { .. }));
        if due(self.recheck) || due(Some(self.look.at)) && !self.complete || silent || heard {
            self.dirty = true;
        }
    }

    fn expire_peer(&mut self, id: NodeId) {
        let now = self.now;
        let stall = self.stall_at(&id);
        let asking = !self.paused && !self.complete;
        let questions = asking && self.worth_asking(&id);
        let no_tree = self.content.is_none();
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if peer.hold.is_some_and(|at| at <= now) {
            peer.hold = None;
            self.dirty = true;
        }
        if questions && peer.haves.until.is_none() && peer.haves.next <= now
            || asking && no_tree && peer.tree.until.is_none() && peer.tree.next <= now
        {
            self.dirty = true;
        }
        let (have, tree) = (peer.haves.until, peer.tree.until);
        if stall.is_some_and(|at| at <= now) {
            let trickles = peer.received.saturating_sub(peer.mark.0);
            if now.since(peer.heard) < self.config.stall_after && trickles >= TRICKLE_BYTES {
                peer.mark = (peer.received, now);
            } else {
                self.stalled(id);
            }
        }
        if have.is_some_and(|at| at <= now) {
            self.on_have_failed(id, Failure::Stalled);
        }
        if tree.is_some_and(|at| at <= now) {
            self.on_tree_failed(id, Failure::Stalled);
        }
    }
}
