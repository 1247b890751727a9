//! Direct ways to members that are connected through a relay.
//!
//! Speaks libp2p's DCUtR, and does more than it asks for, because its plan (both dial at one moment) leaves out pairs
//! of routers that can be passed:
//!
//! - Whoever is told addresses first sends something to them before naming its own, so that its router is open when
//!   the other side's first packet comes.
//! - Over QUIC one side connects and the other only opens its router; the other connects too when that led to nothing
//!   within a round trip, for the side whose port nobody can know. One connection comes of it, not two to six.
//! - QUIC connects to few of the addresses named, and not for long (`aim.rs`): they may be somebody else's. Towards all
//!   of them the router is opened with some small packets.
//! - Over TCP both connect from their listening ports at once, in the roles agreed; and then from new ports in the
//!   ordinary role: a SYN that is taken by a listener instead of meeting the other's SYN has the wrong role, and a
//!   router that lets any port in does not care which it is. Where the new port is one that the other side foresees,
//!   it meets a SYN after all: so the side that began connects from new ports in both roles.
//!
//! Whether there is a direct way is seen by the connections that come up, never by what the talk came to.

use super::{
    Node, aim,
    alarms::{Alarm, Step, What},
    candidates::{self, MAX_OPENED},
    punches::{MAX_ACTIVE, Side, TALKS_A_MINUTE},
    purse,
};
use crate::{
    counters::count,
    error::NetError,
    event::Transport,
    names,
    path::{AttemptKind, Outcome},
    reach::Hold,
};
use hive_protocol::ids::NodeId;
use libp2p::{
    Multiaddr, PeerId,
    multiaddr::Protocol,
    swarm::{
        ConnectionId,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use std::{
    io,
    time::{Duration, Instant},
};

/// Over TCP, the dial from a new port follows the one from the listening port by this: both routers have been passed
/// outwards by then, so that the first SYN gets in.
const ALONE_AFTER: Duration = Duration::from_millis(120);
/// Where both sides have QUIC, TCP is tried after this time only.
const TCP_AFTER: Duration = Duration::from_millis(400);
/// The answering side connects over QUIC so long after the round trip in which the other side's connection should
/// have come up.
const QUIC_SLACK: Duration = Duration::from_millis(50);
/// A round is over after this time: TCP has sent its SYN three times by then.
const ROUND: Duration = Duration::from_millis(5500);
/// Where there is nothing to be done over TCP it is over so long after the last QUIC dial, and no sooner than this: an
/// honest peer's wishes must not come sooner than they are answered (`punches.rs`).
const QUIC_REST: Duration = Duration::from_millis(400);
const QUIC_ROUND: Duration = Duration::from_millis(2000);
/// Addresses dialed over TCP from a new port: that is for routers that let any port in, and those keep theirs.
const ALONE: usize = 4;
/// And of them, those dialed in the other role as well.
const ALONE_MET: usize = 2;
/// Round trips are believed up to this.
const LONGEST_TRIP: Duration = Duration::from_millis(1500);

/// How a dial of a punch is made.
#[derive(Debug, Clone, Copy)]
enum How {
    /// In the ordinary role, from the listening port.
    Connect,
    /// Over TCP, in the other role, from the listening port: one half of a connection both sides open at once.
    Meet,
    /// Over QUIC, packets from the listening port that only open the router; a connection that comes is an ordinary
    /// one once they have been sent.
    Open,
    /// In the ordinary role, from a new port.
    Alone,
    /// Over TCP, in the other role, from a new port: meets what the other side sends to a port it has foreseen.
    AloneMet,
}

/// How TCP is dialed from new ports. `counted`: this node's router counts its ports up, so that the other side has
/// foreseen what it gives next, and connects to it. Where that side takes itself for who dials, only the other role
/// comes to something.
const fn alone(side: Side, counted: bool) -> &'static [(How, usize)] {
    match (side, counted) {
        (Side::Begins, true) => &[(How::Alone, ALONE), (How::AloneMet, ALONE_MET)],
        _ => &[(How::Alone, ALONE)],
    }
}

impl Node {
    /// Somebody has seen this node at an address.
    pub(super) fn observed(&mut self, by: PeerId, connection: ConnectionId, addr: &Multiaddr) {
        let direct = self
            .table
            .get_mut(&by)
            .and_then(|known| known.connection(connection))
            .is_some_and(|on| on.transport != Transport::Relay);
        if direct && self.candidates.seen(connection, addr) {
            tracing::debug!(%addr, "seen from outside");
            // Failures until now were failures of other addresses.
            for peer in self.table.ids() {
                self.punch_afresh(peer);
            }
        }
    }

    /// Plans a punch if this peer is a member and connected through a relay only. The side that was connected to
    /// begins, as DCUtR has it.
    pub(super) fn consider_punch(&mut self, peer: PeerId) {
        let now = Instant::now();
        let Some(known) = self.table.get(&peer) else {
            return;
        };
        if !known.is_member() || known.is_direct() || !self.may_be_direct(&known.node) {
            return;
        }
        let begins = known.preferred(self.me).is_some_and(|c| !c.dialer);
        if begins && !self.punches.is_active(&peer) && !self.punches.is_planned(&peer) {
            let at = self.punches.next(&peer).map_or(now, |next| next.max(now));
            self.plan_punch(peer, at, now);
        }
    }

    pub(super) fn plan_punch(&mut self, peer: PeerId, at: Instant, now: Instant) {
        self.punches.plan(peer, at, now);
        let step = Step {
            round: 0,
            what: What::Begin,
        };
        self.alarms.set(at, Alarm::Punch(peer, step));
    }

    /// What failed until now says nothing any more: begins anew, whoever's turn it is, since only this node knows. A
    /// round under way knows less than this node does now.
    pub(super) fn punch_afresh(&mut self, peer: PeerId) {
        self.punches.fresh_start(&peer);
        let relayed = self
            .table
            .get(&peer)
            .is_some_and(|p| p.is_member() && !p.is_direct());
        if relayed && self.punches.tried(&peer) {
            if self.punches.is_active(&peer) {
                self.punch_over(peer);
            }
            let now = Instant::now();
            self.plan_punch(peer, self.punches.afresh(&peer, now), now);
        }
    }

    /// Begins now, whoever's turn it is.
    pub(super) fn punch_now(&mut self, node: NodeId) -> Result<(), NetError> {
        let peer = self.peer(node)?;
        let known = self.table.get(&peer).ok_or(NetError::NoAddress { node })?;
        if known.is_direct() || !known.is_member() {
            return Err(NetError::NoAddress { node });
        }
        if self.punches.is_active(&peer) {
            return Ok(());
        }
        self.punches.fresh_start(&peer);
        let (what, limit) = if self.punches.spent(&peer, Instant::now()) {
            ("punches with this node in a minute", TALKS_A_MINUTE)
        } else {
            ("punches under way", MAX_ACTIVE)
        };
        if self.begin_punch(peer) {
            Ok(())
        } else {
            Err(NetError::Busy { what, limit })
        }
    }

    /// The answering side knows where to: opens the router, before anything comes from there.
    pub(super) fn heard_addresses(&mut self, peer: PeerId, round: u64, addrs: Vec<Multiaddr>) {
        let loopback = self.relayed(&peer).is_some_and(|(_, loopback)| loopback);
        let addrs = candidates::choose(addrs, loopback);
        if let Some(active) = self.punches.round(&peer, round) {
            let open: Vec<_> = aim::over(Transport::Quic, &addrs).cloned().collect();
            active.theirs = addrs;
            self.open_router(peer, &open);
        }
    }

    /// The talk is over: sets the times of what follows.
    pub(super) fn agreed(
        &mut self,
        peer: PeerId,
        round: u64,
        outcome: io::Result<(Vec<Multiaddr>, Duration)>,
    ) {
        let now = Instant::now();
        let loopback = self.relayed(&peer).is_some_and(|(_, loopback)| loopback);
        let own = self.own_addresses(loopback);
        let Some(active) = self.punches.round(&peer, round) else {
            return;
        };
        let (addrs, trip) = match outcome {
            Ok((addrs, trip)) => (addrs, trip.min(LONGEST_TRIP)),
            Err(e) => {
                active.say(format!("the talk through the relay: {e}"));
                self.punch_over(peer);
                return;
            }
        };
        active.trip = trip;
        let begins = active.side == Side::Begins;
        if begins {
            active.theirs = candidates::choose(addrs, loopback);
        }
        if active.theirs.is_empty() {
            active.say("the peer has named no address that can be tried".to_owned());
            self.punch_over(peer);
            return;
        }
        let any = |on, all| aim::over(on, all).next().is_some();
        let both = |on| any(on, &active.theirs) && any(on, &own);
        let tcp = if both(Transport::Quic) {
            now + TCP_AFTER
        } else {
            now
        };
        let end = if both(Transport::Tcp) {
            now + ROUND
        } else {
            let last = trip + QUIC_SLACK + aim::patience(active.nth, trip);
            now + (last + QUIC_REST).max(QUIC_ROUND)
        };
        // Our last word takes half a round trip to the side that answers.
        let (quic, tcp) = if begins {
            (now, tcp + trip / 2)
        } else {
            (now + trip + QUIC_SLACK, tcp)
        };
        for (at, what) in [
            (quic, What::Quic),
            (tcp, What::TcpTogether),
            (tcp + ALONE_AFTER, What::TcpAlone),
            (end, What::End),
        ] {
            self.alarms.set(at, Alarm::Punch(peer, Step { round, what }));
        }
    }

    /// A step of a punch is due.
    pub(super) fn punch_step(&mut self, peer: PeerId, step: Step) {
        if step.what == What::Begin {
            if self.punches.due(&peer, Instant::now()) {
                let relayed = self
                    .table
                    .get(&peer)
                    .is_some_and(|p| p.is_member() && !p.is_direct());
                if relayed {
                    self.begin_punch(peer);
                } else {
                    self.punches.missed(&peer);
                }
            }
            return;
        }
        let Some(active) = self.punches.round(&peer, step.round) else {
            return;
        };
        let side = active.side;
        match step.what {
            What::Begin => {}
            What::Quic => self.punch_quic(peer, side),
            What::TcpTogether => {
                let addrs: Vec<_> = aim::over(Transport::Tcp, &active.theirs).cloned().collect();
                let how = match side {
                    Side::Begins => How::Meet,
                    Side::Answers => How::Connect,
                };
                self.punch_dial(peer, &addrs, how, ROUND);
            }
            What::TcpAlone => {
                let addrs = active.theirs.clone();
                let ours = self.own_addresses(true);
                let addrs = aim::likeliest(&addrs, &ours, Transport::Tcp);
                for (how, most) in alone(side, self.candidates.counts(Transport::Tcp)) {
                    let addrs = addrs.get(..*most).unwrap_or(&addrs);
                    self.punch_dial(peer, addrs, *how, ROUND);
                }
            }
            What::End => self.punch_over(peer),
        }
    }

    /// Connects to the likeliest addresses, and opens the router towards the others.
    fn punch_quic(&mut self, peer: PeerId, side: Side) {
        let ours = self.own_addresses(true);
        let Some(active) = self.punches.active(&peer) else {
            return;
        };
        let aim = aim::quic(&active.theirs, &ours, side, active.nth, active.trip);
        let mut others: Vec<_> = aim::over(Transport::Quic, &active.theirs).cloned().collect();
        others.retain(|a| !aim.addrs.contains(a));
        // The side that answers has done so before.
        if side == Side::Begins {
            self.open_router(peer, &others);
        }
        self.punch_dial(peer, &aim.addrs, How::Connect, aim.patience);
    }

    /// Sends some small packets to each of these, all at once: a dial of several addresses would take them in turn.
    fn open_router(&mut self, peer: PeerId, addrs: &[Multiaddr]) {
        for addr in addrs.iter().take(MAX_OPENED) {
            self.punch_dial(peer, std::slice::from_ref(addr), How::Open, aim::OPENING);
        }
    }

    /// Dials addresses of one transport, as many as the peer has paid for.
    fn punch_dial(&mut self, peer: PeerId, addrs: &[Multiaddr], how: How, patience: Duration) {
        let cost = match (how, addrs.first().and_then(names::transport)) {
            (How::Open, _) => purse::OPENER,
            (_, Some(Transport::Tcp)) => purse::TCP,
            _ => purse::quic(patience),
        };
        let came = self.shared.reach.heard.bytes(&peer);
        let addrs = self.punches.afford(&peer, came, addrs, cost);
        let Some(active) = self.punches.active(&peer) else {
            return;
        };
        // The transport finds the connection that is to come by the name in the address.
        let named = addrs.iter().map(|a| a.clone().with(Protocol::P2p(peer)));
        let addrs: Vec<_> = named.collect();
        if addrs.is_empty() {
            return;
        }
        let opts = DialOpts::peer_id(peer)
            .condition(PeerCondition::Always)
            .addresses(addrs.clone());
        let opts = match how {
            How::Connect => opts,
            How::Meet => opts.override_role(),
            How::Open | How::AloneMet => opts.override_role().allocate_new_port(),
            How::Alone => opts.allocate_new_port(),
        };
        let opts = opts.build();
        let id = opts.connection_id();
        let hold = Hold {
            token: active.leash.clone(),
            pause: Duration::ZERO,
            patience,
        };
        match self.shared.reach.leash.hold(hold, || self.swarm.dial(opts)) {
            Ok(()) if matches!(how, How::Open) => {}
            Ok(()) => {
                if let Some(active) = self.punches.active(&peer) {
                    active.dials.insert(id);
                }
                self.log.begin(peer, id, AttemptKind::Punch, &addrs);
            }
            Err(e) => tracing::debug!(%peer, error = %e, "a punch's dial could not be made"),
        }
    }

    /// A direct connection has come up: whatever sought one is done.
    pub(super) fn punched(&mut self, peer: PeerId) {
        let Some(over) = self.punches.succeeded(&peer) else {
            return;
        };
        count(&self.shared.tally.punches_done);
        count(&self.shared.tally.paths_upgraded);
        for id in over.dials {
            self.log.given_up(&peer, id);
        }
        let outcome = Outcome::Connected;
        self.log.note(peer, AttemptKind::Punch, None, over.began, outcome);
    }

    /// A round has come to nothing: plans the next.
    fn punch_over(&mut self, peer: PeerId) {
        let now = Instant::now();
        let Some((over, next)) = self.punches.failed(&peer, now) else {
            return;
        };
        count(&self.shared.tally.punches_failed);
        let reason = if over.said.is_empty() {
            "nothing came through".to_owned()
        } else {
            over.said.join("; ")
        };
        let outcome = Outcome::Failed { reason };
        self.log.note(peer, AttemptKind::Punch, None, over.began, outcome);
        if over.side == Side::Begins {
            self.plan_punch(peer, next, now);
        }
        self.look_at_path(peer);
    }
}
