//! Bulk streams that peers open.

use super::BulkStream;
use crate::registry::Registry;
use hive_protocol::ids::NodeId;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Inbound bulk streams of one protocol, whichever way they came. Dropping it ends the service.
pub struct BulkInbound {
    receiver: mpsc::Receiver<(NodeId, BulkStream)>,
    protocol: &'static str,
    registry: Arc<Registry>,
}

impl BulkInbound {
    pub(crate) const fn new(
        receiver: mpsc::Receiver<(NodeId, BulkStream)>,
        protocol: &'static str,
        registry: Arc<Registry>,
    ) -> Self {
        Self {
            receiver,
            protocol,
            registry,
        }
    }

    /// The next stream; `None` after shutdown. Cancel safe.
    pub async fn accept(&mut self) -> Option<(NodeId, BulkStream)> {
        self.receiver.recv().await
    }
}

impl std::fmt::Debug for BulkInbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BulkInbound({})", self.protocol)
    }
}

impl Drop for BulkInbound {
    fn drop(&mut self) {
        self.registry.forget(self.protocol);
    }
}
