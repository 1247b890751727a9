//! Work streams between nodes, and gossip.
//!
//! A stream is ordered: a lost message is a broken connection, which each side hears of in its own time, and
//! what was in flight arrives up to some point and no further. A new connection is another epoch.
//!
//! Nothing is doubled on a stream, because the mesh's leases run over QUIC or TCP: the network below may double
//! packets as it likes, the stream hands each byte over once. What doubles there are the cores themselves, which
//! say again over a new connection what was not acknowledged over the old one (counted as [`Fault::Resent`]).
//! Gossip and calls to the authority are messages of their own, and are lost, doubled and held up one by one.

use super::{Happen, Side, World};
use crate::fault::Fault;
use hive_protocol::{
    credential::Credential,
    gossip::Demand,
    ids::LeaseId,
    work::{LeaseBody, WorkMsg},
};
use hive_scheduler::{submitter, worker};

/// The connection between two nodes; sides are 0 for the lower number, 1 for the higher.
#[derive(Debug, Default)]
pub(super) struct Link {
    up: bool,
    epoch: u64,
    dialling: bool,
    /// The latest arrival scheduled towards each side.
    last: [u64; 2],
    /// The connection each side believes to have.
    told: [Option<u64>; 2],
    /// The latest connection each side knows to be lost.
    lost: [u64; 2],
    /// Until when messages in flight still arrive after a break.
    cut: [u64; 2],
}

const fn side_of(node: usize, peer: usize) -> usize {
    if node < peer { 0 } else { 1 }
}

const fn key(a: usize, b: usize) -> (usize, usize) {
    if a < b { (a, b) } else { (b, a) }
}

impl World {
    /// Whether packets get from one to the other; the authority's number is the number of nodes.
    pub(super) fn reachable(&self, a: usize, b: usize) -> bool {
        self.sides.as_ref().is_none_or(|s| s.get(a) == s.get(b))
    }

    pub(super) fn latency(&mut self) -> u64 {
        let most = if self.calm { 10 } else { self.plan.weather.latency };
        self.rng.range(1, most.max(2))
    }

    /// How often a message arrives that belongs to no stream: not at all, once or twice.
    pub(super) fn copies(&mut self) -> u32 {
        if self.happens(Fault::Lost, self.plan.weather.loss) {
            return 0;
        }
        1 + u32::from(self.happens(Fault::Doubled, self.plan.weather.replay))
    }

    /// For how long a message is held up on its way, which is mostly not at all.
    pub(super) fn held_up(&mut self, chance: u32) -> u64 {
        if self.happens(Fault::Delayed, chance) {
            self.rng.range(1, self.plan.weather.clog_ms)
        } else {
            0
        }
    }

    /// Connects two nodes, if it works.
    pub(super) fn dial(&mut self, a: usize, b: usize) {
        if a == b || !self.nodes[a].alive {
            return;
        }
        let after = self.latency() * 3;
        let link = self.links.entry(key(a, b)).or_default();
        if link.up || link.dialling {
            return;
        }
        link.dialling = true;
        let (a, b) = key(a, b);
        self.later(after, Happen::Dialled { a, b });
    }

    pub(super) fn dialled(&mut self, a: usize, b: usize) {
        let now = self.now;
        let works = self.nodes[a].alive
            && self.nodes[b].alive
            && self.reachable(a, b)
            && !self.faulty(self.plan.weather.loss);
        let delays = [self.rng.below(30), self.rng.below(30)];
        let Some(link) = self.links.get_mut(&(a, b)) else {
            return;
        };
        link.dialling = false;
        if !works || link.up {
            return;
        }
        link.up = true;
        link.epoch += 1;
        link.last = [now; 2];
        let epoch = link.epoch;
        self.note(a, format_args!("connected to {b} ({epoch})"));
        for (side, peer, after) in [(a, b, delays[0]), (b, a, delays[1])] {
            self.later(after, Happen::Up { side, peer, epoch });
        }
    }

    pub(super) fn hears_up(&mut self, n: usize, peer: usize, epoch: u64) {
        if !self.nodes[n].alive {
            return;
        }
        let Some(link) = self.links.get_mut(&key(n, peer)) else {
            return;
        };
        if link.epoch != epoch || !link.up {
            return;
        }
        link.told[side_of(n, peer)] = Some(epoch);
        let node = self.nodes[peer].id;
        self.tell_submitter(n, submitter::Input::PeerConnected { node });
        self.tell_worker(n, worker::Input::PeerConnected { node });
    }

