//! How many bytes may go now: buckets of the node, the classes and the peers, and turns among those who wait.
//!
//! Every asker (a class of a peer) has a virtual time that advances by bytes over its class's weight. While several
//! wait, one may go only if its virtual time is not ahead of theirs: so equals get equal parts, urgent classes get
//! nearly all, and none starves. Who does not come back is forgotten.

use super::{Class, Schedule, bucket::Bucket};
use hive_protocol::{
    ids::NodeId,
    time::{Millis, Timestamp},
};
use std::collections::BTreeMap;

/// Askers remembered at once; one more than this waits a little.
pub const MAX_WAITERS: usize = 4096;
/// Buckets of peers at once; the ones longest unused go first.
pub const MAX_BUCKETS: usize = 4096;
/// The fewest bytes worth a grant, unless fewer are asked or a bucket holds fewer at most.
pub const MIN_GRANT: u64 = 16 << 10;
/// The most bytes of one grant while others wait: turns stay short.
const MAX_TURN: u64 = 256 << 10;
/// Bytes one may be ahead of another who waits: turns are not taken for every crumb.
const LEAD: u64 = 64 << 10;
/// The longest wait that is answered: limits may have changed by then.
const MAX_WAIT: Millis = Millis(1000);
/// Somebody who waits is forgotten so long after he was to come back.
const LATE: Millis = Millis(100);
/// Who waits for his turn, not for tokens, is told to come back after this.
const TURN: Millis = Millis(2);
/// Virtual time of one byte at weight 1.
const UNIT: u64 = 1000;

/// Limits of one direction. The default has none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LimitsConfig {
    /// All bytes together.
    pub node: Schedule,
    /// Each class, in the order of [`Class::ALL`]; the first is ignored.
    pub classes: [Schedule; 4],
    /// Every peer that has no limit of its own.
    pub peer: Schedule,
    /// Peers with a limit of their own.
    pub peers: BTreeMap<NodeId, Schedule>,
    /// Minutes that local time is ahead of UTC, for the hours.
    pub utc_offset_min: i32,
}

/// The answer to one who wants to move bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// So many may go now, at least 1 and at most as many as asked (0 if 0 were asked).
    Grant(u64),
    /// None now; ask again after this (1 to 1000 ms). Asking earlier is harmless.
    Wait(Millis),
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    /// Forgotten after this.
    until: Timestamp,
    /// It waits for its class's tokens, so that it is in the way of its class only.
    of_class: bool,
}

/// The core: one for each direction.
#[derive(Clone, Debug)]
pub struct Limits {
    config: LimitsConfig,
    /// What the clock showed last.
    clock: Timestamp,
    /// Time by which tokens come: the sum of the clock's steps forward. A clock that is set back changes the hour of
    /// the day and nothing else.
    now: Timestamp,
    minute: u32,
    node: Bucket,
    classes: [Bucket; 4],
    peers: BTreeMap<NodeId, Bucket>,
    /// Virtual time of askers that wait or have just been served.
    tags: BTreeMap<(Class, NodeId), u64>,
    waiting: BTreeMap<(Class, NodeId), Waiter>,
    /// Virtual time of the last one served: who comes anew begins here.
    served: u64,
    moved: [u64; 4],
}

impl Limits {
    /// Full buckets.
    #[must_use]
    pub fn new(config: LimitsConfig) -> Self {
        let none = Bucket::new(None, Timestamp(0));
        let mut limits = Self {
            config: LimitsConfig::default(),
            clock: Timestamp(0),
            now: Timestamp(0),
            minute: 0,
            node: none,
            classes: [none; 4],
            peers: BTreeMap::new(),
            tags: BTreeMap::new(),
            waiting: BTreeMap::new(),
            served: 0,
            moved: [0; 4],
        };
        limits.set(Timestamp(0), config);
        limits.node = Bucket::new(limits.node.rate(), Timestamp(0));
        limits.classes = limits.classes.map(|b| Bucket::new(b.rate(), Timestamp(0)));
        limits
    }

    /// Other limits from now on.
    pub fn set(&mut self, now: Timestamp, config: LimitsConfig) {
        self.advance(now);
        self.config = config;
        self.apply();
    }

