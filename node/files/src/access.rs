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
/// Bytes of manifest listings kept in memory; each file costs 16.
const MAX_LISTING_BYTES: usize = 64 << 20;

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

/// What [`Access::check`] finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Yes,
    /// No, or it is not there.
    No,
    /// The root is given to this node; whether its manifest lists the content is not in memory: ask again after
    /// [`Access::learn`].
    Unlisted,
}

#[derive(Default)]
struct Table {
    granted: BTreeMap<BlobHash, Audience>,
    /// The first 16 bytes of the hashes a root's manifest lists, in order; with the time of last use. Two contents
    /// that agree in 16 bytes cannot be made on purpose (128 bits of a hash).
    listed: BTreeMap<BlobHash, (Arc<[[u8; 16]]>, u64)>,
    listed_bytes: usize,
    uses: u64,
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

fn short(hash: &BlobHash) -> [u8; 16] {
    let mut out = [0; 16];
    out.iter_mut().zip(hash.as_bytes()).for_each(|(o, b)| *o = *b);
    out
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
        forget(&mut table, root);
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
        let mut table = self.lock();
        let entitled = match table.granted.get(&root) {
            Some(Audience::Members) => true,
            Some(Audience::Nodes(nodes)) => nodes.contains(&node),
            Some(Audience::Nobody) | None => false,
        };
        if !entitled {
            return Verdict::No;
        }
        if root == *hash {
            return Verdict::Yes;
        }
        table.uses = table.uses.saturating_add(1);
        let now = table.uses;
        match table.listed.get_mut(&root) {
            None => Verdict::Unlisted,
            Some((list, used)) => {
                *used = now;
                if list.binary_search(&short(hash)).is_ok() {
                    Verdict::Yes
                } else {
                    Verdict::No
                }
            }
        }
    }

    /// Takes in what a root's manifest lists (nothing for a root that is no folder). Older listings make room.
    pub fn learn(&self, root: BlobHash, hashes: impl IntoIterator<Item = BlobHash>) {
        let mut list: Vec<[u8; 16]> = hashes.into_iter().map(|h| short(&h)).collect();
        list.sort_unstable();
        list.dedup();
        let bytes = list.len().saturating_mul(16);
        let mut table = self.lock();
        forget(&mut table, &root);
        while table.listed_bytes.saturating_add(bytes) > MAX_LISTING_BYTES || table.listed.len() >= MAX_GRANTED {
            let oldest = table.listed.iter().min_by_key(|(_, (_, used))| *used);
            let Some(oldest) = oldest.map(|(root, _)| *root) else {
                break;
            };
            forget(&mut table, &oldest);
        }
        table.uses = table.uses.saturating_add(1);
        let now = table.uses;
        table.listed_bytes = table.listed_bytes.saturating_add(bytes);
        table.listed.insert(root, (list.into(), now));
    }
}

fn forget(table: &mut Table, root: &BlobHash) {
    if let Some((list, _)) = table.listed.remove(root) {
        table.listed_bytes = table.listed_bytes.saturating_sub(list.len().saturating_mul(16));
    }
}

fn join(before: Audience, more: Audience) -> (Audience, bool) {
    match (before, more) {
        (Audience::Members, _) | (_, Audience::Members) => (Audience::Members, true),
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
        let (root, listed, other) = (hash(1), hash(2), hash(3));
        let via = Via::Root(root);
        assert_eq!(access.check(node(1), via, &root), Verdict::No);
        assert!(access.grant(root, Audience::Nodes([node(1)].into())));
        assert!(access.grant(root, Audience::Nodes([node(2)].into())));
        for n in [1, 2] {
            assert_eq!(access.check(node(n), via, &root), Verdict::Yes);
            assert_eq!(access.check(node(n), via, &listed), Verdict::Unlisted);
        }
        assert_eq!(access.check(node(3), via, &listed), Verdict::No);
        access.learn(root, [listed]);
        assert_eq!(access.check(node(1), via, &listed), Verdict::Yes);
        assert_eq!(access.check(node(1), via, &other), Verdict::No);
        assert_eq!(access.check(node(1), Via::Root(listed), &listed), Verdict::No);
        access.revoke(&root);
        assert_eq!(access.check(node(1), via, &root), Verdict::No);
        assert_eq!(access.lock().listed_bytes, 0);
    }

    #[test]
    fn listings_are_held_to_their_bytes() {
        let access = Access::new(Arc::new(NoLeases));
        let many = (MAX_LISTING_BYTES / 16 / 2) as u32;
        for root in 0..4_u8 {
            access.learn(
                hash(root),
                (0..many).map(|n| {
                    let mut h = [root; 32];
                    h[..4].copy_from_slice(&n.to_le_bytes());
                    BlobHash(h)
                }),
            );
            assert!(access.lock().listed_bytes <= MAX_LISTING_BYTES);
        }
        assert_eq!(access.lock().listed.len(), 2);
    }
}