    pub(super) fn hears_lost(&mut self, n: usize, peer: usize, epoch: u64) {
        let Some(link) = self.links.get_mut(&key(n, peer)) else {
            return;
        };
        let side = side_of(n, peer);
        link.lost[side] = link.lost[side].max(epoch);
        if link.told[side] != Some(epoch) {
            return;
        }
        link.told[side] = None;
        let node = self.nodes[peer].id;
        self.tell_submitter(n, submitter::Input::PeerLost { node });
        self.tell_worker(n, worker::Input::PeerLost { node });
    }

    /// Breaks a connection; each side hears of it within `notice` milliseconds.
    pub(super) fn break_link(&mut self, a: usize, b: usize, notice: u64) {
        let now = self.now;
        let (a, b) = key(a, b);
        let cut = [now + self.rng.below(60), now + self.rng.below(60)];
        let after = [self.rng.below(notice), self.rng.below(notice)];
        let Some(link) = self.links.get_mut(&(a, b)).filter(|l| l.up) else {
            return;
        };
        link.up = false;
        link.cut = cut;
        let epoch = link.epoch;
        self.note(a, format_args!("cut from {b} ({epoch})"));
        if !self.calm {
            self.faults.count(Fault::Broken);
        }
        for (side, peer, after) in [(a, b, after[0]), (b, a, after[1])] {
            self.later(after, Happen::Lost { side, peer, epoch });
        }
    }

    /// All connections of a node end because it does; it forgets them, the others will notice.
    pub(super) fn drop_links(&mut self, n: usize) {
        for peer in 0..self.nodes.len() {
            if peer == n {
                continue;
            }
            self.break_link(n, peer, 8000);
            if let Some(link) = self.links.get_mut(&key(n, peer)) {
                link.told[side_of(n, peer)] = None;
                link.lost[side_of(n, peer)] = link.epoch;
            }
        }
    }

    /// Pairs of nodes that are connected.
    pub(super) fn connected_pairs(&self) -> Vec<(usize, usize)> {
        self.links.iter().filter(|(_, l)| l.up).map(|(k, _)| *k).collect()
    }

    /// Sends a message on the stream between two nodes, if the sender believes to have one, and says whether it
    /// is on its way.
    pub(super) fn send(&mut self, from: usize, to: usize, message: WorkMsg) -> bool {
        let now = self.now;
        if self.faulty(self.plan.weather.breaks) {
            let notice = self.rng.range(1, 4000);
            self.break_link(from, to, notice);
        }
        let latency = self.latency() + self.held_up(self.plan.weather.clog);
        let Some(link) = self.links.get_mut(&key(from, to)) else {
            return false;
        };
        let Some(epoch) = link.told[side_of(from, to)] else {
            return false;
        };
        if epoch != link.epoch || !link.up {
            if !self.calm {
                self.faults.count(Fault::CutOff);
            }
            return false; // Said into the void.
        }
        let last = &mut link.last[side_of(to, from)];
        let at = (now + latency).max(*last);
        *last = at;
        self.later(
            at - now,
            Happen::Message {
                from,
                to,
                epoch,
                message: Box::new(message),
            },
        );
        true
    }

    pub(super) fn arrives(&mut self, from: usize, to: usize, epoch: u64, message: WorkMsg) {
        let now = self.now;
        let Some(link) = self.links.get(&key(from, to)) else {
            return;
        };
        let side = side_of(to, from);
        let in_time = link.up || now <= link.cut[side];
        if link.epoch != epoch || !in_time || link.lost[side] >= epoch || !self.nodes[to].alive {
            if !self.calm {
                self.faults.count(Fault::CutOff);
            }
            return;
        }
        if let WorkMsg::Lease { lease, seq, .. } = &message
            && !self.nodes[from].plan.lies.rogue
        {
            let heard = self.heard.entry((from, to, *lease)).or_default();
            if *seq > *heard {
                *heard = *seq;
            } else if !self.calm {
                self.faults.count(Fault::Resent);
            }
        }
        self.deliver(to, from, message, None);
    }

    /// Hands a message to the core it is for; `side` says which for messages of a node to itself.
    pub(super) fn deliver(&mut self, n: usize, peer: usize, message: WorkMsg, side: Option<Side>) {
        self.note_message(n, peer, &message);
        let from = self.nodes[peer].id;
        match message {
            WorkMsg::Offer(offer) => {
                let Some(credential) = self.check_credential(n, &offer.credential, from) else {
                    return;
                };
                self.tell_submitter(
                    n,
                    submitter::Input::OfferReceived {
                        from,
                        offer,
                        credential: Box::new(credential),
                    },
                );
            }
            WorkMsg::LeaseRequest(request) => self.lease_requested(n, peer, *request),
            message => {
                let to = side.unwrap_or_else(|| self.core_for(n, &message));
                match to {
                    Side::Worker if self.nodes[n].worker.is_none() => {
                        if let Some(lease) = lease_of(&message) {
                            self.send(n, peer, WorkMsg::Unknown { lease });
                        }
                    }
                    Side::Worker => self.tell_worker(n, worker::Input::Message { from, message }),
                    Side::Submitter => self.tell_submitter(n, submitter::Input::Message { from, message }),
                }
            }
        }
    }

