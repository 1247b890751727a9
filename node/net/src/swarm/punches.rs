//! Punches under way and how often each peer was tried. Knows no sockets: `on_punch.rs` does what is decided here.

use super::{candidates::MAX_OPENED, purse::Purse};
use hive_protocol::ids::NodeId;
use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Punches under way at a time.
pub(super) const MAX_ACTIVE: usize = 8;
/// Dials of one punch: one that connects over QUIC, three over TCP, and the router opened towards each address over
/// QUIC.
const DIALS: usize = 4 + MAX_OPENED;
/// Pending connections of all punches.
pub(super) const MAX_DIALS: usize = MAX_ACTIVE * DIALS;
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
/// A peer's own wish to punch is answered so long after the last one that was answered, by how many of those have come
/// to nothing in a row: each has this node send tens of kilobytes to addresses the peer has named. Shorter than the
/// pauses an honest peer makes, so that none of its wishes is refused: after a round of five seconds it makes
/// `PAUSES`, and what it has newly learned of itself makes it begin anew at `AFRESH` at the soonest.
const ANSWERS: [Duration; 6] = [
    Duration::from_millis(400),
    Duration::from_millis(1600),
    Duration::from_secs(4),
    Duration::from_secs(9),
    Duration::from_secs(30),
    Duration::from_secs(120),
];
/// What changes begins a round anew so long after the last one, by the rounds of the last minute: changes come in
/// bursts, and others can bring them about.
const AFRESH: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(35),
];
/// Rounds with one peer in a minute, whoever begins them and whatever they come to.
pub(super) const TALKS_A_MINUTE: usize = 8;
const MINUTE: Duration = Duration::from_secs(60);
/// What is known of a peer is forgotten this long after its last punch.
const FORGET: Duration = Duration::from_secs(3600);
/// Lines kept of what the dials of one round said.
const MAX_SAID: usize = 8;

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
    /// Rounds before it since the last direct connection, or since something has changed.
    pub nth: usize,
    /// The round trip through the relay, once known.
    pub trip: Duration,
    /// Ends its dials.
    pub leash: CancellationToken,
    /// Dials that belong to it.
    pub dials: BTreeSet<ConnectionId>,
    /// What the dials that failed said, at most one line each.
    pub said: Vec<String>,
}

impl Active {
    /// Keeps what is said of why it comes to nothing.
    pub(super) fn say(&mut self, what: String) {
        if self.said.len() < MAX_SAID && !self.said.contains(&what) {
            self.said.push(what);
        }
    }
}

#[derive(Debug)]
struct Peer {
    active: Option<Active>,
    failures: usize,
    /// When the next is due, if this node is to begin it.
    next: Option<Instant>,
    /// Whether something will begin it then.
    planned: bool,
    /// When a wish of its was answered last, and how many answers in a row have not led to a direct connection.
    answered: Option<Instant>,
    in_vain: usize,
    /// Rounds since the last direct connection, or since something has changed.
    rounds: usize,
    /// When the latest rounds began, at most `TALKS_A_MINUTE`.
    talks: VecDeque<Instant>,
    /// What may be sent to addresses of its.
    purse: Purse,
    last: Instant,
}

/// What stands in a table of pauses for the nth time; the last one goes on.
fn pause(table: &[Duration], nth: usize) -> Duration {
    table.get(nth).or(table.last()).copied().unwrap_or(MINUTE)
}

