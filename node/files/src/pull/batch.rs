//! One question for many small contents, and what comes of its answer.

use crate::{
    error::PullError,
    pull::{
        answer::{Ask, AskError, ManyAnswer, Want},
        board::Board,
        keep::blocking,
        links::Lane,
    },
};
use hive_protocol::{
    file::{FileRequest, Via},
    ids::{BlobHash, NodeId},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// After a full disk it is tried again this often.
const DISK_RETRY: Duration = Duration::from_secs(5);

/// One small content: entry, hash, size.
pub type Small = (u32, BlobHash, u64);

/// Where small contents come from and go to. Called on blocking threads.
pub trait SmallFiles: Send + Sync + 'static {
    /// The next that are wanted, none twice; empty at the end.
    ///
    /// # Errors
    /// The store's refusal.
    fn more(&self) -> Result<Vec<Small>, PullError>;

    /// Checks and keeps them; says which were wrong.
    ///
    /// # Errors
    /// The store's refusal.
    fn keep(&self, files: &[(u32, &[u8])]) -> Result<Vec<u32>, PullError>;
}

/// Contents of one question.
pub struct Batch {
    /// Which.
    pub files: Vec<Small>,
    /// Those who did not give it.
    pub tried: BTreeSet<NodeId>,
}

/// How something asked of a provider has ended.
pub enum Done {
    /// It was met, or not.
    Up(NodeId, Result<Lane, AskError>),
    /// It gave what it gave.
    Batch(NodeId, Batch, Result<Taken, AskError>),
    /// Our store refuses.
    Ours(PullError),
}

/// What came of a batch.
pub struct Taken {
    /// Not given, or wrong.
    pub missing: Vec<Small>,
    /// Whether some were not what was asked for.
    pub wrong: bool,
    /// Bytes that came.
    pub bytes: u64,
}

/// Asks a provider for a batch and keeps what comes.
pub async fn fetch(
    node: NodeId,
    via: Via,
    lane: Lane,
    batch: Batch,
    (files, board): (Arc<dyn SmallFiles>, Arc<Board>),
) -> Done {
    let hashes: Vec<BlobHash> = batch.files.iter().map(|(_, hash, _)| *hash).collect();
    let (to, answer) = oneshot::channel();
    let want = Want::Many {
        to,
        count: hashes.len(),
        bytes: batch.files.iter().fold(0, |sum, f| sum.saturating_add(f.2)),
    };
    lane.ask(Ask::new(FileRequest::Many { via, hashes }, want));
    let answer = match answer.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(e)) => return Done::Batch(node, batch, Err(e)),
        Err(_) => {
            return Done::Batch(
                node,
                batch,
                Err(AskError::Broken("the stream was closed".to_owned())),
            );
        }
    };
    let mut come = (batch, answer);
    loop {
        let files = Arc::clone(&files);
        let kept = blocking(move || {
            let taken = keep(&come.0, &come.1, &*files);
            (come, taken)
        });
        match kept.await {
            // What has come waits for room; it is not asked for again.
            Ok((again, Err(e))) if e.code() == "store.disk_full" => {
                tracing::warn!(error = %e, "the disk is full; small files wait");
                board.full(true);
                tokio::time::sleep(DISK_RETRY).await;
                come = again;
            }
            Ok((_, Err(e))) | Err(e) => return Done::Ours(e),
            Ok(((batch, _), Ok(taken))) => {
                board.full(false);
                return Done::Batch(node, batch, Ok(taken));
            }
        }
    }
}

fn keep(batch: &Batch, answer: &ManyAnswer, files: &dyn SmallFiles) -> Result<Taken, PullError> {
    let (mut at, mut given, mut missing) = (0_usize, Vec::new(), Vec::new());
    for (file, size) in batch.files.iter().zip(&answer.sizes) {
        if *size == u32::MAX {
            missing.push(*file);
            continue;
        }
        let end = at.saturating_add(*size as usize);
        given.push((file.0, answer.bytes.get(at..end).unwrap_or_default()));
        at = end;
    }
    let wrong = if given.is_empty() {
        Vec::new()
    } else {
        files.keep(&given)?
    };
    let bad: BTreeSet<u32> = wrong.into_iter().collect();
    for (_, hash, said) in batch.files.iter().filter(|f| bad.contains(&f.0)) {
        // Right bytes of another size: the manifest lies, not whoever gave them.
        let right = given
            .iter()
            .find(|(n, bytes)| bad.contains(n) && BlobHash::of(bytes) == *hash);
        if let Some((_, bytes)) = right {
            return Err(PullError::Size {
                hash: *hash,
                said: *said,
                size: bytes.len() as u64,
            });
        }
    }
    missing.extend(batch.files.iter().filter(|f| bad.contains(&f.0)));
    Ok(Taken {
        missing,
        wrong: !bad.is_empty(),
        bytes: answer.bytes.len() as u64,
    })
}
