//! The outbox: every notice of ours until each recipient has dealt with it, or its time is over.
//!
//! A recipient is told as soon as it is there; one that is away is told through an authority's mailbox too. Nothing
//! here knows the clock's pace: when it jumps, pauses are cut to what they would be at most, and a notice counts as
//! expired for good only after it was overdue at several looks in a row.

mod answers;
mod peer;
mod row;
mod speak;
mod sweep;
mod view;
mod words;

pub use row::Standing;
pub use view::{OutView, ToView};
pub use words::{Effect, Input, OutboxError};

use super::{RestoreError, Table, Write};
use hive_protocol::{
    ids::{NodeId, NoticeId, SyncId},
    keys::Signed,
    notice::{DeliveryState, MAX_RECIPIENTS, Notice},
    time::{Millis, Timestamp},
};
use peer::{Peer, Work};
use row::{Delivery, Sent};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Notices that have not ended, at most.
pub const MAX_OPEN: usize = 4096;
/// Recipients of all notices that have not ended, at most: some 200 bytes each.
pub const MAX_OPEN_DELIVERIES: usize = 65_536;
/// Bytes of all notices kept, ended ones too.
pub const MAX_BYTES: usize = 16 << 20;
/// Ended notices kept for people to look at; the oldest go first.
pub const MAX_ENDED: usize = 1000;
/// Nodes without a connection that are tried at the same time: each costs a dial.
pub const MAX_DIALS: usize = 16;
/// Looks at an overdue notice after which it has expired for good: an hour, so that a clock that jumps ahead for
/// less costs nothing.
pub const OVERDUE_LOOKS: u8 = 6;

/// Spans of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// This node.
    pub me: NodeId,
    /// A recipient that has not answered for so long gets the notice through a mailbox too.
    pub deposit_after: Millis,
    /// What was said and not answered for so long counts as lost.
    pub answer_within: Millis,
    /// First and longest pause between attempts to reach a node.
    pub retry: (Millis, Millis),
    /// Between two looks at everything.
    pub look_every: Millis,
}

impl Config {
    /// The usual spans.
    #[must_use]
    pub const fn new(me: NodeId) -> Self {
        Self {
            me,
            deposit_after: Millis::secs(3),
            answer_within: Millis::secs(20),
            retry: (Millis::secs(1), Millis::mins(10)),
            look_every: Millis::mins(10),
        }
    }
}

/// The outbox of a node.
#[derive(Debug)]
pub struct Outbox {
    config: Config,
    seed: u64,
    last: Timestamp,
    next_order: u64,
    sent: BTreeMap<NoticeId, Sent>,
    bytes: usize,
    open_deliveries: usize,
    syncs: BTreeMap<SyncId, BTreeSet<NoticeId>>,
    peers: BTreeMap<NodeId, Peer>,
    authorities: Vec<NodeId>,
    /// Which of them is asked next.
    turn: usize,
    /// When a delivery goes to a mailbox.
    deposits: BTreeSet<(Timestamp, NoticeId)>,
    next_look: Timestamp,
    effects: VecDeque<Effect>,
}

