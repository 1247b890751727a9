//! Peers that this node does not let go: the authorities, its relays, and a few members of different owners at
//! different places. Whoever surrounds a node with members of their own must not be able to make it lose all others.
//!
//! Who is honest cannot be known. What an attacker cannot have at will: a score that was earned, many accounts with
//! one, many address blocks, and having been here before. Anchors are chosen by these, by chance among equals (the
//! chance is this node's own), and kept as long as they answer.

use crate::{
    addr::{self, Block, Carrier},
    config::{FIRST_PAUSE, LONGEST_PAUSE, MAX_ANCHOR_DIALS, MAX_PEERS, Seed, WANTED_ANCHORS},
    effect::Effect,
    input::{PeerFacts, When},
};
use hive_protocol::{
    credential::Tier,
    ids::{AccountId, BlobHash, NodeId},
    time::{Millis, Timestamp},
};
use std::collections::{BTreeMap, BTreeSet};

/// Peers that are protected at most: all authorities of a usual mesh, relays, anchors.
pub const MAX_PROTECTED: usize = 32;
/// Failures in a row after which an anchor is given up.
const GIVE_UP: u32 = 4;
/// The choice is looked at again this often even if nothing has happened: pauses end.
const CHOOSE_EVERY: Millis = Millis::secs(5);
/// A dial that was asked for has ended by then, whether or not anybody said so.
const DIAL_LIMIT: Millis = Millis::secs(40);

/// One member.
#[derive(Debug, Clone)]
struct Peer {
    account: Option<AccountId>,
    score: u32,
    addrs: Vec<String>,
    /// Where it was connected from or to.
    at: Option<String>,
    connected: bool,
    /// Over what, when it is connected without a relay.
    carrier: Option<Carrier>,
    first_met: Option<When>,
    failures: u32,
    not_before: When,
    dialing: Option<When>,
    /// A number nobody else can foresee.
    chance: [u8; 8],
}

impl Peer {
    fn block(&self) -> Option<Block> {
        let of = |text: &String| addr::parse(text)?.ip.map(Block::of);
        self.at
            .as_ref()
            .and_then(of)
            .or_else(|| self.addrs.iter().find_map(of))
    }
}

/// The choice.
#[derive(Debug, Clone)]
pub(crate) struct Anchors {
    seed: Seed,
    authorities: BTreeSet<NodeId>,
    peers: BTreeMap<NodeId, Peer>,
    anchors: BTreeSet<NodeId>,
    told: Vec<NodeId>,
    /// Whether something has changed since the last choice.
    dirty: bool,
    chosen_at: When,
}

impl Anchors {
    pub(crate) fn new(seed: Seed) -> Self {
        Self {
            seed,
            authorities: BTreeSet::new(),
            peers: BTreeMap::new(),
            anchors: BTreeSet::new(),
            told: Vec::new(),
            dirty: true,
            chosen_at: Timestamp(0),
        }
    }

    pub(crate) fn told(&self) -> &[NodeId] {
        &self.told
    }

    pub(crate) fn is_authority(&self, node: &NodeId) -> bool {
        self.authorities.contains(node)
    }

    pub(crate) fn set_authorities(&mut self, authorities: impl Iterator<Item = NodeId>) {
        self.authorities = authorities.take(MAX_PROTECTED / 2).collect();
        let all: Vec<NodeId> = self.authorities.iter().copied().collect();
        for node in all {
            self.peer(node);
        }
    }

    fn peer(&mut self, node: NodeId) -> Option<&mut Peer> {
        if !self.peers.contains_key(&node) && self.peers.len() >= MAX_PEERS && !self.make_room() {
            return None;
        }
        let chance = self.chance(&node);
        self.dirty |= !self.peers.contains_key(&node);
        Some(self.peers.entry(node).or_insert(Peer {
            account: None,
            score: 0,
            addrs: Vec::new(),
            at: None,
            connected: false,
            carrier: None,
            first_met: None,
            failures: 0,
            not_before: Timestamp(0),
            dialing: None,
            chance,
        }))
    }

    /// One with the lowest score that is neither an anchor nor known for long goes.
    fn make_room(&mut self) -> bool {
        let worst = self
            .peers
            .iter()
            .filter(|(node, _)| !self.anchors.contains(node) && !self.authorities.contains(node))
            .min_by_key(|(_, p)| (p.score, p.connected, p.first_met.is_some(), p.chance))
            .map(|(node, _)| *node);
        worst.is_some_and(|node| self.peers.remove(&node).is_some())
    }