    /// Which core a peer's message is for, as the daemon decides it.
    fn core_for(&self, n: usize, message: &WorkMsg) -> Side {
        let submitters = |lease: &LeaseId| self.nodes[n].submitter.as_ref().is_some_and(|s| s.owns(lease));
        match message {
            WorkMsg::LeaseAccept { .. } | WorkMsg::LeaseRefuse { .. } | WorkMsg::Log { .. } => {
                Side::Submitter
            }
            other => match lease_of(other) {
                Some(lease) if submitters(&lease) => Side::Submitter,
                _ => Side::Worker,
            },
        }
    }

    /// The receiver's check of a credential, signature included.
    pub(super) fn check_credential(
        &self,
        n: usize,
        signed: &hive_protocol::keys::Signed<Credential>,
        of: hive_protocol::ids::NodeId,
    ) -> Option<Credential> {
        let clock = self.nodes[n].clock(self.now);
        Credential::check(signed, &[self.authority.id], self.authority.network, of, clock).ok()
    }

    /// Publishes a demand to all workers; some hear it late, twice or not at all.
    pub(super) fn publish(&mut self, from: usize, demand: &Demand) {
        for to in 0..self.nodes.len() {
            if !self.nodes[to].alive || self.nodes[to].worker.is_none() || !self.reachable(from, to) {
                continue;
            }
            let copies = if to == from { 1 } else { self.copies() };
            for copy in 0..copies {
                let after = self.latency() * 2
                    + self.held_up(self.plan.weather.delay)
                    + u64::from(copy) * self.rng.below(20_000);
                let demand = Box::new(demand.clone());
                self.later(after, Happen::Demand { to, demand });
            }
        }
    }

    pub(super) fn hears_demand(&mut self, n: usize, demand: Demand) {
        let Some(credential) = self.check_credential(n, &demand.credential, demand.submitter) else {
            return;
        };
        self.tell_worker(
            n,
            worker::Input::DemandHeard {
                demand: Box::new(demand),
                credential: Box::new(credential),
            },
        );
    }

    fn note_message(&mut self, n: usize, peer: usize, message: &WorkMsg) {
        use crate::trace::Short;
        match message {
            WorkMsg::Lease {
                lease,
                seq,
                ack,
                body,
            } => {
                let (what, count) = match body {
                    LeaseBody::Tasks(t) => ("tasks", t.len()),
                    LeaseBody::Cancel(t) => ("cancel", t.len()),
                    LeaseBody::Countersign(_) => ("countersign", 1),
                    LeaseBody::RefuseReceipt { .. } => ("refuse-receipt", 1),
                    LeaseBody::Close => ("close", 1),
                    LeaseBody::Started(t) => ("started", t.len()),
                    LeaseBody::Results(t) => ("results", t.len()),
                    LeaseBody::Receipt(_) => ("receipt", 1),
                    LeaseBody::Closed { .. } => ("closed", 1),
                    LeaseBody::Log { .. } => ("log", 1),
                };
                self.note(
                    n,
                    format_args!("< {peer} {} #{seq} ack {ack} {what} {count}", Short(&lease.0)),
                );
            }
            other => {
                let name = match other {
                    WorkMsg::Offer(_) => "offer",
                    WorkMsg::LeaseRequest(_) => "request",
                    WorkMsg::LeaseAccept { .. } => "accept",
                    WorkMsg::LeaseRefuse { .. } => "refuse",
                    WorkMsg::Resume { .. } => "resume",
                    WorkMsg::Unknown { .. } => "unknown",
                    WorkMsg::Ack { .. } => "ack",
                    _ => "log",
                };
                let lease = lease_of(other).unwrap_or_default();
                self.note(n, format_args!("< {peer} {} {name}", Short(&lease.0)));
            }
        }
    }
}

/// The lease a message speaks of.
pub(super) fn lease_of(message: &WorkMsg) -> Option<LeaseId> {
    match message {
        WorkMsg::LeaseAccept { lease, .. }
        | WorkMsg::LeaseRefuse { lease, .. }
        | WorkMsg::Resume { lease, .. }
        | WorkMsg::Unknown { lease }
        | WorkMsg::Lease { lease, .. }
        | WorkMsg::Ack { lease, .. }
        | WorkMsg::Log { lease, .. } => Some(*lease),
        WorkMsg::LeaseRequest(request) => Some(request.lease),
        WorkMsg::Offer(_) => None,
    }
}
