//! Bulk streams live as long as their node is a connected member, with a short grace for a lost connection.

use super::Node;
use crate::names;
use hive_protocol::ids::NodeId;
use std::{
    collections::BTreeMap,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// A node whose mesh connection is lost keeps its bulk streams for so long: enough to connect again.
const MESH_LOST: Duration = Duration::from_secs(10);

/// Nodes with bulk streams and without a mesh connection, and since when; bounded by the number of bulk streams.
pub(super) type Unseen = BTreeMap<NodeId, Instant>;

impl Node {
    /// Ends the bulk streams of a node.
    pub(super) fn end_bulk(&mut self, node: NodeId) {
        let ended = self.shared.bulk.end(node);
        if ended > 0 {
            tracing::debug!(?node, ended, "bulk streams ended");
            let counter = &self.shared.tally.bulk_ended;
            counter.fetch_add(ended as u64, Ordering::Relaxed);
        }
    }

    /// Ends the bulk streams of nodes that are members no longer, or gone for too long.
    pub(super) fn sweep_bulk(&mut self, now: Instant) {
        let nodes = self.shared.bulk.nodes();
        self.unseen.retain(|node, _| nodes.contains(node));
        for node in nodes {
            let known = names::peer_id(node).ok().and_then(|peer| self.table.get(&peer));
            let over = match known {
                Some(peer) if peer.may_be_member() => {
                    self.unseen.remove(&node);
                    false
                }
                Some(_) => true,
                None => {
                    let since = *self.unseen.entry(node).or_insert(now);
                    now.saturating_duration_since(since) >= MESH_LOST
                }
            };
            if over {
                self.unseen.remove(&node);
                self.end_bulk(node);
            }
        }
    }
}
