//! Members that gossip has not greeted, and how they come to be.
//!
//! Gossip tells a peer its topics on the first connection only. A node that was killed and is back before its
//! old connections have timed out is, to its neighbours, one more connection of a peer they have greeted: it
//! never learns what they listen to, and nobody hears what it says. It connects anew until it is greeted.

use super::Node;
use libp2p::PeerId;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// A greeting comes with the first bytes of a connection: this is far more than it takes.
const GREETED_WITHIN: Duration = Duration::from_secs(4);
/// New connections made for it: dead ones time out meanwhile. A member that greets nobody is then left as it is.
const TRIES: u8 = 6;
/// What was tried is forgotten after this time.
const FORGET: Duration = Duration::from_secs(300);
/// Most members remembered; more are not mended at the same time.
const MAX: usize = 256;

/// What was done about whom.
#[derive(Debug, Default)]
pub(super) struct Ungreeted {
    tries: BTreeMap<PeerId, (u8, Instant)>,
    redial: BTreeSet<PeerId>,
}

impl Ungreeted {
    /// Whether this peer was let go in order to be dialed again; once.
    pub(super) fn redial(&mut self, peer: &PeerId) -> bool {
        self.redial.remove(peer)
    }

    /// Whether another connection is worth it now; counts it.
    fn try_again(&mut self, peer: PeerId, now: Instant) -> bool {
        if self.tries.len() >= MAX && !self.tries.contains_key(&peer) {
            return false;
        }
        let (tries, last) = self.tries.entry(peer).or_insert((0, now));
        if *tries >= TRIES {
            return false;
        }
        *tries += 1;
        *last = now;
        self.redial.insert(peer);
        true
    }
}

impl Node {
    /// Connects anew to members that have not told their topics.
    pub(super) fn mend_greetings(&mut self, now: Instant) {
        let gossip = self.swarm.behaviour_mut().gossip.inner();
        if gossip.topics().next().is_none() {
            return;
        }
        let greeted: BTreeSet<PeerId> = gossip
            .all_peers()
            .filter(|(_, topics)| !topics.is_empty())
            .map(|(peer, _)| *peer)
            .collect();
        self.ungreeted.tries.retain(|peer, (_, last)| {
            !greeted.contains(peer) && now.saturating_duration_since(*last) < FORGET
        });
        // A machine without time to spare hears late: what it has let wait it must not close.
        let within = GREETED_WITHIN + self.lag.patience();
        let late: Vec<PeerId> = self
            .table
            .members()
            .filter(|(peer, since)| {
                !greeted.contains(peer) && now.saturating_duration_since(*since) >= within
            })
            .map(|(peer, _)| peer)
            .collect();
        for peer in late {
            if self.ungreeted.try_again(peer, now) {
                tracing::debug!(%peer, "a member has told no topics: connecting anew");
                if self.swarm.disconnect_peer_id(peer).is_err() {
                    self.ungreeted.redial(&peer);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_bounded_and_each_redials_once() {
        let (mut all, peer, now) = (Ungreeted::default(), PeerId::random(), Instant::now());
        for _ in 0..TRIES {
            assert!(all.try_again(peer, now));
            assert!(all.redial(&peer) && !all.redial(&peer));
        }
        assert!(!all.try_again(peer, now));
        for _ in 0..MAX {
            all.try_again(PeerId::random(), now);
        }
        assert_eq!(all.tries.len(), MAX);
    }
}
