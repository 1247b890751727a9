//! Who is alive: the latest heartbeat of each node. Soft state, outside the replicated one: every authority
//! keeps its own and a restart starts empty; nodes beat again within seconds.

use crate::{registry::MAX_NODES, verify::check_capabilities};
use hive_protocol::{
    authority::{Heartbeat, OFFLINE_AFTER},
    command::Refusal,
    ids::NodeId,
    member::MAX_ADDRS,
    resources::MAX_NAME,
    time::Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// Longest address in a heartbeat, in bytes.
pub const MAX_ADDR: usize = 256;

/// The latest sign of life of one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// When.
    pub at: Timestamp,
    /// What it said.
    pub heartbeat: Heartbeat,
}

/// Signs of life by node; one per registered node at most.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Liveness {
    seen: BTreeMap<NodeId, Seen>,
    /// Nodes that are online, by their latest heartbeat.
    online: BTreeSet<(Timestamp, NodeId)>,
}

impl Liveness {
    /// Nobody seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a heartbeat of a registered node (the caller has checked that it is). True when it was offline before.
    ///
    /// # Errors
    /// `heartbeat.invalid` for texts or lists over their bounds, `member.full` beyond [`MAX_NODES`].
    pub fn beat(&mut self, now: Timestamp, node: NodeId, heartbeat: Heartbeat) -> Result<bool, Refusal> {
        let invalid = |detail: String| Refusal::new("heartbeat.invalid", detail);
        check_capabilities(&heartbeat.capabilities).map_err(|r| invalid(r.detail))?;
        if heartbeat.free.gpu_name.len() > MAX_NAME
            || heartbeat.addrs.len() > MAX_ADDRS
            || heartbeat.addrs.iter().any(|a| a.len() > MAX_ADDR)
        {
            return Err(invalid(format!(
                "at most {MAX_ADDRS} addresses of {MAX_ADDR} bytes and names of {MAX_NAME}"
            )));
        }
        if self.seen.len() >= MAX_NODES && !self.seen.contains_key(&node) {
            return Err(Refusal::new("member.full", "too many nodes"));
        }
        let before = self.seen.get(&node).map(|s| s.at);
        let at = before.unwrap_or_default().max(now);
        let was_online = before.is_some_and(|b| self.online.remove(&(b, node)));
        self.online.insert((at, node));
        self.seen.insert(node, Seen { at, heartbeat });
        Ok(!was_online)
    }

    /// Nodes whose heartbeats have stopped for [`OFFLINE_AFTER`] since the last call, in the order they fell silent.
    pub fn expire(&mut self, now: Timestamp) -> Vec<NodeId> {
        let mut gone = Vec::new();
        while let Some(&(at, node)) = self.online.first()
            && now.since(at) >= OFFLINE_AFTER
        {
            self.online.pop_first();
            gone.push(node);
        }
        gone
    }

    /// When [`Liveness::expire`] has something to do next.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.online.first().map(|(at, _)| *at + OFFLINE_AFTER)
    }

    /// Forgets a node that was removed.
    pub fn forget(&mut self, node: &NodeId) {
        if let Some(seen) = self.seen.remove(node) {
            self.online.remove(&(seen.at, *node));
        }
    }

    /// The latest heartbeat of a node, online or not.
    #[must_use]
    pub fn get(&self, node: &NodeId) -> Option<&Seen> {
        self.seen.get(node)
    }

    /// Whether a node's heartbeat is recent enough at `now`.
    #[must_use]
    pub fn is_online(&self, node: &NodeId, now: Timestamp) -> bool {
        self.seen
            .get(node)
            .is_some_and(|s| now.since(s.at) < OFFLINE_AFTER)
    }

    /// Nodes online as of the last [`Liveness::expire`].
    #[must_use]
    pub fn online(&self) -> usize {
        self.online.len()
    }
}
