//! A small world in virtual time: nodes with lines of given speed and distance, some of which misbehave.
//!
//! Lines send quanta of some groups, in turn to those who wait; a receiver whose line is full holds its sender up.

mod provider;

use hive_protocol::{
    file::{GROUP, segments, whole_mask},
    ids::NodeId,
    time::Timestamp,
};
use hive_transfer::swarm::{Config, DropReason, Effect, Failure, Input, Path, State, Swarm};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
};

/// Groups sent in one piece.
const QUANTUM: u64 = 8;
/// A receiver's line takes this much before its senders wait, in µs.
const BACKLOG: u64 = 30_000;
/// A fetcher is named by its provider for so long after its last question, in µs.
const NAMED_FOR: u64 = 12_000_000;

/// What right clocks show when the world begins, in ms.
const EPOCH: u64 = 1_700_000_000_000;

pub type Idx = usize;

/// How a provider misbehaves.
#[derive(Clone, Default)]
pub struct Faults {
    /// Sends wrong bytes, once it has sent so many right ones.
    pub lies_after: Option<u64>,
    /// Answers one ask in so many with `Busy`.
    pub busy_one_in: u64,
    /// Says `NotFound` for segments divisible by this.
    pub lacks_each: u32,
    /// Breaks one ask in so many.
    pub breaks_one_in: u64,
    /// Sends nothing in these spans of time, in ms.
    pub silent: Vec<(u64, u64)>,
    /// Answers no question about what it has.
    pub mute: bool,
}

/// Something done to a node at a moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Act {
    Start,
    /// It goes; its part of the content stays with it.
    Leave,
    Return,
    Pause,
    Resume,
    /// Killed and started again: a new core, told by masks what is here.
    Kill,
    Want(u32, u32),
    /// Its clock shows so many ms more (or less) than it should from now on.
    Clock(i64),
}

pub struct Node {
    pub id: NodeId,
    pub up: u64,
    pub down: u64,
    /// One way, to anybody, in µs.
    pub far: u64,
    pub whole: bool,
    pub alive: bool,
    pub paused: bool,
    pub core: Option<Swarm>,
    pub held: Vec<u64>,
    pub faults: Faults,
    pub relayed: bool,
    /// Peers told to a fetcher at its start, and whether as having all.
    pub hints: Vec<(Idx, bool)>,
    pub sent: u64,
    pub got: BTreeMap<Idx, u64>,
    /// Bytes received that were here already.
    pub twice: u64,
    pub done_at: Option<u64>,
    pub order: Vec<u32>,
    pub dropped: Vec<(NodeId, DropReason)>,
    pub states: Vec<State>,
    pub asked: BTreeMap<(Idx, u32), (u64, u64)>,
    skew: i64,
    life: u32,
    queues: BTreeMap<Idx, VecDeque<(u32, u64, u64)>>,
    turn: Idx,
    sending: bool,
    down_free: u64,
    named: BTreeMap<Idx, u64>,
    polls: BTreeMap<Idx, (u32, u64)>,
    wake: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Ev {
    Wake(Idx),
    Uplink(Idx),
    Act(Idx, Act),
    Ask(Idx, Idx, u32, u64, u64),
    Cancel(Idx, Idx, u64),
    Have(Idx, Idx, u32, u64),
    HaveOver(Idx, Idx, u64),
    Tree(Idx, Idx),
    Meet(Idx, Idx),
    Tell(Idx, Box<Input>),
    Arrive(Box<Ev>, Idx, u64),
    Chunk {
        to: Idx,
        from: Idx,
        segment: u32,
        mask: u64,
        ask: u64,
        last: bool,
        wrong: bool,
    },
    Fail(Idx, Idx, u32, u64, Failure),
}

pub struct World {
    pub now: u64,
    pub size: u64,
    pub nodes: Vec<Node>,
    pub seed: u64,
    /// Every so many steps the cores' books are checked.
    pub check_each: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, (Ev, Vec<(Idx, u32)>)>,
    seq: u64,
    asks: u64,
    rng: u64,
    steps: u64,
    /// Acts still to come.
    acts: u64,
}

impl World {
    pub fn new(size: u64, seed: u64) -> Self {
        Self {
            now: 1_000_000,
            size,
            nodes: Vec::new(),
            seed,
            check_each: 256,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            seq: 0,
            asks: 0,
            rng: seed ^ 0x5eed,
            steps: 0,
            acts: 0,
        }
    }

    pub fn rnd(&mut self, n: u64) -> u64 {
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.rng;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % n.max(1)
    }

