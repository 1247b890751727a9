//! One round of decisions: fill the peers' pipes, sharpen the end, say how things stand.

use super::{
    Effect, MAX_ASKS, MAX_ASKS_ALL, State, Swarm,
    bits::lowest,
    choose::Field,
    clock::{FIRST_LOOK, LAST_LOOK, LONELY_LOOK},
    pace::takes,
};
use hive_protocol::{
    file::{GROUP, GROUPS_PER_SEGMENT, SEGMENT},
    ids::NodeId,
    time::{Millis, Timestamp},
};
use std::collections::BTreeSet;

/// An answer is meant to take at most this; slower peers are asked for fewer groups at once.
const LONGEST_ANSWER: Millis = Millis::secs(4);
/// And never meant to take less than this, however near the end is.
const SHORTEST_ANSWER: Millis = Millis(250);
/// The fewest groups of an ask: below that the asking costs more than it spares.
const FEWEST_GROUPS: u32 = 4;
/// Groups of the first asks to a partial peer, which may be anybody.
const FIRST_GROUPS: u32 = 16;
/// Bytes a second from which on whole segments are asked of a seeder that others fetch from too.
const WHOLE_SPEED: u64 = 512 << 10;
/// A seeder with several fetchers is asked for the next segment so long before the last one is over.
const AHEAD: Millis = Millis(100);
/// Answers of a seeder after which its list of fetchers is taken to be whole: those who begin together are on it.
const KNOWN: u32 = 2;
/// How soon decisions that rest on others' speed are looked at again.
pub(super) const AGAIN: Millis = Millis(100);

impl Swarm {
    pub(super) fn plan(&mut self) {
        self.recheck = None;
        if self.complete {
            return;
        }
        if self.content.as_ref().is_some_and(|c| c.short() == 0) {
            self.complete = true;
            self.cancel_all();
            self.dirty = false;
            self.effects.push_back(Effect::Complete);
            return;
        }
        self.questions();
        if self.content.is_some() && !self.paused {
            let field = self.field();
            self.fill(&field);
            self.sharpen(&field);
        }
        self.look();
        self.tell();
    }

    /// Gives each usable peer that has room the best ask for it, the one that would be done first before others.
    fn fill(&mut self, field: &Field) {
        let mut done: BTreeSet<NodeId> = BTreeSet::new();
        while self.asks() < MAX_ASKS_ALL {
            let next = self
                .peers
                .iter()
                .filter(|(id, p)| p.usable(self.now) && !done.contains(*id))
                .map(|(id, p)| {
                    let eta = takes(self.owed(id) + SEGMENT, self.speed(id));
                    (p.path, eta.0 + p.rate.delay().0, p.asks.len(), *id)
                })
                .min()
                .map(|(.., id)| id);
            let Some(id) = next else { break };
            let ask = if self.has_room(&id) {
                self.choose(&id, field)
            } else {
                None
            };
            let Some(segment) = ask else {
                done.insert(id);
                continue;
            };
            let free = self.content.as_ref().map_or(0, |c| c.free(segment));
            self.make_ask(id, segment, lowest(free, self.portion(&id)));
        }
        let open = self.anything_open();
        let idle_seeder = self
            .peers
            .iter()
            .any(|(id, p)| p.seeds() && p.usable(self.now) && self.has_room(id));
        if open && idle_seeder {
            // Left to others for now; whether they come on is seen then.
            self.recheck = Some(self.later(AGAIN));
        }
    }

    /// Groups to ask this peer for at once.
    pub(super) fn portion(&self, id: &NodeId) -> u32 {
        let Some(peer) = self.peers.get(id) else { return 0 };
        if peer.rate.measured().is_none() {
            return if peer.whole {
                GROUPS_PER_SEGMENT
            } else {
                FIRST_GROUPS
            };
        }
        if peer.seeds() && self.crew.len() > 1 && self.speed(id) >= WHOLE_SPEED {
            // Only whole segments can be given on.
            return GROUPS_PER_SEGMENT;
        }
        let left = self.content.as_ref().map_or(0, super::content::Content::left);
        let all: u64 = self
            .peers
            .iter()
            .filter(|(_, p)| p.usable(self.now))
            .map(|(i, _)| self.speed(i))
            .fold(0, u64::saturating_add);
        let budget = (takes(left, all).0 / 2).clamp(SHORTEST_ANSWER.0, LONGEST_ANSWER.0);
        let groups = self.speed(id).saturating_mul(budget) / 1000 / GROUP;
        (groups.min(u64::from(GROUPS_PER_SEGMENT)) as u32).max(FEWEST_GROUPS)
    }

    /// Whether a peer should owe more: one answer to come, and what the line holds. Of a seeder with other fetchers
    /// less, since what it is asked for early is chosen without knowing what they will have by then, and nothing that
    /// was asked can be taken back from the line.
    pub(super) fn has_room(&self, id: &NodeId) -> bool {
        let Some(peer) = self.peers.get(id) else {
            return false;
        };
        let line = peer
            .rate
            .measured()
            .unwrap_or(0)
            .saturating_mul(peer.rate.delay().0)
            / 1000;
        let mut one = u64::from(self.portion(id)) * GROUP;
        if peer.seeds() && (self.crew.len() > 1 || peer.haves.answers < KNOWN) {
            one = one.min(self.speed(id).saturating_mul(AHEAD.0) / 1000);
        }
        peer.asks.len() < MAX_ASKS && self.owed(id) <= one + line.min(self.config.max_flight)
    }

    /// Asks the shell to look for providers while those known are few.
    fn look(&mut self) {
        let useful = self
            .peers
            .values()
            .filter(|p| p.whole || !p.have.is_empty())
            .count();
        if self.paused || useful >= self.config.few_peers {
            self.look.pause = FIRST_LOOK;
            return;
        }
        if self.look.at > self.now {
            return;
        }
        self.effects.push_back(Effect::WantPeers);
        let most = if useful == 0 { LONELY_LOOK } else { LAST_LOOK };
        let pause = self.look.pause.min(most);
        self.look.at = self.later(pause);
        self.look.pause = Millis(pause.0.saturating_mul(2)).min(most);
    }

    fn tell(&mut self) {
        let state = self.reckon_state();
        if self.state != Some(state) {
            self.state = Some(state);
            self.effects.push_back(Effect::State(state));
        }
    }

    fn reckon_state(&self) -> State {
        if self.paused {
            return State::Paused;
        }
        if self.peers.is_empty() {
            return State::NoProviders;
        }
        let owing = self
            .peers
            .iter()
            .filter(|(_, p)| !p.asks.is_empty())
            .max_by_key(|(id, _)| self.owed(id));
        if let Some((peer, _)) = owing {
            return match self.silence_ends() {
                Some(at) if at <= self.now => State::Silent { peer: *peer },
                _ => State::Moving,
            };
        }
        let (held, free): (Vec<_>, Vec<_>) = self
            .peers
            .iter()
            .filter(|(_, p)| p.whole || !p.have.is_empty() || p.haves.answers == 0)
            .partition(|(_, p)| !p.usable(self.now));
        let asking = self
            .peers
            .values()
            .any(|p| p.tree.until.is_some() || (p.haves.answers == 0 && p.haves.until.is_some()));
        if asking || (self.anything_open() && !free.is_empty()) {
            return State::Moving;
        }
        let first: Option<(Timestamp, NodeId)> =
            held.iter().filter_map(|(id, p)| Some((p.hold?, **id))).min();
        match first {
            Some((until, peer)) => State::Waiting {
                peer,
                until: self.shown(until),
            },
            None => State::NobodyHasRest,
        }
    }
}