    fn advance(&mut self, clock: Timestamp) {
        let step = clock.since(self.clock);
        self.now = Timestamp(self.now.0.saturating_add(step.0));
        self.clock = clock;
        if self.minute_at(clock) != self.minute {
            self.apply();
        }
    }

    fn minute_at(&self, now: Timestamp) -> u32 {
        let utc = (now.0 / 60_000 % 1440) as i64;
        (utc + i64::from(self.config.utc_offset_min)).rem_euclid(1440) as u32
    }

    /// Puts the rates of this minute into all buckets.
    fn apply(&mut self) {
        let now = self.now;
        self.minute = self.minute_at(self.clock);
        let minute = self.minute;
        self.node.set(now, self.config.node.at(minute));
        for (bucket, schedule) in self.classes.iter_mut().zip(&self.config.classes) {
            bucket.set(now, schedule.at(minute));
        }
        for (id, bucket) in &mut self.peers {
            let schedule = self.config.peers.get(id).unwrap_or(&self.config.peer);
            bucket.set(now, schedule.at(minute));
        }
    }

    fn peer(&mut self, id: NodeId) -> Bucket {
        let schedule = self.config.peers.get(&id).unwrap_or(&self.config.peer);
        let rate = schedule.at(self.minute);
        if let Some(bucket) = self.peers.get(&id) {
            return *bucket;
        }
        let bucket = Bucket::new(rate, self.now);
        if rate.is_some() {
            if self.peers.len() >= MAX_BUCKETS {
                // A bucket not used for longest is the fullest, so that forgetting it gives nothing away.
                let oldest = self.peers.iter().min_by_key(|(_, b)| b.last()).map(|(id, _)| *id);
                if let Some(oldest) = oldest {
                    self.peers.remove(&oldest);
                }
            }
            self.peers.insert(id, bucket);
        }
        bucket
    }

    /// May `bytes` bytes of this class to or from this peer go? `now` is what the clock shows; it may jump.
    pub fn ask(&mut self, now: Timestamp, class: Class, peer: NodeId, bytes: u64) -> Verdict {
        self.advance(now);
        let now = self.now;
        if class == Class::Control || bytes == 0 {
            self.node.fill(now);
            self.node.take(bytes);
            self.count(class, bytes);
            return Verdict::Grant(bytes);
        }
        self.node.fill(now);
        for bucket in &mut self.classes {
            bucket.fill(now);
        }
        let mut own = self.peer(peer);
        own.fill(now);
        let of_class = self.classes.get(class.index()).copied().unwrap_or(own);
        let three = [self.node, of_class, own];
        let burst = three.iter().map(Bucket::burst).min().unwrap_or(1);
        let least = bytes.min(MIN_GRANT).min(burst).max(1);
        let key = (class, peer);
        // Who may not go for his own limit must not hold others up.
        if own.bytes() < least {
            self.waiting.remove(&key);
            return Self::later(own.wait(least));
        }
        self.waiting.retain(|_, w| w.until > now);
        if of_class.rate().is_some() && (of_class.bytes() < least || self.is_behind(&key, true)) {
            return self.wait(key, of_class.wait(least), true);
        }
        if self.node.rate().is_some() && (self.node.bytes() < least || self.is_behind(&key, false)) {
            return self.wait(key, self.node.wait(least), false);
        }
        let alone = !self.waiting.keys().any(|other| *other != key);
        let turn = if alone { u64::MAX } else { MAX_TURN };
        let room = three.iter().map(Bucket::bytes).min().unwrap_or(0);
        let granted = room.min(bytes).min(turn);
        self.grant(key, granted, granted < bytes);
        Verdict::Grant(granted)
    }

