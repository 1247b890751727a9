//! The core: takes what was seen, settles what follows from it, gives it out as effects.

use crate::{
    addr::{self, Carrier},
    anchors::Anchors,
    candidates::{Candidates, Source},
    config::{Config, FIND_FIRST, KEEP_WHEN_PUBLIC, PATIENCE, Seed, TEST_AFTER, UNCONFIRMED},
    effect::{Effect, Published},
    input::{Input, PeerFacts},
    own::Own,
    report::Reachability,
    slots::Slots,
    way::{Standing, Way},
};
use hive_protocol::{
    ids::NodeId,
    time::{Millis, Timestamp},
};
use std::collections::VecDeque;

/// Effects not yet taken. Each settling makes few; a shell that takes none loses the oldest questions, which are
/// asked again, never what is told once only (those are kept as state and compared).
const MAX_EFFECTS: usize = 1024;

/// The core. See the crate.
#[derive(Debug, Clone)]
pub struct Reach {
    pub(crate) config: Config,
    pub(crate) now: Timestamp,
    pub(crate) own: Own,
    pub(crate) udp: Way,
    pub(crate) tcp: Way,
    pub(crate) candidates: Candidates,
    pub(crate) slots: Slots,
    pub(crate) anchors: Anchors,
    pub(crate) draining: bool,
    pub(crate) reachability: Reachability,
    pub(crate) public_since: Option<Timestamp>,
    /// When a member was connected first.
    pub(crate) met_since: Option<Timestamp>,
    pub(crate) tested_at: Option<Timestamp>,
    pub(crate) test_due: Option<Timestamp>,
    pub(crate) find_due: Timestamp,
    pub(crate) find_pause: Millis,
    pub(crate) told: Told,
    effects: VecDeque<Effect>,
}

/// What was said last, so that it is said again only when it changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    pub published: Option<Vec<Published>>,
    pub kad: Option<bool>,
    pub serve: Option<bool>,
    pub announce: Option<bool>,
}

