//! Nodes that relay: where they were heard of, how far and how full they are, and which two are best.

use crate::{
    addr::{self, Block, Scope},
    config::{
        ASK_KEPT, ASK_LIMIT, ASK_OTHERS, FIRST_PAUSE, LONGEST_PAUSE, MAX_ASKING, MAX_CANDIDATES,
        WANTED_RELAYS,
    },
    input::{RelayLoad, When},
};
use hive_protocol::{
    ids::{AccountId, NodeId},
    time::Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// What a relay's distance counts for while nobody has measured it, in microseconds: farther than most.
const UNMEASURED_US: u64 = 300_000;
/// Load above which a relay is avoided, in parts of a thousand.
const FULL: u32 = 950;
/// Added to the distance of a full one, in microseconds: taken only when there is nothing else.
const FULL_US: u64 = 2_000_000;
/// Below this distance relays are alike, in microseconds: load decides.
const NEAR_US: u64 = 2_000;
/// Relays that are asked how they are at all, beside the kept ones: the best known.
const LOOKED_AT: usize = 8;

/// Where a relay was heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// Any node may say so in the hash table.
    Dht,
    /// It says so itself, with a credential, by presence or registry.
    Role,
    /// It is an authority: whoever is a member trusts it already.
    Authority,
}

impl Source {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Dht => "dht",
            Self::Role => "registry",
            Self::Authority => "authority",
        }
    }
}

/// One relay.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub source: Source,
    pub account: Option<AccountId>,
    pub score: u32,
    pub addrs: Vec<String>,
    pub rtt_us: Option<u64>,
    pub load: Option<RelayLoad>,
    /// When it was asked last, and whether the answer is still to come.
    asked: Option<When>,
    asking: bool,
    pause: u64,
    not_before: When,
    /// Why it is left out until then.
    pub trouble: String,
}

impl Candidate {
    /// Whether it may be used now.
    fn usable(&self, now: Timestamp) -> bool {
        now >= self.not_before && self.load.is_none_or(|l| l.serving)
    }

    /// What using it costs, in microseconds of distance.
    pub(crate) fn cost(&self) -> u64 {
        let distance = self.rtt_us.unwrap_or(UNMEASURED_US).max(NEAR_US);
        let load = self.load.map_or(0, |l| l.load_milli.min(1000));
        let loaded = distance.saturating_add(distance.saturating_mul(u64::from(load) * 2) / 1000);
        if load >= FULL {
            loaded.saturating_add(FULL_US)
        } else {
            loaded
        }
    }

    fn block(&self) -> Option<Block> {
        let ips = self.addrs.iter().filter_map(|a| addr::parse(a)?.ip);
        ips.max_by_key(|ip| Scope::of(*ip)).map(Block::of)
    }

    fn fails(&mut self, now: Timestamp, why: &str) {
        self.pause = self.pause.saturating_mul(2).clamp(FIRST_PAUSE.0, LONGEST_PAUSE.0);
        self.not_before = now + hive_protocol::time::Millis(self.pause);
        self.trouble = why.chars().take(addr::MAX_TEXT).collect();
    }
}

/// All of them. At most [`MAX_CANDIDATES`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Candidates(BTreeMap<NodeId, Candidate>);

impl Candidates {
    pub(crate) fn get(&self, node: &NodeId) -> Option<&Candidate> {
        self.0.get(node)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&NodeId, &Candidate)> {
        self.0.iter()
    }

    /// A relay was heard of; true when that is news.
    pub(crate) fn heard(&mut self, node: NodeId, source: Source) -> bool {
        if let Some(known) = self.0.get_mut(&node) {
            let better = source > known.source;
            known.source = known.source.max(source);
            return better;
        }
        if self.0.len() >= MAX_CANDIDATES && !self.make_room(source) {
            return false;
        }
        let new = Candidate {
            source,
            account: None,
            score: 0,
            addrs: Vec::new(),
            rtt_us: None,
            load: None,
            asked: None,
            asking: false,
            pause: 0,
            not_before: Timestamp(0),
            trouble: String::new(),
        };
        self.0.insert(node, new);
        true
    }

