//! This node's own addresses and what is known of each: interfaces, observers, tests, mappings.

use crate::{
    addr::{self, Block, Carrier, Direct, Scope},
    config::{CONFIRMED_LIFE, MAX_OWN, MAX_WITNESSES, SEEN_LIFE},
    input::{MappedBy, When},
};
use hive_protocol::{
    ids::NodeId,
    time::{Millis, Timestamp},
};
use std::{collections::BTreeMap, net::IpAddr};

/// Servers whose failures in a row end a confirmation at once.
const FAILURES_END: usize = 2;
/// Strangers from different blocks that say they came in at an address before it counts when nobody else has seen it:
/// that one came is certain, where it dialed is its word.
const VISITORS_CONFIRM: usize = 2;

/// How an observer saw this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Where the observer is.
    pub from: Option<IpAddr>,
    pub at: When,
    /// Whether it came as a stranger: then it has dialed this address.
    pub visitor: bool,
}

/// A test's outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Test {
    pub at: When,
    pub reachable: bool,
    pub stranger: bool,
}

/// One address.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub direct: Direct,
    /// Since when an interface has it.
    pub listening: Option<When>,
    pub announced: bool,
    pub seen: BTreeMap<NodeId, Seen>,
    pub tests: BTreeMap<NodeId, Test>,
    pub mapped: Option<(MappedBy, When)>,
}

impl Row {
    /// When somebody reached this node here last, if that still counts.
    fn reached(&self, now: Timestamp, stranger: bool) -> Option<When> {
        let fresh = |at: When| now < at + CONFIRMED_LIFE;
        let best = self
            .tests
            .values()
            .filter(|t| t.reachable && (t.stranger || !stranger) && fresh(t.at))
            .map(|t| t.at)
            .max()?;
        let failed_since = self
            .tests
            .values()
            .filter(|t| !t.reachable && t.at > best)
            .count();
        // A server that failed where it had succeeded has overwritten its own success.
        (failed_since < FAILURES_END).then_some(best)
    }

    /// When enough uninvited members had come, if that still counts.
    fn visited(&self, now: Timestamp, needed: usize) -> Option<When> {
        let mut blocks: BTreeMap<Option<Block>, When> = BTreeMap::new();
        for seen in self
            .seen
            .values()
            .filter(|s| s.visitor && now < s.at + CONFIRMED_LIFE)
        {
            let at = blocks.entry(seen.from.map(Block::of)).or_insert(seen.at);
            *at = (*at).max(seen.at);
        }
        let mut times: Vec<When> = blocks.into_values().collect();
        times.sort_unstable();
        // The newest `needed` of them: the oldest among those is when it became enough.
        times.iter().rev().nth(needed.checked_sub(1)?).copied()
    }

    /// Whether all that tried lately have failed.
    pub(crate) fn refuted(&self) -> bool {
        !self.tests.is_empty() && self.tests.values().all(|t| !t.reachable)
    }

    fn idle(&self) -> bool {
        self.listening.is_none()
            && !self.announced
            && self.seen.is_empty()
            && self.tests.is_empty()
            && self.mapped.is_none()
    }
}

/// All of them. At most [`MAX_OWN`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Own {
    rows: BTreeMap<String, Row>,
    /// Why the router maps nothing, by how it was asked.
    pub map_failures: BTreeMap<MappedBy, String>,
    /// When a stranger came in last, wherever.
    stranger: Option<When>,
}

