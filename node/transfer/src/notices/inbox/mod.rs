//! The inbox: every notice for this node once, what the policy says about it, and what its sender hears of it.
//!
//! A notice is taken when its trace is durable; from then on a repeat changes nothing. The trace outlives the notice:
//! it goes only when room is needed, and then the longest expired first, so that a clock that jumps ahead and back
//! lets nothing in twice. A final state is said to the sender until that has confirmed it.

mod arrive;
mod collect;
mod decide;
mod pull;
mod row;
mod sweep;
mod tell;
mod view;
mod words;

pub use pull::{News, Order};
pub use row::Key;
pub use view::{InState, InView};
pub use words::{Effect, InboxError, Input};

use super::{RestoreError, Table, outbox::OVERDUE_LOOKS, policy::Policy};
use collect::Office;
use hive_protocol::{
    ids::{NodeId, SyncId},
    notice::{DeliveryState, NoticeMsg},
    time::{Millis, Timestamp},
};
use row::{Item, Mirror, Seen, Stage};
use std::collections::{BTreeMap, VecDeque};
use tell::Sender;

/// Traces of notices taken, of all senders: some 150 bytes each.
pub const MAX_SEEN: usize = 65_536;
/// Traces of one sender's notices that have not expired; further notices of it have to wait.
pub const MAX_SEEN_OF_ONE: usize = 8192;
/// Notices that have not ended, of all senders.
pub const MAX_OPEN: usize = 4096;
/// Notices of one sender that have not ended; further ones have to wait.
pub const MAX_OPEN_OF_ONE: usize = 512;
/// Ended notices kept in the list; the oldest go first.
pub const MAX_ENDED: usize = 1000;
/// Bytes of texts, events and names in the list.
pub const MAX_BYTES: usize = 16 << 20;
/// Pulls begun and not ended at once: each pull has many streams of its own.
pub const MAX_PULLS: usize = 8;
/// Mirrors of other nodes, and those of one node.
pub const MAX_MIRRORS: (usize, usize) = (1024, 64);
/// Bytes of a destination.
pub const MAX_DEST: usize = 4096;

/// Spans of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// This node.
    pub me: NodeId,
    /// An authority that has not answered for so long is asked again.
    pub answer_within: Millis,
    /// First and longest pause between attempts to reach a sender or an authority.
    pub retry: (Millis, Millis),
    /// First and longest pause before a pull that failed is tried again.
    pub pull_again: (Millis, Millis),
    /// An authority is asked for mail at least so often.
    pub collect_every: Millis,
    /// Between two looks at everything.
    pub look_every: Millis,
}

impl Config {
    /// The usual spans.
    #[must_use]
    pub const fn new(me: NodeId) -> Self {
        Self {
            me,
            answer_within: Millis::secs(20),
            retry: (Millis::secs(1), Millis::mins(10)),
            pull_again: (Millis::secs(5), Millis::mins(10)),
            collect_every: Millis::mins(10),
            look_every: Millis::mins(10),
        }
    }
}

/// The inbox of a node.
#[derive(Debug)]
pub struct Inbox {
    config: Config,
    policy: Policy,
    seed: u64,
    last: Timestamp,
    next_order: u64,
    items: BTreeMap<Key, Item>,
    seen: BTreeMap<Key, Seen>,
    mirrors: BTreeMap<(NodeId, SyncId), Mirror>,
    /// Senders there is something to tell, or that are there.
    senders: BTreeMap<NodeId, Sender>,
    offices: BTreeMap<NodeId, Office>,
    free: Option<u64>,
    minute: u16,
    next_look: Timestamp,
    effects: VecDeque<Effect>,
}

impl Inbox {
    /// An empty inbox.
    #[must_use]
    pub fn new(config: Config, policy: Policy, seed: u64) -> Self {
        Self {
            config,
            policy,
            seed,
            last: Timestamp(0),
            next_order: 1,
            items: BTreeMap::new(),
            seen: BTreeMap::new(),
            mirrors: BTreeMap::new(),
            senders: BTreeMap::new(),
            offices: BTreeMap::new(),
            free: None,
            minute: 0,
            next_look: Timestamp(0),
            effects: VecDeque::new(),
        }
    }

    /// Takes back what was written, table by table in the order of [`Table::ALL`]; [`Inbox::restored`] afterwards.
    ///
    /// # Errors
    /// A record that is none; the inbox is as before.
    pub fn restore(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        match table {
            Table::Item => {
                let item = Item::read(key, value)?;
                self.next_order = self.next_order.max(item.order.saturating_add(1));
                self.items.insert(item.key(), item);
            }
            Table::Seen => {
                let (key, seen) = Seen::read(key, value)?;
                if seen.owed() {
                    self.senders.entry(key.0).or_default().owed.insert(key.1);
                }
                self.seen.insert(key, seen);
            }
            Table::Mirror => {
                let (key, mirror) = Mirror::read(key, value)?;
                self.mirrors.insert(key, mirror);
            }
            Table::Sent | Table::Delivery => {}
        }
        Ok(())
    }

    /// All is restored: pulls that had begun go on. What a journal that lost its last batch left apart is joined
    /// again: the list decides.
    pub fn restored(&mut self, now: Timestamp) {
        self.last = now;
        let keys: Vec<Key> = self.items.keys().copied().collect();
        for key in keys {
            self.join(key);
            self.outdated(now, key);
        }
        self.next_look = now + self.config.look_every;
        self.start(now);
    }

