//! What this node shares, and what an earlier process left to go on with.

use crate::{Files, PullRequest, Target, Transfer, access::Audience, error::PullError, pull, request::Hint};
use futures::{StreamExt, stream};
use hive_protocol::{ids::BlobHash, manifest::Manifest};
use std::sync::Arc;

/// Announcements under way at a time after a start: the network takes 64 queries of all kinds.
const ANNOUNCING: usize = 16;

impl Files {
    /// Gives a root to an audience, also over a restart; to all members it is announced in the hash table too.
    ///
    /// # Errors
    /// The journal's; `store.full`.
    pub async fn share(&self, root: BlobHash, audience: Audience) -> Result<(), PullError> {
        let engine = self.engine();
        if !engine.access.grant(root, audience) {
            return Err(PullError::Store {
                code: "store.full",
                detail: "too many roots are shared, or with too many nodes".to_owned(),
            });
        }
        let Some(now) = engine.access.audience(&root) else {
            return Ok(());
        };
        engine.rows.keep_share(root, &now).await?;
        if now == Audience::Members {
            self.announce(vec![root]);
        }
        Ok(())
    }

    /// Announces roots in the hash table, some at a time; it says them again by itself until they are taken back.
    fn announce(&self, roots: Vec<BlobHash>) {
        let net = self.net().clone();
        tokio::spawn(async move {
            let each = |root| {
                let net = net.clone();
                async move {
                    if let Err(e) = net.provide(root).await {
                        tracing::debug!(?root, error = %e, "not announced; tickets name this node all the same");
                    }
                }
            };
            stream::iter(roots).for_each_concurrent(ANNOUNCING, each).await;
        });
    }

    /// Takes a root back from everybody.
    ///
    /// # Errors
    /// The journal's.
    pub async fn unshare(&self, root: &BlobHash) -> Result<(), PullError> {
        self.engine().access.revoke(root);
        self.net().unprovide(*root).await;
        self.engine().rows.end_share(*root).await
    }

    /// Goes on with what an earlier process left: shares and unfinished transfers. Says how many transfers.
    ///
    /// # Errors
    /// The journal's.
    pub async fn restore(&self) -> Result<usize, PullError> {
        let engine = self.engine();
        let mut public = Vec::new();
        for (root, audience) in engine.rows.shares().await? {
            if audience == Audience::Members {
                public.push(root);
            }
            engine.access.grant(root, audience);
        }
        self.announce(public);
        let mut count = 0;
        for (id, row) in engine.rows.transfers().await? {
            let list = row.list.clone().map(Into::into);
            match self.start(row.request.clone(), list, Some((id, &row))).await {
                Ok(_) => count += 1,
                Err(e) => tracing::warn!(?id, error = %e, "a transfer could not be taken up again"),
            }
        }
        Ok(count)
    }

    /// The manifest of a folder: from here, or fetched.
    ///
    /// # Errors
    /// As [`Transfer::done`], and why it is no manifest.
    pub async fn manifest(
        &self,
        root: BlobHash,
        hints: Vec<Hint>,
        max_bytes: u64,
    ) -> Result<Arc<Manifest>, PullError> {
        let request = PullRequest {
            hints,
            max_bytes: max_bytes.min(hive_protocol::manifest::MAX_MANIFEST as u64),
            durable: false,
            audience: Audience::Nobody,
            priority: hive_protocol::notice::Priority::Interactive,
            ..PullRequest::new(root, false, Target::Store)
        };
        let transfer = self.pull(request).await?;
        let waiting = CancelOnDrop(&transfer);
        transfer.done().await?;
        drop(waiting);
        let store = self.engine().store.clone();
        Ok(pull::blocking(move || store.manifest(&root)).await??)
    }
}

/// Gives a transfer up when whoever waits for it has gone.
struct CancelOnDrop<'a>(&'a Transfer);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        // Without effect when it has ended.
        self.0.cancel(true);
    }
}
