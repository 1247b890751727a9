//! Connected peers: their connections, how far they are through the gate, and which connection is preferred.
//!
//! Of several connections both sides prefer the same one: one that answers, a direct one, then one dialed by the
//! smaller node id, then the oldest. The others are closed once nothing of ours runs on them.

use crate::{
    event::{Admission, Transport},
    path::Path,
    stream::StreamCount,
};
use hive_protocol::{
    ids::NodeId,
    member::{GATE_TIMEOUT, Hello},
};
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol, swarm::ConnectionId};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// A duplicate connection lives at least this long: by then both sides know of both and open streams on the
/// preferred one only.
const DUPLICATE_GRACE: Duration = Duration::from_secs(2);
/// A peer that is no member and has no stream open is sent away after this time.
const STRANGER_IDLE: Duration = Duration::from_secs(30);
/// Refused peers kept at a time: enough for newcomers to join, too few to keep members out.
const MAX_STRANGERS: usize = 64;

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
    /// Whether the dialer has begun the gate on it: one that never does only wanted to know whether it gets in.
    pub greeted: bool,
    /// Whether it has stopped answering: the last choice, until it answers or is given up.
    pub suspect: bool,
    /// Whether it is being asked for a sign of life, and since when.
    pub probed: Option<Instant>,
    /// Whether it was given up because it did not answer.
    pub dead: bool,
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
    /// The way to it that was told last, and since when it is that.
    pub path: Option<(Path, Instant)>,
    /// What the owner was told the preferred connection is carried by.
    pub carried: Option<Transport>,
}

impl Peer {
    /// Whether everything is open to it.
    pub(crate) fn is_member(&self) -> bool {
        self.stage == Stage::Member && !self.revoked
    }

    /// Whether it is a member or still at the gate (again).
    pub(crate) fn may_be_member(&self) -> bool {
        matches!(self.stage, Stage::Member | Stage::Waiting) && !self.revoked
    }

    /// The connection with this id.
    pub(crate) fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|c| c.id == id)
    }

    /// The connection both sides prefer.
    pub(crate) fn preferred(&self, me: NodeId) -> Option<&Connection> {
        let by_smaller = |c: &Connection| c.dialer == (me < self.node);
        let relayed = |c: &Connection| c.transport == Transport::Relay;
        self.connections
            .iter()
            .min_by_key(|c| (c.suspect, !c.greeted, relayed(c), !by_smaller(c), c.since))
    }

    /// Whether it is connected directly, by a connection that is not suspected to be dead.
    pub(crate) fn is_direct(&self) -> bool {
        self.connections
            .iter()
            .any(|c| c.transport != Transport::Relay && c.greeted && !c.suspect)
    }

    /// Connections to be closed as duplicates now.
    pub(crate) fn duplicates(&self, me: NodeId, now: Instant) -> Vec<ConnectionId> {
        let Some(best) = self.preferred(me) else {
            return Vec::new();
        };
        // Of connections dialed by the same side only the dialer closes: "oldest" can differ between two clocks. A
        // way through a relay is worse than any direct one on whichever clock.
        let worse = |c: &&Connection| {
            let detour = c.transport == Transport::Relay && best.transport != Transport::Relay;
            c.dialer != best.dialer || c.dialer || detour
        };
        self.connections
            .iter()
            .filter(|c| c.id != best.id)
            .filter(worse)
            .filter(|c| {
                now.saturating_duration_since(c.since.max(best.since)) >= DUPLICATE_GRACE
                    && c.streams.get() == 0
                    && c.gating == 0
            })
            .map(|c| c.id)
            .collect()
    }

    /// Whether this connection is one of its own.
    pub(crate) fn has(&self, id: ConnectionId) -> bool {
        self.connections.iter().any(|c| c.id == id)
    }

    /// Whether this connection leads through a relay.
    pub(crate) fn is_relayed(&self, id: ConnectionId) -> bool {
        self.connections
            .iter()
            .any(|c| c.id == id && c.transport == Transport::Relay)
    }

    /// Whether this connection is the last and will be missed: it is in use and nobody here closes it on purpose, or
    /// it was given up for dead.
    pub(crate) fn misses(&self, id: ConnectionId) -> bool {
        let last = self.connections.len() == 1;
        last && self.is_member()
            && self
                .connections
                .iter()
                .any(|c| c.id == id && (c.dead || c.streams.get() > 0))
    }

    pub(crate) fn streams(&self) -> usize {
        self.connections.iter().map(|c| c.streams.get()).sum()
    }

    pub(crate) fn since(&self) -> Option<Instant> {
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
                path: None,
                carried: None,
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

    /// The connection to open a stream to this peer on.
    pub(crate) fn preferred(&self, peer: &PeerId) -> Option<&Connection> {
        self.peers.get(peer)?.preferred(self.me)
    }

    /// Members and since when each has its newest connection.
    pub(crate) fn members(&self) -> impl Iterator<Item = (PeerId, Instant)> + '_ {
        self.peers
            .iter()
            .filter(|(_, peer)| peer.is_member())
            .filter_map(|(id, peer)| {
                let newest = peer.connections.iter().map(|c| c.since).max()?;
                Some((*id, newest))
            })
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

    /// Refused peers to send away: those that have done nothing for too long, and the longest idle ones when there
    /// are too many.
    pub(crate) fn idle_strangers(&mut self, now: Instant) -> Vec<PeerId> {
        let mut strangers: usize = 0;
        let mut idle = Vec::new();
        for (id, peer) in &mut self.peers {
            let stranger = matches!(peer.stage, Stage::Refused(_));
            strangers = strangers.saturating_add(usize::from(stranger));
            if !stranger || peer.streams() > 0 {
                peer.idle_since = now;
            } else {
                idle.push((peer.idle_since, *id));
            }
        }
        idle.sort_unstable();
        let surplus = strangers.saturating_sub(MAX_STRANGERS);
        idle.into_iter()
            .enumerate()
            .filter(|(n, (since, _))| *n < surplus || now.saturating_duration_since(*since) >= STRANGER_IDLE)
            .map(|(_, (_, id))| id)
            .collect()
    }

    /// Every connected peer.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&PeerId, &Peer)> {
        self.peers.iter()
    }
}

