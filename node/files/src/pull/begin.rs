//! Before the first question: whether it is here already, and whether somebody else is fetching it.

use crate::{
    error::PullError,
    pull::{keep::blocking, run::Engine},
    transfer::{Pulled, Transfer},
};
use hive_protocol::ids::BlobHash;
use hive_store::files::{AddOptions, FilesError};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::Duration,
};
use tokio::time::Instant;

/// A transfer that has just ended may take so long until its last piece is written.
const BUSY: Duration = Duration::from_millis(1500);
/// How often it is looked again meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// The transfers that fetch a root, the first of each. Clones share the table; it has a row for each running one.
#[derive(Clone, Default)]
pub struct First(Arc<Mutex<BTreeMap<BlobHash, Transfer>>>);

/// A place in the table, given back on drop.
pub struct Place {
    first: First,
    root: BlobHash,
}

impl First {
    /// Takes the place of the first, or says who has it.
    pub fn take(&self, transfer: &Transfer) -> Result<Place, Transfer> {
        let root = transfer.request().root;
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match table.get(&root) {
            Some(other) => Err(other.clone()),
            None => {
                table.insert(root, transfer.clone());
                Ok(Place {
                    first: self.clone(),
                    root,
                })
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.first
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.root);
    }
}

/// Waits until no other transfer fetches the same root: what that one has brought is then taken from this machine.
pub async fn turn(engine: &Engine, transfer: &Transfer) -> Place {
    loop {
        match engine.first.take(transfer) {
            Ok(place) => return place,
            // However that one ends.
            Err(other) => drop(other.done().await),
        }
        tokio::task::yield_now().await;
    }
}

/// Opens something in the store; while an ended transfer's last piece is still being written, again.
///
/// # Errors
/// The store's refusal.
pub async fn open<T: Send + 'static>(
    work: impl Fn() -> Result<T, FilesError> + Send + Sync + 'static,
) -> Result<T, FilesError> {
    let work = Arc::new(work);
    let start = Instant::now();
    loop {
        let of = Arc::clone(&work);
        match tokio::task::spawn_blocking(move || of()).await {
            Err(_) => return Err(FilesError::Cancelled),
            Ok(Err(FilesError::Busy { .. })) if start.elapsed() < BUSY => tokio::time::sleep(LOOK).await,
            Ok(result) => return result,
        }
    }
}

/// Whether what stands at the destination is the content wanted.
///
/// # Errors
/// The process ends.
pub async fn stands(engine: &Engine, transfer: &Transfer, path: &Path) -> Result<Option<Pulled>, PullError> {
    let (store, path, tag) = (engine.store.clone(), path.to_path_buf(), engine.tag(transfer));
    let request = transfer.request();
    let (root, folder) = (request.root, request.folder);
    blocking(move || {
        let meta = path.symlink_metadata().ok()?;
        if meta.is_dir() != folder || meta.is_symlink() {
            return None;
        }
        let options = AddOptions {
            skip_unsafe: true,
            ..AddOptions::default()
        };
        let added = store
            .add_path(&path, &options, &AtomicBool::new(false))
            .ok()?
            .root;
        if added.hash != root {
            return None;
        }
        if let Err(e) = store.keep(&root, &tag, None) {
            tracing::debug!(error = %e, "what stands at the destination could not be tagged");
        }
        Some(Pulled {
            root,
            folder,
            path: Some(path),
            bytes: added.size,
            fetched: 0,
            reused: added.size,
            files: added.files,
        })
    })
    .await
}