    /// The least trusted, then the farthest, goes; nobody for one that is trusted less.
    fn make_room(&mut self, source: Source) -> bool {
        let worst = self
            .0
            .iter()
            .filter(|(_, c)| c.source <= source && !c.asking && c.source != Source::Authority)
            .max_by_key(|(_, c)| (std::cmp::Reverse(c.source), c.pause, c.cost()))
            .map(|(node, _)| *node);
        worst.is_some_and(|node| self.0.remove(&node).is_some())
    }

    /// It relays no longer.
    pub(crate) fn forget(&mut self, node: &NodeId) {
        if self.0.get(node).is_some_and(|c| c.source != Source::Authority) {
            self.0.remove(node);
        }
    }

    pub(crate) fn facts(&mut self, node: &NodeId, account: Option<AccountId>, score: u32, addrs: &[String]) {
        if let Some(known) = self.0.get_mut(node) {
            known.account = account.or(known.account);
            known.score = score;
            if !addrs.is_empty() {
                known.addrs = addrs
                    .iter()
                    .filter(|a| addr::parse(a).is_some())
                    .take(crate::config::MAX_PUBLISHED)
                    .cloned()
                    .collect();
            }
        }
    }

    /// A connection to it says where it is.
    pub(crate) fn seen_at(&mut self, node: &NodeId, text: &str) {
        if let Some(known) = self.0.get_mut(node)
            && known.addrs.is_empty()
            && addr::parse(text).is_some()
        {
            known.addrs.push(text.to_owned());
        }
    }

    pub(crate) fn told(&mut self, now: Timestamp, node: &NodeId, rtt_us: u64, load: RelayLoad) {
        let Some(known) = self.0.get_mut(node) else { return };
        known.asking = false;
        // The best of the last few counts: queues add to a distance, nothing takes from it.
        known.rtt_us = Some(known.rtt_us.map_or(rtt_us, |old| rtt_us.min(old + old / 4)));
        known.load = Some(load);
        if load.serving {
            known.pause = 0;
            known.not_before = now;
            known.trouble.clear();
        } else {
            known.fails(now, "it takes no reservations now");
        }
    }

    pub(crate) fn silent(&mut self, now: Timestamp, node: &NodeId) {
        if let Some(known) = self.0.get_mut(node) {
            known.asking = false;
            known.fails(now, "it did not answer");
        }
    }

    pub(crate) fn refused(&mut self, now: Timestamp, node: &NodeId, why: &str) {
        if let Some(known) = self.0.get_mut(node) {
            known.fails(now, why);
        }
    }

    pub(crate) fn works(&mut self, now: Timestamp, node: &NodeId) {
        if let Some(known) = self.0.get_mut(node) {
            known.pause = 0;
            known.not_before = now;
            known.trouble.clear();
        }
    }

    /// It is connected: whatever kept it from answering may be over.
    pub(crate) fn back(&mut self, now: Timestamp, node: &NodeId) {
        if let Some(known) = self.0.get_mut(node)
            && known.not_before > now
        {
            known.not_before = now;
            known.asked = None;
        }
    }

    pub(crate) fn is_usable(&self, now: Timestamp, node: &NodeId) -> bool {
        self.0.get(node).is_some_and(|c| c.usable(now))
    }

    /// Everything is to be asked anew.
    pub(crate) fn ask_again(&mut self) {
        for known in self.0.values_mut() {
            known.asked = None;
            known.not_before = Timestamp(0);
            known.pause = 0;
        }
    }

    /// Usable ones, best first.
    fn ranked(&self, now: Timestamp) -> Vec<NodeId> {
        let mut all: Vec<_> = self
            .0
            .iter()
            .filter(|(_, c)| c.usable(now))
            .map(|(node, c)| {
                (
                    c.cost(),
                    std::cmp::Reverse(c.source),
                    std::cmp::Reverse(c.score),
                    *node,
                )
            })
            .collect();
        all.sort_unstable();
        all.into_iter().map(|(.., node)| node).collect()
    }

