//! What all handlers share.

use crate::{answer::Failure, limits::Bounds, metrics::Metrics};
use hive_runtime::port::NodeHandle;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What all handlers share; cheap to clone.
#[derive(Clone)]
pub(crate) struct Context(Arc<Shared>);

struct Shared {
    node: NodeHandle,
    metrics: Metrics,
    bounds: Bounds,
    token: Option<String>,
    /// Bytes of bodies that may still be held in memory.
    bodies: Arc<Semaphore>,
}

impl Context {
    pub(crate) fn new(node: NodeHandle, bounds: Bounds, token: Option<String>) -> Self {
        Self(Arc::new(Shared {
            node,
            metrics: Metrics::new(),
            bodies: Arc::new(Semaphore::new(bounds.body_budget)),
            bounds,
            token,
        }))
    }
    pub(crate) fn node(&self) -> &NodeHandle {
        &self.0.node
    }
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }
    pub(crate) fn bounds(&self) -> &Bounds {
        &self.0.bounds
    }
    pub(crate) fn token(&self) -> Option<&str> {
        self.0.token.as_deref()
    }
    /// Takes a share of the memory for request bodies.
    ///
    /// # Errors
    /// `api.busy` when it is used up.
    pub(crate) fn hold(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Failure> {
        u32::try_from(bytes)
            .ok()
            .and_then(|n| Arc::clone(&self.0.bodies).try_acquire_many_owned(n).ok())
            .ok_or_else(|| Failure::busy("the API holds as many request bodies as it has memory for"))
    }
}