/// Whether an address is this machine's own, in any of its parts.
pub(crate) fn is_loopback(addr: &Multiaddr) -> bool {
    addr.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_loopback(),
        Protocol::Ip6(ip) => ip.is_loopback(),
        _ => false,
    })
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SMALL: NodeId = NodeId([1; 32]);
    const LARGE: NodeId = NodeId([2; 32]);

    /// A connection as it is when it is new.
    pub(in crate::swarm) fn connection(n: usize, dialer: bool, since: Instant) -> Connection {
        Connection {
            id: ConnectionId::new_unchecked(n),
            addr: "/ip4/127.0.0.1/tcp/1".parse().unwrap(),
            transport: Transport::Tcp,
            dialer,
            since,
            streams: StreamCount::default(),
            rtt: None,
            failed_pings: 0,
            gating: 0,
            greeted: true,
            suspect: false,
            probed: None,
            dead: false,
        }
    }

    fn refused() -> Stage {
        Stage::Refused(Admission::RefusedByUs {
            code: String::new(),
            detail: String::new(),
        })
    }

    #[test]
    fn both_sides_prefer_the_connection_the_smaller_node_dialed() {
        let (now, peer) = (Instant::now(), PeerId::random());
        let (mut of_small, mut of_large) = (Table::new(SMALL), Table::new(LARGE));
        // Connection 0 was dialed by the larger node and is older, connection 1 by the smaller.
        for (n, small_dials, at) in [(0, false, now), (1, true, now + DUPLICATE_GRACE)] {
            of_small.add(peer, LARGE, connection(n, small_dials, at));
            of_large.add(peer, SMALL, connection(n, !small_dials, at));
        }
        let one = ConnectionId::new_unchecked(1);
        let zero = ConnectionId::new_unchecked(0);
        for table in [&of_small, &of_large] {
            assert_eq!(table.preferred(&peer).unwrap().id, one);
            assert!(table.duplicates(now + DUPLICATE_GRACE).is_empty(), "grace");
            let later = now + DUPLICATE_GRACE + DUPLICATE_GRACE;
            assert_eq!(table.duplicates(later), [(peer, zero)]);
        }
        // Not while a stream of ours runs on it.
        let used = of_small.get_mut(&peer).unwrap().connection(zero).unwrap();
        let in_use = used.streams.enter();
        let later = now + DUPLICATE_GRACE + DUPLICATE_GRACE;
        assert!(of_small.duplicates(later).is_empty());
        drop(in_use);
        assert_eq!(of_small.duplicates(later).len(), 1);
    }

    #[test]
    fn of_two_dialed_by_one_side_only_that_side_closes() {
        let (now, peer) = (Instant::now(), PeerId::random());
        let (mut dialer, mut other) = (Table::new(LARGE), Table::new(SMALL));
        for n in 0..2 {
            dialer.add(peer, SMALL, connection(n, true, now));
            other.add(peer, LARGE, connection(n, false, now));
        }
        let later = now + DUPLICATE_GRACE;
        assert_eq!(dialer.duplicates(later).len(), 1);
        assert!(other.duplicates(later).is_empty());
    }

    #[test]
    fn what_does_not_answer_or_never_greeted_is_the_last_choice() {
        let (now, peer) = (Instant::now(), PeerId::random());
        let mut table = Table::new(SMALL);
        for n in 0..3 {
            table.add(peer, LARGE, connection(n, true, now));
        }
        let known = table.get_mut(&peer).unwrap();
        known.connections[0].suspect = true;
        known.connections[1].greeted = false;
        known.connections[2].transport = Transport::Relay;
        assert!(!known.is_direct());
        assert_eq!(known.preferred(SMALL).unwrap().transport, Transport::Relay);
        known.connections[0].suspect = false;
        assert!(known.is_direct());
        assert_eq!(known.preferred(SMALL).unwrap().id, ConnectionId::new_unchecked(0));
    }

    #[test]
    fn strangers_go_when_idle_or_too_many() {
        let now = Instant::now();
        let mut table = Table::new(SMALL);
        for n in 0..MAX_STRANGERS + 3 {
            let peer = PeerId::random();
            table.add(peer, LARGE, connection(n, false, now));
            table.get_mut(&peer).unwrap().stage = refused();
        }
        assert_eq!(table.idle_strangers(now).len(), 3);
        assert_eq!(table.idle_strangers(now + STRANGER_IDLE).len(), MAX_STRANGERS + 3);
        for id in table.ids() {
            table.get_mut(&id).unwrap().stage = Stage::Member;
        }
        assert!(table.idle_strangers(now + STRANGER_IDLE).is_empty());
        assert_eq!(table.overdue(now + Duration::from_secs(60)), []);
    }
}
