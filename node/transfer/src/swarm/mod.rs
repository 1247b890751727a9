//! The swarm core: what to ask of whom so that one content is here soon and its providers give little twice.
//!
//! Owns the choice of segments, peers and moments for one content. Must not know streams, hashes, disks or clocks:
//! the shell checks bytes and tells the outcome. Effects are made lazily: hand in all inputs at hand, then drain.
//!
//! The policy in short. Fetchers of one seeder each begin with their own stretch of the content, by rank among those
//! the seeder names, and give it to each other (`crew`); what another fetcher has or will soon have is not asked of
//! the seeder (`choose`). Of partial peers the rarest is asked first. Each peer owes a bandwidth-delay product
//! (`plan`). What a slow peer owes at the end is split with an idle one (`steal`).

mod asks;
mod bits;
mod choose;
mod clock;
mod config;
mod content;
mod crew;
mod effect;
mod faults;
mod input;
mod pace;
mod peer;
mod plan;
mod questions;
mod steal;
#[cfg(test)]
mod tests;
mod view;

pub use config::{Config, MAX_ASKS, MAX_ASKS_ALL, MAX_BUSY, MAX_PAST, MAX_PEERS, MAX_WINDOW};
pub use effect::{DropReason, Effect, State};
pub use input::{Failure, Input, Path};
pub use view::{PeerView, Progress};

use content::Content;
use hive_protocol::{
    file::MAX_CONTENT,
    ids::NodeId,
    time::{Millis, Timestamp},
};
use peer::{Past, Peer};
use std::collections::{BTreeMap, VecDeque};

/// A fetcher that a provider names and that is no peer yet. Only nodes named now are kept: at most
/// `MAX_PEERS` × `MAX_FETCHERS`.
#[derive(Clone, Copy, Debug)]
struct Named {
    first: Timestamp,
    /// When `Meet` was last asked for it.
    tried: Option<Timestamp>,
    /// It could not be reached.
    away: bool,
    /// Attempts so far that found it away.
    failed: u32,
}

/// When to look for more providers.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Timestamp,
    pause: Millis,
}

/// The core. See the module.
#[derive(Clone, Debug)]
pub struct Swarm {
    config: Config,
    seed: u64,
    /// What the shell's clock showed last.
    clock: Timestamp,
    /// This core's own time: the sum of the clock's steps forward, so that a clock that is set back stops nothing.
    now: Timestamp,
    content: Option<Content>,
    peers: BTreeMap<NodeId, Peer>,
    past: BTreeMap<NodeId, Past>,
    named: BTreeMap<NodeId, Named>,
    /// Who has been asked for a segment.
    asked: BTreeMap<u32, Vec<NodeId>>,
    /// All who fetch from whole providers, this node among them, in key order.
    crew: Vec<NodeId>,
    /// The segment after the one last asked of a seeder.
    walk: u32,
    want: Option<(u32, u32)>,
    paused: bool,
    complete: bool,
    look: Look,
    state: Option<State>,
    heard: Timestamp,
    /// Something may be decided otherwise then, though nothing will have happened.
    recheck: Option<Timestamp>,
    effects: VecDeque<Effect>,
    dirty: bool,
    received: u64,
    useful: u64,
}

impl Swarm {
    /// A core that knows no size and no peer. Equal seeds and inputs give equal effects.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        let crew = vec![config.me];
        Self {
            config,
            seed,
            clock: Timestamp(0),
            now: Timestamp(0),
            content: None,
            peers: BTreeMap::new(),
            past: BTreeMap::new(),
            named: BTreeMap::new(),
            asked: BTreeMap::new(),
            crew,
            walk: 0,
            want: None,
            paused: false,
            complete: false,
            look: Look {
                at: Timestamp(0),
                pause: clock::FIRST_LOOK,
            },
            state: None,
            heard: Timestamp(0),
            recheck: None,
            effects: VecDeque::new(),
            dirty: true,
            received: 0,
            useful: 0,
        }
    }

    /// Takes one input. What a peer says wrongly costs it its place, never a panic.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        self.advance(now);
        match input {
            Input::PeerUp { peer, path, whole } => self.on_up(peer, path, whole),
            Input::Have {
                peer,
                whole,
                segments,
                fetchers,
            } => self.on_have(peer, whole, segments, fetchers),
            Input::HaveFailed { peer, why } => self.on_have_failed(peer, why),
            Input::PeerGone { peer } => self.on_gone(peer),
            Input::Tree { size } => self.on_tree(size),
            Input::TreeFailed { peer, why } => self.on_tree_failed(peer, why),
            Input::Local {
                segment,
                mask,
                hashes,
            } => self.on_local(segment, mask, hashes),
            Input::Lost { segment, mask } => self.on_lost(segment, mask),
            Input::Bytes { peer, bytes } => self.on_bytes(peer, bytes),
            Input::Groups { peer, segment, mask } => self.on_groups(peer, segment, mask),
            Input::Done { peer, segment } => self.on_done(peer, segment),
            Input::Failed { peer, segment, why } => self.on_failed(peer, segment, why),
            Input::Corrupt { peer, .. } => self.drop_peer(peer, DropReason::WrongBytes),
            Input::Want { from, window } => {
                self.want = (window > 0).then_some((from, window.min(MAX_WINDOW)));
                self.dirty = true;
            }
            Input::Pause => self.on_pause(),
            Input::Resume => {
                self.paused = false;
                self.heard = self.now;
                self.dirty = true;
            }
            Input::Tick => {}
        }
        self.expire();
    }

    /// The next thing to do; `None` when there is nothing before the next input or `poll_timeout`.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        if self.effects.is_empty() && self.dirty {
            self.dirty = false;
            self.plan();
        }
        self.effects.pop_front()
    }

    fn on_tree(&mut self, size: u64) {
        if self.content.is_some() || size > MAX_CONTENT {
            return;
        }
        let content = Content::new(size);
        let count = content.count();
        self.walk = crew::first_of(&self.config.me, count);
        self.content = Some(content);
        self.heard = self.now;
        for peer in self.peers.values_mut() {
            let early = std::mem::take(&mut peer.early);
            peer.set_have(count, peer.whole, &early);
            peer.tree.until = None;
        }
        self.dirty = true;
    }

    fn on_local(&mut self, segment: u32, mask: u64, hashes: bool) {
        if let Some(content) = &mut self.content {
            content.here(segment, mask);
            if hashes {
                content.knows_hashes(segment);
            }
            self.spare(segment);
            self.dirty = true;
        }
    }

    fn on_lost(&mut self, segment: u32, mask: u64) {
        if let Some(content) = &mut self.content {
            content.lost(segment, mask);
            if content.short() > 0 {
                self.complete = false;
            }
            self.dirty = true;
        }
    }

    fn on_pause(&mut self) {
        self.paused = true;
        self.cancel_all();
        self.dirty = true;
    }

    /// A number that differs from node to node and from thing to thing (splitmix64's last step).
    fn hash(&self, of: u64) -> u64 {
        let mut x = self
            .seed
            .wrapping_add(of.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}
