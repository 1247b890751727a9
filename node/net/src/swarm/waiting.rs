//! Who waits for a connection to a peer, or for its gate.

use crate::{error::NetError, event::Admission, handle::Reply, stream::NetStream};
use libp2p::{PeerId, swarm::ConnectionId};
use std::collections::BTreeMap;

/// Callers that may wait in all; more are told that this node is busy.
const MAX_WAITING: usize = 1024;

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

/// All who wait.
#[derive(Default)]
pub(crate) struct WaitingRoom {
    peers: BTreeMap<PeerId, Waiters>,
    /// Dials under way on behalf of those who wait; bounded by the limit of pending connections.
    dials: BTreeMap<ConnectionId, PeerId>,
}

impl WaitingRoom {
    /// Notes a dial.
    pub(crate) fn dialed(&mut self, peer: PeerId, id: ConnectionId) {
        self.dials.insert(id, peer);
    }

    /// Whether such a dial is under way.
    pub(crate) fn dialing(&self, peer: &PeerId) -> bool {
        self.dials.values().any(|p| p == peer)
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