impl Own {
    pub(crate) fn new(announce: &[String]) -> Self {
        let mut own = Self::default();
        for text in announce {
            if let Some(row) = own.row(text) {
                row.announced = true;
            }
        }
        own
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Row)> {
        self.rows.iter().map(|(text, row)| (text.as_str(), row))
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The row of an address, made if there is room; none for what is no direct address.
    fn row(&mut self, text: &str) -> Option<&mut Row> {
        let text = addr::plain(text);
        let direct = addr::parse(text)?;
        if !self.rows.contains_key(text) {
            self.make_room();
            if self.rows.len() >= MAX_OWN {
                return None;
            }
        }
        Some(self.rows.entry(text.to_owned()).or_insert_with(|| Row {
            direct,
            listening: None,
            announced: false,
            seen: BTreeMap::new(),
            tests: BTreeMap::new(),
            mapped: None,
        }))
    }

    /// When all is full, the address with the fewest witnesses that is not of this machine goes.
    fn make_room(&mut self) {
        if self.rows.len() < MAX_OWN {
            return;
        }
        let weakest = self
            .rows
            .iter()
            .filter(|(_, r)| r.listening.is_none() && !r.announced && r.mapped.is_none())
            .min_by_key(|(_, r)| (r.seen.len() + r.tests.len(), r.seen.values().map(|s| s.at).max()))
            .map(|(text, _)| text.clone());
        if let Some(text) = weakest {
            self.rows.remove(&text);
        }
    }

    pub(crate) fn listening(&mut self, now: Timestamp, text: &str, here: bool) {
        if here {
            if let Some(row) = self.row(text) {
                row.listening.get_or_insert(now);
            }
            return;
        }
        let ip = addr::parse(text).and_then(|d| d.ip);
        if let Some(row) = self.rows.get_mut(addr::plain(text)) {
            row.listening = None;
        }
        // With its last listener an interface is gone: what was seen and tested there is of another time, and so is
        // everything seen through whatever it led to.
        if ip.is_some_and(|ip| !self.has_ip(ip)) {
            self.stranger = None;
            for row in self.rows.values_mut() {
                row.seen.clear();
                row.tests.clear();
            }
        }
        self.sweep();
    }

    pub(crate) fn observed(
        &mut self,
        now: Timestamp,
        observer: NodeId,
        text: &str,
        from: &str,
        visitor: bool,
    ) {
        let Some(direct) = addr::parse(text) else { return };
        let seen = Seen {
            from: addr::parse(from).and_then(|d| d.ip),
            at: now,
            visitor,
        };
        // An observer sees this node at one place over one carrier: what it said before is over.
        let alike = |other: &Direct| {
            other.carrier == direct.carrier
                && other.ip.map(|ip| ip.is_ipv4()) == direct.ip.map(|ip| ip.is_ipv4())
        };
        for row in self.rows.values_mut().filter(|r| alike(&r.direct)) {
            if let Some(old) = row.seen.get(&observer)
                && !old.visitor
            {
                row.seen.remove(&observer);
            }
        }
        if let Some(row) = self.row(text) {
            if let Some(old) = row.seen.get_mut(&observer) {
                // A visit stays one.
                old.at = now;
                old.visitor |= visitor;
            } else {
                bounded(&mut row.seen, observer, seen, |s| s.at);
            }
        }
        self.sweep();
    }

    /// A stranger has come in. One of this node's own site shows nothing of the way in from outside.
    pub(crate) fn came(&mut self, now: Timestamp, by: NodeId, from: &str, at: Option<&str>) {
        if addr::parse(from).is_some_and(|d| d.scope() >= Scope::Carrier) {
            self.stranger = Some(now);
        }
        if let Some(text) = at {
            self.observed(now, by, text, from, true);
        }
    }

    /// Whether strangers come in at all.
    pub(crate) fn strangers_come(&self, now: Timestamp) -> bool {
        self.stranger.is_some_and(|at| now < at + CONFIRMED_LIFE)
    }

    pub(crate) fn tested(
        &mut self,
        now: Timestamp,
        server: NodeId,
        text: &str,
        reachable: bool,
        stranger: bool,
    ) {
        if let Some(row) = self.row(text) {
            let test = Test {
                at: now,
                reachable,
                stranger,
            };
            row.tests.remove(&server);
            bounded(&mut row.tests, server, test, |t| t.at);
        }
    }

    pub(crate) fn mapped(&mut self, now: Timestamp, text: &str, by: MappedBy, life: Millis) {
        self.map_failures.remove(&by);
        if let Some(row) = self.row(text) {
            row.mapped = Some((by, now + life));
        }
    }

    pub(crate) fn unmapped(&mut self, text: &str, detail: &str) {
        if let Some(row) = self.rows.get_mut(addr::plain(text))
            && let Some((by, _)) = row.mapped.take()
        {
            self.map_failures
                .insert(by, detail.chars().take(addr::MAX_TEXT).collect());
        }
        self.sweep();
    }

    /// Forgets what has expired; true when something did.
    pub(crate) fn expire(&mut self, now: Timestamp) -> bool {
        let mut changed = false;
        for row in self.rows.values_mut() {
            let before = row.seen.len() + row.tests.len() + usize::from(row.mapped.is_some());
            row.seen.retain(|_, s| now < s.at + SEEN_LIFE);
            row.tests.retain(|_, t| now < t.at + CONFIRMED_LIFE);
            row.mapped = row.mapped.filter(|(_, until)| now < *until);
            changed |= before != row.seen.len() + row.tests.len() + usize::from(row.mapped.is_some());
        }
        self.sweep();
        changed
    }

    /// When something expires next.
    pub(crate) fn next_expiry(&self, now: Timestamp) -> Option<Timestamp> {
        self.rows
            .values()
            .flat_map(|row| {
                let seen = row
                    .seen
                    .values()
                    .map(|s| s.at + if s.visitor { CONFIRMED_LIFE } else { SEEN_LIFE });
                let tests = row.tests.values().map(|t| t.at + CONFIRMED_LIFE);
                seen.chain(tests).chain(row.mapped.map(|(_, until)| until))
            })
            .filter(|at| *at > now)
            .min()
    }

    fn sweep(&mut self) {
        self.rows.retain(|_, row| !row.idle());
    }

    /// Whether an interface of this machine that is listened on has this number.
    pub(crate) fn has_ip(&self, ip: IpAddr) -> bool {
        self.rows
            .values()
            .any(|r| r.listening.is_some() && r.direct.ip == Some(ip))
    }

    /// Whether an address is one of this machine's interfaces, whatever the port.
    pub(crate) fn on_interface(&self, direct: &Direct) -> bool {
        direct.ip.is_some_and(|ip| self.has_ip(ip))
    }

    /// Since when others are known to reach this node there, as far as that still counts.
    pub(crate) fn confirmed(&self, now: Timestamp, row: &Row) -> Option<When> {
        if self.on_interface(&row.direct) || row.mapped.is_some() {
            // Nothing translates, or the router says that it leads here: any success shows that nothing filters.
            row.reached(now, false).max(row.visited(now, 1))
        } else {
            // A translating router lets those answer who were spoken to: only a stranger's success counts.
            let known = row.seen.values().any(|s| !s.visitor);
            let needed = if known { 1 } else { VISITORS_CONFIRM };
            row.reached(now, true).max(row.visited(now, needed))
        }
    }

    /// Whether somebody outside sees this node at a number it does not have.
    pub(crate) fn translated(&self) -> bool {
        self.rows.values().any(|r| {
            !r.seen.is_empty() && r.direct.scope() >= Scope::Carrier && !self.on_interface(&r.direct)
        }) || self.rows.values().any(|r| {
            // Behind a router within a site: seen at a private number that is not ours.
            r.seen.len() >= FAILURES_END
                && r.direct.scope() == Scope::Private
                && !self.on_interface(&r.direct)
        })
    }

    /// Whether this node listens anywhere but on loopback.
    pub(crate) fn listens_outside(&self) -> bool {
        self.rows
            .values()
            .any(|r| r.listening.is_some() && r.direct.scope() > Scope::Link)
    }

    pub(crate) fn listens(&self) -> bool {
        self.rows.values().any(|r| r.listening.is_some())
    }

    pub(crate) fn listens_on(&self, carrier: Carrier) -> bool {
        self.rows
            .values()
            .any(|r| r.listening.is_some() && r.direct.carrier == carrier)
    }

    pub(crate) fn check(&self) {
        assert!(self.rows.len() <= MAX_OWN, "too many own addresses");
        for (text, row) in &self.rows {
            assert!(!row.idle(), "{text} is kept for nothing");
            assert!(row.seen.len() <= MAX_WITNESSES && row.tests.len() <= MAX_WITNESSES);
        }
    }
}

/// Adds a witness; over the bound the one heard of longest ago goes.
fn bounded<T>(all: &mut BTreeMap<NodeId, T>, who: NodeId, what: T, at: impl Fn(&T) -> When) {
    if all.len() >= MAX_WITNESSES
        && let Some(oldest) = all.iter().min_by_key(|(_, t)| at(t)).map(|(n, _)| *n)
    {
        all.remove(&oldest);
    }
    all.insert(who, what);
}