    /// Whom to ask how it is; what is to be asked counts as asked.
    pub(crate) fn due(&mut self, now: Timestamp, kept: &BTreeSet<NodeId>) -> Vec<(NodeId, Vec<String>)> {
        for known in self.0.values_mut() {
            if known.asking && known.asked.is_some_and(|at| now >= at + ASK_LIMIT) {
                known.asking = false;
                known.fails(now, "it did not answer");
            }
        }
        let room = MAX_ASKING.saturating_sub(self.0.values().filter(|c| c.asking).count());
        let looked_at = self.looked_at(now, kept);
        let mut chosen = Vec::new();
        for node in looked_at {
            if chosen.len() >= room {
                break;
            }
            let Some(known) = self.0.get_mut(&node) else {
                continue;
            };
            let every = if kept.contains(&node) {
                ASK_KEPT
            } else {
                ASK_OTHERS
            };
            let due = known.asked.is_none_or(|at| now >= at + every) && now >= known.not_before;
            if due && !known.asking {
                known.asking = true;
                known.asked = Some(now);
                chosen.push((node, known.addrs.clone()));
            }
        }
        chosen
    }

    /// The kept ones, the unmeasured of which most is to be expected, then the best.
    fn looked_at(&self, now: Timestamp, kept: &BTreeSet<NodeId>) -> Vec<NodeId> {
        let mut all: Vec<_> = self
            .0
            .iter()
            .filter(|(_, c)| now >= c.not_before)
            .map(|(node, c)| {
                let known = c.rtt_us.is_some();
                (
                    !kept.contains(node),
                    known,
                    std::cmp::Reverse(c.source),
                    c.cost(),
                    *node,
                )
            })
            .collect();
        all.sort_unstable();
        all.into_iter()
            .take(LOOKED_AT + kept.len())
            .map(|(.., node)| node)
            .collect()
    }

    /// When `due` has something to say next.
    pub(crate) fn next_due(&self, now: Timestamp, kept: &BTreeSet<NodeId>) -> Option<Timestamp> {
        let looked_at = self.looked_at(now, kept);
        let asks = self.0.values().filter(|c| c.asking);
        let limits = asks.filter_map(|c| c.asked).map(|at| at + ASK_LIMIT);
        let later = self
            .0
            .values()
            .filter(|c| c.not_before > now)
            .map(|c| c.not_before);
        let room = self.0.values().filter(|c| c.asking).count() < MAX_ASKING;
        let dues = looked_at.iter().filter_map(|node| {
            let known = self.0.get(node).filter(|c| !c.asking && room)?;
            let every = if kept.contains(node) { ASK_KEPT } else { ASK_OTHERS };
            Some(known.asked.map_or(now, |at| at + every))
        });
        limits.chain(later).chain(dues).min()
    }

    /// The two to be reached through: the best, and the best of somebody else somewhere else. One of the two is one
    /// that the mesh trusts, if any such works: whoever floods it with relays of their own does not get both.
    pub(crate) fn choose(&self, now: Timestamp) -> Vec<NodeId> {
        let ranked = self.ranked(now);
        let Some(first) = ranked.first() else {
            return Vec::new();
        };
        let mut chosen = vec![*first];
        let apart = |node: &&NodeId| {
            let (Some(a), Some(b)) = (self.0.get(first), self.0.get(*node)) else {
                return false;
            };
            let same_owner = a.account.is_some() && a.account == b.account;
            let same_place = a.block().is_some() && a.block() == b.block();
            !same_owner && !same_place
        };
        let rest = || ranked.iter().skip(1);
        let second = rest().find(apart).or_else(|| rest().next());
        chosen.extend(second.copied());
        chosen.truncate(WANTED_RELAYS);
        let trusted = |node: &NodeId| self.0.get(node).is_some_and(|c| c.source == Source::Authority);
        if !chosen.iter().any(trusted)
            && let Some(best) = ranked.iter().find(|node| trusted(node))
        {
            chosen.truncate(WANTED_RELAYS - 1);
            chosen.push(*best);
        }
        chosen
    }

    /// Whether enough good ones are known.
    pub(crate) fn enough(&self, now: Timestamp) -> bool {
        self.0.values().filter(|c| c.usable(now)).count() > WANTED_RELAYS
    }

    pub(crate) fn check(&self) {
        assert!(self.0.len() <= MAX_CANDIDATES, "too many relays");
        assert!(self.0.values().filter(|c| c.asking).count() <= MAX_ASKING);
    }
}
