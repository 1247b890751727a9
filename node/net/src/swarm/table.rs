//! Connected peers: their connections, how far they are through the gate, and which connection is preferred.
//!
//! Of several connections both sides prefer the same one: a direct one, then one dialed by the smaller node id,
//! then the oldest. The others are closed once nothing of ours runs on them.

use crate::{
    event::{Admission, PeerView, Transport},
    stream::StreamCount,
};
use hive_protocol::{
    ids::NodeId,
    member::{GATE_TIMEOUT, Hello},
};
use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// A duplicate connection lives at least this long: by then both sides know of both and open streams on the
/// preferred one only.
const DUPLICATE_GRACE: Duration = Duration::from_secs(2);
/// A peer that is no member and has no stream open is sent away after this time.
const STRANGER_IDLE: Duration = Duration::from_secs(30);
/// A member's connection must have been there this long before it counts as idle.
const MEMBER_IDLE: Duration = Duration::from_secs(60);

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub id: ConnectionId,
    pub addr: Multiaddr,
    pub transport: Transport,
    /// Whether this node dialed.
    pub dialer: bool,
    pub since: Instant,
    pub streams: StreamCount,
    pub rtt: Option<Duration>,
    /// Pings failed in a row.
    pub failed_pings: u32,
    /// Exchanges of the gate that run on it.
    pub gating: u8,
}

/// How far a peer is through the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Not decided.
    Waiting,
    /// Both sides welcomed each other.
    Member,
    /// One side refused.
    Refused(Admission),
}

/// One connected peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub node: NodeId,
    pub connections: Vec<Connection>,
    pub stage: Stage,
    /// What it said at the gate.
    pub hello: Option<Box<Hello>>,
    /// Whether the owner has taken its membership back.
    pub revoked: bool,
    /// Whether the owner has been told `Connected`.
    pub announced: bool,
    /// Since when it is refused and without a stream.
    pub idle_since: Instant,
    /// What it told by identify: addresses, and whether it serves the hash table.
    pub identified: Option<(Vec<Multiaddr>, bool)>,
    /// Whether somebody here asked for the connection (rather than the hash table's own dialing).
    pub wanted: bool,
}

impl Peer {
    /// Whether everything is open to it.
    pub(crate) fn is_member(&self) -> bool {
        self.stage == Stage::Member && !self.revoked
    }

    /// The connection with this id.
    pub(crate) fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|c| c.id == id)
    }

    /// The connection both sides prefer.
    pub(crate) fn preferred(&self, me: NodeId) -> Option<&Connection> {
        let by_smaller = |c: &Connection| c.dialer == (me < self.node);
        self.connections.iter().min_by_key(|c| (!by_smaller(c), c.since))
    }

    /// Connections to be closed as duplicates now.
    pub(crate) fn duplicates(&self, me: NodeId, now: Instant) -> Vec<ConnectionId> {
        let Some(best) = self.preferred(me) else {
            return Vec::new();
        };
        // Of connections dialed by the same side only the dialer closes: "oldest" can differ between two clocks.
        self.connections
            .iter()
            .filter(|c| c.id != best.id && (c.dialer != best.dialer || c.dialer))
            .filter(|c| {
                now.saturating_duration_since(c.since.max(best.since)) >= DUPLICATE_GRACE
                    && c.streams.get() == 0
                    && c.gating == 0
            })
            .map(|c| c.id)
            .collect()
    }

    fn streams(&self) -> usize {
        self.connections.iter().map(|c| c.streams.get()).sum()
    }

    fn since(&self) -> Option<Instant> {
        self.connections.iter().map(|c| c.since).min()
    }
}

/// The table of connected peers. Bounded by the connection limits.
pub(crate) struct Table {
    me: NodeId,
    peers: BTreeMap<PeerId, Peer>,
}

impl Table {
    pub(crate) const fn new(me: NodeId) -> Self {
        Self {
            me,
            peers: BTreeMap::new(),
        }
    }

    /// Takes a new connection in; the first makes the peer.
    pub(crate) fn add(&mut self, peer: PeerId, node: NodeId, connection: Connection) {
        let since = connection.since;
        self.peers
            .entry(peer)
            .or_insert_with(|| Peer {
                node,
                connections: Vec::new(),
                stage: Stage::Waiting,
                hello: None,
                revoked: false,
                announced: false,
                idle_since: since,
                identified: None,
                wanted: false,
            })
            .connections
            .push(connection);
    }

