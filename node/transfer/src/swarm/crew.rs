//! The fetchers of the same seeders, and each one's stretch of the content.
//!
//! All of them see about the same list, so that each can tell from its rank alone where to begin, and none asks a
//! seeder for what another is about to have. The lists may differ for a moment: that costs a few segments twice,
//! never a segment not at all, since a stretch says what to ask first, not what may be asked.

use super::{Swarm, bits::Bits, pace::takes};
use hive_protocol::{
    file::SEGMENT,
    ids::NodeId,
    time::{Millis, Timestamp},
};

/// Members that count at most; more would make stretches of a segment or two.
const MAX_CREW: usize = 64;
/// So many segments of another's stretch are on their way to it anyway.
const ITS_FLIGHT: u32 = 2;
/// Another is waited for if it will be done within twice the time it would take here, and this.
const GRACE: Millis = Millis(300);
/// The longest time without a gain that is believed of a slow fetcher.
const MAX_PATIENCE: Millis = Millis::secs(30);

/// Whether a part of the content may be asked of a seeder although it is in another's stretch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Leave {
    /// Nobody is at it.
    Free,
    /// Its owner is slower than this node would be.
    Late,
    /// Its owner will soon have it.
    Not,
}

/// Where a fetcher begins before it knows of others: anywhere, so that those who begin together seldom meet, and
/// told by its name, so that others leave it that segment.
pub(super) fn first_of(id: &NodeId, count: u32) -> u32 {
    let name =
        id.0.iter()
            .rev()
            .fold(0u64, |n, b| n.rotate_left(8) ^ u64::from(*b));
    (name % u64::from(count.max(1))) as u32
}

impl Swarm {
    /// Segments that others have probably begun with and do not show yet, since they have nothing whole.
    pub(super) fn begun_by_others(&self) -> Bits {
        let count = self.content.as_ref().map_or(0, super::content::Content::count);
        let mut begun = Bits::new(count);
        for id in self.crew.iter().filter(|id| **id != self.config.me) {
            let believed = match self.peers.get(id) {
                Some(p) => p.have.is_empty() && self.is_at_it(id),
                None => self.is_coming(id),
            };
            if believed {
                begun.set(first_of(id, count), true);
            }
        }
        begun
    }

    /// Works out anew who fetches from whole providers.
    pub(super) fn refresh_crew(&mut self) {
        let mut crew: Vec<NodeId> = self
            .peers
            .values()
            .filter(|p| p.seeds())
            .flat_map(|p| p.fetchers.iter().copied())
            .filter(|id| !self.past.get(id).is_some_and(|p| p.banned))
            // A seeder that also fetches something of its own has no stretch of this.
            .filter(|id| !self.peers.get(id).is_some_and(|p| p.whole))
            .chain([self.config.me])
            .collect();
        crew.sort_unstable();
        crew.dedup();
        crew.truncate(MAX_CREW);
        if !crew.contains(&self.config.me) {
            crew.pop();
            crew.push(self.config.me);
        }
        self.crew = crew;
    }

    /// First segment and the one after the last of the stretch of the member of that rank.
    pub(super) fn stretch(&self, rank: usize) -> (u32, u32) {
        let count = self.content.as_ref().map_or(0, |c| u64::from(c.count()));
        let n = self.crew.len().max(1) as u64;
        let at = |r: u64| (count * r / n) as u32;
        (at(rank as u64), at(rank as u64 + 1))
    }

    pub(super) fn rank(&self, id: &NodeId) -> Option<usize> {
        self.crew.iter().position(|m| m == id)
    }

    /// A fetcher has told what it has: how fast does it come on in its own stretch?
    pub(super) fn note_gain(&mut self, id: NodeId, grew: bool) {
        let Some(stretch) = self.rank(&id).map(|r| self.stretch(r)) else {
            return;
        };
        let now = self.now;
        if let Some(peer) = self.peers.get_mut(&id) {
            let own = peer.have.count_in(stretch.0, stretch.1);
            peer.gain.seen(now, stretch, own, grew);
        }
    }

    /// Whether `from`, a whole peer, may be asked for what the member of that rank has not yet.
    pub(super) fn leave(&self, rank: usize, from: &NodeId) -> Leave {
        let Some(owner) = self.crew.get(rank) else {
            return Leave::Free;
        };
        let Some(peer) = self.peers.get(owner) else {
            return if self.is_coming(owner) {
                Leave::Not
            } else {
                Leave::Free
            };
        };
        if !self.is_at_it(owner) {
            return Leave::Free;
        }
        let stretch = self.stretch(rank);
        let left = (stretch.1 - stretch.0).saturating_sub(peer.have.count_in(stretch.0, stretch.1));
        if left <= ITS_FLIGHT {
            return Leave::Not;
        }
        let mine = self.speed(from);
        let pace = peer
            .gain
            .milli()
            .unwrap_or_else(|| (mine.saturating_mul(1000) / SEGMENT).max(1));
        let its = Millis(u64::from(left) * 1_000_000 / pace);
        let here = takes(self.owed(from) + SEGMENT, mine);
        if its.0 > here.0 * 2 + GRACE.0 {
            Leave::Late
        } else {
            Leave::Not
        }
    }

    /// Named but not met: it may be on its way, for a while.
    fn is_coming(&self, owner: &NodeId) -> bool {
        let named = self.named.get(owner);
        named.is_some_and(|n| !n.away && self.now.since(n.first) < self.config.patience)
    }

    /// Met, and believed to be fetching.
    fn is_at_it(&self, owner: &NodeId) -> bool {
        let usable = self.peers.get(owner).is_some_and(|p| p.usable(self.now));
        usable && self.patience_ends(owner).is_some_and(|at| at > self.now)
    }

    /// Until when another fetcher is believed to be at its stretch.
    pub(super) fn patience_ends(&self, owner: &NodeId) -> Option<Timestamp> {
        let peer = self.peers.get(owner)?;
        let slow = peer.gain.milli().map_or(0, |m| 3_000_000 / m);
        let patience = self.config.patience.0.max(slow).min(MAX_PATIENCE.0);
        Some(peer.gain.last() + Millis(patience))
    }
}
