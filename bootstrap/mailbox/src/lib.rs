//! hive-mailbox: notices that an authority keeps for members who are away.
//!
//! Pure: which notices are kept for whom, and for how long. Where they lie on the disk is the authority's matter;
//! bytes of notices do not pass through here, only their keys. What was accepted is kept until it is taken,
//! withdrawn, made needless by a newer state of the same mirror, or has expired; what does not fit is refused, and
//! nobody's mail makes room for another's.

mod deposit;
mod hand_out;
mod record;
mod sweep;

pub use deposit::{Unfit, check};
pub use record::{RestoreError, Row};

use hive_protocol::{
    command::Refusal,
    ids::{NodeId, NoticeId, SyncId},
    notice::Notice,
    time::{Millis, Timestamp},
};
use record::Held;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Notices of all senders: with their indexes some 20 MiB of memory.
pub const MAX_NOTICES: usize = 65_536;
/// Bytes of all notices, on the disk.
pub const MAX_BYTES: usize = 256 << 20;
/// Notices times recipients: some 150 bytes of memory each.
pub const MAX_PLACES: usize = 262_144;
/// Notices of one sender, so that sixty-four senders are needed to fill the box.
pub const MAX_OF_SENDER: usize = 1024;
/// Bytes of one sender's notices.
pub const MAX_BYTES_OF_SENDER: usize = 4 << 20;
/// Notices times recipients of one sender.
pub const MAX_PLACES_OF_SENDER: usize = 16_384;
/// Notices for one recipient.
pub const MAX_FOR_RECIPIENT: usize = 4096;
/// Notices of one sender for one recipient, so that one sender cannot fill another's box.
pub const MAX_OF_ONE_FOR_ONE: usize = 512;
/// Time between two looks at what has expired.
pub const LOOK_EVERY: Millis = Millis::mins(10);
/// Looks at an expired notice after which it is thrown away: an hour, so that a clock that jumps ahead for less loses
/// nothing.
pub const OVERDUE_LOOKS: u8 = 6;

/// A notice is known by its sender and the id that one gave it.
pub type Key = (NodeId, NoticeId);

/// What happens to the mailbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// A sender asks to keep a notice that has passed [`check`].
    Deposit {
        /// The notice.
        notice: Box<Notice>,
        /// Bytes of it as signed.
        size: usize,
        /// For which of its recipients.
        recipients: Vec<NodeId>,
        /// Those among them who are no members.
        strangers: Vec<NodeId>,
    },
    /// A recipient asks for its mail from the beginning.
    Collect(NodeId),
    /// A recipient has these, and asks for the next page.
    Taken(NodeId, Vec<NoticeId>),
    /// A sender asks to keep it no longer for these, or for anybody when there are none.
    Withdraw(NodeId, NoticeId, Vec<NodeId>),
    /// Time has passed.
    Tick,
}

/// What is to be done, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Make durable before anything that comes after it.
    Write(Row),
    /// Write the notice of this deposit itself, too.
    Store(Key),
    /// Answer a deposit.
    Deposited {
        /// Which notice.
        key: Key,
        /// For whom it is kept.
        kept: Vec<NodeId>,
        /// Why not for the others.
        refused: Option<Refusal>,
    },
    /// Hand these out; an empty page says that there is no more.
    Page(NodeId, Vec<Key>),
    /// Answer a withdrawal.
    Noted(Key),
    /// There is new mail for a recipient.
    News(NodeId),
}

/// Notices, bytes and places of one sender.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Share {
    notices: usize,
    bytes: usize,
    places: usize,
}

/// The mailbox of an authority.
#[derive(Debug, Default)]
pub struct Mailbox {
    held: BTreeMap<Key, Held>,
    /// By recipient and arrival.
    boxes: BTreeMap<NodeId, BTreeMap<u64, Key>>,
    senders: BTreeMap<NodeId, Share>,
    syncs: BTreeMap<(NodeId, SyncId), BTreeSet<NoticeId>>,
    /// Up to which arrival a recipient has been handed its mail, since it asked for it.
    cursors: BTreeMap<NodeId, u64>,
    bytes: usize,
    places: usize,
    next_order: u64,
    next_look: Timestamp,
    last: Timestamp,
    effects: VecDeque<Effect>,
}

impl Mailbox {
    /// An empty mailbox.
    #[must_use]
    pub fn new() -> Self {
        Self {
            next_order: 1,
            ..Self::default()
        }
    }

    /// Takes one input in.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        if now < self.last {
            self.next_look = self.next_look.min(now + LOOK_EVERY);
        }
        self.last = now;
        match input {
            Input::Deposit {
                notice,
                size,
                recipients,
                strangers,
            } => self.deposit(now, &notice, size, recipients, &strangers),
            Input::Collect(node) => {
                self.cursors.remove(&node);
                self.page(now, node);
            }
            Input::Taken(node, ids) => self.taken(now, node, &ids),
            Input::Withdraw(from, id, recipients) => self.withdraw(from, id, &recipients),
            Input::Tick => {}
        }
        if self.next_look <= now && !self.held.is_empty() {
            self.next_look = now + LOOK_EVERY;
            self.look(now);
        }
    }

    /// What is to be done next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        (!self.held.is_empty()).then_some(self.next_look)
    }

    /// Notices and bytes kept.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.held.len(), self.bytes)
    }

    /// Notices kept for a recipient.
    #[must_use]
    pub fn waiting_for(&self, node: &NodeId) -> usize {
        self.boxes.get(node).map_or(0, BTreeMap::len)
    }
}
