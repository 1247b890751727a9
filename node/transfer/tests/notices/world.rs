//! The world: who is there, what is on its way, who has which content. The same seed does the same.

use crate::host::{EPOCH, Host, NET, node};
use hive_mailbox as mailbox;
use hive_protocol::{
    ids::{BlobHash, NodeId, NoticeId},
    keys::Signed,
    notice::{Notice, NoticeBody, NoticeMsg, Priority},
    time::{Millis, Timestamp},
};
use hive_transfer::notices::{
    Table, Unfit,
    inbox::{self, News, Order},
    outbox,
};
use std::collections::{BTreeMap, BTreeSet};

pub const MINUTE: u64 = 60_000;
pub const HOUR: u64 = 60 * MINUTE;
pub const DAY: u64 = 24 * HOUR;

pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Clone, Debug)]
pub enum Event {
    Frame {
        from: usize,
        to: usize,
        life: u32,
        msg: Box<NoticeMsg>,
    },
    Broken {
        at: usize,
        life: u32,
        to: usize,
    },
    Met {
        a: usize,
        b: usize,
        lives: (u32, u32),
    },
    Tick {
        at: usize,
    },
    Pulled {
        at: usize,
        life: u32,
        order: Box<Order>,
    },
    Start(usize),
    Stop(usize),
    Clock {
        at: usize,
        skew: i64,
    },
    Send {
        from: usize,
        notice: Box<Notice>,
    },
    Cancel {
        from: usize,
        id: NoticeId,
    },
}

pub struct World {
    pub rng: Rng,
    pub now: u64,
    pub hosts: Vec<Host>,
    queue: BTreeMap<(u64, u64), Event>,
    next: u64,
    /// Percent of frames after which the link breaks and that come twice; per thousand effects, the process dies.
    pub faults: (u64, u64, u64),
    pub content: BTreeMap<BlobHash, BTreeSet<NodeId>>,
    /// How often a recipient took a notice: must be one.
    pub taken: BTreeMap<(usize, NoticeId), (u32, u64)>,
    pub placed: BTreeMap<(usize, NoticeId), String>,
    pub pulled: BTreeSet<(usize, NoticeId)>,
    pub sent: BTreeMap<NoticeId, Notice>,
    signed: BTreeMap<NoticeId, Signed<Notice>>,
    pub frames: u64,
    pub kills: u64,
    pub dropped: u64,
}

impl World {
    /// Node 0 is the authority.
    pub fn new(seed: u64, nodes: usize) -> Self {
        let mut world = Self {
            rng: Rng(seed),
            now: 0,
            hosts: (0..nodes).map(|n| Host::new(n, n == 0)).collect(),
            queue: BTreeMap::new(),
            next: 0,
            faults: (0, 0, 0),
            content: BTreeMap::new(),
            taken: BTreeMap::new(),
            placed: BTreeMap::new(),
            pulled: BTreeSet::new(),
            sent: BTreeMap::new(),
            signed: BTreeMap::new(),
            frames: 0,
            kills: 0,
            dropped: 0,
        };
        world.at(0, Event::Start(0));
        world
    }

    pub fn at(&mut self, time: u64, event: Event) {
        self.next += 1;
        self.queue.insert((time.max(self.now), self.next), event);
    }

