//! Reading a range of content that may be elsewhere: only what is missing of it is fetched.

use crate::{
    Files,
    error::PullError,
    providers::Providers,
    pull::{self, RangePull, Shared},
    reading::{From, Reading, Steps},
    request::{Hint, MAX_HINTS},
};
use hive_protocol::{
    file::{MAX_CONTENT, Via},
    ids::BlobHash,
};
use std::{ops::Range, sync::Arc, time::Duration};
use tokio::task::JoinHandle;

/// Nobody has told the size of the content within this time: nobody has it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A range to read.
#[derive(Debug, Clone)]
pub struct RangeRequest {
    /// Of which content.
    pub hash: BlobHash,
    /// Why we may have it; `None`: [`Via::Root`] of `hash`.
    pub via: Option<Via>,
    /// Who may have it.
    pub hints: Vec<Hint>,
    /// First byte and one past the last; cut to the content's size.
    pub range: Range<u64>,
    /// Whether the hash table is asked for providers.
    pub lookup: bool,
}

/// Verified bytes of a range, in order. Dropping it ends the fetching.
pub struct RangeReader {
    steps: Steps,
    size: u64,
    range: Range<u64>,
    fetching: Option<JoinHandle<Result<(), PullError>>>,
    /// Thrown away with the last reader.
    _shared: Option<Arc<Shared>>,
}

impl std::fmt::Debug for RangeReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RangeReader({:?} of {})", self.range, self.size)
    }
}

impl RangeReader {
    /// Size of the whole content in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The range as it is read: cut to the content's size.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// The next verified bytes; `None` at the end. After an error there is no more.
    pub async fn next(&mut self) -> Option<Result<Vec<u8>, PullError>> {
        let Some(fetching) = &mut self.fetching else {
            return self.steps.recv().await;
        };
        tokio::select! {
            biased;
            step = self.steps.recv() => step,
            done = fetching => {
                self.fetching = None;
                match done {
                    Ok(Err(e)) => {
                        self.steps.close();
                        Some(Err(e))
                    }
                    // All of it is here: what is left is read.
                    Ok(Ok(())) | Err(_) => self.steps.recv().await,
                }
            }
        }
    }
}

impl Drop for RangeReader {
    fn drop(&mut self) {
        if let Some(fetching) = self.fetching.take() {
            fetching.abort();
        }
    }
}

impl Files {
    /// Opens a range of content for reading. Returns when the content's size is known.
    ///
    /// # Errors
    /// `file.range` for one that begins after the end, `file.no_provider` when nobody gives it within 10 seconds,
    /// the store's.
    pub async fn read_range(&self, request: RangeRequest) -> Result<RangeReader, PullError> {
        if request.range.start > request.range.end || request.hints.len() > MAX_HINTS {
            return Err(PullError::Range {
                from: request.range.start,
                to: request.range.end,
                size: MAX_CONTENT,
            });
        }
        let engine = self.engine();
        let (store, hash) = (engine.store.clone(), request.hash);
        let whole = {
            let store = store.clone();
            pull::blocking(move || {
                store
                    .content(&hash)
                    .filter(|c| c.whole)
                    .map(|_| store.source(&hash))
            })
            .await?
        };
        let cut = |size: u64| -> Result<Range<u64>, PullError> {
            if request.range.start > size {
                return Err(PullError::Range {
                    from: request.range.start,
                    to: request.range.end,
                    size,
                });
            }
            Ok(request.range.start..request.range.end.min(size))
        };
        let reading = |from| Reading {
            from,
            hash,
            news: engine.means.news.clone(),
            store: store.clone(),
            transfer: None,
        };
        if let Some(source) = whole {
            let source = Arc::new(source?);
            let size = source.size();
            let range = cut(size)?;
            let steps = reading(From::Whole(source)).begin(range.start, range.end, |_| {});
            return Ok(RangeReader {
                steps,
                size,
                range,
                fetching: None,
                _shared: None,
            });
        }
        let lookup = request.lookup.then(|| self.net().clone());
        let providers = Providers::new(hash, self.net().me(), request.hints.clone(), lookup);
        let via = request.via.unwrap_or(Via::Root(hash));
        let asked = providers.clone();
        let begun = tokio::time::timeout(PATIENCE, RangePull::begin(engine, providers, hash, via)).await;
        let nobody = |_| PullError::NoProvider {
            hash,
            asked: asked.after(0).len(),
        };
        let pull = begun.map_err(nobody)??;
        let size = pull.size();
        let range = cut(size)?;
        let steps = reading(From::Coming(pull.partial())).begin(range.start, range.end, |_| {});
        let shared = pull.shared();
        let fetching = tokio::spawn(pull.run(range.clone()));
        Ok(RangeReader {
            steps,
            size,
            range,
            fetching: Some(fetching),
            _shared: Some(shared),
        })
    }
}