    /// A node with a line of so many bytes a second each way; a fetcher unless it has all.
    pub fn node(&mut self, up: u64, down: u64, far_ms: u64, whole: bool) -> Idx {
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&self.rnd(u64::MAX).to_le_bytes());
        let full = |s| if whole { whole_mask(self.size, s) } else { 0 };
        let held = (0..segments(self.size)).map(full).collect();
        let at = self.nodes.len();
        self.nodes.push(Node {
            id: NodeId(key),
            up,
            down,
            far: far_ms * 1000,
            whole,
            alive: whole,
            paused: false,
            core: None,
            held,
            faults: Faults::default(),
            relayed: false,
            hints: Vec::new(),
            sent: 0,
            got: BTreeMap::new(),
            twice: 0,
            done_at: None,
            order: Vec::new(),
            dropped: Vec::new(),
            states: Vec::new(),
            asked: BTreeMap::new(),
            skew: 0,
            life: 0,
            queues: BTreeMap::new(),
            turn: 0,
            sending: false,
            down_free: 0,
            named: BTreeMap::new(),
            polls: BTreeMap::new(),
            wake: u64::MAX,
        });
        at
    }

    pub fn at(&mut self, ms: u64, node: Idx, act: Act) {
        self.acts += 1;
        self.push(1_000_000 + ms * 1000, Ev::Act(node, act), &[]);
    }

    fn push(&mut self, at: u64, ev: Ev, of: &[Idx]) {
        self.seq += 1;
        let lives = of.iter().map(|n| (*n, self.nodes[*n].life)).collect();
        self.queue.push(Reverse((at, self.seq)));
        self.events.insert(self.seq, (ev, lives));
    }

    fn far(&self, a: Idx, b: Idx) -> u64 {
        self.nodes[a].far + self.nodes[b].far
    }

    fn idx(&self, id: &NodeId) -> Idx {
        self.nodes.iter().position(|n| n.id == *id).expect("a known node")
    }

    pub fn id(&self, node: Idx) -> NodeId {
        self.nodes[node].id
    }

    /// What a node's clock shows.
    fn clock(&self, node: Idx) -> Timestamp {
        Timestamp((EPOCH + self.now / 1000).saturating_add_signed(self.nodes[node].skew))
    }

    /// Runs until all fetchers that are to end have ended; panics at the time limit or when nothing moves in time.
    pub fn run(&mut self, limit_ms: u64) {
        let end = 1_000_000 + limit_ms * 1000;
        let mut same = 0u64;
        while let Some(Reverse((at, seq))) = self.queue.pop() {
            let (ev, lives) = self.events.remove(&seq).expect("an event");
            same = if at == self.now { same + 1 } else { 0 };
            assert!(same < 200_000, "time stands still: {ev:?}, seed {}", self.seed);
            self.now = self.now.max(at);
            if lives
                .iter()
                .any(|(n, life)| self.nodes[*n].life != *life || !self.nodes[*n].alive)
            {
                continue;
            }
            if self.over() {
                return;
            }
            assert!(
                at < end,
                "not done in {limit_ms} ms, seed {}:\n{}",
                self.seed,
                self.report()
            );
            self.step(ev);
        }
        assert!(
            self.over(),
            "everybody waits for ever, seed {}:\n{}",
            self.seed,
            self.report()
        );
    }

    fn over(&self) -> bool {
        self.now > 1_000_000
            && self
                .nodes
                .iter()
                .all(|n| n.whole || (n.done_at.is_some() || (!n.alive && n.life > 0)))
            && self.acts == 0
    }

