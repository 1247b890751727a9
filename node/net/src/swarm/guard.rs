//! Peers that are kept whatever happens, and peers that may not be connected directly.

use super::Node;
use crate::event::Transport;
use hive_protocol::ids::NodeId;
use std::collections::BTreeSet;

/// Peers that may be protected: authorities, relays, a few anchors.
pub const MAX_PROTECTED: usize = 32;
/// Peers that may be allowed direct connections where those are off.
const MAX_ALLOWED: usize = 256;

/// Who is kept, and who may be direct.
#[derive(Debug, Default)]
pub(super) struct Guard {
    protected: BTreeSet<NodeId>,
    /// Present where direct connections are off.
    direct: Option<BTreeSet<NodeId>>,
}

impl Guard {
    /// With direct connections on or off.
    pub(super) fn new(direct: bool) -> Self {
        Self {
            protected: BTreeSet::new(),
            direct: (!direct).then(BTreeSet::new),
        }
    }

    /// From now on these are kept, and no others.
    pub(super) fn protect(&mut self, nodes: Vec<NodeId>) {
        self.protected = nodes.into_iter().take(MAX_PROTECTED).collect();
    }

    /// Whether a node is kept whatever happens.
    pub(super) fn is_protected(&self, node: &NodeId) -> bool {
        self.protected.contains(node)
    }
}

impl Node {
    pub(super) fn protect(&mut self, nodes: Vec<NodeId>) {
        self.guard.protect(nodes);
    }

    pub(super) fn is_protected(&self, node: &NodeId) -> bool {
        self.guard.is_protected(node)
    }

    pub(super) fn allow_direct(&mut self, nodes: Vec<NodeId>) {
        let Some(allowed) = &mut self.guard.direct else {
            return;
        };
        *allowed = nodes.into_iter().take(MAX_ALLOWED).collect();
        let over: Vec<_> = self
            .table
            .iter()
            .filter(|(_, peer)| !self.may_be_direct(&peer.node))
            .flat_map(|(_, peer)| &peer.connections)
            .filter(|c| c.transport != Transport::Relay)
            .map(|c| c.id)
            .collect();
        for id in over {
            self.swarm.close_connection(id);
        }
    }

    /// Whether a node may be connected directly. Before anybody has been allowed, everybody may: somebody has to be
    /// asked who the relays and authorities are.
    pub(super) fn may_be_direct(&self, node: &NodeId) -> bool {
        self.guard
            .direct
            .as_ref()
            .is_none_or(|allowed| allowed.is_empty() || allowed.contains(node))
    }
}