    /// A number nobody else can foresee.
    fn chance(&self, node: &NodeId) -> [u8; 8] {
        let mut bytes = [0; 64];
        let (a, b) = bytes.split_at_mut(32);
        a.copy_from_slice(&self.seed.0);
        b.copy_from_slice(&node.0);
        let mut out = [0; 8];
        for (to, from) in out.iter_mut().zip(BlobHash::of(&bytes).0) {
            *to = from;
        }
        out
    }

    pub(crate) fn heard(&mut self, facts: &PeerFacts) {
        if facts.leaving {
            self.dirty = true;
            self.anchors.remove(&facts.node);
            if let Some(peer) = self.peers.get_mut(&facts.node)
                && !peer.connected
            {
                self.peers.remove(&facts.node);
            }
            return;
        }
        let mut changed = false;
        if let Some(peer) = self.peer(facts.node) {
            changed = peer.account != Some(facts.account) || peer.score != facts.score;
            peer.account = Some(facts.account);
            peer.score = facts.score;
            if !facts.addrs.is_empty() {
                peer.addrs = facts
                    .addrs
                    .iter()
                    .filter(|a| a.len() <= addr::MAX_TEXT)
                    .take(crate::config::MAX_PUBLISHED)
                    .cloned()
                    .collect();
            }
        }
        self.dirty |= changed;
    }

    pub(crate) fn connected(&mut self, now: Timestamp, node: NodeId, at: &str) {
        self.dirty = true;
        if let Some(peer) = self.peer(node) {
            peer.connected = true;
            peer.carrier = addr::parse(at).map(|d| d.carrier);
            peer.failures = 0;
            peer.dialing = None;
            peer.first_met.get_or_insert(now);
            peer.at = addr::parse(at)
                .is_some()
                .then(|| at.to_owned())
                .or_else(|| peer.at.take());
        }
    }

    pub(crate) fn disconnected(&mut self, now: Timestamp, node: &NodeId) {
        self.dirty = true;
        if let Some(peer) = self.peers.get_mut(node) {
            peer.connected = false;
            peer.carrier = None;
            peer.not_before = now;
        }
    }

    pub(crate) fn dial_failed(&mut self, now: Timestamp, node: &NodeId) {
        self.dirty = true;
        let Some(peer) = self.peers.get_mut(node) else {
            return;
        };
        peer.dialing = None;
        peer.failures = peer.failures.saturating_add(1);
        let pause = FIRST_PAUSE
            .0
            .saturating_mul(1 << peer.failures.min(10))
            .min(LONGEST_PAUSE.0);
        peer.not_before = now + Millis(pause);
        if peer.failures >= GIVE_UP {
            self.anchors.remove(node);
        }
    }

    /// The connection to a peer is another one now.
    pub(crate) fn moved(&mut self, node: &NodeId, at: &str) {
        let Some(peer) = self.peers.get_mut(node).filter(|p| p.connected) else {
            return;
        };
        let direct = addr::parse(at);
        peer.carrier = direct.as_ref().map(|d| d.carrier);
        if direct.is_some() {
            peer.at = Some(at.to_owned());
        }
    }

    /// Peers that are connected over this carrier: where, and where they listen.
    pub(crate) fn over(&self, carrier: Carrier) -> impl Iterator<Item = (NodeId, &str, &[String])> {
        self.peers
            .iter()
            .filter(move |(_, p)| p.carrier == Some(carrier))
            .filter_map(|(node, p)| Some((*node, p.at.as_deref()?, p.addrs.as_slice())))
    }

    /// Whether this peer is connected over this carrier.
    pub(crate) fn is_over(&self, node: &NodeId, carrier: Carrier) -> bool {
        self.peers.get(node).is_some_and(|p| p.carrier == Some(carrier))
    }

    /// Whether anybody is connected, by whatever way.
    pub(crate) fn anybody(&self) -> bool {
        self.peers.values().any(|p| p.connected)
    }

    pub(crate) fn addrs(&self, node: &NodeId) -> Vec<String> {
        self.peers.get(node).map(|p| p.addrs.clone()).unwrap_or_default()
    }

