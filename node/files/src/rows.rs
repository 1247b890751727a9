//! What survives the process: transfers to go on with, and roots that are shared.

use crate::{
    access::Audience,
    error::PullError,
    request::{PullRequest, Wanted},
    transfer::Transfer,
};
use hive_protocol::{
    codec,
    ids::{BlobHash, TransferId},
    time::Timestamp,
};
use hive_store::{Journal, JournalError, Op, Record};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::sync::Arc;

/// The journal's trees.
pub const TREES: &[&str] = &[TRANSFERS, SHARES];
const TRANSFERS: &str = "transfers";
const SHARES: &str = "shares";
/// Of the records below.
const VERSION: u16 = 1;
/// The longest list that fits a record.
pub const MAX_LIST: usize = 32;
/// Records read at a time.
const PAGE: usize = 256;

/// A transfer as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferRow {
    /// What was asked for.
    pub request: PullRequest,
    /// Its list, for mirrors: not kept when it is too long for a record; then its mirror asks again.
    pub list: Option<Vec<Wanted>>,
    /// Whether its user has paused it.
    pub paused: bool,
    /// When it was asked for.
    pub started: Timestamp,
}

/// The rows. Clones share them.
#[derive(Clone)]
pub struct Rows(Arc<dyn Journal>);

impl From<JournalError> for PullError {
    fn from(e: JournalError) -> Self {
        Self::Store {
            code: e.code(),
            detail: e.to_string(),
        }
    }
}

impl Rows {
    /// In this journal, opened with [`TREES`].
    pub fn new(journal: Arc<dyn Journal>) -> Self {
        Self(journal)
    }

    async fn apply(&self, op: Op) -> Result<(), PullError> {
        let journal = Arc::clone(&self.0);
        crate::pull::blocking(move || journal.apply(vec![op])).await??;
        Ok(())
    }

    /// Keeps a transfer.
    ///
    /// # Errors
    /// The journal's, and a row that is too large.
    pub async fn keep_transfer(&self, id: TransferId, row: &TransferRow) -> Result<(), PullError> {
        self.apply(put(TRANSFERS, id.as_bytes(), row)?).await
    }

    /// Keeps whether a transfer is paused.
    ///
    /// # Errors
    /// The journal's.
    pub async fn keep_paused(&self, transfer: &Transfer) -> Result<(), PullError> {
        if !transfer.request().durable || transfer.view().stage.ended() {
            return Ok(());
        }
        let row = TransferRow {
            request: transfer.request().clone(),
            list: transfer
                .0
                .list
                .as_deref()
                .filter(|l| l.len() <= MAX_LIST)
                .map(<[_]>::to_vec),
            paused: transfer.is_paused(),
            started: transfer.view().started,
        };
        self.keep_transfer(transfer.id(), &row).await
    }

    /// Forgets a transfer that has ended; a failed one stays when `resumable`, until it is forgotten.
    pub async fn end_transfer(&self, id: TransferId, resumable: bool) {
        if resumable {
            return;
        }
        let op = Op::Delete {
            tree: TRANSFERS,
            key: id.as_bytes().to_vec(),
        };
        if let Err(e) = self.apply(op).await {
            tracing::warn!(?id, error = %e, "an ended transfer could not be forgotten; it is looked at again at the next start");
        }
    }

    /// Keeps who a root is shared with.
    ///
    /// # Errors
    /// The journal's.
    pub async fn keep_share(&self, root: BlobHash, audience: &Audience) -> Result<(), PullError> {
        self.apply(put(SHARES, root.as_bytes(), audience)?).await
    }

    /// Forgets a share.
    ///
    /// # Errors
    /// The journal's.
    pub async fn end_share(&self, root: BlobHash) -> Result<(), PullError> {
        let op = Op::Delete {
            tree: SHARES,
            key: root.as_bytes().to_vec(),
        };
        self.apply(op).await
    }

    /// All transfers.
    ///
    /// # Errors
    /// The journal's.
    pub async fn transfers(&self) -> Result<Vec<(TransferId, TransferRow)>, PullError> {
        self.all(TRANSFERS, |k| k.try_into().ok().map(TransferId)).await
    }

    /// All shares.
    ///
    /// # Errors
    /// The journal's.
    pub async fn shares(&self) -> Result<Vec<(BlobHash, Audience)>, PullError> {
        self.all(SHARES, |k| k.try_into().ok().map(BlobHash)).await
    }

    async fn all<K: Send + 'static, T: DeserializeOwned + Send + 'static>(
        &self,
        tree: &'static str,
        key: fn(&[u8]) -> Option<K>,
    ) -> Result<Vec<(K, T)>, PullError> {
        let journal = Arc::clone(&self.0);
        crate::pull::blocking(move || {
            let (mut out, mut after) = (Vec::new(), None);
            loop {
                let page = journal.scan(tree, &[], after.as_deref(), PAGE)?;
                for (name, record) in page.records {
                    let row = (record.schema == VERSION)
                        .then(|| {
                            codec::decode(tree, &record.payload, hive_store::journal::MAX_PAYLOAD_BYTES).ok()
                        })
                        .flatten();
                    match (key(&name), row) {
                        (Some(k), Some(row)) => out.push((k, row)),
                        _ => tracing::warn!(tree, "a row that cannot be read was passed over"),
                    }
                }
                after = page.next;
                if after.is_none() {
                    return Ok(out);
                }
            }
        })
        .await?
    }
}

fn put<T: Serialize>(tree: &'static str, key: &[u8], row: &T) -> Result<Op, PullError> {
    let payload = codec::encode(tree, row, hive_store::journal::MAX_PAYLOAD_BYTES)
        .map_err(|e| PullError::Request(format!("the transfer cannot be kept: {e}")))?;
    Ok(Op::Put {
        tree,
        key: key.to_vec(),
        record: Record {
            schema: VERSION,
            payload,
        },
    })
}