    pub fn report(&self) -> String {
        let line = |(i, n): (usize, &Node)| {
            let core = n
                .core
                .as_ref()
                .map(|c| (c.progress(), c.peers(), c.poll_timeout()));
            format!(
                "{i}: alive {} whole {} sent {} done {:?} {core:?}",
                n.alive, n.whole, n.sent, n.done_at
            )
        };
        self.nodes
            .iter()
            .enumerate()
            .map(line)
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn step(&mut self, ev: Ev) {
        self.steps += 1;
        match ev {
            Ev::Wake(n) => {
                if self.nodes[n].wake <= self.now {
                    self.nodes[n].wake = u64::MAX;
                    self.tell(n, Input::Tick);
                }
            }
            Ev::Uplink(p) => {
                self.nodes[p].sending = false;
                self.send(p);
            }
            Ev::Act(n, act) => {
                self.acts -= 1;
                self.act(n, act);
            }
            Ev::Ask(p, f, segment, mask, ask) => self.asked(p, f, segment, mask, ask),
            Ev::Cancel(p, f, ask) => {
                if let Some(q) = self.nodes[p].queues.get_mut(&f) {
                    q.retain(|(_, _, a)| *a != ask);
                }
            }
            Ev::Have(p, f, seen, wait) => self.have_asked(p, f, seen, wait),
            Ev::HaveOver(p, f, token) => {
                if self.nodes[p].polls.get(&f).is_some_and(|(_, t)| *t == token) {
                    self.answer_have(p, f);
                }
            }
            Ev::Tree(p, f) => {
                let known =
                    self.nodes[p].whole || self.nodes[p].core.as_ref().is_some_and(|c| c.progress().size > 0);
                let peer = self.id(p);
                let answer = if self.nodes[p].faults.mute {
                    return;
                } else if known {
                    Input::Tree { size: self.size }
                } else {
                    Input::TreeFailed {
                        peer,
                        why: Failure::NotFound,
                    }
                };
                self.later(p, f, answer);
            }
            Ev::Meet(n, other) => {
                let peer = self.id(other);
                let input = if self.nodes[other].alive {
                    Input::PeerUp {
                        peer,
                        path: self.path(other),
                        whole: false,
                    }
                } else {
                    Input::PeerGone { peer }
                };
                self.tell(n, input);
            }
            Ev::Tell(n, input) => self.tell(n, *input),
            Ev::Arrive(chunk, f, bytes) => {
                let here = self.nodes[f].down_free.max(self.now) + bytes * 1_000_000 / self.nodes[f].down;
                self.nodes[f].down_free = here;
                self.push(here, *chunk, &[f]);
            }
            Ev::Chunk {
                to,
                from,
                segment,
                mask,
                ask,
                last,
                wrong,
            } => {
                self.chunk(to, from, segment, mask, ask, last, wrong);
            }
            Ev::Fail(p, f, segment, ask, why) => {
                if self.nodes[f]
                    .asked
                    .get(&(p, segment))
                    .is_some_and(|(a, _)| *a == ask)
                {
                    self.nodes[f].asked.remove(&(p, segment));
                    let peer = self.id(p);
                    self.tell(f, Input::Failed { peer, segment, why });
                }
            }
        }
    }

    fn path(&self, n: Idx) -> Path {
        if self.nodes[n].relayed {
            Path::Relayed
        } else {
            Path::Direct
        }
    }

    fn later(&mut self, p: Idx, f: Idx, input: Input) {
        let at = self.now + self.far(p, f);
        self.push(at, Ev::Tell(f, Box::new(input)), &[p, f]);
    }

    fn act(&mut self, n: Idx, act: Act) {
        match act {
            Act::Start | Act::Return => {
                self.nodes[n].alive = true;
                if self.nodes[n].whole || act == Act::Return {
                    let peer = self.id(n);
                    let path = self.path(n);
                    for other in 0..self.nodes.len() {
                        let knows = self.nodes[other].hints.iter().find(|(h, _)| *h == n).copied();
                        if other != n && self.nodes[other].alive && (knows.is_some() || act == Act::Return) {
                            let whole = knows.is_some_and(|(_, w)| w);
                            self.tell(other, Input::PeerUp { peer, path, whole });
                        }
                    }
                }
                if !self.nodes[n].whole && self.nodes[n].core.is_none() {
                    self.begin(n);
                }
            }
            Act::Leave => self.leave(n),
            Act::Pause => {
                self.nodes[n].paused = true;
                self.tell(n, Input::Pause);
            }
            Act::Resume => {
                self.nodes[n].paused = false;
                self.tell(n, Input::Resume);
            }
            Act::Kill => {
                self.leave(n);
                self.act(n, Act::Return);
            }
            Act::Want(from, window) => self.tell(n, Input::Want { from, window }),
            Act::Clock(skew) => {
                self.nodes[n].skew = skew;
                self.tell(n, Input::Tick);
            }
        }
    }

    fn leave(&mut self, n: Idx) {
        let peer = self.id(n);
        let node = &mut self.nodes[n];
        node.alive = false;
        node.life += 1;
        node.core = None;
        node.queues.clear();
        node.polls.clear();
        node.asked.clear();
        node.sending = false;
        node.wake = u64::MAX;
        for other in 0..self.nodes.len() {
            self.nodes[other].queues.remove(&n);
            self.nodes[other].polls.remove(&n);
            self.nodes[other].named.remove(&n);
            if other != n && self.nodes[other].alive {
                self.nodes[other].asked.retain(|(p, _), _| *p != n);
                self.tell(other, Input::PeerGone { peer });
            }
        }
    }

    fn begin(&mut self, n: Idx) {
        let mut core = Swarm::new(Config::new(self.id(n)), self.seed ^ (n as u64 * 77));
        let now = self.clock(n);
        let held = self.nodes[n].held.clone();
        if held.iter().any(|m| *m != 0) {
            core.handle(now, Input::Tree { size: self.size });
            for (s, mask) in held.iter().enumerate().filter(|(_, m)| **m != 0) {
                core.handle(
                    now,
                    Input::Local {
                        segment: s as u32,
                        mask: *mask,
                        hashes: true,
                    },
                );
            }
        }
        for (hint, whole) in self.nodes[n].hints.clone() {
            if self.nodes[hint].alive {
                let (peer, path) = (self.id(hint), self.path(hint));
                core.handle(now, Input::PeerUp { peer, path, whole });
            }
        }
        self.nodes[n].core = Some(core);
        self.tell(n, Input::Tick);
    }

    fn tell(&mut self, n: Idx, input: Input) {
        let now = self.clock(n);
        let Some(mut core) = self.nodes[n].core.take() else {
            return;
        };
        core.handle(now, input);
        let mut effects = 0;
        while let Some(effect) = core.poll_effect() {
            effects += 1;
            assert!(
                effects < 10_000,
                "effects without end: {effect:?}, seed {}",
                self.seed
            );
            self.effect(n, effect);
        }
        if self.steps.is_multiple_of(self.check_each) {
            core.check_invariants();
        }
        if let Some(at) = core.poll_timeout() {
            assert!(at > now, "the core wants to be woken at once, seed {}", self.seed);
            let at = self.now / 1000 * 1000 + at.since(now).0 * 1000;
            if at < self.nodes[n].wake {
                self.nodes[n].wake = at;
                self.push(at, Ev::Wake(n), &[n]);
            }
        }
        self.nodes[n].core = Some(core);
    }

    fn effect(&mut self, n: Idx, effect: Effect) {
        match effect {
            Effect::Ask {
                peer, segment, mask, ..
            } => {
                let p = self.idx(&peer);
                assert!(!self.nodes[n].paused, "asked while paused");
                assert_ne!(mask, 0);
                assert_eq!(
                    mask & self.nodes[n].held[segment as usize],
                    0,
                    "asked for what is here"
                );
                self.asks += 1;
                let ask = self.asks;
                let old = self.nodes[n].asked.insert((p, segment), (ask, mask));
                assert!(old.is_none(), "two asks for one segment to one peer");
                self.nodes[n].order.push(segment);
                let at = self.now + self.far(n, p);
                self.push(at, Ev::Ask(p, n, segment, mask, ask), &[n, p]);
            }
            Effect::Cancel { peer, segment } => {
                let p = self.idx(&peer);
                if let Some((ask, _)) = self.nodes[n].asked.remove(&(p, segment)) {
                    let at = self.now + self.far(n, p);
                    self.push(at, Ev::Cancel(p, n, ask), &[n, p]);
                }
            }
            Effect::AskTree { peer } => {
                let p = self.idx(&peer);
                self.push(self.now + self.far(n, p), Ev::Tree(p, n), &[n, p]);
            }
            Effect::AskHave { peer, seen, wait } => {
                let p = self.idx(&peer);
                let at = self.now + self.far(n, p);
                self.push(at, Ev::Have(p, n, seen, wait.0 * 1000), &[n, p]);
            }
            Effect::Meet { peer } => {
                let p = self.idx(&peer);
                self.push(self.now + 3 * self.far(n, p), Ev::Meet(n, p), &[n]);
            }
            Effect::DropPeer { peer, reason } => {
                let p = self.idx(&peer);
                self.nodes[n].asked.retain(|(q, _), _| *q != p);
                self.nodes[n].dropped.push((peer, reason));
                if let Some(q) = self.nodes[p].queues.get_mut(&n) {
                    q.clear();
                }
                if reason != DropReason::WrongBytes {
                    // The shell finds it again some time later.
                    self.push(self.now + 20_000_000, Ev::Meet(n, p), &[n]);
                }
            }
            Effect::State(state) => self.nodes[n].states.push(state),
            Effect::WantPeers => {}
            Effect::Complete => {
                let all = (0..segments(self.size))
                    .all(|s| self.nodes[n].held[s as usize] == whole_mask(self.size, s));
                assert!(all, "complete without all");
                self.nodes[n].done_at.get_or_insert(self.now);
                self.news(n);
            }
        }
    }

    /// Bytes of the content in groups, to compare with.
    pub fn copies(&self, node: Idx) -> f64 {
        self.nodes[node].sent as f64 / self.size.max(GROUP) as f64
    }

    /// When the last fetcher was done, in ms from the start.
    pub fn took(&self) -> u64 {
        let last = self.nodes.iter().filter_map(|n| n.done_at).max();
        (last.expect("somebody is done") - 1_000_000) / 1000
    }
}