    fn grant(&mut self, key: (Class, NodeId), bytes: u64, more: bool) {
        let now = self.now;
        self.node.take(bytes);
        let of_class = self.classes.get_mut(key.0.index());
        let shared = self.node.rate().is_some() || of_class.as_ref().is_some_and(|b| b.rate().is_some());
        if let Some(bucket) = of_class {
            bucket.take(bytes);
        }
        if let Some(bucket) = self.peers.get_mut(&key.1) {
            bucket.fill(now);
            bucket.take(bytes);
        }
        self.count(key.0, bytes);
        if !shared {
            return;
        }
        let tag = self.tag(&key);
        let first = self.waiting.keys().map(|k| self.tag(k)).min();
        self.served = self.served.max(first.map_or(tag, |f| f.min(tag)));
        // A class's part is shared by those of it who want something now.
        let same = self.waiting.keys().filter(|k| k.0 == key.0 && **k != key).count() as u64 + 1;
        let cost = (bytes * UNIT).saturating_mul(same) / key.0.weight();
        self.tags.insert(key, tag.saturating_add(cost.max(1)));
        match self.waiting.get_mut(&key) {
            // He has not got all and is expected back.
            Some(w) if more => w.until = now + LATE,
            Some(_) => {
                self.waiting.remove(&key);
            }
            None => {}
        }
        self.forget();
    }

    fn count(&mut self, class: Class, bytes: u64) {
        if let Some(sum) = self.moved.get_mut(class.index()) {
            *sum = sum.saturating_add(bytes);
        }
    }

    /// An asker's virtual time: who waits keeps his place, who has been away has saved nothing up.
    fn tag(&self, key: &(Class, NodeId)) -> u64 {
        let tag = self.tags.get(key).copied().unwrap_or(0);
        if self.waiting.contains_key(key) {
            tag
        } else {
            tag.max(self.served)
        }
    }

    /// Whether somebody who waits is to go before this one: of its class, or for the node's tokens.
    fn is_behind(&self, key: &(Class, NodeId), in_class: bool) -> bool {
        let lead = LEAD * UNIT / key.0.weight();
        let mine = (self.tag(key).saturating_sub(lead), *key);
        self.waiting
            .iter()
            .filter(|(other, w)| if in_class { other.0 == key.0 } else { !w.of_class })
            .any(|(other, _)| other != key && (self.tag(other), *other) < mine)
    }

    fn wait(&mut self, key: (Class, NodeId), wait: Option<Millis>, of_class: bool) -> Verdict {
        let verdict = Self::later(wait.map(|w| Millis(w.0.max(TURN.0))));
        let Verdict::Wait(after) = verdict else {
            return verdict;
        };
        if self.waiting.len() < MAX_WAITERS || self.waiting.contains_key(&key) {
            let tag = self.tag(&key);
            self.tags.insert(key, tag);
            let until = self.now + after + LATE;
            self.waiting.insert(key, Waiter { until, of_class });
        }
        verdict
    }

    /// The least of the limits in force for it, in bytes a second; `None` if there is none.
    pub fn limit(&mut self, now: Timestamp, class: Class, peer: NodeId) -> Option<u64> {
        self.advance(now);
        let of_class = self
            .config
            .classes
            .get(class.index())
            .and_then(|s| s.at(self.minute));
        let schedule = self.config.peers.get(&peer).unwrap_or(&self.config.peer);
        let all = [self.node.rate(), of_class, schedule.at(self.minute)];
        if class == Class::Control {
            return None;
        }
        all.into_iter().flatten().min()
    }

    /// The node's limit in force, in bytes a second.
    pub fn rate(&mut self, now: Timestamp) -> Option<u64> {
        self.advance(now);
        self.node.rate()
    }

    /// Bytes granted to a class so far.
    #[must_use]
    pub fn moved(&self, class: Class) -> u64 {
        self.moved.get(class.index()).copied().unwrap_or(0)
    }

    /// Panics if a bound is broken: for tests.
    pub fn check_invariants(&self) {
        assert!(self.waiting.len() <= MAX_WAITERS && self.peers.len() <= MAX_BUCKETS);
        assert!(
            self.tags.len() <= MAX_WAITERS * 2 + 1,
            "virtual times are not forgotten"
        );
    }

    fn later(wait: Option<Millis>) -> Verdict {
        Verdict::Wait(wait.unwrap_or(MAX_WAIT).clamp(Millis(1), MAX_WAIT))
    }

    /// Virtual times that say no more than "now" are not kept.
    fn forget(&mut self) {
        if self.tags.len() > MAX_WAITERS {
            let (served, waiting) = (self.served, &self.waiting);
            self.tags
                .retain(|key, tag| *tag > served || waiting.contains_key(key));
            while self.tags.len() > MAX_WAITERS * 2 {
                self.tags.pop_first();
            }
        }
    }
}
