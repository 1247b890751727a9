//! Who may begin a handshake with this node, and who may stay: places shared fairly between address blocks.
//!
//! Owns counts, nothing else; asked before anything is made for a connection. A block is what one owner can have
//! cheaply: an IPv4 /24, an IPv6 /48, a relay. However many connections come from one block, others find places:
//! a block may have at most as many as (a share of what) is still free. QUIC and TCP have halls of their own, since
//! the sender of QUIC's first packet can be forged and that of a TCP connection cannot. Must not know members.

use crate::names;
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    multiaddr::Protocol,
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, ListenFailure, NetworkBehaviour,
        THandler, THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
    },
};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::IpAddr,
    task::{Context, Poll},
    time::{Duration, Instant},
};

/// Handshakes a block may begin at once after a quiet time: a laboratory that is switched on.
const BURST: f64 = 1024.0;
/// Handshakes a block may begin each second for ever: a tenth of a processor.
const PER_SECOND: f64 = 64.0;
/// Connections one block may have as long as there is any room.
const ALWAYS: usize = 8;
/// Blocks whose pace is remembered; the fullest bucket is forgotten first, since it says least.
const MAX_BLOCKS: usize = 4096;
/// Peers that are shut out for a while, at a time.
const MAX_BANS: usize = 1024;

/// What one owner can have cheaply.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Block {
    V4([u8; 3]),
    V6([u8; 6]),
    Relay(Vec<u8>),
    Unknown,
}

impl Block {
    /// The block an address is in; that of a circuit is its relay.
    pub(crate) fn of(addr: &Multiaddr) -> Self {
        if let Some(relay) = names::relay_of(addr) {
            return Self::Relay(relay.0.to_vec());
        }
        let ip = addr.iter().find_map(|part| match part {
            Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
            Protocol::Ip6(ip) => Some(ip.to_canonical()),
            _ => None,
        });
        match ip {
            Some(IpAddr::V4(ip)) => {
                let [a, b, c, _] = ip.octets();
                Self::V4([a, b, c])
            }
            Some(IpAddr::V6(ip)) => {
                let [a, b, c, d, e, f, ..] = ip.octets();
                Self::V6([a, b, c, d, e, f])
            }
            None => Self::Unknown,
        }
    }
}

/// How much of what is free one block may have.
#[derive(Debug, Clone, Copy)]
enum Share {
    /// As many places as are free: half of all for one, a part for each of many.
    Even,
    /// Less and less the fewer are free, so that the last places are for blocks that have none.
    Falling,
}

/// Places, and which block has how many.
#[derive(Debug)]
struct Hall {
    places: usize,
    share: Share,
    taken: BTreeMap<Block, usize>,
    total: usize,
}

impl Hall {
    const fn new(places: usize, share: Share) -> Self {
        Self {
            places,
            share,
            taken: BTreeMap::new(),
            total: 0,
        }
    }

    fn take(&mut self, block: &Block) -> bool {
        let free = self.places.saturating_sub(self.total);
        let here = self.taken.get(block).copied().unwrap_or(0);
        let share = match self.share {
            Share::Even => free.max(ALWAYS),
            Share::Falling => (free.saturating_mul(free) / (2 * self.places).max(1)).max(1),
        };
        if free == 0 || here >= share {
            return false;
        }
        *self.taken.entry(block.clone()).or_insert(0) += 1;
        self.total += 1;
        true
    }

    fn give_back(&mut self, block: &Block) {
        if let Some(here) = self.taken.get_mut(block) {
            *here -= 1;
            self.total -= 1;
            if *here == 0 {
                self.taken.remove(block);
            }
        }
    }
}

/// Which hall a connection is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Quic,
    Tcp,
    Inside,
}

/// Why a connection was not let in.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(&'static str);

/// The behaviour; it has no handler and says nothing.
pub(crate) struct Doors {
    quic: Hall,
    tcp: Hall,
    inside: Hall,
    /// Inbound connections, from the first packet to the end. Bounded by the halls.
    here: BTreeMap<ConnectionId, (At, Block)>,
    pace: BTreeMap<Block, (f64, Instant)>,
    bans: BTreeMap<PeerId, Instant>,
}

