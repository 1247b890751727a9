//! What was tried to reach whom, and what came of it: for people who want to know why.

use super::dialing::{innermost, reasons};
use crate::{
    names,
    path::{Attempt, AttemptKind, MAX_ATTEMPTS, Outcome},
};
use libp2p::{Multiaddr, PeerId, swarm::ConnectionId, swarm::DialError};
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

/// Peers remembered; the one tried longest ago goes first.
const MAX_PEERS: usize = 512;
/// Longest reason kept, in bytes: it may quote what a peer or a relay has said.
const MAX_REASON: usize = 240;
/// A failure is an answer to "why is it unreachable" for this long.
const FAILURE_LASTS: Duration = Duration::from_secs(30 * 60);

struct Entry {
    attempt: Attempt,
    /// The dial or connection it belongs to.
    id: Option<ConnectionId>,
}

#[derive(Default)]
struct Peer {
    entries: VecDeque<Entry>,
    /// Why it could not be reached the last time, until it is reached.
    failure: Option<(Instant, String)>,
    /// Turn of the last change, for forgetting.
    turn: u64,
}

/// The log of all peers.
#[derive(Default)]
pub(crate) struct Log {
    peers: BTreeMap<PeerId, Peer>,
    turn: u64,
}

impl Log {
    fn peer(&mut self, peer: PeerId) -> &mut Peer {
        self.turn = self.turn.wrapping_add(1);
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&peer) {
            let oldest = self.peers.iter().min_by_key(|(_, p)| p.turn).map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                self.peers.remove(&oldest);
            }
        }
        let turn = self.turn;
        let known = self.peers.entry(peer).or_default();
        known.turn = turn;
        known
    }

    fn push(&mut self, peer: PeerId, id: Option<ConnectionId>, attempt: Attempt) {
        let known = self.peer(peer);
        while known.entries.len() >= MAX_ATTEMPTS {
            known.entries.pop_front();
        }
        known.entries.push_back(Entry { attempt, id });
    }

    /// Notes that these addresses are being tried, under one id.
    pub(crate) fn begin(&mut self, peer: PeerId, id: ConnectionId, kind: AttemptKind, addrs: &[Multiaddr]) {
        let at = Instant::now();
        for addr in addrs.iter().take(MAX_ATTEMPTS) {
            self.push(
                peer,
                Some(id),
                Attempt {
                    at,
                    took: Duration::ZERO,
                    kind,
                    addr: Some(names::plain(addr.clone()).to_string()),
                    outcome: Outcome::Pending,
                },
            );
        }
    }

    /// Notes something that is over as soon as it is noted.
    pub(crate) fn note(
        &mut self,
        peer: PeerId,
        kind: AttemptKind,
        addr: Option<String>,
        began: Instant,
        outcome: Outcome,
    ) {
        let attempt = Attempt {
            at: began,
            took: began.elapsed(),
            kind,
            addr,
            outcome: cut(outcome),
        };
        self.push(peer, None, attempt);
    }

    /// Keeps an attempt as it is.
    pub(crate) fn keep(&mut self, peer: PeerId, mut attempt: Attempt) {
        attempt.outcome = cut(attempt.outcome);
        self.push(peer, None, attempt);
    }

    /// Notes a connection; of the addresses tried under its id this one was the fastest.
    pub(crate) fn connected(&mut self, peer: PeerId, id: ConnectionId, addr: &Multiaddr, inbound: bool) {
        let text = names::plain(addr.clone()).to_string();
        let known = self.peer(peer);
        known.failure = None;
        let mut found = false;
        for entry in known.entries.iter_mut().filter(|e| e.id == Some(id)) {
            let won = entry.attempt.addr.as_deref() == Some(text.as_str());
            found |= won;
            entry.attempt.took = entry.attempt.at.elapsed();
            entry.attempt.outcome = if won { Outcome::Connected } else { Outcome::GivenUp };
        }
        if !found {
            let kind = match (inbound, names::is_circuit(addr)) {
                (true, _) => AttemptKind::Inbound,
                (false, true) => AttemptKind::Circuit,
                (false, false) => AttemptKind::Dial,
            };
            let attempt = Attempt {
                at: Instant::now(),
                took: Duration::ZERO,
                kind,
                addr: Some(text),
                outcome: Outcome::Connected,
            };
            self.push(peer, Some(id), attempt);
        }
    }

    /// Notes that a dial has failed; whether that makes the peer unreachable is said by `failed`.
    pub(crate) fn dial_failed(&mut self, peer: PeerId, id: ConnectionId, error: &DialError) {
        let Some(known) = self.peers.get_mut(&peer) else {
            return;
        };
        let whole = reasons(error).join("; ");
        for entry in known.entries.iter_mut().filter(|e| e.id == Some(id)) {
            let addr = entry.attempt.addr.as_deref().unwrap_or_default();
            let own = match error {
                DialError::Transport(tried) => tried
                    .iter()
                    .find(|(a, _)| names::plain(a.clone()).to_string() == addr)
                    .map(|(_, e)| innermost(e)),
                _ => None,
            };
            entry.attempt.took = entry.attempt.at.elapsed();
            entry.attempt.outcome = cut(Outcome::Failed {
                reason: own.unwrap_or_else(|| whole.clone()),
            });
        }
    }

    /// Notes that a dial is of no use any more.
    pub(crate) fn given_up(&mut self, peer: &PeerId, id: ConnectionId) {
        let Some(known) = self.peers.get_mut(peer) else {
            return;
        };
        let pending = |e: &&mut Entry| e.id == Some(id) && e.attempt.outcome == Outcome::Pending;
        for entry in known.entries.iter_mut().filter(pending) {
            entry.attempt.took = entry.attempt.at.elapsed();
            entry.attempt.outcome = Outcome::GivenUp;
        }
    }

    /// Notes the end of a connection.
    pub(crate) fn lost(&mut self, peer: &PeerId, id: ConnectionId, reason: &str) {
        let Some(known) = self.peers.get_mut(peer) else {
            return;
        };
        let stood = |e: &&mut Entry| e.id == Some(id) && e.attempt.outcome == Outcome::Connected;
        for entry in known.entries.iter_mut().filter(stood) {
            entry.attempt.outcome = cut(Outcome::Lost {
                reason: reason.to_owned(),
            });
        }
    }

    /// Notes that no way led to a peer.
    pub(crate) fn failed(&mut self, peer: PeerId, reason: &str) {
        self.peer(peer).failure = Some((Instant::now(), cut_text(reason.to_owned())));
    }

    /// Why a peer could not be reached lately, and when that was.
    pub(crate) fn failure(&self, peer: &PeerId) -> Option<(Instant, &str)> {
        let (at, reason) = self.peers.get(peer)?.failure.as_ref()?;
        (at.elapsed() < FAILURE_LASTS).then_some((*at, reason.as_str()))
    }

    /// Peers whose failure is still an answer.
    pub(crate) fn failures(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.peers.keys().filter(|p| self.failure(p).is_some()).copied()
    }

    /// Everything about a peer, oldest first; what is under way with its time so far.
    pub(crate) fn of(&self, peer: &PeerId) -> Vec<Attempt> {
        let Some(known) = self.peers.get(peer) else {
            return Vec::new();
        };
        known
            .entries
            .iter()
            .map(|e| {
                let mut attempt = e.attempt.clone();
                if attempt.outcome == Outcome::Pending {
                    attempt.took = attempt.at.elapsed();
                }
                attempt
            })
            .collect()
    }
}

