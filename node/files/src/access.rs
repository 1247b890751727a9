//! Who may fetch what from this node.
//!
//! A root is given to an audience; with a folder's root goes everything its manifest lists. Leases are asked about
//! through [`LeaseGate`], which the runtime provides. What is in neither is not there for anybody.

use hive_protocol::{
    file::Via,
    ids::{BlobHash, LeaseId, NodeId},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Roots given to anybody at once. A row costs some hundred bytes, or 32 a node where it is for some nodes only.
pub const MAX_GRANTED: usize = 16_384;
/// Nodes one root is given to by name.
pub const MAX_AUDIENCE: usize = 4096;

/// Who may fetch a root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Audience {
    /// Every member of the mesh that knows its hash (a ticket tells it).
    Members,
    /// These nodes.
    Nodes(BTreeSet<NodeId>),
    /// Nobody else: it is only for this node.
    Nobody,
}

/// Whether a lease entitles a node to a blob: answered by the runtime's grants. Must not block.
pub trait LeaseGate: Send + Sync {
    /// Whether this node may fetch this blob under this lease.
    fn may(&self, node: NodeId, lease: LeaseId, blob: &BlobHash) -> bool;
}

/// No lease entitles to anything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLeases;

impl LeaseGate for NoLeases {
    fn may(&self, _: NodeId, _: LeaseId, _: &BlobHash) -> bool {
        false
    }
}

/// What the table says of a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Yes,
    /// No, or it is not there.
    No,
    /// The root is given to this node: yes, if the root's manifest lists the content.
    IfListed(BlobHash),
}

#[derive(Default)]
struct Table {
    granted: BTreeMap<BlobHash, Audience>,
    /// Counts up whenever something is taken back.
    revoked: u64,
}

/// The table of who may have what. Clones share it.
#[derive(Clone)]
pub struct Access {
    table: Arc<Mutex<Table>>,
    leases: Arc<dyn LeaseGate>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Access({} roots)", self.lock().granted.len())
    }
}

impl Access {
    /// A table in which nothing is given to anybody.
    #[must_use]
    pub fn new(leases: Arc<dyn LeaseGate>) -> Self {
        Self {
            table: Arc::default(),
            leases,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Poison carries no meaning: no code that can panic runs between two changes that belong together.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a root to an audience, in addition to whom it was given before. False when the table is full: then
    /// nothing changed.
    pub fn grant(&self, root: BlobHash, audience: Audience) -> bool {
        let mut table = self.lock();
        if table.granted.len() >= MAX_GRANTED && !table.granted.contains_key(&root) {
            return false;
        }
        let before = table.granted.remove(&root).unwrap_or(Audience::Nobody);
        let (now, fits) = join(before, audience);
        table.granted.insert(root, now);
        fits
    }

    /// Takes a root back from everybody. Streams that serve it end with their present request.
    pub fn revoke(&self, root: &BlobHash) {
        let mut table = self.lock();
        table.granted.remove(root);
        table.revoked = table.revoked.wrapping_add(1);
    }

    /// Who may have this root; `None` when nobody was given it.
    #[must_use]
    pub fn audience(&self, root: &BlobHash) -> Option<Audience> {
        self.lock().granted.get(root).cloned()
    }

    /// All roots that are given to somebody.
    #[must_use]
    pub fn granted(&self) -> Vec<(BlobHash, Audience)> {
        let table = self.lock();
        table.granted.iter().map(|(r, a)| (*r, a.clone())).collect()
    }

    /// Whether this node may fetch this content. In memory, microseconds.
    #[must_use]
    pub fn check(&self, node: NodeId, via: Via, hash: &BlobHash) -> Verdict {
        let root = match via {
            Via::Lease(lease) if self.leases.may(node, lease, hash) => return Verdict::Yes,
            Via::Lease(_) => return Verdict::No,
            Via::Root(root) => root,
        };
        let entitled = match self.lock().granted.get(&root) {
            Some(Audience::Members) => true,
            Some(Audience::Nodes(nodes)) => nodes.contains(&node),
            Some(Audience::Nobody) | None => false,
        };
        match entitled {
            false => Verdict::No,
            true if root == *hash => Verdict::Yes,
            true => Verdict::IfListed(root),
        }
    }

    /// Changes when something was taken back: what was allowed before is to be asked about again.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.lock().revoked
    }
}

fn join(before: Audience, more: Audience) -> (Audience, bool) {
    match (before, more) {
        (Audience::Members, _) | (_, Audience::Members) => (Audience::Members, true),
        (Audience::Nobody, Audience::Nodes(more)) if more.len() > MAX_AUDIENCE => (Audience::Nobody, false),
        (Audience::Nobody, more) => (more, true),
        (before, Audience::Nobody) => (before, true),
        (Audience::Nodes(mut nodes), Audience::Nodes(more)) => {
            let all: BTreeSet<_> = nodes.union(&more).copied().collect();
            let fits = all.len() <= MAX_AUDIENCE;
            if fits {
                nodes = all;
            }
            (Audience::Nodes(nodes), fits)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    fn hash(n: u8) -> BlobHash {
        BlobHash([n; 32])
    }

    #[test]
    fn only_the_audience_gets_the_root_and_what_it_lists() {
        let access = Access::new(Arc::new(NoLeases));
        let (root, listed) = (hash(1), hash(2));
        let via = Via::Root(root);
        assert_eq!(access.check(node(1), via, &root), Verdict::No);
        assert!(access.grant(root, Audience::Nodes([node(1)].into())));
        assert!(access.grant(root, Audience::Nodes([node(2)].into())));
        for n in [1, 2] {
            assert_eq!(access.check(node(n), via, &root), Verdict::Yes);
            assert_eq!(access.check(node(n), via, &listed), Verdict::IfListed(root));
        }
        assert_eq!(access.check(node(3), via, &listed), Verdict::No);
        assert_eq!(access.check(node(1), Via::Root(listed), &listed), Verdict::No);
        assert_eq!(
            access.check(node(1), Via::Lease(LeaseId([1; 16])), &root),
            Verdict::No
        );
        let before = access.revision();
        access.revoke(&root);
        assert_eq!(access.check(node(1), via, &root), Verdict::No);
        assert_ne!(access.revision(), before);
        assert!(access.grant(root, Audience::Members));
        assert_eq!(access.check(node(9), via, &root), Verdict::Yes);
    }

    #[test]
    fn an_audience_is_bounded() {
        let access = Access::new(Arc::new(NoLeases));
        let many = |from: u32| {
            let nodes = (from..from + MAX_AUDIENCE as u32).map(|n| {
                let mut id = [0; 32];
                id[..4].copy_from_slice(&n.to_le_bytes());
                NodeId(id)
            });
            Audience::Nodes(nodes.collect())
        };
        assert!(access.grant(hash(1), many(0)));
        assert!(!access.grant(hash(1), many(1)));
        assert_eq!(access.audience(&hash(1)), Some(many(0)));
    }
}
