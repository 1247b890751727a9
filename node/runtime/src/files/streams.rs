//! Blobs of leases as streams: verified bytes in order, the first while the last are still elsewhere.

use super::desk::Desk;
use crate::{
    blobs::FetchError,
    exec::{Reader, Streams},
};
use hive_files::{Audience, PullRequest, Target};
use hive_protocol::{
    file::Via,
    ids::{LeaseId, NodeId},
    notice::Priority,
    task::BlobRef,
};
use std::{future::Future, pin::Pin};

/// Streams from the file engine, once it runs.
pub struct LeaseStreams(pub Desk);

fn failed(code: &str, text: impl std::fmt::Display) -> FetchError {
    FetchError {
        code: code.to_owned(),
        detail: text.to_string(),
        ours: code.starts_with("store."),
    }
}

impl Streams for LeaseStreams {
    fn open<'a>(
        &'a self,
        from: NodeId,
        lease: LeaseId,
        blob: &'a BlobRef,
    ) -> Pin<Box<dyn Future<Output = Result<Reader, FetchError>> + Send + 'a>> {
        Box::pin(async move {
            let engines = self.0.engines().await.map_err(|e| failed(&e.code, &e.message))?;
            let mut pull = PullRequest::new(blob.hash, false, Target::Store);
            pull.via = Some(Via::Lease(lease));
            pull.size_hint = Some(blob.size);
            pull.max_bytes = blob.size;
            pull.hints = self.0.hints([from], true);
            pull.lookup = false;
            pull.priority = Priority::Interactive;
            // What is a task's alone goes to nobody else.
            pull.audience = Audience::Nobody;
            pull.durable = false;
            let (_, growing) = engines
                .files
                .open_growing(pull)
                .await
                .map_err(|e| failed(e.code(), &e))?;
            Ok(Box::new(growing) as Reader)
        })
    }
}
