//! The handle's part that concerns ways to peers: how one is reached, what was tried, trying now.

use crate::{
    error::NetError,
    handle::{Command, NetHandle, OPEN_TIMEOUT},
    path::{Attempt, PathView},
};
use hive_protocol::ids::NodeId;
use std::time::Duration;

/// A trace is over within this time.
pub const TRACE_TIMEOUT: Duration = Duration::from_secs(15);

impl NetHandle {
    /// How a node is reached now.
    ///
    /// # Errors
    /// `net.no_address` when nothing at all is known of it.
    pub async fn path(&self, node: NodeId) -> Result<PathView, NetError> {
        let what = || format!("looking at the way to {node:?}");
        self.ask(what, OPEN_TIMEOUT, |reply| Command::Path { node, reply })
            .await
    }

    /// How every node is reached that is connected, being dialed, or was tried in vain lately.
    pub async fn paths(&self) -> Vec<PathView> {
        let what = || "listing paths".to_owned();
        self.ask(what, OPEN_TIMEOUT, |reply| Command::Paths { reply })
            .await
            .unwrap_or_default()
    }

    /// What was tried to reach a node, oldest first; at most [`crate::MAX_ATTEMPTS`], of the 512 nodes tried last.
    ///
    /// # Errors
    /// `net.bad_key`, `net.unreachable` for this node itself.
    pub async fn attempts(&self, node: NodeId) -> Result<Vec<Attempt>, NetError> {
        let what = || format!("what was tried to reach {node:?}");
        self.ask(what, OPEN_TIMEOUT, |reply| Command::Attempts { node, reply })
            .await
    }

    /// Tries every address known of a node, and these, each with a connection of its own, and punches if the node is
    /// connected through a relay. Connections made for this are closed again if there was one before. Over within
    /// [`TRACE_TIMEOUT`].
    ///
    /// # Errors
    /// `net.no_address`, `net.busy` when too many traces run.
    pub async fn trace(&self, node: NodeId, addrs: Vec<String>) -> Result<Vec<Attempt>, NetError> {
        let what = || format!("tracing {node:?}");
        self.ask(what, TRACE_TIMEOUT, |reply| Command::Trace { node, addrs, reply })
            .await
    }

    /// Seeks a direct way to a node that is connected through a relay now, rather than when it is due.
    ///
    /// # Errors
    /// `net.no_address` when it is not connected through a relay, `net.busy` when too many are being sought.
    pub async fn punch(&self, node: NodeId) -> Result<(), NetError> {
        let what = || format!("seeking a direct way to {node:?}");
        self.ask(what, OPEN_TIMEOUT, |reply| Command::Punch { node, reply })
            .await
    }

    /// Names the peers (at most [`crate::MAX_PROTECTED`]) whose connections are never closed for room or idleness:
    /// authorities, this node's relays. Replaces those named before.
    pub async fn protect(&self, nodes: Vec<NodeId>) {
        self.tell(Command::Protect { nodes }).await;
    }

    /// Names the peers that may be connected directly although [`crate::Config::direct`] is off: relays and
    /// authorities. Replaces those named before; connections that are not allowed any more are closed.
    pub async fn allow_direct(&self, nodes: Vec<NodeId>) {
        self.tell(Command::AllowDirect { nodes }).await;
    }
}
