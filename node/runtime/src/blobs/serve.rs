//! Serving `/hive/blob/1`.

use super::grants::Grants;
use hive_net::{Inbound, frame};
use hive_protocol::{
    blob::{BlobReply, BlobRequest, GROUP},
    ids::NodeId,
};
use hive_store::BlobStore;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::Semaphore,
};

/// Blobs being read for others at once; more wait.
const MAX_SENDING: usize = 32;
/// A stream without a request for this long is closed.
const IDLE: Duration = Duration::from_secs(120);
/// One blob must make progress of at least a chunk within this time.
const STALLED: Duration = Duration::from_secs(30);

/// Serves streams until the network ends. `sent` counts bytes of blobs.
pub async fn serve(mut inbound: Inbound, store: BlobStore, grants: Grants, sent: Arc<AtomicU64>) {
    let places = Arc::new(Semaphore::new(MAX_SENDING));
    while let Some((node, stream)) = inbound.accept().await {
        let (store, grants, places, sent) = (
            store.clone(),
            grants.clone(),
            Arc::clone(&places),
            Arc::clone(&sent),
        );
        tokio::spawn(async move {
            if let Err(e) = one(node, stream, &store, &grants, &places, &sent).await {
                tracing::debug!(target: "hive_runtime::blob", ?node, "blob stream ended: {e}");
            }
        });
    }
}

async fn one<S: AsyncRead + AsyncWrite + Unpin>(
    node: NodeId,
    mut stream: S,
    store: &BlobStore,
    grants: &Grants,
    places: &Semaphore,
    sent: &AtomicU64,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    loop {
        let request = tokio::time::timeout(IDLE, frame::read::<BlobRequest, _>(&mut stream)).await??;
        let Some(request) = request else { return Ok(()) };
        let size = if grants.may(node, request.lease, &request.hash) {
            store.size(&request.hash)
        } else {
            None
        };
        let Some(size) = size else {
            frame::write(&mut stream, &BlobReply::NotFound).await?;
            continue;
        };
        if size > request.max_size {
            frame::write(&mut stream, &BlobReply::TooLarge { size }).await?;
            continue;
        }
        let _place = places.acquire().await?;
        if size <= GROUP {
            // A small blob is one read and one write: the hash is the check on both sides.
            match store.read(&request.hash, GROUP) {
                Ok(bytes) => {
                    frame::write(
                        &mut stream,
                        &BlobReply::Found {
                            size: bytes.len() as u64,
                        },
                    )
                    .await?;
                    tokio::time::timeout(STALLED, stream.write_all(&bytes)).await??;
                    stream.flush().await?;
                }
                Err(e) => {
                    tracing::warn!(target: "hive_runtime::blob", hash = ?request.hash, code = e.code(), "cannot serve: {e}");
                    frame::write(&mut stream, &BlobReply::NotFound).await?;
                    continue;
                }
            }
        } else {
            match store.encoder_async(&request.hash).await {
                Ok(mut encoder) => {
                    frame::write(&mut stream, &BlobReply::Found { size: encoder.size() }).await?;
                    let mut used = Vec::new();
                    while let Some(piece) = encoder.next(used).await? {
                        tokio::time::timeout(STALLED, stream.write_all(&piece)).await??;
                        used = piece;
                    }
                    stream.flush().await?;
                }
                Err(e) => {
                    tracing::warn!(target: "hive_runtime::blob", hash = ?request.hash, code = e.code(), "cannot serve: {e}");
                    frame::write(&mut stream, &BlobReply::NotFound).await?;
                    continue;
                }
            }
        }
        sent.fetch_add(size, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hive_protocol::ids::{BlobHash, LeaseId};
    use hive_store::DiskBudget;
    use tokio::io::AsyncReadExt;

    /// A member's stream of `/hive/blob/1`, past the gate: what it asks for, and what it is told.
    struct Member(tokio::io::DuplexStream);

    impl Member {
        async fn asks(&mut self, hash: BlobHash, lease: Option<LeaseId>) -> BlobReply {
            let request = BlobRequest {
                hash,
                lease,
                max_size: u64::MAX,
            };
            frame::write(&mut self.0, &request).await.unwrap();
            frame::read(&mut self.0).await.unwrap().unwrap()
        }
    }

    #[tokio::test]
    async fn a_member_without_a_lease_is_not_even_told_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = BlobStore::open(dir.path(), DiskBudget::new(1 << 20), false).unwrap();
        let input = b"for the holder of a lease";
        store.add_bytes(input).unwrap();
        let (here, nowhere) = (BlobHash::of(input), BlobHash::of(b"nowhere"));
        let (holder, stranger) = (NodeId([1; 32]), NodeId([2; 32]));
        let (lease, sent) = (LeaseId([1; 16]), Arc::<AtomicU64>::default());
        let grants = Grants::default();
        assert!(grants.allow(lease, holder, [here]));
        let open = |node: NodeId| {
            let (near, far) = tokio::io::duplex(4096);
            let (store, grants, sent) = (store.clone(), grants.clone(), Arc::clone(&sent));
            tokio::spawn(async move {
                let places = Semaphore::new(1);
                one(node, far, &store, &grants, &places, &sent).await.unwrap();
            });
            Member(near)
        };

        let mut member = open(stranger);
        for (hash, under) in [
            (here, None),
            (here, Some(lease)),
            (here, Some(LeaseId([2; 16]))),
            (nowhere, None),
        ] {
            assert_eq!(member.asks(hash, under).await, BlobReply::NotFound);
        }
        let mut member = open(holder);
        assert_eq!(member.asks(here, None).await, BlobReply::NotFound);
        assert_eq!(sent.load(Ordering::Relaxed), 0);
        let size = input.len() as u64;
        assert_eq!(member.asks(here, Some(lease)).await, BlobReply::Found { size });
        let mut got = vec![0; input.len()];
        member.0.read_exact(&mut got).await.unwrap();
        assert_eq!(got, input);
    }
}