    /// Takes a connection out; gives back the peer when it was the last.
    pub(crate) fn remove(&mut self, peer: &PeerId, id: ConnectionId) -> Option<Peer> {
        let entry = self.peers.get_mut(peer)?;
        entry.connections.retain(|c| c.id != id);
        if entry.connections.is_empty() {
            self.peers.remove(peer)
        } else {
            None
        }
    }

    pub(crate) fn get(&self, peer: &PeerId) -> Option<&Peer> {
        self.peers.get(peer)
    }

    pub(crate) fn get_mut(&mut self, peer: &PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(peer)
    }

    pub(crate) fn ids(&self) -> Vec<PeerId> {
        self.peers.keys().copied().collect()
    }

    /// Whether this connected peer is a member in force.
    pub(crate) fn is_member(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(Peer::is_member)
    }

    /// The connection to open a stream to this peer on.
    pub(crate) fn preferred(&self, peer: &PeerId) -> Option<&Connection> {
        self.peers.get(peer)?.preferred(self.me)
    }

    /// Duplicate connections to be closed now.
    pub(crate) fn duplicates(&self, now: Instant) -> Vec<(PeerId, ConnectionId)> {
        self.peers
            .iter()
            .flat_map(|(id, peer)| {
                peer.duplicates(self.me, now)
                    .into_iter()
                    .map(|connection| (*id, connection))
            })
            .collect()
    }

    /// Peers whose time at the gate is up.
    pub(crate) fn overdue(&self, now: Instant) -> Vec<PeerId> {
        // A second more than the exchange itself has, so that its own outcome comes first.
        let limit = Duration::from_millis(GATE_TIMEOUT.0) + Duration::from_secs(1);
        self.peers
            .iter()
            .filter(|(_, peer)| peer.stage == Stage::Waiting)
            .filter(|(_, peer)| {
                peer.since()
                    .is_some_and(|since| now.saturating_duration_since(since) >= limit)
            })
            .map(|(id, _)| *id)
            .collect()
    }

    /// Refused peers that have done nothing for too long.
    pub(crate) fn idle_strangers(&mut self, now: Instant) -> Vec<PeerId> {
        let mut idle = Vec::new();
        for (id, peer) in &mut self.peers {
            if !matches!(peer.stage, Stage::Refused(_)) || peer.streams() > 0 {
                peer.idle_since = now;
            } else if now.saturating_duration_since(peer.idle_since) >= STRANGER_IDLE {
                idle.push(*id);
            }
        }
        idle
    }

    /// Members to let go because there are more connections than comfortable: idle, oldest first, not in `keep`.
    pub(crate) fn surplus(
        &self,
        now: Instant,
        comfortable: usize,
        keep: impl Fn(&PeerId) -> bool,
    ) -> Vec<PeerId> {
        let excess = self.peers.len().saturating_sub(comfortable);
        if excess == 0 {
            return Vec::new();
        }
        let mut idle: Vec<_> = self
            .peers
            .iter()
            .filter(|(id, peer)| peer.is_member() && peer.streams() == 0 && !keep(id))
            .filter_map(|(id, peer)| Some((peer.since()?, *id)))
            .filter(|(since, _)| now.saturating_duration_since(*since) >= MEMBER_IDLE)
            .collect();
        idle.sort_unstable();
        idle.into_iter().take(excess).map(|(_, id)| id).collect()
    }

    /// What the owner is shown.
    pub(crate) fn views(&self) -> Vec<PeerView> {
        self.peers
            .values()
            .filter_map(|peer| {
                let best = peer.preferred(self.me)?;
                Some(PeerView {
                    node: peer.node,
                    addr: best.addr.to_string(),
                    direct: true,
                    transport: best.transport,
                    dialer: best.dialer,
                    rtt: best.rtt,
                    since: peer.since()?,
                    member: peer.is_member(),
                    connections: peer.connections.len(),
                    streams: peer.streams(),
                    version: peer.hello.as_ref().map(|h| h.version.clone()),
                })
            })
            .collect()
    }
}
