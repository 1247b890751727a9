//! Pulling a part of a content for somebody who reads it now.

use crate::{
    error::PullError,
    providers::Providers,
    pull::{
        content::{Content, ContentPull, Wish},
        keep::{Keeper, blocking},
        learn,
        report::ContentReport,
        run::Engine,
    },
};
use hive_protocol::{
    file::{MAX_CONTENT, SEGMENT, Via},
    ids::BlobHash,
};
use hive_store::files::{Destination, FilesError, Partial};
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// Segments asked for first, in order, ahead of the reader.
const WINDOW: u32 = 4;
/// What the last reader had open may take so long to be put away.
const BUSY: Duration = Duration::from_secs(5);
/// How often it is looked again meanwhile.
const LOOK: Duration = Duration::from_millis(30);

/// The partials that readers of ranges share. Clones share the table; a row lives as long as a reader.
#[derive(Clone, Default)]
pub struct Ranged(Arc<Mutex<BTreeMap<BlobHash, Weak<Shared>>>>);

/// One partial, thrown away with its last reader.
pub struct Shared {
    keeper: Arc<Keeper>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let partial = self.keeper.partial().clone();
        // Dropping happens on a thread that must not wait for the disk; without a runtime the process ends, and the
        // partial is collected some days later.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || {
                let kept = if partial.is_whole() {
                    partial.finish(None, None).map(|_| ())
                } else {
                    partial.abandon(false)
                };
                if let Err(e) = kept {
                    tracing::debug!(error = %e, "what a reader had fetched could not be put away");
                }
            });
        }
    }
}

/// A pull for one reader.
pub struct RangePull {
    engine: Engine,
    shared: Arc<Shared>,
    providers: Providers,
    content: Content,
}

impl RangePull {
    /// Opens it and learns its size.
    ///
    /// # Errors
    /// Too large, or the store's refusal.
    pub async fn begin(
        engine: &Engine,
        providers: Providers,
        hash: BlobHash,
        via: Via,
    ) -> Result<Self, PullError> {
        let shared = engine.ranged.open(engine, hash).await?;
        let content = Content {
            hash,
            via,
            size: None,
            exact: false,
            max_size: MAX_CONTENT,
            only: None,
        };
        learn::tree(engine, &providers, &content, &shared.keeper, true).await?;
        Ok(Self {
            engine: engine.clone(),
            shared,
            providers,
            content,
        })
    }

    /// Size of the content.
    pub fn size(&self) -> u64 {
        self.shared.keeper.size().unwrap_or(0)
    }

    /// What must live as long as somebody reads.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Where its bytes come to.
    pub fn partial(&self) -> Partial {
        self.shared.keeper.partial().clone()
    }

    /// Fetches what is missing of a range.
    ///
    /// # Errors
    /// As [`crate::Transfer::done`].
    pub async fn run(mut self, range: Range<u64>) -> Result<(), PullError> {
        if range.is_empty() {
            return Ok(());
        }
        self.content.only = Some((range.start, range.end));
        let (report, _seen) = watch::channel(ContentReport::default());
        let from = u32::try_from(range.start / SEGMENT).unwrap_or(u32::MAX);
        let (_wish, wishes) = watch::channel(Wish {
            reader: (from, WINDOW),
            ..Wish::default()
        });
        let keeper = Arc::clone(&self.shared.keeper);
        let pull = ContentPull::new(
            self.engine.means.clone(),
            self.content,
            keeper,
            self.providers,
            report,
        );
        pull.run(wishes).await
    }
}

impl Ranged {
    async fn open(&self, engine: &Engine, hash: BlobHash) -> Result<Arc<Shared>, PullError> {
        let start = Instant::now();
        let partial = loop {
            if let Some(shared) = self.known(&hash) {
                return Ok(shared);
            }
            let store = engine.store.clone();
            match blocking(move || store.begin(&hash, &Destination::default(), MAX_CONTENT)).await? {
                Ok(partial) => break partial,
                // The last reader's is being put away, or another reader opens it just now.
                Err(FilesError::Busy { .. }) if start.elapsed() < BUSY => tokio::time::sleep(LOOK).await,
                Err(e) => return Err(e.into()),
            }
        };
        let shared = Arc::new(Shared {
            keeper: Arc::new(Keeper::new(partial)),
        });
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.retain(|_, shared| shared.strong_count() > 0);
        table.insert(hash, Arc::downgrade(&shared));
        Ok(shared)
    }

    fn known(&self, hash: &BlobHash) -> Option<Arc<Shared>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(hash)
            .and_then(Weak::upgrade)
    }
}