    pub fn notice(&mut self, from: usize, to: &[usize], body: NoticeBody, life: Millis, at: u64) -> Notice {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.rng.next().to_le_bytes());
        let mut to: Vec<NodeId> = to.iter().map(|n| node(*n)).collect();
        to.sort();
        Notice {
            id: NoticeId(id),
            network: NET,
            from: node(from),
            to,
            body,
            priority: Priority::Normal,
            created: Timestamp(EPOCH + at),
            expires: Timestamp(EPOCH + at) + life,
        }
    }

    /// Runs until this moment.
    pub fn run(&mut self, until: u64) {
        while let Some((&(time, n), _)) = self.queue.first_key_value() {
            if time > until {
                break;
            }
            let event = self.queue.remove(&(time, n)).unwrap();
            self.now = time;
            self.step(event);
        }
        self.now = until;
    }

    pub fn who(&self, id: NodeId) -> usize {
        self.hosts.iter().position(|h| h.id == id).unwrap()
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Frame { from, to, life, msg } => {
                if self.hosts[to].up && self.hosts[to].life == life {
                    self.frames += 1;
                    self.frame(from, to, *msg);
                }
            }
            Event::Broken { at, life, to } => {
                if self.hosts[at].up && self.hosts[at].life == life {
                    let to = self.hosts[to].id;
                    self.both(at, outbox::Input::LinkBroken(to), inbox::Input::LinkBroken(to));
                }
            }
            Event::Met { a, b, lives } => {
                let same = |n: usize, life| self.hosts[n].up && self.hosts[n].life == life;
                if same(a, lives.0) && same(b, lives.1) {
                    for (x, y) in [(a, b), (b, a)] {
                        let y = self.hosts[y].id;
                        self.both(x, outbox::Input::PeerUp(y), inbox::Input::PeerUp(y));
                    }
                }
            }
            Event::Tick { at } => {
                self.hosts[at].tick_at = u64::MAX;
                if self.hosts[at].up {
                    self.both(at, outbox::Input::Tick, inbox::Input::Tick);
                    if self.hosts[at].post.is_some() {
                        self.post(at, mailbox::Input::Tick);
                    }
                }
            }
            Event::Pulled { at, life, order } => self.pull_ends(at, life, &order),
            Event::Start(n) => self.start(n),
            Event::Stop(n) => self.stop(n),
            Event::Clock { at, skew } => {
                self.hosts[at].skew = skew;
                if self.hosts[at].up {
                    self.both(at, outbox::Input::Tick, inbox::Input::Tick);
                }
            }
            Event::Send { from, notice } => self.send(from, *notice),
            Event::Cancel { from, id } => {
                if self.hosts[from].up {
                    self.outbox(from, outbox::Input::Cancel(id));
                    self.settle(from);
                }
            }
        }
    }

    fn send(&mut self, from: usize, notice: Notice) {
        if !self.hosts[from].up {
            return;
        }
        let signed = Signed::sign(&self.hosts[from].key, &notice).unwrap();
        if let NoticeBody::File(file) = &notice.body {
            self.content.entry(file.root).or_default().insert(node(from));
        }
        self.signed.insert(notice.id, signed.clone());
        self.outbox(from, outbox::Input::Send(Box::new((notice.clone(), signed))));
        self.settle(from);
        // It counts as sent when it was durable before anything else happened.
        let durable = (Table::Sent, notice.id.0.to_vec());
        if self.hosts[from].disk.contains_key(&durable) {
            self.sent.insert(notice.id, notice);
        }
    }

    pub fn start(&mut self, n: usize) {
        if self.hosts[n].up {
            return;
        }
        let seed = self.rng.next();
        self.hosts[n].boot(self.now, seed);
        let office = vec![self.hosts[0].id];
        self.outbox(n, outbox::Input::Authorities(office.clone()));
        self.inbox(n, inbox::Input::Authorities(office));
        self.inbox(
            n,
            inbox::Input::Surroundings {
                free: Some(1 << 50),
                minute: 0,
            },
        );
        self.settle(n);
        for m in 0..self.hosts.len() {
            if m != n && self.hosts[n].up && self.hosts[m].up {
                let lives = (self.hosts[n].life, self.hosts[m].life);
                let time = self.now + 1 + self.rng.below(2000);
                self.at(time, Event::Met { a: n, b: m, lives });
            }
        }
    }

    fn stop(&mut self, n: usize) {
        if !self.hosts[n].up {
            return;
        }
        self.hosts[n].up = false;
        self.hosts[n].life += 1;
        let id = self.hosts[n].id;
        for m in 0..self.hosts.len() {
            if m != n && self.hosts[m].up {
                self.both(m, outbox::Input::PeerDown(id), inbox::Input::PeerDown(id));
            }
        }
    }

    fn both(&mut self, at: usize, out: outbox::Input, inn: inbox::Input) {
        self.outbox(at, out);
        self.inbox(at, inn);
        self.settle(at);
    }

    fn outbox(&mut self, at: usize, input: outbox::Input) {
        let now = self.hosts[at].now(self.now);
        self.hosts[at].outbox.handle(now, input);
    }

    pub fn inbox(&mut self, at: usize, input: inbox::Input) {
        let now = self.hosts[at].now(self.now);
        self.hosts[at].inbox.handle(now, input);
    }

    /// Whether the process dies just here.
    fn dies(&mut self, at: usize) -> bool {
        if self.rng.below(1000) >= self.faults.2 {
            return false;
        }
        self.kills += 1;
        self.stop(at);
        let back = self.now + 1000 + self.rng.below(MINUTE);
        self.at(back, Event::Start(at));
        true
    }

    /// Does what both cores want done, as the shell would: all writes of a turn as one batch, then the words.
    pub fn settle(&mut self, at: usize) {
        loop {
            if !self.hosts[at].up {
                return;
            }
            let mut out = Vec::new();
            while let Some(effect) = self.hosts[at].outbox.poll_effect() {
                out.push(effect);
            }
            let mut inn = Vec::new();
            while let Some(effect) = self.hosts[at].inbox.poll_effect() {
                inn.push(effect);
            }
            if out.is_empty() && inn.is_empty() {
                break;
            }
            if self.dies(at) {
                return;
            }
            for effect in &out {
                if let outbox::Effect::Write(write) = effect {
                    self.hosts[at].write(write.clone());
                }
            }
            for effect in &inn {
                if let inbox::Effect::Write(write) = effect {
                    self.inbox_write(at, write.clone());
                }
            }
            for effect in out {
                if let outbox::Effect::Say { to, msg } = effect {
                    if self.dies(at) {
                        return;
                    }
                    self.say(at, to, *msg);
                }
            }
            for effect in inn {
                if !matches!(effect, inbox::Effect::Write(_)) {
                    if self.dies(at) {
                        return;
                    }
                    self.inbox_effect(at, effect);
                }
            }
        }
        self.hosts[at].check();
        self.schedule(at);
    }

    fn inbox_write(&mut self, at: usize, write: hive_transfer::notices::Write) {
        let (table, key, gone) = (write.table, write.key.clone(), write.value.is_none());
        let new = self.hosts[at].write(write);
        if table == Table::Seen && new {
            let id = NoticeId(key[32..].try_into().unwrap());
            let now = self.now;
            self.taken.entry((at, id)).or_insert((0, now)).0 += 1;
        }
        if table == Table::Seen && gone {
            self.dropped += 1;
        }
    }

    fn inbox_effect(&mut self, at: usize, effect: inbox::Effect) {
        match effect {
            inbox::Effect::Say { to, msg } => self.say(at, to, *msg),
            inbox::Effect::Place(order) => {
                let place = format!("{}-{}", order.name, self.rng.next());
                self.inbox(at, inbox::Input::Placed(order.key(), Ok(place)));
            }
            inbox::Effect::Begin(order) => {
                if order.sync.is_none() {
                    let dest = order.dest.clone().unwrap();
                    let first = self.placed.entry((at, order.id)).or_insert_with(|| dest.clone());
                    assert_eq!(*first, dest, "one notice in two places");
                }
                let time = self.now + 10 + self.rng.below(10 * MINUTE);
                let life = self.hosts[at].life;
                self.at(time, Event::Pulled { at, life, order });
            }
            inbox::Effect::Write(_)
            | inbox::Effect::Stop(_)
            | inbox::Effect::Arrived(_)
            | inbox::Effect::Changed(_) => {}
        }
    }

    fn pull_ends(&mut self, at: usize, life: u32, order: &Order) {
        if !self.hosts[at].up || self.hosts[at].life != life {
            return;
        }
        let me = self.hosts[at].id;
        let has = self.content.entry(order.root).or_default();
        let there = |n: &NodeId| self.hosts.iter().any(|h| h.id == *n && h.up);
        let found = has.contains(&me) || order.hints.iter().any(|n| has.contains(n) && there(n));
        let news = if found {
            has.insert(me);
            self.pulled.insert((at, order.id));
            News::Done
        } else {
            News::Failed("nobody has it".into(), true)
        };
        self.inbox(at, inbox::Input::Pull(order.key(), news));
        self.settle(at);
    }

    fn say(&mut self, from: usize, to: NodeId, msg: NoticeMsg) {
        let to = self.who(to);
        let (life, to_life) = (self.hosts[from].life, self.hosts[to].life);
        let msg = Box::new(msg);
        if to == from {
            self.at(self.now, Event::Frame { from, to, life, msg });
            return;
        }
        let broken = Event::Broken { at: from, life, to };
        if !self.hosts[to].up {
            let time = self.now + 10 + self.rng.below(15_000);
            self.at(time, broken);
            return;
        }
        let breaks = self.rng.chance(self.faults.0);
        if breaks {
            let time = self.now + 1 + self.rng.below(5000);
            self.at(time, broken);
        }
        // A link that breaks may have carried it all the same.
        if !breaks || self.rng.chance(50) {
            let copies = 1 + u64::from(self.rng.chance(self.faults.1));
            for _ in 0..copies {
                let time = self.now + 1 + self.rng.below(300);
                let msg = msg.clone();
                self.at(
                    time,
                    Event::Frame {
                        from,
                        to,
                        life: to_life,
                        msg,
                    },
                );
            }
        }
    }

    /// What the shell's check says, without paying for the signature each time.
    fn fit(&self, at: usize, signed: &Signed<Notice>) -> Result<Notice, Unfit> {
        let notice = signed.peek().unwrap();
        assert!(self.signed.get(&notice.id) == Some(signed), "changed on its way");
        let now = self.hosts[at].now(self.now);
        if now >= notice.expires {
            return Err(Unfit::Expired);
        }
        if notice.expires > now + hive_protocol::notice::MAX_NOTICE_LIFE {
            return Err(Unfit::Early);
        }
        Ok(notice)
    }

    fn frame(&mut self, from: usize, to: usize, msg: NoticeMsg) {
        let peer = self.hosts[from].id;
        match msg {
            NoticeMsg::Deliver(signed) => {
                if let Ok(notice) = self.fit(to, &signed) {
                    self.inbox(to, inbox::Input::Notice(Box::new(notice), None));
                }
            }
            NoticeMsg::State { id, state } => {
                self.outbox(
                    to,
                    outbox::Input::State {
                        from: peer,
                        id,
                        state,
                    },
                );
            }
            NoticeMsg::Deposited { id, kept, refused } => {
                let input = outbox::Input::Deposited {
                    from: peer,
                    id,
                    kept,
                    refused,
                };
                self.outbox(to, input);
            }
            NoticeMsg::Mail(page) => {
                let end = page.is_empty();
                let fit = page.iter().filter_map(|s| self.fit(to, s).ok());
                let notices = fit.map(|n| (n, None)).collect();
                let input = inbox::Input::Mail {
                    from: peer,
                    notices,
                    useless: Vec::new(),
                    end,
                };
                self.inbox(to, input);
            }
            NoticeMsg::Noted(ids) => {
                self.outbox(
                    to,
                    outbox::Input::Noted {
                        from: peer,
                        ids: ids.clone(),
                    },
                );
                self.inbox(to, inbox::Input::Noted { from: peer, ids });
            }
            NoticeMsg::Withdraw { id, recipients } if self.hosts[to].post.is_none() => {
                assert!(recipients.is_empty());
                self.inbox(to, inbox::Input::Withdrawn { from: peer, id });
            }
            other => self.for_post(to, peer, other),
        }
        self.settle(to);
    }

    fn for_post(&mut self, at: usize, peer: NodeId, msg: NoticeMsg) {
        let input = match msg {
            NoticeMsg::Deposit {
                notice: signed,
                recipients,
            } => {
                let now = self.hosts[at].now(self.now);
                let Ok(notice) = self.fit(at, &signed) else {
                    let id = signed.peek().unwrap().id;
                    let refused = Some(hive_protocol::command::Refusal::new("mailbox.time", ""));
                    let kept = Vec::new();
                    self.say(at, peer, NoticeMsg::Deposited { id, kept, refused });
                    return;
                };
                assert!(now < notice.expires);
                let size = signed.bytes().len();
                let notice = Box::new(notice);
                mailbox::Input::Deposit {
                    notice,
                    size,
                    recipients,
                    strangers: Vec::new(),
                }
            }
            NoticeMsg::Collect => mailbox::Input::Collect(peer),
            NoticeMsg::Taken(ids) => mailbox::Input::Taken(peer, ids),
            NoticeMsg::Withdraw { id, recipients } => mailbox::Input::Withdraw(peer, id, recipients),
            other => panic!("nobody says {other:?}"),
        };
        self.post(at, input);
    }

    fn post(&mut self, at: usize, input: mailbox::Input) {
        let now = self.hosts[at].now(self.now);
        let post = self.hosts[at].post.as_mut().unwrap();
        post.core.handle(now, input);
        while let Some(effect) = self.hosts[at].post.as_mut().and_then(|p| p.core.poll_effect()) {
            // Rows of one turn are one batch: a kill comes before or after all of them.
            let post = self.hosts[at].post.as_mut().unwrap();
            match effect {
                mailbox::Effect::Write(row) => post.write(row),
                mailbox::Effect::Store(key) => {
                    post.notices.insert(key, self.signed[&key.1].clone());
                }
                mailbox::Effect::Deposited { key, kept, refused } => {
                    let id = key.1;
                    self.say(at, key.0, NoticeMsg::Deposited { id, kept, refused });
                }
                mailbox::Effect::Page(to, keys) => {
                    let page = keys.iter().map(|k| post.notices[k].clone()).collect();
                    self.say(at, to, NoticeMsg::Mail(page));
                }
                mailbox::Effect::Noted(key) => self.say(at, key.0, NoticeMsg::Noted(vec![key.1])),
                mailbox::Effect::News(to) => {
                    if self.hosts[self.who(to)].up && to != node(at) {
                        post_nudge(self, at, to);
                    }
                }
            }
        }
        let _ = self.dies(at);
    }

    fn schedule(&mut self, at: usize) {
        let host = &self.hosts[at];
        let due = [host.outbox.poll_timeout(), host.inbox.poll_timeout()];
        let due = due.into_iter().flatten().min();
        let own = host.now(self.now).0;
        // The shell looks at the clock at least once a minute: it may have jumped.
        let wait = due.map_or(MINUTE, |t| t.0.saturating_sub(own).clamp(1, MINUTE));
        let time = self.now + wait;
        if time < host.tick_at {
            self.hosts[at].tick_at = time;
            self.at(time, Event::Tick { at });
        }
    }
}

/// Hands a recipient who is there its mail unasked.
fn post_nudge(world: &mut World, at: usize, to: NodeId) {
    let now = world.hosts[at].now(world.now);
    let post = world.hosts[at].post.as_mut().unwrap();
    post.core.handle(now, mailbox::Input::Collect(to));
}
