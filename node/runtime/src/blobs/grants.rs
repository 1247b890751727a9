//! Who may fetch which blob: the holder of a lease its inputs, the lease's submitter its outputs.

use hive_protocol::ids::{BlobHash, LeaseId, NodeId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
};

/// Leases with grants at once: those of both cores.
const MAX_GRANTS: usize = 8192;
/// Blobs one lease may have granted at a time; a lease of a million tasks is granted them as they are handed out.
const MAX_BLOBS_PER_LEASE: usize = 1 << 20;

#[derive(Debug, Default)]
struct Grant {
    peer: NodeId,
    blobs: BTreeSet<BlobHash>,
}

/// The table, shared by the daemon's loop (which writes) and the serving tasks (which read).
#[derive(Debug, Clone, Default)]
pub struct Grants(Arc<RwLock<BTreeMap<LeaseId, Grant>>>);

impl Grants {
    /// Lets `peer` fetch these blobs under this lease. False when a bound is reached: then they are not served.
    pub fn allow(&self, lease: LeaseId, peer: NodeId, blobs: impl IntoIterator<Item = BlobHash>) -> bool {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if table.len() >= MAX_GRANTS && !table.contains_key(&lease) {
            return false;
        }
        let grant = table.entry(lease).or_insert_with(|| Grant {
            peer,
            blobs: BTreeSet::new(),
        });
        if grant.peer != peer {
            return false;
        }
        for blob in blobs {
            if grant.blobs.len() >= MAX_BLOBS_PER_LEASE {
                return false;
            }
            grant.blobs.insert(blob);
        }
        true
    }

    /// Whether this peer may fetch this blob under this lease.
    #[must_use]
    pub fn may(&self, peer: NodeId, lease: Option<LeaseId>, blob: &BlobHash) -> bool {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        lease
            .and_then(|l| table.get(&l))
            .is_some_and(|g| g.peer == peer && g.blobs.contains(blob))
    }

    /// Ends all grants of a lease.
    pub fn end(&self, lease: &LeaseId) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(lease);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_lease_holder_gets_only_the_leases_blobs() {
        let grants = Grants::default();
        let (a, b) = (NodeId([1; 32]), NodeId([2; 32]));
        let (lease, other) = (LeaseId([1; 16]), LeaseId([2; 16]));
        let (x, y) = (BlobHash([1; 32]), BlobHash([2; 32]));
        assert!(grants.allow(lease, a, [x]));
        assert!(grants.may(a, Some(lease), &x));
        assert!(!grants.may(b, Some(lease), &x), "another peer");
        assert!(!grants.may(a, Some(other), &x), "another lease");
        assert!(!grants.may(a, None, &x), "no lease");
        assert!(!grants.may(a, Some(lease), &y), "another blob");
        assert!(!grants.allow(lease, b, [y]), "a lease has one peer");
        grants.end(&lease);
        assert!(!grants.may(a, Some(lease), &x));
    }
}
