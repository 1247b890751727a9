//! What is asked about, not for: who has what, the list of chaining values, and who else fetches.

use super::{DropReason, Effect, Failure, MAX_BUSY, MAX_PEERS, Named, Swarm};
use hive_protocol::{
    file::{MAX_CONTENT, MAX_FETCHERS, SEGMENT},
    ids::NodeId,
    time::{Millis, Timestamp},
};
use std::collections::BTreeSet;

/// How long a partial peer may wait for news before it answers.
const HAVE_WAIT: Millis = Millis::secs(5);
/// A question that found nothing is put again after this, doubled each time.
const ASK_AGAIN: Millis = Millis::secs(1);
/// The longest such pause.
const MAX_ASK_AGAIN: Millis = Millis::secs(10);
/// A named fetcher that could not be reached is tried again after this, doubled each time: who begins just now is
/// often not known to the hash table yet.
const MEET_SOON: Millis = Millis(500);
/// The longest such pause, and the longest that a meeting is waited for.
const MEET_AGAIN: Millis = Millis::secs(30);
/// Answers of a seeder after which its fetchers are asked for at leisure: at first most of them change.
const SOON: u32 = 4;
/// The first of those pauses, doubled each time.
const FIRST_WHOLE: Millis = Millis(100);
/// Bytes of the longest bitmap.
const MAX_BITMAP: usize = (MAX_CONTENT / SEGMENT / 8) as usize;

impl Swarm {
    pub(super) fn questions(&mut self) {
        if self.paused || self.complete {
            return;
        }
        if self.content.is_none() {
            self.ask_tree();
        }
        for id in self.peers.keys().copied().collect::<Vec<_>>() {
            self.ask_have(id);
        }
        self.meet();
    }

    fn ask_tree(&mut self) {
        let now = self.now;
        if self.peers.values().any(|p| p.tree.until.is_some()) {
            return;
        }
        let best = self
            .peers
            .iter()
            .filter(|(_, p)| p.usable(now) && p.tree.next <= now)
            .min_by_key(|(id, p)| (!p.whole, p.path, p.tree.answers, *id))
            .map(|(id, _)| *id);
        let until = self.later(self.config.answer_within);
        if let Some(id) = best
            && let Some(peer) = self.peers.get_mut(&id)
        {
            peer.tree.until = Some(until);
            self.effects.push_back(Effect::AskTree { peer: id });
        }
    }

    /// Whether news of what a peer has (or who fetches from it) could change a decision.
    pub(super) fn worth_asking(&self, id: &NodeId) -> bool {
        let Some(peer) = self.peers.get(id) else {
            return false;
        };
        if peer.haves.answers == 0 {
            return !(peer.whole && self.content.as_ref().is_some_and(|c| c.count() == 1));
        }
        self.content
            .as_ref()
            .is_some_and(|c| if peer.whole { c.count() > 1 } else { c.short() > 0 })
    }

    fn ask_have(&mut self, id: NodeId) {
        let now = self.now;
        if !self.worth_asking(&id) {
            return;
        }
        let within = self.config.answer_within;
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if !peer.usable(now) || peer.haves.until.is_some() || peer.haves.next > now {
            return;
        }
        let (seen, wait) = if peer.whole || peer.haves.answers == 0 {
            (0, Millis(0))
        } else {
            (peer.have.count(), HAVE_WAIT)
        };
        peer.haves.until = Some(now + wait + within);
        self.effects.push_back(Effect::AskHave { peer: id, seen, wait });
    }

    pub(super) fn on_have(&mut self, id: NodeId, whole: bool, segments: Vec<u8>, fetchers: Vec<NodeId>) {
        let now = self.now;
        let count = self.content.as_ref().map(super::content::Content::count);
        let (pause, whole_pause) = (self.config.have_pause, self.config.whole_pause);
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let before = peer.have.count();
        peer.grown |= whole && !peer.whole && before > 0 && peer.lacks.is_empty();
        peer.fetchers = fetchers;
        peer.fetchers.truncate(MAX_FETCHERS);
        let pause = if whole {
            let soon = Millis(FIRST_WHOLE.0 << peer.haves.answers.min(SOON));
            soon.min(whole_pause)
        } else {
            // A long bitmap is not asked for more often than it is worth.
            Millis(pause.0.max(segments.len() as u64 / 64))
        };
        peer.haves.answered(now + pause);
        if let Some(count) = count {
            peer.set_have(count, whole, &segments);
        } else {
            peer.whole = whole && peer.lacks.is_empty();
            peer.early = segments;
            peer.early.truncate(MAX_BITMAP);
        }
        let grew = peer.have.count() > before;
        self.step_aside(id);
        self.refresh_crew();
        self.note_gain(id, grew);
        self.dirty = true;
    }

