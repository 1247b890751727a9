//! Punches under way and how often each peer was tried. Knows no sockets: `on_punch.rs` does what is decided here.

use hive_protocol::ids::NodeId;
use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// Punches under way at a time: each has up to four dials, out of the bound of pending connections.
pub(super) const MAX_ACTIVE: usize = 8;
/// Peers whose attempts are remembered; only relayed ones and those of the last hour are.
const MAX_PEERS: usize = 512;
/// Pauses after failures: twice soon, because the first packets of a young mapping get lost; then ever less, because
/// two routers that cannot be passed stay so until somebody moves.
const PAUSES: [Duration; 7] = [
    Duration::from_millis(500),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(300),
    Duration::from_secs(900),
    Duration::from_secs(1800),
];
/// A peer's own wish to punch is answered this often.
const ANSWER_EVERY: Duration = Duration::from_millis(400);
/// What is known of a peer is forgotten this long after its last punch.
const FORGET: Duration = Duration::from_secs(3600);

/// Which side of the talk this node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// It spoke first.
    Begins,
    /// It was spoken to.
    Answers,
}

/// A punch under way.
#[derive(Debug)]
pub(super) struct Active {
    pub round: u64,
    pub side: Side,
    pub began: Instant,
    /// Where to, once told.
    pub theirs: Vec<Multiaddr>,
    /// Dials that belong to it.
    pub dials: BTreeSet<ConnectionId>,
    /// What the dials that failed said, at most one line each.
    pub said: Vec<String>,
}

#[derive(Debug)]
struct Peer {
    active: Option<Active>,
    failures: usize,
    /// When the next is due, if this node is to begin it.
    next: Option<Instant>,
    answered: Option<Instant>,
    last: Instant,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Punches {
    peers: BTreeMap<PeerId, Peer>,
    rounds: u64,
}

impl Punches {
    fn peer(&mut self, peer: PeerId, now: Instant) -> Option<&mut Peer> {
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&peer) {
            self.peers
                .retain(|_, p| p.active.is_some() || now.saturating_duration_since(p.last) < FORGET);
            if self.peers.len() >= MAX_PEERS {
                return None;
            }
        }
        Some(self.peers.entry(peer).or_insert(Peer {
            active: None,
            failures: 0,
            next: None,
            answered: None,
            last: now,
        }))
    }

    /// Starts a round; none when there is no room. A round that was under way with the peer is over.
    pub(super) fn start(&mut self, peer: PeerId, side: Side, now: Instant) -> Option<u64> {
        let others = self
            .peers
            .iter()
            .filter(|(id, p)| **id != peer && p.active.is_some());
        if others.count() >= MAX_ACTIVE {
            return None;
        }
        self.rounds = self.rounds.wrapping_add(1);
        let round = self.rounds;
        let known = self.peer(peer, now)?;
        known.last = now;
        known.next = None;
        if side == Side::Answers {
            known.answered = Some(now);
        }
        known.active = Some(Active {
            round,
            side,
            began: now,
            theirs: Vec::new(),
            dials: BTreeSet::new(),
            said: Vec::new(),
        });
        Some(round)
    }

    /// Whether a peer's wish may be answered now: not while a round that this node may begin is under way.
    pub(super) fn may_answer(&self, peer: &PeerId, me: NodeId, them: NodeId, now: Instant) -> bool {
        let Some(known) = self.peers.get(peer) else {
            return true;
        };
        let soon = |at: Instant| now.saturating_duration_since(at) < ANSWER_EVERY;
        if known.answered.is_some_and(soon) {
            return false;
        }
        // Both have begun at once: the smaller one's round counts, on both sides.
        !known
            .active
            .as_ref()
            .is_some_and(|a| a.side == Side::Begins && me < them && a.theirs.is_empty())
    }

    /// The round under way with a peer.
    pub(super) fn active(&mut self, peer: &PeerId) -> Option<&mut Active> {
        self.peers.get_mut(peer)?.active.as_mut()
    }

    /// The round under way with a peer, if it is this one.
    pub(super) fn round(&mut self, peer: &PeerId, round: u64) -> Option<&mut Active> {
        self.active(peer).filter(|a| a.round == round)
    }

