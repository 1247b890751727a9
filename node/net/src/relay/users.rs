//! What each node and each address block uses of a relay. Pure.

use super::{bucket::Bucket, limits::RelayLimits};
use hive_protocol::ids::NodeId;
use std::{collections::BTreeMap, net::IpAddr, time::Duration};

/// Nodes, and address blocks, whose use is remembered; a member beyond that gets no circuit until others have none.
pub(super) const MAX_USERS: usize = 16_384;
/// An address block may ask so many times as often as one node: there are many nodes behind one address.
const BLOCK_ASKS: u32 = 8;

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
    pub circuits: usize,
    pub today: u64,
    bytes: Bucket,
    asked: Bucket,
}

impl Use {
    /// Whether forgetting it lets nobody have more than before.
    fn forgettable(&self, now: Duration, day_counts: bool) -> bool {
        let used_up = day_counts && self.today > 0;
        self.circuits == 0 && !used_up && self.bytes.idle(now) && self.asked.idle(now)
    }
}

/// All of them; both tables have at most [`MAX_USERS`] entries.
#[derive(Debug, Default)]
pub(super) struct Users {
    peers: BTreeMap<NodeId, Use>,
    blocks: BTreeMap<Block, Use>,
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

impl Users {
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

    /// Whether both ends of a new circuit have room for it.
    pub(super) fn room(
        &mut self,
        limits: &RelayLimits,
        now: Duration,
        from: (NodeId, Block),
        to: (NodeId, Block),
    ) -> bool {
        [from, to].into_iter().all(|(peer, block)| {
            let peer = entry(&mut self.peers, peer, now, limits.peer_day > 0);
            let block = entry(&mut self.blocks, block, now, limits.block_day > 0);
            peer.is_some_and(|p| p.circuits < limits.circuits_per_peer)
                && block.is_some_and(|b| b.circuits < limits.circuits_per_block)
        })
    }

    fn each(&mut self, from: (NodeId, Block), to: (NodeId, Block), mut what: impl FnMut(&mut Use, bool)) {
        for peer in [from.0, to.0] {
            if let Some(used) = self.peers.get_mut(&peer) {
                what(used, true);
            }
        }
        // Both ends may be in one block: it is one circuit all the same.
        let second = (from.1 != to.1).then_some(to.1);
        for block in std::iter::once(from.1).chain(second) {
            if let Some(used) = self.blocks.get_mut(&block) {
                what(used, false);
            }
        }
    }

    /// Counts a circuit.
    pub(super) fn opened(&mut self, from: (NodeId, Block), to: (NodeId, Block)) {
        // Just looked up by `room`: at most these four are made anew.
        for (peer, block) in [from, to] {
            self.peers.entry(peer).or_default();
            self.blocks.entry(block).or_default();
        }
        self.each(from, to, |used, _| {
            used.circuits = used.circuits.saturating_add(1)
        });
    }

    /// Counts it no longer.
    pub(super) fn closed(&mut self, from: (NodeId, Block), to: (NodeId, Block)) {
        self.each(from, to, |used, _| {
            used.circuits = used.circuits.saturating_sub(1)
        });
    }

    /// Charges bytes to both ends; returns how long to wait before they go.
    pub(super) fn charge(
        &mut self,
        limits: &RelayLimits,
        now: Duration,
        from: (NodeId, Block),
        to: (NodeId, Block),
        bytes: u64,
    ) -> Duration {
        let mut after = Duration::ZERO;
        self.each(from, to, |used, peer| {
            let rate = if peer { limits.peer_rate } else { limits.block_rate };
            used.today = used.today.saturating_add(bytes);
            after = after.max(used.bytes.take(now, bytes, rate));
        });
        after
    }

    /// Bytes both ends may still have carried today.
    pub(super) fn left_today(&self, limits: &RelayLimits, from: (NodeId, Block), to: (NodeId, Block)) -> u64 {
        let left = |most: u64, used: Option<&Use>| match most {
            0 => u64::MAX,
            most => most.saturating_sub(used.map_or(0, |used| used.today)),
        };
        let peers = [from.0, to.0].map(|peer| left(limits.peer_day, self.peers.get(&peer)));
        let blocks = [from.1, to.1].map(|block| left(limits.block_day, self.blocks.get(&block)));
        peers.into_iter().chain(blocks).min().unwrap_or(0)
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