impl Doors {
    /// Places for this many inbound handshakes over each transport, and this many inbound connections.
    pub(crate) const fn new(pending: usize, inside: usize) -> Self {
        Self {
            quic: Hall::new(pending, Share::Falling),
            tcp: Hall::new(pending, Share::Falling),
            inside: Hall::new(inside, Share::Even),
            here: BTreeMap::new(),
            pace: BTreeMap::new(),
            bans: BTreeMap::new(),
        }
    }

    /// Lets this peer in no more for a while, and seeks it no more: the hash table would dial it in its next query.
    pub(crate) fn ban(&mut self, peer: PeerId, now: Instant, time: Duration) {
        self.bans.retain(|_, until| *until > now);
        if self.bans.len() < MAX_BANS {
            self.bans.insert(peer, now + time);
        }
    }

    /// Whether a peer may be connected, whoever dials.
    fn welcome(&self, peer: &PeerId, now: Instant) -> Result<(), Refused> {
        match self.bans.get(peer) {
            Some(until) if *until > now => Err(Refused("shut out for a while")),
            _ => Ok(()),
        }
    }

    fn hall(&mut self, at: At) -> &mut Hall {
        match at {
            At::Quic => &mut self.quic,
            At::Tcp => &mut self.tcp,
            At::Inside => &mut self.inside,
        }
    }

    /// Whether this block may begin one more handshake now.
    fn in_pace(&mut self, block: &Block, now: Instant) -> bool {
        if self.pace.len() >= MAX_BLOCKS && !self.pace.contains_key(block) {
            let full = |(tokens, last): &(f64, Instant)| filled(*tokens, *last, now) >= BURST;
            self.pace.retain(|_, bucket| !full(bucket));
            if self.pace.len() >= MAX_BLOCKS {
                // So many blocks at once are no laboratory: who is remembered keeps its place.
                return self.quic.total + self.tcp.total < self.quic.places / 2;
            }
        }
        let (tokens, last) = self.pace.entry(block.clone()).or_insert((BURST, now));
        *tokens = filled(*tokens, *last, now);
        *last = now;
        if *tokens < 1.0 {
            return false;
        }
        *tokens -= 1.0;
        true
    }

    fn knock(
        &mut self,
        id: ConnectionId,
        remote: &Multiaddr,
        local: &Multiaddr,
        now: Instant,
    ) -> Result<(), Refused> {
        // Of a circuit the way it came is the local address.
        let addr = if names::is_circuit(local) { local } else { remote };
        let block = Block::of(addr);
        let at = if addr.iter().any(|part| matches!(part, Protocol::QuicV1)) {
            At::Quic
        } else {
            At::Tcp
        };
        if !self.hall(at).take(&block) {
            return Err(Refused("too many handshakes under way"));
        }
        if !self.in_pace(&block, now) {
            self.hall(at).give_back(&block);
            return Err(Refused("too many connections a second from there"));
        }
        self.here.insert(id, (at, block));
        Ok(())
    }

    fn enter(&mut self, id: ConnectionId, peer: &PeerId, now: Instant) -> Result<(), Refused> {
        // An unknown one was begun before this behaviour was asked, which does not happen.
        let Some((at, block)) = self.here.remove(&id) else {
            return Ok(());
        };
        self.hall(at).give_back(&block);
        self.welcome(peer, now)?;
        if !self.inside.take(&block) {
            return Err(Refused("too many connections from there"));
        }
        self.here.insert(id, (At::Inside, block));
        Ok(())
    }

    fn leave(&mut self, id: ConnectionId) {
        if let Some((at, block)) = self.here.remove(&id) {
            self.hall(at).give_back(&block);
        }
    }
}

fn filled(tokens: f64, last: Instant, now: Instant) -> f64 {
    let passed = now.saturating_duration_since(last).as_secs_f64();
    PER_SECOND.mul_add(passed, tokens).min(BURST)
}

