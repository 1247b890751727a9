//! How it stands, for people and for tests.

use super::{MAX_ASKS, MAX_ASKS_ALL, MAX_PAST, MAX_PEERS, State, Swarm};
use hive_protocol::{file::MAX_FETCHERS, ids::NodeId};

/// How far the content is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Bytes of the content; 0 before the size is known.
    pub size: u64,
    /// Bytes here and verified. Falls only when groups are lost.
    pub verified: u64,
    /// Payload bytes received from peers.
    pub received: u64,
    /// Of those, bytes that were new and right; the rest was wasted or is not verified yet.
    pub useful: u64,
    /// How things stand; `None` before the first decision.
    pub state: Option<State>,
    /// All is here.
    pub complete: bool,
}

/// One peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerView {
    /// Who.
    pub peer: NodeId,
    /// It has all.
    pub whole: bool,
    /// Segments it says it has.
    pub has: u32,
    /// Bytes a second while it owes something, if measured.
    pub rate: Option<u64>,
    /// Payload received from it.
    pub received: u64,
    /// Of that, new and right.
    pub useful: u64,
    /// Asks that run.
    pub asks: usize,
    /// It may be asked now.
    pub usable: bool,
}

impl Swarm {
    /// How far the content is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let (size, left) = self.content.as_ref().map_or((0, 0), |c| (c.size(), c.left()));
        Progress {
            size,
            verified: size - left,
            received: self.received,
            useful: self.useful,
            state: self.state,
            complete: self.complete,
        }
    }

    /// The peers that can be asked, in key order; at most [`MAX_PEERS`].
    #[must_use]
    pub fn peers(&self) -> Vec<PeerView> {
        self.peers
            .iter()
            .map(|(id, p)| PeerView {
                peer: *id,
                whole: p.whole,
                has: p.have.count(),
                rate: p.rate.measured(),
                received: p.received,
                useful: p.useful,
                asks: p.asks.len(),
                usable: p.usable(self.now),
            })
            .collect()
    }

    /// Groups of a segment that are not here; 0 before the size is known.
    #[must_use]
    pub fn missing(&self, segment: u32) -> u64 {
        self.content.as_ref().map_or(0, |c| c.missing(segment))
    }

    /// Panics if the books contradict each other: for tests and debug builds.
    pub fn check_invariants(&self) {
        assert!(self.peers.len() <= MAX_PEERS && self.past.len() <= MAX_PAST);
        assert!(self.asks() <= MAX_ASKS_ALL + MAX_PEERS, "too many asks");
        assert!(self.named.len() <= MAX_PEERS * MAX_FETCHERS);
        assert!(self.crew.is_sorted() && self.crew.contains(&self.config.me));
        assert!(
            self.past.keys().all(|id| !self.peers.contains_key(id)),
            "present and past"
        );
        for (id, peer) in &self.peers {
            assert!(peer.asks.len() <= MAX_ASKS, "a full pipe");
            for ask in &peer.asks {
                let booked = self.asked.get(&ask.segment).is_some_and(|a| a.contains(id));
                assert!(booked, "an ask in no book");
            }
        }
        for (segment, askers) in &self.asked {
            let (mut once, mut twice) = (0u64, 0u64);
            for id in askers {
                let ask = self.peers.get(id).and_then(|p| p.ask(*segment));
                let mask = ask.map_or(0, |a| a.mask);
                assert_ne!(mask, 0, "a book without its ask");
                assert_eq!(twice & mask, 0, "a group of {segment} asked of three");
                (once, twice) = (once | mask, twice | once & mask);
            }
        }
        let Some(content) = &self.content else {
            assert!(self.asked.is_empty());
            return;
        };
        content.check();
        for (segment, mask) in content.flights() {
            let union = self.asked.get(&segment).into_iter().flatten();
            let union = union.filter_map(|id| Some(self.peers.get(id)?.ask(segment)?.mask));
            assert_eq!(union.fold(0, |a, b| a | b), mask, "flight of {segment}");
        }
        assert!(!self.paused || self.asked.is_empty(), "asks while paused");
        assert!(!self.complete || (content.short() == 0 && self.asked.is_empty()));
    }
}