fn cut(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Failed { reason } => Outcome::Failed {
            reason: cut_text(reason),
        },
        Outcome::Lost { reason } => Outcome::Lost {
            reason: cut_text(reason),
        },
        other => other,
    }
}

fn cut_text(mut text: String) -> String {
    if text.len() > MAX_REASON {
        let mut end = MAX_REASON;
        while !text.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn addr(n: usize) -> Multiaddr {
        format!("/ip4/10.0.0.1/tcp/{}", n + 1).parse().unwrap()
    }

    #[test]
    fn one_address_wins_and_the_others_are_given_up() {
        let (mut log, peer, id) = (Log::default(), PeerId::random(), ConnectionId::new_unchecked(1));
        log.begin(peer, id, AttemptKind::Dial, &[addr(1), addr(2)]);
        assert!(log.of(&peer).iter().all(|a| a.outcome == Outcome::Pending));
        log.connected(peer, id, &addr(2), false);
        let names: Vec<_> = log.of(&peer).iter().map(|a| a.outcome.name()).collect();
        assert_eq!(names, ["given up", "connected"]);
        log.lost(&peer, id, "reset");
        assert_eq!(log.of(&peer)[1].outcome.reason(), Some("reset"));
    }

    #[test]
    fn failures_are_kept_until_the_peer_is_reached() {
        let (mut log, peer, id) = (Log::default(), PeerId::random(), ConnectionId::new_unchecked(1));
        log.begin(peer, id, AttemptKind::Dial, &[addr(1)]);
        let error = DialError::Transport(vec![(
            addr(1),
            libp2p::TransportError::Other(std::io::Error::other("refused")),
        )]);
        log.dial_failed(peer, id, &error);
        log.failed(peer, "refused");
        assert_eq!(log.of(&peer)[0].outcome.reason(), Some("refused"));
        assert_eq!(log.failure(&peer).unwrap().1, "refused");
        assert_eq!(log.failures().collect::<Vec<_>>(), [peer]);
        log.connected(peer, ConnectionId::new_unchecked(2), &addr(3), true);
        assert!(log.failure(&peer).is_none());
        assert_eq!(log.of(&peer).last().unwrap().kind, AttemptKind::Inbound);
    }

    #[test]
    fn both_bounds_hold() {
        let (mut log, first) = (Log::default(), PeerId::random());
        for n in 0..MAX_ATTEMPTS * 2 {
            log.begin(
                first,
                ConnectionId::new_unchecked(n),
                AttemptKind::Dial,
                &[addr(n)],
            );
        }
        assert_eq!(log.of(&first).len(), MAX_ATTEMPTS);
        for _ in 0..MAX_PEERS {
            log.failed(PeerId::random(), &"x".repeat(1000));
        }
        assert_eq!(log.peers.len(), MAX_PEERS);
        assert!(log.of(&first).is_empty());
        let any = *log.peers.keys().next().unwrap();
        assert!(log.failure(&any).unwrap().1.len() <= MAX_REASON + '…'.len_utf8());
    }
}