impl Outbox {
    /// An empty outbox.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            seed,
            last: Timestamp(0),
            next_order: 1,
            sent: BTreeMap::new(),
            bytes: 0,
            open_deliveries: 0,
            syncs: BTreeMap::new(),
            peers: BTreeMap::new(),
            authorities: Vec::new(),
            turn: 0,
            deposits: BTreeSet::new(),
            next_look: Timestamp(0),
            effects: VecDeque::new(),
        }
    }

    /// Takes back what was written, table by table in the order of [`Table::ALL`]; [`Outbox::restored`] afterwards.
    ///
    /// # Errors
    /// A record that is none; the outbox is as before.
    pub fn restore(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        match table {
            Table::Sent => {
                let sent = Sent::read(key, value)?;
                self.next_order = self.next_order.max(sent.order.saturating_add(1));
                self.insert(sent);
            }
            Table::Delivery => {
                let (id, node, delivery) = Delivery::read(key, value)?;
                let sent = self.sent.get_mut(&id).ok_or(RestoreError::Orphan)?;
                let place = sent.to.get_mut(&node).ok_or(RestoreError::Orphan)?;
                *place = delivery;
            }
            _ => {}
        }
        Ok(())
    }

    /// All is restored: work begins.
    pub fn restored(&mut self, now: Timestamp) {
        self.last = now;
        self.open_deliveries = self.sent.values().map(Sent::open).sum();
        let ids: Vec<NoticeId> = self.sent.keys().copied().collect();
        for id in ids {
            self.queue(now, id);
        }
        self.next_look = now + self.config.look_every;
    }

    /// The notice may be sent, as far as there is room.
    ///
    /// # Errors
    /// No room, or known already.
    pub fn may_send(&self, notice: &Notice, bytes: usize) -> Result<(), OutboxError> {
        let full = |what, limit| Err(OutboxError::Full { what, limit });
        if self.sent.contains_key(&notice.id) {
            return Err(OutboxError::Twice);
        }
        let ended = self.sent.values().filter(|s| s.ended()).count();
        if self.sent.len().saturating_sub(ended) >= MAX_OPEN {
            return full("notices", MAX_OPEN);
        }
        if self
            .open_deliveries
            .saturating_add(notice.to.len().min(MAX_RECIPIENTS))
            > MAX_OPEN_DELIVERIES
        {
            return full("deliveries", MAX_OPEN_DELIVERIES);
        }
        let open: usize = self
            .sent
            .values()
            .filter(|s| !s.ended())
            .map(|s| s.signed.bytes().len())
            .sum();
        if open.saturating_add(bytes) > MAX_BYTES {
            return full("bytes of notices", MAX_BYTES);
        }
        Ok(())
    }

    /// Whether [`Input::Cancel`] will do something.
    ///
    /// # Errors
    /// Unknown or ended.
    pub fn may_cancel(&self, id: NoticeId) -> Result<(), OutboxError> {
        let sent = self.sent.get(&id).ok_or(OutboxError::Unknown(id))?;
        if sent.ended() || sent.cancelled {
            return Err(OutboxError::Ended(id));
        }
        Ok(())
    }

    /// Whether [`Input::Forget`] will do something.
    ///
    /// # Errors
    /// Unknown or open.
    pub fn may_forget(&self, id: NoticeId) -> Result<(), OutboxError> {
        let sent = self.sent.get(&id).ok_or(OutboxError::Unknown(id))?;
        if sent.ended() {
            Ok(())
        } else {
            Err(OutboxError::Open(id))
        }
    }

    /// Takes one input in.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        self.clock(now);
        match input {
            Input::Send(both) => self.send(now, both.0, both.1),
            Input::PeerUp(node) => self.up(now, node),
            Input::PeerDown(node) => self.down(node),
            Input::LinkBroken(node) => self.broken(now, node),
            Input::Authorities(nodes) => self.set_authorities(now, nodes),
            Input::State { from, id, state } => self.state(now, from, id, state),
            Input::Deposited {
                from,
                id,
                kept,
                refused,
            } => self.deposited(now, from, id, &kept, refused.as_ref()),
            Input::Noted { from, ids } => self.noted(now, from, &ids),
            Input::Cancel(id) => self.cancel(now, id),
            Input::Forget(id) => {
                if self.may_forget(id).is_ok() {
                    self.erase(id);
                }
            }
            Input::Tick => {}
        }
        self.timers(now);
        self.speak(now);
    }

    /// What is to be done next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let may_dial = self.dialing() < MAX_DIALS;
        let peers = self.peers.values().filter_map(|p| {
            if p.up || may_dial || !p.flying.is_empty() {
                p.timeout()
            } else {
                None
            }
        });
        let look = (!self.sent.is_empty()).then_some(self.next_look);
        let deposit = self.deposits.first().map(|(at, _)| *at);
        peers.chain(look).chain(deposit).min()
    }

    fn dialing(&self) -> usize {
        self.peers
            .values()
            .filter(|p| !p.up && !p.flying.is_empty())
            .count()
    }

    fn insert(&mut self, sent: Sent) {
        let id = sent.notice.id;
        self.bytes = self.bytes.saturating_add(sent.signed.bytes().len());
        if let Some((sync, _)) = sent.sync() {
            self.syncs.entry(sync).or_default().insert(id);
        }
        self.sent.insert(id, sent);
    }

    fn send(&mut self, now: Timestamp, notice: Notice, signed: Signed<Notice>) {
        if self.may_send(&notice, signed.bytes().len()).is_err() {
            return;
        }
        let id = notice.id;
        let to = notice.to.iter().map(|n| (*n, Delivery::new(now))).collect();
        let sent = Sent {
            signed,
            notice,
            order: self.next_order,
            cancelled: false,
            overdue: 0,
            to,
        };
        self.next_order = self.next_order.saturating_add(1);
        self.open_deliveries = self.open_deliveries.saturating_add(sent.to.len());
        self.supersede(now, &sent);
        self.effects.push_back(Effect::Write(sent.write()));
        for (node, delivery) in &sent.to {
            self.effects.push_back(Effect::Write(delivery.write(id, *node)));
        }
        if self.sent.is_empty() {
            self.next_look = now + self.config.look_every;
        }
        self.insert(sent);
        self.trim();
        self.queue(now, id);
    }

    /// An older state of the same mirror need not reach anybody who gets this one.
    fn supersede(&mut self, now: Timestamp, newer: &Sent) {
        let Some((sync, seq)) = newer.sync() else { return };
        let older: Vec<NoticeId> = self
            .syncs
            .get(&sync)
            .into_iter()
            .flatten()
            .copied()
            .filter(|id| {
                self.sent
                    .get(id)
                    .and_then(Sent::sync)
                    .is_some_and(|(_, s)| s < seq)
            })
            .collect();
        for id in older {
            for node in newer.to.keys() {
                let idle = self
                    .delivery(id, *node)
                    .is_some_and(|d| matches!(d.standing, Standing::Queued | Standing::Kept));
                if idle {
                    self.settle(*node, id, Work::Deliver);
                    self.stand(now, id, *node, Standing::Cancelled);
                }
            }
        }
    }

    fn delivery(&self, id: NoticeId, node: NodeId) -> Option<&Delivery> {
        self.sent.get(&id).and_then(|s| s.to.get(&node))
    }

    /// A delivery stands otherwise now.
    fn stand(&mut self, now: Timestamp, id: NoticeId, node: NodeId, standing: Standing) {
        let Some(delivery) = self.sent.get_mut(&id).and_then(|s| s.to.get_mut(&node)) else {
            return;
        };
        if delivery.standing == standing {
            return;
        }
        if !delivery.standing.ended() && standing.ended() {
            self.open_deliveries = self.open_deliveries.saturating_sub(1);
        }
        let moving = |s: &Standing| matches!(s, Standing::At(DeliveryState::Pulling { .. }));
        // Progress is no matter of the journal.
        let write = !(moving(&delivery.standing) && moving(&standing));
        delivery.standing = standing.clone();
        delivery.changed = now;
        if write {
            let write = delivery.write(id, node);
            self.effects.push_back(Effect::Write(write));
        }
        self.effects.push_back(Effect::Changed { id, node, standing });
    }

    fn erase(&mut self, id: NoticeId) {
        let Some(sent) = self.sent.remove(&id) else { return };
        self.bytes = self.bytes.saturating_sub(sent.signed.bytes().len());
        if let Some((sync, _)) = sent.sync()
            && let Some(ids) = self.syncs.get_mut(&sync)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.syncs.remove(&sync);
            }
        }
        let gone = |mut write: Write| {
            write.value = None;
            Effect::Write(write)
        };
        self.effects.push_back(gone(sent.write()));
        for (node, delivery) in &sent.to {
            self.effects.push_back(gone(delivery.write(id, *node)));
        }
        for peer in self.peers.values_mut() {
            peer.due.retain(|d| d.2 != id);
            peer.flying.retain(|(f, _), _| *f != id);
        }
        self.peers.retain(|_, p| !p.idle());
    }

    /// Keeps no more ended notices, and no more bytes of them, than the bounds.
    fn trim(&mut self) {
        let mut ended: Vec<(u64, NoticeId)> = self
            .sent
            .iter()
            .filter(|(_, s)| s.ended())
            .map(|(id, s)| (s.order, *id))
            .collect();
        ended.sort_unstable();
        let mut over = ended.len().saturating_sub(MAX_ENDED);
        for (_, id) in ended {
            if over == 0 && self.bytes <= MAX_BYTES {
                break;
            }
            over = over.saturating_sub(1);
            self.erase(id);
        }
    }
}
