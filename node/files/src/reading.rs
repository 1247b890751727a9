//! Reading content while it comes: verified bytes in order, as soon as they are here.

use crate::{error::PullError, news::News, pull::blocking, transfer::Transfer};
use hive_protocol::ids::BlobHash;
use hive_store::files::{FileStore, FilesError, Partial, Source};
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::timeout};

/// Bytes read at once.
const STEP: u64 = 256 << 10;
/// Steps read ahead of whoever reads.
const AHEAD: usize = 4;
/// Without news it is looked again after this time.
const LOOK: Duration = Duration::from_millis(250);

/// Where bytes are read from.
pub enum From {
    /// Whole content.
    Whole(Arc<Source>),
    /// Content that comes.
    Coming(Partial),
}

/// What a reader needs besides.
pub struct Reading {
    /// Where it comes from.
    pub from: From,
    /// Which content.
    pub hash: BlobHash,
    /// What grows.
    pub news: News,
    /// For content that became whole meanwhile.
    pub store: FileStore,
    /// Whose failure ends the reading.
    pub transfer: Option<Transfer>,
}

/// Verified bytes, step by step.
pub type Steps = mpsc::Receiver<Result<Vec<u8>, PullError>>;

async fn failure(transfer: Option<Transfer>) -> PullError {
    if let Some(Err(e)) = match transfer {
        Some(transfer) => Some(transfer.done().await),
        None => None,
    } {
        return e;
    }
    std::future::pending().await
}

impl Reading {
    /// Ends with an error when this transfer fails.
    pub fn until(mut self, transfer: &Transfer) -> Self {
        self.transfer = Some(transfer.clone());
        self
    }

    /// Reads these bytes into a channel until they end, something fails, or nobody reads any more. `tell` hears
    /// where it is before each step.
    pub fn begin(self, from: u64, to: u64, tell: impl Fn(u64) + Send + 'static) -> Steps {
        let (sender, steps) = mpsc::channel(AHEAD);
        tokio::spawn(async move {
            let transfer = self.transfer.clone();
            let end = tokio::select! {
                end = self.run(from, to, tell, &sender) => end,
                e = failure(transfer) => Err(e),
                () = sender.closed() => Ok(()),
            };
            if let Err(e) = end {
                drop(sender.send(Err(e)).await);
            }
        });
        steps
    }

    async fn run(
        mut self,
        from: u64,
        to: u64,
        tell: impl Fn(u64),
        sender: &mpsc::Sender<Result<Vec<u8>, PullError>>,
    ) -> Result<(), PullError> {
        let mut at = from;
        while at < to {
            tell(at);
            let news = self.news.of(&self.hash);
            let end = at.saturating_add(STEP).min(to);
            match self.step(at, end).await? {
                Some(bytes) => {
                    if sender.send(Ok(bytes)).await.is_err() {
                        return Ok(());
                    }
                    at = end;
                }
                None => match news {
                    // News or a timeout: it is looked again either way.
                    Some(mut news) => drop(timeout(LOOK, news.changed()).await),
                    None => tokio::time::sleep(LOOK).await,
                },
            }
        }
        Ok(())
    }

    /// These bytes if they are here.
    async fn step(&mut self, at: u64, end: u64) -> Result<Option<Vec<u8>>, PullError> {
        let read = match &self.from {
            From::Whole(source) => {
                let source = Arc::clone(source);
                blocking(move || {
                    let mut out = Vec::new();
                    source.read_range(at, end, true, &mut out).map(|_| out)
                })
                .await?
            }
            From::Coming(partial) => {
                let partial = partial.clone();
                blocking(move || {
                    let mut out = Vec::new();
                    partial.read_range(at, end, &mut out).map(|_| out)
                })
                .await?
            }
        };
        match read {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e @ (FilesError::NotHere { .. } | FilesError::Order { .. })) => {
                let (store, hash) = (self.store.clone(), self.hash);
                let whole = blocking(move || {
                    store
                        .content(&hash)
                        .filter(|c| c.whole)
                        .and_then(|_| store.source(&hash).ok())
                });
                if let Some(source) = whole.await? {
                    self.from = From::Whole(Arc::new(source));
                    return Ok(None);
                }
                match e {
                    FilesError::NotHere { .. } => Ok(None),
                    // The transfer has been put away without its content.
                    e => Err(e.into()),
                }
            }
            Err(e) => Err(e.into()),
        }
    }
}