    /// An older state of a mirror is not begun again.
    fn outdated(&mut self, now: Timestamp, key: Key) {
        let sync = self.items.get(&key).filter(|i| !i.ended()).and_then(Item::sync);
        let newer = sync.and_then(|(sync, seq)| self.mirrors.get(&(key.0, sync)).map(|m| m.seq > seq));
        if newer == Some(true) {
            let why = "a newer state has come".to_owned();
            self.end(now, key, DeliveryState::Declined(why));
        }
    }

    fn join(&mut self, key: Key) {
        let Some(item) = self.items.get(&key) else { return };
        let last = match &item.stage {
            Stage::Ended(state) => Some(state.clone()),
            _ => None,
        };
        let had = self.seen.get(&key);
        if had.is_some_and(|s| s.last.is_some() == last.is_some()) || (had.is_none() && last.is_some()) {
            return;
        }
        let seen = Seen {
            expires: item.notice.expires,
            told: false,
            sync: item.sync(),
            last,
        };
        let owed = &mut self.senders.entry(key.0).or_default().owed;
        if seen.owed() {
            owed.insert(key.1);
        } else {
            owed.remove(&key.1);
        }
        self.effects.push_back(Effect::Write(seen.write(key)));
        self.seen.insert(key, seen);
    }

    /// The policy in force.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Takes one input in.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        self.clock(now);
        match input {
            Input::Notice(notice, tier) => self.direct(now, *notice, tier),
            Input::Mail {
                from,
                notices,
                useless,
                end,
            } => self.mail(now, from, notices, useless, end),
            Input::PeerUp(node) => self.up(now, node),
            Input::PeerDown(node) => self.down(node),
            Input::LinkBroken(node) => self.broken(now, node),
            Input::Authorities(nodes) => self.set_offices(&nodes),
            Input::Noted { from, ids } => self.noted(now, from, &ids),
            Input::Withdrawn { from, id } => self.withdrawn(now, from, id),
            Input::Placed(key, place) => self.placed(now, key, place),
            Input::Pull(key, news) => self.news(now, key, news),
            Input::Accept(id, dest) => self.accept(now, id, dest),
            Input::Decline(id, why) => self.decline(now, id, &why),
            Input::Remove(id) => self.remove(id),
            Input::Policy(policy) => self.policy = *policy,
            Input::Surroundings { free, minute } => {
                self.free = free;
                self.minute = minute;
            }
            Input::Tick => {}
        }
        self.timers(now);
        self.start(now);
    }

    /// What is to be done next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let offices = self.offices.values().map(Office::timeout);
        let senders = self.senders.values().filter_map(Sender::timeout);
        let look = (!self.seen.is_empty()).then_some(self.next_look);
        offices
            .chain(senders)
            .chain(self.pull_timeout())
            .chain(look)
            .min()
    }

    fn clock(&mut self, now: Timestamp) {
        if now < self.last {
            for item in self.items.values_mut() {
                item.retry_at = item.retry_at.min(now + self.config.pull_again.1);
            }
            for sender in self.senders.values_mut() {
                sender.retry_at = sender.retry_at.min(now + self.config.retry.1);
            }
            for office in self.offices.values_mut() {
                office.next = office.next.min(now + self.config.collect_every);
            }
            self.next_look = self.next_look.min(now + self.config.look_every);
        }
        self.last = now;
    }

    fn timers(&mut self, now: Timestamp) {
        self.ask_offices(now);
        self.tell_due(now);
        if self.next_look <= now {
            self.next_look = now + self.config.look_every;
            self.look(now);
        }
    }

    fn say(&mut self, to: NodeId, msg: NoticeMsg) {
        let msg = Box::new(msg);
        self.effects.push_back(Effect::Say { to, msg });
    }

    /// Writes an item as it is now, and tells of the change.
    fn keep(&mut self, key: Key) {
        if let Some(item) = self.items.get(&key) {
            self.effects.push_back(Effect::Write(item.write()));
            self.effects.push_back(Effect::Changed(key));
        }
    }

    /// An item is over.
    fn end(&mut self, now: Timestamp, key: Key, state: DeliveryState) {
        let Some(item) = self.items.get_mut(&key).filter(|i| !i.ended()) else {
            return;
        };
        let state = super::cut(state);
        item.stage = Stage::Ended(state.clone());
        self.keep(key);
        if let Some(seen) = self.seen.get_mut(&key) {
            seen.last = Some(state);
            seen.told = false;
            self.effects.push_back(Effect::Write(seen.write(key)));
            self.senders.entry(key.0).or_default().owed.insert(key.1);
        }
        self.tell(now, key);
        self.trim();
    }

    /// Keeps the list within its bounds.
    fn trim(&mut self) {
        let mut ended: Vec<(u64, Key)> = self
            .items
            .values()
            .filter(|i| i.ended())
            .map(|i| (i.order, i.key()))
            .collect();
        if ended.len() <= MAX_ENDED {
            return;
        }
        ended.sort_unstable();
        let over = ended.len().saturating_sub(MAX_ENDED);
        for (_, key) in ended.into_iter().take(over) {
            self.drop_item(key);
        }
    }

    fn drop_item(&mut self, key: Key) {
        if let Some(item) = self.items.remove(&key) {
            let mut write = item.write();
            write.value = None;
            self.effects.push_back(Effect::Write(write));
        }
    }

    fn drop_seen(&mut self, key: Key) {
        if let Some(seen) = self.seen.remove(&key) {
            let mut write = seen.write(key);
            write.value = None;
            self.effects.push_back(Effect::Write(write));
        }
        if let Some(sender) = self.senders.get_mut(&key.0) {
            sender.owed.remove(&key.1);
        }
    }
}