impl Peer {
    /// When the minute's rounds leave room for another one, if they do not now.
    fn spent_until(&self, now: Instant) -> Option<Instant> {
        let first = self
            .talks
            .front()
            .filter(|_| self.talks.len() >= TALKS_A_MINUTE)?;
        let free = *first + MINUTE;
        (free > now).then_some(free)
    }
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
            planned: false,
            answered: None,
            in_vain: 0,
            rounds: 0,
            talks: VecDeque::new(),
            purse: Purse::default(),
            last: now,
        }))
    }

    /// Starts a round; none when there is no room, or when there were too many with this peer lately. A round that was
    /// under way with the peer is over, and so are its dials.
    pub(super) fn start(&mut self, peer: PeerId, side: Side, now: Instant) -> Option<u64> {
        let others = self
            .peers
            .iter()
            .filter(|(id, p)| **id != peer && p.active.is_some());
        if others.count() >= MAX_ACTIVE {
            return None;
        }
        let round = self.rounds.wrapping_add(1);
        let known = self.peer(peer, now)?;
        if known.spent_until(now).is_some() {
            return None;
        }
        if known.talks.len() >= TALKS_A_MINUTE {
            known.talks.pop_front();
        }
        known.talks.push_back(now);
        known.last = now;
        known.next = None;
        known.planned = false;
        if side == Side::Answers {
            known.answered = Some(now);
            known.in_vain = known.in_vain.saturating_add(1);
        }
        if let Some(old) = known.active.take() {
            old.leash.cancel();
        }
        let nth = known.rounds;
        known.rounds = nth.wrapping_add(1);
        known.active = Some(Active {
            round,
            side,
            began: now,
            theirs: Vec::new(),
            nth,
            trip: Duration::ZERO,
            leash: CancellationToken::new(),
            dials: BTreeSet::new(),
            said: Vec::new(),
        });
        self.rounds = round;
        Some(round)
    }

    /// Whether there were as many rounds with a peer in the last minute as there may be.
    pub(super) fn spent(&self, peer: &PeerId, now: Instant) -> bool {
        self.peers.get(peer).is_some_and(|p| p.spent_until(now).is_some())
    }

    /// When a round may begin anew because something has changed.
    pub(super) fn afresh(&self, peer: &PeerId, now: Instant) -> Instant {
        let Some(known) = self.peers.get(peer) else {
            return now;
        };
        let lately = |at: &&Instant| now.saturating_duration_since(**at) < MINUTE;
        let talks = known.talks.iter().filter(lately).count();
        let rested = match known.talks.back() {
            Some(last) if talks > 0 => *last + pause(&AFRESH, talks.saturating_sub(1)),
            _ => now,
        };
        rested.max(known.spent_until(now).unwrap_or(now)).max(now)
    }

    /// Whether a peer's wish may be answered now: at growing pauses while nothing comes of it, and not while a round
    /// that this node may begin is under way.
    pub(super) fn may_answer(&self, peer: &PeerId, me: NodeId, them: NodeId, now: Instant) -> bool {
        let Some(known) = self.peers.get(peer) else {
            return true;
        };
        let wait = pause(&ANSWERS, known.in_vain.saturating_sub(1));
        let soon = |at: Instant| now.saturating_duration_since(at) < wait;
        if known.answered.is_some_and(soon) {
            return false;
        }
        // Both have begun at once: the smaller one's round counts, on both sides.
        !known
            .active
            .as_ref()
            .is_some_and(|a| a.side == Side::Begins && me < them && a.theirs.is_empty())
    }

    /// Of these addresses of a peer's, those that may be sent something that costs so many bytes each, when `came` has
    /// come from it over relays in all.
    pub(super) fn afford(
        &mut self,
        peer: &PeerId,
        came: u64,
        addrs: &[Multiaddr],
        cost: u64,
    ) -> Vec<Multiaddr> {
        let Some(known) = self.peers.get_mut(peer) else {
            return Vec::new();
        };
        known.purse.earn(came);
        let paid: Vec<_> = addrs
            .iter()
            .take_while(|_| known.purse.pay(cost))
            .cloned()
            .collect();
        if paid.len() < addrs.len()
            && let Some(active) = &mut known.active
        {
            active.say("the peer has sent too little for all its addresses to be tried".to_owned());
        }
        paid
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

    /// Ends a round that has come to nothing, and its dials; says when to try again.
    pub(super) fn failed(&mut self, peer: &PeerId, now: Instant) -> Option<(Active, Instant)> {
        let known = self.peers.get_mut(peer)?;
        let over = known.active.take()?;
        over.leash.cancel();
        let pause = pause(&PAUSES, known.failures);
        known.failures = known.failures.saturating_add(1);
        known.last = now;
        let next = now + pause;
        known.next = Some(next);
        Some((over, next))
    }

    /// Ends a round that has led to a direct connection, and forgets the failures before it. Its dials go on: another
    /// one of them may be what the other side keeps.
    pub(super) fn succeeded(&mut self, peer: &PeerId) -> Option<Active> {
        let known = self.peers.get_mut(peer)?;
        known.failures = 0;
        known.in_vain = 0;
        known.rounds = 0;
        known.next = None;
        known.planned = false;
        known.active.take()
    }

    /// Sets when this node begins the next round.
    pub(super) fn plan(&mut self, peer: PeerId, at: Instant, now: Instant) {
        if let Some(known) = self.peer(peer, now) {
            known.next = Some(at);
            known.planned = true;
        }
    }

    /// The time had come, and there was no way to talk.
    pub(super) fn missed(&mut self, peer: &PeerId) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.planned = false;
        }
    }

    /// Whether the next round will begin by itself.
    pub(super) fn is_planned(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|p| p.planned)
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
            known.rounds = 0;
        }
    }

    /// Whether a direct way to a peer was ever sought.
    pub(super) fn tried(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
    }

    /// A dial of a round has ended without a connection; gives back the peer when it was the last of its round.
    pub(super) fn dial_ended(&mut self, peer: &PeerId, id: ConnectionId, said: String) -> bool {
        let Some(active) = self.active(peer) else {
            return false;
        };
        let ours = active.dials.remove(&id);
        if ours {
            active.say(said);
        }
        ours
    }
}

#[cfg(test)]
mod tests;
