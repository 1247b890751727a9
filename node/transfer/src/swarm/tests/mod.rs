//! The swarm core alone: inputs in, effects compared.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod end;
mod order;
mod questions;

use super::*;
use hive_protocol::{
    file::{GROUP, SEGMENT},
    ids::NodeId,
    time::{Millis, Timestamp},
};

pub(super) fn id(n: u8) -> NodeId {
    NodeId([n; 32])
}

/// This node.
pub(super) const ME: u8 = 100;

/// A core at a moment that can be moved on.
pub(super) struct Bench {
    pub(super) core: Swarm,
    pub(super) now: u64,
}

impl Bench {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            core: Swarm::new(Config::new(id(ME)), seed),
            now: 10_000,
        }
    }

    /// Knows the tree of content of so many bytes.
    pub(super) fn of(size: u64) -> Self {
        let mut bench = Self::new(1);
        bench.tell(Input::Tree { size });
        bench
    }

    pub(super) fn tell(&mut self, input: Input) {
        self.core.handle(Timestamp(self.now), input);
    }

    pub(super) fn up(&mut self, n: u8, whole: bool) {
        self.tell(Input::PeerUp {
            peer: id(n),
            path: Path::Direct,
            whole,
        });
    }

    pub(super) fn have(&mut self, n: u8, segments: &[u32]) {
        let mut bytes = vec![0u8; 64];
        for s in segments {
            bytes[*s as usize / 8] |= 1 << (s % 8);
        }
        self.tell(Input::Have {
            peer: id(n),
            whole: false,
            segments: bytes,
            fetchers: Vec::new(),
        });
    }

    /// A seeder that names these fetchers.
    pub(super) fn seeder(&mut self, n: u8, fetchers: &[u8]) {
        self.up(n, true);
        self.fetchers(n, fetchers);
    }

    /// A seeder tells who fetches from it.
    pub(super) fn fetchers(&mut self, n: u8, fetchers: &[u8]) {
        self.tell(Input::Have {
            peer: id(n),
            whole: true,
            segments: Vec::new(),
            fetchers: fetchers.iter().map(|f| id(*f)).collect(),
        });
    }

    pub(super) fn drain(&mut self) -> Vec<Effect> {
        let effects: Vec<Effect> = std::iter::from_fn(|| self.core.poll_effect()).collect();
        self.core.check_invariants();
        let next = self.core.poll_timeout();
        assert!(
            next.is_none_or(|at| at > self.core.clock),
            "wants to be woken at once"
        );
        effects
    }

    /// The asks among what is to be done now: peer, segment, mask.
    pub(super) fn asks(&mut self) -> Vec<(u8, u32, u64)> {
        self.drain()
            .into_iter()
            .filter_map(|e| match e {
                Effect::Ask {
                    peer, segment, mask, ..
                } => Some((peer.0[0], segment, mask)),
                _ => None,
            })
            .collect()
    }

    /// An ask is answered in full, after a time.
    pub(super) fn give(&mut self, n: u8, segment: u32, ms: u64) {
        self.now += ms;
        self.tell(Input::Bytes {
            peer: id(n),
            bytes: SEGMENT,
        });
        self.tell(Input::Done { peer: id(n), segment });
    }

    /// Lets time pass, waking the core whenever it wants to be; what it wanted done.
    pub(super) fn pass(&mut self, ms: u64) -> Vec<Effect> {
        let end = self.now + ms;
        let mut all = Vec::new();
        while let Some(at) = self.core.poll_timeout().filter(|at| at.0 <= end) {
            self.now = self.now.max(at.0);
            self.tell(Input::Tick);
            all.extend(self.drain());
        }
        self.now = end;
        self.tell(Input::Tick);
        all.extend(self.drain());
        all
    }
}