impl Reach {
    /// A core that knows nothing yet.
    #[must_use]
    pub fn new(config: Config, seed: Seed) -> Self {
        Self {
            own: Own::new(&config.announce),
            config,
            now: Timestamp(0),
            udp: Way::new(Carrier::Quic),
            tcp: Way::new(Carrier::Tcp),
            candidates: Candidates::default(),
            slots: Slots::default(),
            anchors: Anchors::new(seed),
            draining: false,
            reachability: Reachability::Unknown,
            public_since: None,
            met_since: None,
            tested_at: None,
            test_due: None,
            find_due: Timestamp(0),
            find_pause: FIND_FIRST,
            told: Told::default(),
            effects: VecDeque::new(),
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        self.now = self.now.max(now);
        self.take(input);
        self.settle();
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to say [`Input::Tick`], if nothing else is said before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let now = self.now;
        let relays = self.slots.relays();
        let own = [
            self.own.next_expiry(now),
            self.test_due.filter(|_| self.met_since.is_some()),
            self.slots.next_due(now),
            self.anchors.next_due(now),
            self.next_try(&self.udp, Carrier::Quic),
            self.next_try(&self.tcp, Carrier::Tcp),
            self.wants_relays()
                .then(|| self.candidates.next_due(now, &relays))
                .flatten(),
            self.wants_relays().then_some(self.find_due),
            self.met_since.map(|at| at + PATIENCE).filter(|at| *at > now),
            self.own.next_silence(now),
            self.public_since
                .map(|at| at + KEEP_WHEN_PUBLIC)
                .filter(|at| *at > now),
        ];
        // Never at once: what could be done now has been done.
        own.into_iter().flatten().min().map(|at| at.max(now + Millis(50)))
    }

    fn take(&mut self, input: Input) {
        let now = self.now;
        match input {
            Input::Listening { addr } => {
                self.own.listening(now, &addr, true);
                self.addresses_changed();
            }
            Input::NotListening { addr } => {
                self.own.listening(now, &addr, false);
                self.addresses_changed();
            }
            Input::Observed { observer, addr, from } => {
                let before = self.own.len();
                self.own.observed(now, observer, &addr, &from, false);
                if self.own.len() != before {
                    self.test_soon(TEST_AFTER);
                }
            }
            Input::Reached { by, from, addr } => self.own.came(now, by, &from, addr.as_deref()),
            Input::Tested {
                addr,
                server,
                reachable,
                stranger,
            } => {
                self.tested_at = Some(now);
                self.own.tested(now, server, &addr, reachable, stranger);
            }
            Input::Mapped { addr, by, life } => {
                self.own.mapped(now, &addr, by, life);
                self.test_soon(TEST_AFTER);
            }
            Input::Unmapped { addr, detail } => self.own.unmapped(&addr, &detail),
            Input::Connected { node, addr, dialer } => self.connected(node, &addr, dialer),
            Input::Disconnected { node } => self.anchors.disconnected(now, &node),
            Input::DialFailed { node } => self.anchors.dial_failed(now, &node),
            Input::Moved { node, addr } => {
                self.anchors.moved(&node, &addr);
                self.ways(|way| way.connected(now, &addr));
            }
            Input::Silent { addr } => {
                let anybody = self.anchors.anybody();
                self.ways(|way| way.silent(now, &addr, anybody));
            }
            Input::Tried { addr, reached } => self.ways(|way| way.tried(now, &addr, reached)),
            Input::Authorities(all) => self.authorities(&all),
            Input::Heard(facts) => self.heard(&facts),
            Input::Found(nodes) => self.found(&nodes),
            Input::RelayTold { node, rtt_us, load } => self.candidates.told(now, &node, rtt_us, load),
            Input::RelaySilent { node } => self.candidates.silent(now, &node),
            Input::Reserved { relay, addr } => {
                if self.slots.reserved(now, relay, &addr) {
                    self.candidates.works(now, &relay);
                }
            }
            Input::ReserveFailed { relay, detail } => {
                if self.slots.failed(&relay) {
                    self.candidates.refused(now, &relay, &detail);
                }
            }
            Input::ReservationLost { relay, addr } => {
                self.slots.lost(now, &relay, &addr);
            }
            Input::SetMode(mode) => self.config.relay = mode,
            Input::Drain(on) => self.draining = on,
            Input::Fresh => {
                self.test_due = Some(now);
                self.candidates.ask_again();
                self.find_due = now;
                self.ways(Way::ask_again);
            }
            Input::Tick => {}
        }
    }

    fn addresses_changed(&mut self) {
        self.ways(Way::reset);
        self.test_soon(TEST_AFTER);
    }

    fn ways(&mut self, mut tell: impl FnMut(&mut Way)) {
        tell(&mut self.udp);
        tell(&mut self.tcp);
    }

    /// Who is connected, as far as it says something about this carrier.
    pub(crate) fn standing(&self, carrier: Carrier) -> Standing {
        Standing {
            here: self.anchors.over(carrier).next().is_some(),
            anybody: self.anchors.anybody(),
        }
    }

    fn next_try(&self, way: &Way, carrier: Carrier) -> Option<Timestamp> {
        way.next_due(self.now, self.to_try(way, carrier).is_some())
    }

    fn test_soon(&mut self, after: Millis) {
        let at = self.now + after;
        self.test_due = Some(self.test_due.map_or(at, |due| due.min(at)));
    }

    fn connected(&mut self, node: NodeId, at: &str, dialer: bool) {
        let now = self.now;
        if self.met_since.is_none() {
            self.met_since = Some(now);
            self.test_soon(TEST_AFTER);
        }
        self.anchors.connected(now, node, at);
        self.ways(|way| way.connected(now, at));
        if dialer {
            // Where it was dialed is where it listens.
            self.candidates.seen_at(&node, at);
        }
        self.candidates.back(now, &node);
    }

    fn authorities(&mut self, all: &[NodeId]) {
        let me = self.config.me;
        self.anchors
            .set_authorities(all.iter().copied().filter(|n| *n != me));
        // They relay unless they say otherwise when asked.
        for node in all.iter().filter(|n| **n != me) {
            self.candidates.heard(*node, Source::Authority);
        }
    }

    fn heard(&mut self, facts: &PeerFacts) {
        if facts.node == self.config.me {
            return;
        }
        self.anchors.heard(facts);
        let node = facts.node;
        if facts.leaving || !facts.relays {
            self.candidates.forget(&node);
        }
        let source = if self.anchors.is_authority(&node) {
            Source::Authority
        } else {
            Source::Role
        };
        if facts.relays && !facts.leaving && self.candidates.heard(node, source) {
            self.find_pause = FIND_FIRST;
        }
        self.candidates
            .facts(&node, Some(facts.account), facts.score, &facts.addrs);
    }

    fn found(&mut self, nodes: &[NodeId]) {
        for node in nodes.iter().filter(|n| **n != self.config.me) {
            self.candidates.heard(*node, Source::Dht);
            let addrs = self.anchors.addrs(node);
            self.candidates.facts(node, None, 0, &addrs);
        }
    }

    pub(crate) fn push(&mut self, effect: Effect) {
        // What is true now takes the place of what was and has not been carried out: nobody may be told of a state
        // in between, such as no address at all while those listened on are being named one after another.
        if effect.is_state() {
            let kind = std::mem::discriminant(&effect);
            self.effects.retain(|e| std::mem::discriminant(e) != kind);
        }
        if self.effects.len() >= MAX_EFFECTS {
            self.effects.pop_front();
        }
        self.effects.push_back(effect);
    }

    /// Panics when the core's own rules are broken.
    pub fn check_invariants(&self) {
        self.own.check();
        self.candidates.check();
        self.slots.check();
        self.anchors.check();
        self.udp.check();
        self.tcp.check();
        assert!(self.effects.len() <= MAX_EFFECTS, "too many effects");
        if let Some(published) = &self.told.published {
            assert!(
                published.len() <= crate::config::MAX_PUBLISHED,
                "too much is told"
            );
            assert!(published.iter().all(|p| p.addr.len() <= addr::MAX_TEXT));
        }
    }
}

impl Own {
    /// When an interface that nobody has confirmed begins to count as closed.
    fn next_silence(&self, now: Timestamp) -> Option<Timestamp> {
        let silent = self
            .iter()
            .filter_map(|(_, row)| row.listening.map(|at| at + UNCONFIRMED));
        silent.filter(|at| *at > now).min()
    }
}

#[cfg(test)]
impl Reach {
    /// Another seed for the choice of anchors.
    pub(crate) fn anchors_seed(&mut self, seed: u64) {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        self.anchors = Anchors::new(Seed(bytes));
        self.anchors.set_authorities([crate::tests::node(1)].into_iter());
    }
}
