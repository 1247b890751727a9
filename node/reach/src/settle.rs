//! What follows from what is known: testing, relays, serving, telling others; each said only when it is new.

use crate::{
    addr::Carrier,
    config::{FIND_LONGEST, FIND_SELDOM, KEEP_WHEN_PUBLIC, PATIENCE, RelayMode, TEST_EVERY},
    core::Reach,
    effect::Effect,
    judge, publish,
    report::{Reachability, Serving, ServingWhy},
    way::Way,
};
use hive_protocol::{
    ids::NodeId,
    time::{Millis, Timestamp},
};

impl Reach {
    /// Whether this node is to be reached through relays.
    pub(crate) fn wants_relays(&self) -> bool {
        let now = self.now;
        if self.config.authority {
            // All members reach it, or it would be none.
            return !self.config.direct;
        }
        if self.met_since.is_none() {
            return false;
        }
        if !self.config.direct || !self.own.listens() {
            return true;
        }
        let waited = |since: Option<Timestamp>, span: Millis| since.is_some_and(|at| now >= at + span);
        match self.reachability {
            // Those without IPv6 need a way, too.
            Reachability::Public if !judge::public_v4(&self.own, now) => true,
            // A finding may be a short one: what is kept stays for a while.
            Reachability::Public => {
                !self.slots.relays().is_empty() && !waited(self.public_since, KEEP_WHEN_PUBLIC)
            }
            Reachability::Private => true,
            Reachability::Unknown => {
                self.own.listens_outside() && !judge::flat(&self.own) && waited(self.met_since, PATIENCE)
            }
        }
    }

    /// Whether this node relays for others, and why.
    pub(crate) fn serving(&self) -> Serving {
        let (on, why) = match self.config.relay {
            RelayMode::Off => (false, ServingWhy::Off),
            RelayMode::On => (true, ServingWhy::Configured),
            RelayMode::Auto if self.config.authority => (true, ServingWhy::Authority),
            RelayMode::Auto if self.reachability == Reachability::Public => (true, ServingWhy::Public),
            RelayMode::Auto => (false, ServingWhy::NotPublic),
        };
        Serving {
            on: on && self.own.listens(),
            why,
            draining: self.draining,
        }
    }

    /// Whether this node serves the hash table: only if others can dial it, or their tables fill with dead ends.
    fn kad_server(&self) -> bool {
        self.config.authority
            || self.reachability == Reachability::Public
            || (self.config.direct && self.reachability == Reachability::Unknown && judge::flat(&self.own))
    }

    /// Draws the consequences, and says those that are new.
    pub(crate) fn settle(&mut self) {
        let now = self.now;
        self.own.expire(now);
        self.reachability = judge::reachability(&self.own, now);
        if self.reachability == Reachability::Public {
            self.public_since.get_or_insert(now);
        } else {
            self.public_since = None;
        }
        let mut out = Vec::new();
        self.keep_testing(&mut out);
        self.keep_trying(&mut out);
        self.keep_relays(&mut out);
        self.anchors.keep(now, &self.slots.relays(), &mut out);
        self.say(&mut out);
        for effect in out {
            self.push(effect);
        }
    }

    /// Finds out whether UDP and TCP pass, where that is not known.
    fn keep_trying(&mut self, out: &mut Vec<Effect>) {
        let now = self.now;
        for carrier in [Carrier::Quic, Carrier::Tcp] {
            let standing = self.standing(carrier);
            self.way(carrier).look(now, standing);
            let way = self.way_of(carrier);
            if way.free(now)
                && let Some((node, addr)) = self.to_try(way, carrier)
            {
                self.way(carrier).tries(now, &addr);
                out.push(Effect::Try { node, addr });
            }
        }
    }

    fn way(&mut self, carrier: Carrier) -> &mut Way {
        match carrier {
            Carrier::Quic => &mut self.udp,
            Carrier::Tcp => &mut self.tcp,
        }
    }

    fn way_of(&self, carrier: Carrier) -> &Way {
        match carrier {
            Carrier::Quic => &self.udp,
            Carrier::Tcp => &self.tcp,
        }
    }

    /// Whom to try over this carrier, if this node uses it at all, and others directly.
    pub(crate) fn to_try(&self, way: &Way, carrier: Carrier) -> Option<(NodeId, String)> {
        if !self.config.direct || !self.own.listens_on(carrier) {
            return None;
        }
        let other = match carrier {
            Carrier::Quic => Carrier::Tcp,
            Carrier::Tcp => Carrier::Quic,
        };
        way.candidate(self.anchors.over(other))
    }

    /// Whether it is being found out at this moment whether UDP or TCP passes.
    #[must_use]
    pub fn undecided(&self) -> bool {
        [Carrier::Quic, Carrier::Tcp].into_iter().any(|carrier| {
            let way = self.way_of(carrier);
            way.undecided(self.to_try(way, carrier).is_some())
        })
    }

    fn keep_testing(&mut self, out: &mut Vec<Effect>) {
        let now = self.now;
        if self.met_since.is_some() && self.test_due.is_some_and(|at| now >= at) {
            self.test_due = Some(now + TEST_EVERY);
            out.push(Effect::Test);
        }
    }

    fn keep_relays(&mut self, out: &mut Vec<Effect>) {
        let now = self.now;
        if !self.wants_relays() {
            self.slots.drop_all(out);
            return;
        }
        let kept = self.slots.relays();
        for (node, addrs) in self.candidates.due(now, &kept) {
            out.push(Effect::AskRelay { node, addrs });
        }
        if now >= self.find_due {
            let enough = self.candidates.enough(now);
            self.find_due = now + if enough { FIND_SELDOM } else { self.find_pause };
            self.find_pause = Millis(self.find_pause.0.saturating_mul(2).min(FIND_LONGEST.0));
            out.push(Effect::FindRelays);
        }
        self.slots.keep(now, &mut self.candidates, out);
    }

    fn say(&mut self, out: &mut Vec<Effect>) {
        let serving = self.serving();
        // A relay and an authority are reached directly even where nobody else is.
        let direct = self.config.direct || self.config.authority || serving.on;
        let list = publish::list(&self.own, self.now, direct, self.slots.held());
        let kad = self.kad_server();
        let announce = serving.on && !serving.draining;
        if news(&mut self.told.published, list.clone()) {
            out.push(Effect::Publish(list));
        }
        if news(&mut self.told.kad, kad) {
            out.push(Effect::KadServer(kad));
        }
        if news(&mut self.told.serve, serving.on) {
            out.push(Effect::Serve(serving.on));
        }
        if news(&mut self.told.announce, announce) {
            out.push(Effect::AnnounceRelay(announce));
        }
    }
}

/// Keeps what is said now; true when it is not what was said last.
fn news<T: PartialEq>(last: &mut Option<T>, now: T) -> bool {
    if last.as_ref() == Some(&now) {
        return false;
    }
    *last = Some(now);
    true
}