    /// If another fetcher has just got what a seeder has been asked for, both walk the same way, and this node is the
    /// one behind: it goes elsewhere.
    fn step_aside(&mut self, id: NodeId) {
        let Some(other) = self.peers.get(&id).filter(|p| !p.whole) else {
            return;
        };
        let seeders = self.peers.values().filter(|p| p.seeds());
        if seeders.flat_map(|p| &p.asks).any(|a| other.have.get(a.segment)) {
            self.walk = u32::MAX;
        }
    }

    pub(super) fn on_have_failed(&mut self, id: NodeId, why: Failure) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        self.dirty = true;
        match why {
            Failure::NotFound => {
                let pause = again(peer.haves.answers);
                peer.haves.answered(now + pause);
                peer.whole = false;
                peer.early.clear();
                if let Some(content) = &self.content {
                    peer.set_have(content.count(), false, &[]);
                }
                self.refresh_crew();
            }
            Failure::Busy { retry } => {
                let pause = retry.clamp(ASK_AGAIN, MAX_BUSY);
                peer.haves.until = None;
                peer.haves.next = now + pause;
            }
            Failure::Changed => self.drop_peer(id, DropReason::Changed),
            Failure::Stalled | Failure::Broken => {
                peer.haves.until = None;
                peer.haves.next = now + ASK_AGAIN;
                let reason = if why == Failure::Stalled {
                    DropReason::Stalls
                } else {
                    DropReason::Breaks
                };
                self.strike(id, reason);
            }
        }
    }

    pub(super) fn on_tree_failed(&mut self, id: NodeId, why: Failure) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        self.dirty = true;
        let pause = again(peer.tree.answers);
        peer.tree.answered(now + pause);
        match why {
            Failure::NotFound => {}
            Failure::Busy { retry } => peer.hold_until(now + retry.clamp(Millis(50), MAX_BUSY)),
            Failure::Changed => self.drop_peer(id, DropReason::Changed),
            Failure::Stalled => self.strike(id, DropReason::Stalls),
            Failure::Broken => self.strike(id, DropReason::Breaks),
        }
    }

    pub(super) fn is_named(&self, id: &NodeId) -> bool {
        self.peers.values().any(|p| p.fetchers.contains(id))
    }

    /// Fetchers that providers name are met, since they have parts too. Content of one segment has no parts.
    fn meet(&mut self) {
        if self.content.as_ref().is_none_or(|c| c.count() < 2) {
            return;
        }
        let now = self.now;
        let all: BTreeSet<NodeId> = self
            .peers
            .values()
            .flat_map(|p| p.fetchers.iter().copied())
            .collect();
        self.named.retain(|id, _| all.contains(id));
        for id in all {
            if id == self.config.me
                || self.peers.contains_key(&id)
                || self.past.get(&id).is_some_and(|p| p.banned)
            {
                continue;
            }
            let room = self.peers.len() + self.named.values().filter(|n| n.pending(now)).count() < MAX_PEERS;
            let named = self.named.entry(id).or_insert(Named {
                first: now,
                tried: None,
                away: false,
                failed: 0,
            });
            if room && named.tried.is_none_or(|at| at + named.pause() <= now) {
                named.tried = Some(now);
                named.away = false;
                self.effects.push_back(Effect::Meet { peer: id });
            }
        }
    }
}

impl Named {
    /// Whether it is being met.
    fn pending(self, now: Timestamp) -> bool {
        !self.away && self.tried.is_some_and(|at| at + MEET_AGAIN > now)
    }

    /// Between two attempts to meet it.
    fn pause(self) -> Millis {
        if self.away {
            Millis(MEET_SOON.0 << self.failed.saturating_sub(1).min(8)).min(MEET_AGAIN)
        } else {
            MEET_AGAIN
        }
    }
}

fn again(times: u32) -> Millis {
    Millis(ASK_AGAIN.0 << times.min(8)).min(MAX_ASK_AGAIN)
}