impl NetworkBehaviour for Doors {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let knocked = self.knock(id, remote, local, Instant::now());
        knocked.map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let entered = self.enter(id, &peer, Instant::now());
        entered
            .map(|()| dummy::ConnectionHandler)
            .map_err(ConnectionDenied::new)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let sought = peer.map_or(Ok(()), |peer| self.welcome(&peer, Instant::now()));
        sought.map(|()| Vec::new()).map_err(ConnectionDenied::new)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        // Dialed before it was shut out.
        let entered = self.welcome(&peer, Instant::now());
        entered
            .map(|()| dummy::ConnectionHandler)
            .map_err(ConnectionDenied::new)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. })
            | FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => self.leave(connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PENDING: usize = 512;

    fn addr(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn from(block: usize, quic: bool) -> Multiaddr {
        let ip = format!("/ip4/10.{}.{}.9", block / 250, block % 250);
        addr(&if quic {
            format!("{ip}/udp/1/quic-v1")
        } else {
            format!("{ip}/tcp/1")
        })
    }

    fn knock(doors: &mut Doors, n: usize, remote: &Multiaddr, now: Instant) -> bool {
        let local = addr("/ip4/10.0.0.1/tcp/9");
        doors
            .knock(ConnectionId::new_unchecked(n), remote, &local, now)
            .is_ok()
    }

    #[test]
    fn one_block_leaves_places_for_others_and_many_blocks_for_a_new_one() {
        let (mut doors, now) = (Doors::new(PENDING, 512), Instant::now());
        let first = (0..1000)
            .filter(|n| knock(&mut doors, *n, &from(0, false), now))
            .count();
        assert!((PENDING / 8..PENDING / 2).contains(&first), "{first}");
        let mut n = 1000;
        for block in 1..40 {
            for _ in 0..100 {
                knock(&mut doors, n, &from(block, false), now);
                n += 1;
            }
        }
        assert!(
            knock(&mut doors, n, &from(200, false), now),
            "a newcomer finds a place"
        );
        assert!(
            knock(&mut doors, n + 1, &from(0, true), now),
            "the other hall is empty"
        );
        assert!(doors.here.len() <= 2 * PENDING);
    }

    #[test]
    fn every_place_is_given_back_however_it_ends() {
        let (mut doors, now) = (Doors::new(PENDING, 512), Instant::now());
        let (failed, entered) = (ConnectionId::new_unchecked(1), ConnectionId::new_unchecked(2));
        assert!(knock(&mut doors, 1, &from(1, true), now) && knock(&mut doors, 2, &from(1, true), now));
        doors.leave(failed);
        doors.enter(entered, &PeerId::random(), now).unwrap();
        assert_eq!((doors.quic.total, doors.inside.total), (0, 1));
        doors.leave(entered);
        doors.leave(entered);
        assert_eq!(
            (doors.inside.total, doors.here.len(), doors.inside.taken.len()),
            (0, 0, 0)
        );
    }

    #[test]
    fn a_block_has_its_pace_and_a_banned_peer_waits() {
        let (mut doors, now) = (Doors::new(PENDING, 512), Instant::now());
        let block = Block::of(&from(1, false));
        let burst = (0..5000).filter(|_| doors.in_pace(&block, now)).count();
        assert_eq!(burst, 1024);
        let later = now + Duration::from_secs(1);
        let more = (0..5000).filter(|_| doors.in_pace(&block, later)).count();
        assert_eq!(more, 64);
        for n in 0..2 * MAX_BLOCKS {
            doors.in_pace(&Block::V6([6, 0, 0, 0, (n / 250) as u8, (n % 250) as u8]), now);
        }
        assert!(doors.pace.len() <= MAX_BLOCKS);
        let peer = PeerId::random();
        doors.ban(peer, now, Duration::from_secs(60));
        for (n, at, good) in [(1, now, false), (2, now + Duration::from_secs(61), true)] {
            assert!(knock(&mut doors, n, &from(9, false), at));
            assert_eq!(
                doors.enter(ConnectionId::new_unchecked(n), &peer, at).is_ok(),
                good
            );
            assert_eq!(doors.welcome(&peer, at).is_ok(), good, "nor is it dialed");
        }
    }

    #[test]
    fn blocks_are_what_one_owner_has() {
        let same = [
            ("/ip4/1.2.3.4/tcp/1", "/ip4/1.2.3.200/udp/5/quic-v1"),
            ("/ip6/2001:db8:1::1/tcp/1", "/ip6/2001:db8:1:ffff::9/tcp/1"),
            ("/ip4/1.2.3.4/tcp/1", "/ip6/::ffff:1.2.3.9/tcp/1"),
        ];
        for (one, other) in same {
            assert_eq!(Block::of(&addr(one)), Block::of(&addr(other)));
        }
        assert_ne!(
            Block::of(&addr("/ip4/1.2.3.4/tcp/1")),
            Block::of(&addr("/ip4/1.2.4.4/tcp/1"))
        );
        assert_eq!(Block::of(&Multiaddr::empty()), Block::Unknown);
    }
}
