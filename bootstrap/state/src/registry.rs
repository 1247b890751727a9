//! Members: accounts and the nodes that act for them. Who is alive is not kept here ([`crate::liveness`]).

use hive_protocol::{
    command::MAX_HOLD_LIFE,
    ids::{AccountId, InviteId, NodeId},
    resources::{Capabilities, MAX_NAME, Role},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Nodes a mesh may have; about 1 KB each.
pub const MAX_NODES: usize = 100_000;
/// Nodes one account may have.
pub const MAX_NODES_PER_ACCOUNT: usize = 1024;
/// Removed nodes remembered at most, the oldest forgotten first.
pub const MAX_FORMER: usize = 1 << 16;
/// Numbers tried to make a name unique before the node's key is put behind it.
const NAME_TRIES: u32 = 100;

/// A registered node.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Node {
    /// Its account.
    pub account: AccountId,
    /// Its name, unique in the mesh.
    pub name: String,
    /// What it may do, without repeats.
    pub roles: Vec<Role>,
    /// What it said on joining.
    pub capabilities: Capabilities,
    /// Until when the account's word for it holds; `None` for a founding authority without one.
    pub delegated_until: Option<Timestamp>,
    /// The invitation it last joined with; `None` for founding authorities.
    pub invite: Option<InviteId>,
    /// When it joined.
    pub joined: Timestamp,
}

/// All members.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub(crate) struct Registry {
    nodes: BTreeMap<NodeId, Node>,
    names: BTreeMap<String, NodeId>,
    members: BTreeMap<AccountId, BTreeSet<NodeId>>,
    /// Removed nodes: receipts they signed before may still be paid out while a hold can last.
    former: BTreeSet<(NodeId, AccountId)>,
    former_by_end: BTreeSet<(Timestamp, NodeId, AccountId)>,
}

impl Registry {
    pub fn get(&self, node: &NodeId) -> Option<&Node> {
        self.nodes.get(node)
    }

    /// Nodes after `after` in key order.
    pub fn after(&self, after: Option<NodeId>) -> impl Iterator<Item = (&NodeId, &Node)> {
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        self.nodes.range((from, std::ops::Bound::Unbounded))
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_member(&self, account: &AccountId) -> bool {
        self.members.contains_key(account)
    }

    pub fn nodes_of(&self, account: &AccountId) -> usize {
        self.members.get(account).map_or(0, BTreeSet::len)
    }

    /// Whether this node may sign for this account now.
    pub fn acts_for(&self, node: &NodeId, account: &AccountId, now: Timestamp) -> bool {
        self.nodes
            .get(node)
            .is_some_and(|n| n.account == *account && n.delegated_until.is_some_and(|until| now < until))
    }

    /// Whether this node is, or lately was, one of the account's: enough for receipts, which were signed before.
    pub fn belongs(&self, node: &NodeId, account: &AccountId) -> bool {
        self.nodes.get(node).is_some_and(|n| n.account == *account)
            || self.former.contains(&(*node, *account))
    }

    pub fn add_member(&mut self, account: AccountId) {
        self.members.entry(account).or_default();
    }

    /// Adds or replaces a node; the wished name is made clean and unique.
    pub fn put(&mut self, id: NodeId, mut node: Node) -> &str {
        if let Some(old) = self.nodes.remove(&id) {
            self.names.remove(&old.name);
            if let Some(nodes) = self.members.get_mut(&old.account) {
                nodes.remove(&id);
            }
        }
        node.name = self.free_name(&node.name, id);
        self.names.insert(node.name.clone(), id);
        self.members.entry(node.account).or_default().insert(id);
        &self.nodes.entry(id).or_insert(node).name
    }

    pub fn delegate(&mut self, id: &NodeId, until: Timestamp) {
        if let Some(node) = self.nodes.get_mut(id) {
            node.delegated_until = Some(until);
        }
    }

    pub fn remove(&mut self, id: NodeId, now: Timestamp) {
        let Some(node) = self.nodes.remove(&id) else {
            return;
        };
        self.names.remove(&node.name);
        if let Some(nodes) = self.members.get_mut(&node.account) {
            nodes.remove(&id);
        }
        if self.former.insert((id, node.account)) {
            self.former_by_end.insert((now + MAX_HOLD_LIFE, id, node.account));
        }
    }

    pub fn forget(&mut self, now: Timestamp) {
        while let Some(&(end, id, account)) = self.former_by_end.first() {
            if self.former_by_end.len() <= MAX_FORMER && end > now {
                break;
            }
            self.former_by_end.pop_first();
            self.former.remove(&(id, account));
        }
    }

    /// Names are what people type: ASCII letters, digits, `-`, `_` and `.`; anything else becomes `-`.
    fn free_name(&self, wish: &str, id: NodeId) -> String {
        let mut base: String = wish
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        // Room for "-" and a short node id behind it.
        base.truncate(MAX_NAME - 12);
        let base = base.trim_matches(['-', '.']);
        let base = if base.is_empty() { "node" } else { base };
        let taken = |name: &str| self.names.contains_key(name);
        if !taken(base) {
            return base.to_owned();
        }
        (2..NAME_TRIES)
            .map(|n| format!("{base}-{n}"))
            .find(|name| !taken(name))
            .unwrap_or_else(|| format!("{base}-{}", id.short()))
    }

    pub fn check_invariants(&self, now: Timestamp) -> Result<(), String> {
        if self.names.len() != self.nodes.len() {
            return Err("names and nodes differ in number".into());
        }
        for (id, node) in &self.nodes {
            if self.names.get(&node.name) != Some(id) || node.name.len() > MAX_NAME {
                return Err(format!("{id:?} is not found by its name"));
            }
            if !self.members.get(&node.account).is_some_and(|n| n.contains(id)) {
                return Err(format!("{id:?} is not among its account's nodes"));
            }
        }
        if self.members.values().map(BTreeSet::len).sum::<usize>() != self.nodes.len() {
            return Err("an account has nodes that are not registered".into());
        }
        if self.former.len() != self.former_by_end.len() {
            return Err("the indexes of removed nodes differ".into());
        }
        if self.former_by_end.first().is_some_and(|(end, ..)| *end <= now) {
            return Err("a removed node is remembered past its time".into());
        }
        Ok(())
    }
}