    /// Chooses anchors where some are missing, connects to those that are not connected, says who is protected.
    pub(crate) fn keep(&mut self, now: Timestamp, relays: &BTreeSet<NodeId>, effects: &mut Vec<Effect>) {
        if self.dirty || now >= self.chosen_at + CHOOSE_EVERY {
            self.dirty = false;
            self.chosen_at = now;
            self.choose(now);
        }
        for peer in self.peers.values_mut() {
            if peer.dialing.is_some_and(|at| now >= at + DIAL_LIMIT) {
                peer.dialing = None;
            }
        }
        let mut dials = self.peers.values().filter(|p| p.dialing.is_some()).count();
        let wanted: Vec<NodeId> = self.authorities.iter().chain(&self.anchors).copied().collect();
        for node in wanted {
            let Some(peer) = self.peers.get_mut(&node) else {
                continue;
            };
            // The way to an authority without an address is somebody else's matter: tickets and what is on disk.
            let due = !peer.connected && peer.dialing.is_none() && now >= peer.not_before;
            if due && !peer.addrs.is_empty() && dials < MAX_ANCHOR_DIALS {
                peer.dialing = Some(now);
                dials += 1;
                let addrs = peer.addrs.clone();
                effects.push(Effect::Dial { node, addrs });
            }
        }
        let mut all: Vec<NodeId> = self
            .authorities
            .iter()
            .chain(relays)
            .chain(&self.anchors)
            .copied()
            .collect();
        all.sort_unstable();
        all.dedup();
        all.truncate(MAX_PROTECTED);
        if all != self.told {
            self.told.clone_from(&all);
            effects.push(Effect::Protect(all));
        }
    }

    /// Chooses the anchors anew: highest tier first, then those that are anchors already, then those met longest ago,
    /// then by chance; one of each owner and place as far as there are enough, and never more than half of one owner.
    fn choose(&mut self, now: Timestamp) {
        let mut ranked: Vec<_> = self
            .peers
            .iter()
            .filter(|(node, p)| {
                let here = p.connected || now >= p.not_before || self.anchors.contains(node);
                p.account.is_some() && here && !self.authorities.contains(node)
            })
            .map(|(node, p)| {
                let met = p.first_met.map_or(u64::MAX, |at| at.0);
                let tier = std::cmp::Reverse(Tier::of(p.score));
                let new = !self.anchors.contains(node);
                ((p.failures >= GIVE_UP, tier, new, met, p.chance), *node)
            })
            .collect();
        ranked.sort_unstable();
        let mut chosen = BTreeSet::new();
        for strict in [true, false] {
            for (_, node) in &ranked {
                if chosen.len() < WANTED_ANCHORS && !chosen.contains(node) && self.fits(&chosen, node, strict)
                {
                    chosen.insert(*node);
                }
            }
        }
        self.anchors = chosen;
    }

    fn fits(&self, chosen: &BTreeSet<NodeId>, node: &NodeId, strict: bool) -> bool {
        let Some(new) = self.peers.get(node) else {
            return false;
        };
        let mut same_owner = 0;
        let mut same_place = 0;
        for other in chosen.iter().filter_map(|a| self.peers.get(a)) {
            same_owner += usize::from(other.account == new.account);
            same_place += usize::from(new.block().is_some() && other.block() == new.block());
        }
        if strict {
            same_owner == 0 && same_place == 0
        } else {
            same_owner < WANTED_ANCHORS / 2
        }
    }

    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let kept = || {
            self.authorities
                .iter()
                .chain(&self.anchors)
                .filter_map(|n| self.peers.get(n))
        };
        let limits = self
            .peers
            .values()
            .filter_map(|p| p.dialing)
            .map(|at| at + DIAL_LIMIT);
        let later = kept()
            .filter(|p| !p.connected && p.dialing.is_none() && !p.addrs.is_empty())
            .map(|p| p.not_before.max(now + Millis::secs(1)));
        limits.chain(later).min()
    }

    pub(crate) fn check(&self) {
        assert!(
            self.peers.len() <= MAX_PEERS + MAX_PROTECTED,
            "too many peers remembered"
        );
        assert!(self.anchors.len() <= WANTED_ANCHORS && self.told.len() <= MAX_PROTECTED);
        let dials = self.peers.values().filter(|p| p.dialing.is_some()).count();
        assert!(
            dials <= MAX_ANCHOR_DIALS + self.peers.len().min(1),
            "too many dials"
        );
    }
}
