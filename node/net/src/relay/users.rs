//! What each node and each address block uses of a relay. Pure.

use super::{
    bucket::Bucket,
    limits::{RelayDay, RelayLimits},
};
use hive_protocol::ids::NodeId;
use std::{collections::BTreeMap, net::IpAddr, time::Duration};

/// Nodes, and address blocks, whose use is remembered; a member beyond that gets no circuit until others have none.
pub(super) const MAX_USERS: usize = 16_384;
/// Nodes, and address blocks, in the account of a day that is kept over a restart: those that have used the most.
const MAX_KEPT: usize = RelayDay::MAX_USERS;
/// An address block may ask so many times as often as one node: there are many nodes behind one address.
const BLOCK_ASKS: u32 = 8;

/// One node may take so big a part of the circuits that are still free to a destination, and one address block half of
/// them: whoever has none there finds a place for much longer than whoever has many.
const PART_OF_NODE: usize = 8;
const PART_OF_BLOCK: usize = 2;
/// These parts are for nodes that have so many circuits there. One with fewer gets another while any is free, for one may
/// be dead and has to be replaced, and there may be many nodes behind one address …
const FEW: usize = 2;
/// … except that nodes of a block that has half of all circuits there leave such a part of all free.
const PART_FOR_OTHERS: usize = 4;
/// A node may be called over so many times as many TCP connections as circuits: a transfer takes one each, and they
/// cost the called node no streams.
const TCP_CALLS: usize = 4;

/// An address block: one network of one customer, usually.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Block([u8; 7]);

/// The block an address is in: a /24 of IPv4, a /48 of IPv6.
pub(super) fn block(address: IpAddr) -> Block {
    let mut out = [0; 7];
    match address.to_canonical() {
        IpAddr::V4(v4) => out[1..4].copy_from_slice(&v4.octets()[..3]),
        IpAddr::V6(v6) => {
            out[0] = 6;
            out[1..].copy_from_slice(&v6.octets()[..6]);
        }
    }
    Block(out)
}

/// What one of them uses.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Use {
    /// Circuits it has opened.
    pub opened: usize,
    /// Circuits that were opened to it, over streams and over TCP.
    called: [usize; 2],
    /// Bytes of the circuits it has opened.
    pub today: u64,
    bytes: Bucket,
    asked: Bucket,
}

impl Use {
    /// Circuits of which it is an end.
    pub(super) fn circuits(&self) -> usize {
        self.called
            .iter()
            .fold(self.opened, |sum, n| sum.saturating_add(*n))
    }

    /// Whether forgetting it lets nobody have more than before.
    fn forgettable(&self, now: Duration, day_counts: bool) -> bool {
        let used_up = day_counts && self.today > 0;
        self.circuits() == 0 && !used_up && self.bytes.idle(now) && self.asked.idle(now)
    }
}

/// Who holds circuits to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Caller {
    Node(NodeId),
    Block(Block),
}

/// A circuit as it is counted: from whom, to whom, and whether it connects two TCP connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub from: (NodeId, Block),
    pub to: (NodeId, Block),
    pub tcp: bool,
}

/// All of them; the first two tables have at most [`MAX_USERS`] entries.
#[derive(Debug, Default)]
pub(super) struct Users {
    peers: BTreeMap<NodeId, Use>,
    blocks: BTreeMap<Block, Use>,
    /// Circuits to a destination, over streams or TCP, by who has opened them: two entries for each circuit at most.
    calls: BTreeMap<(NodeId, bool, Caller), usize>,
}

/// The entry of one user, made if there is room.
fn entry<K: Ord + Copy>(
    table: &mut BTreeMap<K, Use>,
    key: K,
    now: Duration,
    day_counts: bool,
) -> Option<&mut Use> {
    if table.len() >= MAX_USERS && !table.contains_key(&key) {
        table.retain(|_, used| !used.forgettable(now, day_counts));
        if table.len() >= MAX_USERS {
            return None;
        }
    }
    Some(table.entry(key).or_default())
}

/// The biggest sums of the day, at most [`MAX_KEPT`].
fn biggest<K: Copy>(table: &BTreeMap<K, Use>) -> Vec<(K, u64)> {
    let used = table.iter().filter(|(_, used)| used.today > 0);
    let mut all: Vec<(K, u64)> = used.map(|(key, used)| (*key, used.today)).collect();
    all.sort_by_key(|(_, today)| std::cmp::Reverse(*today));
    all.truncate(MAX_KEPT);
    all
}

impl Users {
    /// Puts what has been used of the day into its account.
    pub(super) fn tell_day(&self, day: &mut RelayDay) {
        day.peers = biggest(&self.peers);
        let blocks = biggest(&self.blocks).into_iter();
        day.blocks = blocks.map(|(block, today)| (block.0, today)).collect();
    }