    /// Whether one is under way with a peer.
    pub(super) fn is_active(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|p| p.active.is_some())
    }

    /// Ends a round that has come to nothing; says when to try again.
    pub(super) fn failed(&mut self, peer: &PeerId, now: Instant) -> Option<(Active, Instant)> {
        let known = self.peers.get_mut(peer)?;
        let over = known.active.take()?;
        let pause = PAUSES.get(known.failures).or(PAUSES.last()).copied()?;
        known.failures = known.failures.saturating_add(1);
        known.last = now;
        let next = now + pause;
        known.next = Some(next);
        Some((over, next))
    }

    /// Ends a round that has led to a direct connection, and forgets the failures before it.
    pub(super) fn succeeded(&mut self, peer: &PeerId) -> Option<Active> {
        let known = self.peers.get_mut(peer)?;
        known.failures = 0;
        known.next = None;
        known.active.take()
    }

    /// Sets when this node begins the next round.
    pub(super) fn plan(&mut self, peer: PeerId, at: Instant, now: Instant) {
        if let Some(known) = self.peer(peer, now) {
            known.next = Some(at);
        }
    }

    /// When the next round is due.
    pub(super) fn next(&self, peer: &PeerId) -> Option<Instant> {
        self.peers.get(peer)?.next
    }

    /// Whether the next round is due and none is under way.
    pub(super) fn due(&self, peer: &PeerId, now: Instant) -> bool {
        self.peers
            .get(peer)
            .is_some_and(|p| p.active.is_none() && p.next.is_some_and(|next| next <= now))
    }

    /// Something has changed: failures until now say nothing any more.
    pub(super) fn fresh_start(&mut self, peer: &PeerId) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.failures = 0;
        }
    }

    /// Whether a direct way to a peer was ever sought.
    pub(super) fn tried(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
    }

    /// A dial of a round has ended without a connection; gives back the peer when it was the last of its round.
    pub(super) fn dial_ended(&mut self, peer: &PeerId, id: ConnectionId, said: String) -> bool {
        /// Lines kept of one round.
        const MAX_SAID: usize = 8;
        let Some(active) = self.active(peer) else {
            return false;
        };
        let ours = active.dials.remove(&id);
        if ours && active.said.len() < MAX_SAID {
            active.said.push(said);
        }
        ours
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SMALL: NodeId = NodeId([1; 32]);
    const LARGE: NodeId = NodeId([2; 32]);

    #[test]
    fn pauses_grow_and_a_success_forgets_them() {
        let (mut punches, peer, now) = (Punches::default(), PeerId::random(), Instant::now());
        let mut last = Duration::ZERO;
        for _ in 0..PAUSES.len() {
            punches.start(peer, Side::Begins, now).unwrap();
            assert!(punches.is_active(&peer) && !punches.due(&peer, now));
            let (_, next) = punches.failed(&peer, now).unwrap();
            assert!(next - now > last, "longer each time");
            last = next - now;
            assert!(punches.due(&peer, next) && !punches.due(&peer, now));
        }
        punches.start(peer, Side::Begins, now).unwrap();
        let (_, next) = punches.failed(&peer, now).unwrap();
        assert_eq!(next - now, last, "and no longer at some point");
        punches.start(peer, Side::Begins, now).unwrap();
        punches.succeeded(&peer).unwrap();
        assert!(punches.next(&peer).is_none());
        punches.start(peer, Side::Begins, now).unwrap();
        assert_eq!(punches.failed(&peer, now).unwrap().1 - now, PAUSES[0]);
    }

    #[test]
    fn of_two_that_begin_at_once_the_smaller_ones_counts() {
        let (mut small, mut large, now) = (Punches::default(), Punches::default(), Instant::now());
        let peer = PeerId::random();
        small.start(peer, Side::Begins, now).unwrap();
        large.start(peer, Side::Begins, now).unwrap();
        assert!(!small.may_answer(&peer, SMALL, LARGE, now));
        assert!(large.may_answer(&peer, LARGE, SMALL, now));
        // A flood of wishes is answered at its pace only.
        large.start(peer, Side::Answers, now).unwrap();
        assert!(!large.may_answer(&peer, LARGE, SMALL, now));
        assert!(large.may_answer(&peer, LARGE, SMALL, now + ANSWER_EVERY));
    }

    #[test]
    fn rounds_at_a_time_and_peers_are_bounded() {
        let (mut punches, now) = (Punches::default(), Instant::now());
        for _ in 0..MAX_ACTIVE {
            assert!(punches.start(PeerId::random(), Side::Begins, now).is_some());
        }
        assert!(punches.start(PeerId::random(), Side::Begins, now).is_none());
        for _ in 0..MAX_PEERS * 2 {
            punches.plan(PeerId::random(), now, now);
        }
        assert!(punches.peers.len() <= MAX_PEERS);
        punches.plan(PeerId::random(), now + FORGET, now + FORGET);
        assert!(punches.peers.len() <= MAX_ACTIVE + 1);
    }
}
