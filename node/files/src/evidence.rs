//! What is held against a provider.

use hive_protocol::ids::{BlobHash, NodeId};
use std::sync::Arc;

/// What it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvidenceKind {
    /// It sent bytes or chaining values that do not belong to the content.
    WrongBytes,
}

/// One fault of a provider, seen by this node itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// Who.
    pub node: NodeId,
    /// Of which content.
    pub hash: BlobHash,
    /// What.
    pub kind: EvidenceKind,
}

/// Called with each fault; must not block.
pub type OnEvidence = Arc<dyn Fn(Evidence) + Send + Sync>;
