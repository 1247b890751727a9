//! Who waits for a connection to a peer, or for its gate, and the dials that are made for them.

use crate::{error::NetError, event::Admission, handle::Reply, stream::NetStream};
use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// Callers that may wait in all; more are told that this node is busy.
const MAX_WAITING: usize = 1024;
/// Lines kept of what the dials to one peer said: more than it has addresses that matter.
const MAX_SAID: usize = 24;

/// Callers waiting for one peer.
#[derive(Default)]
pub(crate) struct Waiters {
    pub dials: Vec<Reply<Admission>>,
    pub opens: Vec<(&'static str, Reply<NetStream>)>,
    pub regates: Vec<Reply<Admission>>,
}

impl Waiters {
    fn len(&self) -> usize {
        self.dials.len() + self.opens.len() + self.regates.len()
    }

    /// Tells all of them that it failed.
    pub(crate) fn fail(self, error: &NetError) {
        for reply in self.dials.into_iter().chain(self.regates) {
            let _ = reply.send(Err(error.clone()));
        }
        for (_, reply) in self.opens {
            let _ = reply.send(Err(error.clone()));
        }
    }
}

/// A dial under way.
struct Dial {
    peer: PeerId,
    addrs: Vec<Multiaddr>,
    since: Instant,
}

/// All who wait.
#[derive(Default)]
pub(crate) struct WaitingRoom {
    peers: BTreeMap<PeerId, Waiters>,
    /// Dials under way on behalf of those who wait; bounded by the limit of pending connections.
    dials: BTreeMap<ConnectionId, Dial>,
    /// Peers with ways through relays that are not dialed yet; each has a dial above or an alarm.
    held_back: BTreeSet<PeerId>,
    /// What dials that failed said, while others to the same peer are under way.
    said: BTreeMap<PeerId, Vec<String>>,
}

impl WaitingRoom {
    /// Notes a dial of these addresses.
    pub(crate) fn dialed(&mut self, peer: PeerId, id: ConnectionId, addrs: Vec<Multiaddr>) {
        let since = Instant::now();
        self.dials.insert(id, Dial { peer, addrs, since });
    }

    /// Whether a dial of this address is under way.
    pub(crate) fn trying(&self, peer: &PeerId, addr: &Multiaddr) -> bool {
        self.dials
            .values()
            .any(|d| d.peer == *peer && d.addrs.contains(addr))
    }

    /// Dials of a peer under way, and how old the youngest is.
    pub(crate) fn youngest(&self, peer: &PeerId, now: Instant) -> (usize, Duration) {
        let to = self.dials.values().filter(|d| d.peer == *peer);
        let ages = to.map(|d| now.saturating_duration_since(d.since));
        ages.fold((0, Duration::MAX), |(n, youngest), age| {
            (n + 1, youngest.min(age))
        })
    }

    /// Whether such a dial is under way, or yet to be made.
    pub(crate) fn dialing(&self, peer: &PeerId) -> bool {
        self.held_back.contains(peer) || self.dials.values().any(|d| d.peer == *peer)
    }

    /// Notes that ways through relays are to be dialed later.
    pub(crate) fn hold_back(&mut self, peer: PeerId) {
        self.held_back.insert(peer);
    }

    /// Whether ways through relays are still to be dialed.
    pub(crate) fn holds_back(&self, peer: &PeerId) -> bool {
        self.held_back.contains(peer)
    }

    /// Notes that they are dialed now, or not needed; says whether they were still to be.
    pub(crate) fn let_go(&mut self, peer: &PeerId) -> bool {
        self.held_back.remove(peer)
    }

    /// Keeps what a dial that failed said, until the last one to that peer fails or one succeeds.
    pub(crate) fn said(&mut self, peer: PeerId, lines: Vec<String>) {
        let all = self.said.entry(peer).or_default();
        all.extend(lines);
        all.truncate(MAX_SAID);
    }

    /// Takes what all dials to a peer said.
    pub(crate) fn all_said(&mut self, peer: &PeerId) -> Vec<String> {
        self.said.remove(peer).unwrap_or_default()
    }

    /// Everybody who is being dialed.
    pub(crate) fn dialed_peers(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.dials
            .values()
            .map(|d| d.peer)
            .chain(self.held_back.iter().copied())
    }

    /// A connection to a peer is there: whatever was held back or said for it is of no use.
    pub(crate) fn reached(&mut self, peer: &PeerId) {
        self.held_back.remove(peer);
        self.said.remove(peer);
    }

    /// Notes that a dial has ended; says whether it was one of these.
    pub(crate) fn dial_ended(&mut self, id: ConnectionId) -> bool {
        self.dials.remove(&id).is_some()
    }

    /// The waiters of a peer, to add one; none when the room is full.
    pub(crate) fn enter(&mut self, peer: PeerId) -> Option<&mut Waiters> {
        let total: usize = self.peers.values().map(Waiters::len).sum();
        (total < MAX_WAITING).then(|| self.peers.entry(peer).or_default())
    }

    /// Takes those out who wait for this peer.
    pub(crate) fn take(&mut self, peer: &PeerId) -> Waiters {
        self.peers.remove(peer).unwrap_or_default()
    }

    /// Takes those out who wait for the gate to be run again.
    pub(crate) fn take_regates(&mut self, peer: &PeerId) -> Vec<Reply<Admission>> {
        self.peers
            .get_mut(peer)
            .map(|w| std::mem::take(&mut w.regates))
            .unwrap_or_default()
    }

    /// Whether anybody waits for this peer.
    pub(crate) fn any(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|w| w.len() > 0)
    }

    /// Forgets those who have given up.
    pub(crate) fn sweep(&mut self) {
        self.peers.retain(|_, w| {
            w.dials.retain(|r| !r.is_closed());
            w.regates.retain(|r| !r.is_closed());
            w.opens.retain(|(_, r)| !r.is_closed());
            w.len() > 0
        });
    }
}

/// What a caller is told when the room is full.
pub(crate) const FULL: NetError = NetError::Busy {
    what: "callers waiting for connections",
    limit: MAX_WAITING,
};