    /// Counts what was used earlier that day.
    pub(super) fn take_up(&mut self, now: Duration, day: &RelayDay) {
        for (peer, today) in day.peers.iter().take(MAX_KEPT) {
            if let Some(used) = entry(&mut self.peers, *peer, now, true) {
                used.today = used.today.saturating_add(*today);
            }
        }
        for (block, today) in day.blocks.iter().take(MAX_KEPT) {
            if let Some(used) = entry(&mut self.blocks, Block(*block), now, true) {
                used.today = used.today.saturating_add(*today);
            }
        }
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = (&NodeId, &Use)> {
        self.peers.iter()
    }

    /// Counts a request; false when there were too many.
    pub(super) fn ask(&mut self, now: Duration, peer: NodeId, block: Block, per_minute: u32) -> bool {
        // Days are counted where circuits are opened: here only room is made, of those who use nothing.
        let Some(of_block) = entry(&mut self.blocks, block, now, true) else {
            return false;
        };
        if !of_block.asked.ask(now, per_minute.saturating_mul(BLOCK_ASKS)) {
            return false;
        }
        entry(&mut self.peers, peer, now, true).is_some_and(|of_peer| of_peer.asked.ask(now, per_minute))
    }

    /// Whether there is room for a new circuit: for its opener and its address block one more, and at its destination
    /// one of those they may take there. What others open to a node takes nothing of what it may open itself.
    pub(super) fn room(&mut self, limits: &RelayLimits, now: Duration, call: Call) -> bool {
        let (peer_day, block_day) = (limits.peer_day > 0, limits.block_day > 0);
        let opener = entry(&mut self.peers, call.from.0, now, peer_day);
        let block = entry(&mut self.blocks, call.from.1, now, block_day);
        let may_open = opener.is_some_and(|p| p.opened < limits.circuits_per_peer)
            && block.is_some_and(|b| b.opened < limits.circuits_per_block);
        let known = entry(&mut self.blocks, call.to.1, now, block_day).is_some();
        let Some(end) = entry(&mut self.peers, call.to.0, now, peer_day) else {
            return false;
        };
        let most = match call.tcp {
            false => limits.circuits_per_peer,
            true => limits.circuits_per_peer.saturating_mul(TCP_CALLS),
        };
        let free = most.saturating_sub(end.called.get(usize::from(call.tcp)).copied().unwrap_or(most));
        may_open && known && self.has_part(call, most, free)
    }

    /// Whether one more of the circuits that are free to a destination, of so many, is for this caller.
    fn has_part(&self, call: Call, most: usize, free: usize) -> bool {
        let held = |who| self.calls.get(&(call.to.0, call.tcp, who)).copied().unwrap_or(0);
        let (by_node, by_block) = (held(Caller::Node(call.from.0)), held(Caller::Block(call.from.1)));
        if by_node < FEW {
            let crowded = by_block >= most.div_ceil(2);
            return free > 0 && (!crowded || free >= most.div_ceil(PART_FOR_OTHERS));
        }
        by_node < free.div_ceil(PART_OF_NODE) && by_block < free.div_ceil(PART_OF_BLOCK)
    }

    /// Changes what a circuit counts in.
    fn count(&mut self, call: Call, change: impl Fn(usize) -> usize) {
        // Just looked up by `room`: at most these four are made anew.
        for (peer, block) in [call.from, call.to] {
            self.peers.entry(peer).or_default();
            self.blocks.entry(block).or_default();
        }
        if let Some(used) = self.peers.get_mut(&call.from.0) {
            used.opened = change(used.opened);
        }
        if let Some(used) = self.blocks.get_mut(&call.from.1) {
            used.opened = change(used.opened);
        }
        let end = self.peers.get_mut(&call.to.0);
        if let Some(called) = end.and_then(|used| used.called.get_mut(usize::from(call.tcp))) {
            *called = change(*called);
        }
        for who in [Caller::Node(call.from.0), Caller::Block(call.from.1)] {
            let key = (call.to.0, call.tcp, who);
            let left = change(self.calls.get(&key).copied().unwrap_or(0));
            if left == 0 {
                self.calls.remove(&key);
            } else {
                self.calls.insert(key, left);
            }
        }
    }

    /// Counts a circuit.
    pub(super) fn opened(&mut self, call: Call) {
        self.count(call, |n| n.saturating_add(1));
    }

    /// Counts it no longer.
    pub(super) fn closed(&mut self, call: Call) {
        self.count(call, |n| n.saturating_sub(1));
    }

    /// Charges bytes: the day's to who has opened the circuit, the second's to both ends; returns how long to wait
    /// before they go.
    pub(super) fn charge(
        &mut self,
        limits: &RelayLimits,
        now: Duration,
        from: (NodeId, Block),
        to: (NodeId, Block),
        bytes: u64,
    ) -> Duration {
        let mut after = Duration::ZERO;
        for peer in [from.0, to.0] {
            if let Some(used) = self.peers.get_mut(&peer) {
                after = after.max(used.bytes.take(now, bytes, limits.peer_rate));
            }
        }
        // Both ends may be in one block: it is one circuit all the same.
        let second = (from.1 != to.1).then_some(to.1);
        for block in std::iter::once(from.1).chain(second) {
            if let Some(used) = self.blocks.get_mut(&block) {
                after = after.max(used.bytes.take(now, bytes, limits.block_rate));
            }
        }
        let payers = [self.peers.get_mut(&from.0), self.blocks.get_mut(&from.1)];
        for used in payers.into_iter().flatten() {
            used.today = used.today.saturating_add(bytes);
        }
        after
    }

    /// Bytes the circuits of this opener may still carry today.
    pub(super) fn left_today(&self, limits: &RelayLimits, from: (NodeId, Block)) -> u64 {
        let left = |most: u64, used: Option<&Use>| match most {
            0 => u64::MAX,
            most => most.saturating_sub(used.map_or(0, |used| used.today)),
        };
        let of_peer = left(limits.peer_day, self.peers.get(&from.0));
        of_peer.min(left(limits.block_day, self.blocks.get(&from.1)))
    }

    /// A new day: nothing is used of it.
    pub(super) fn new_day(&mut self, now: Duration) {
        for used in self.peers.values_mut().chain(self.blocks.values_mut()) {
            used.today = 0;
        }
        self.peers.retain(|_, used| !used.forgettable(now, false));
        self.blocks.retain(|_, used| !used.forgettable(now, false));
    }
}
