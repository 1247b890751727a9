//! The node's file store as the library of mirrors.

use super::port::{Added, Found, Library};
use crate::error::SyncError;
use hive_protocol::{ids::BlobHash, manifest::Manifest};
use hive_store::files::{FileStore, FilesError, Given};
use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

/// Gives mirrored folders from where they are, by reference.
#[derive(Clone)]
pub struct StoreLibrary(FileStore);

impl StoreLibrary {
    /// On this store.
    #[must_use]
    pub const fn new(store: FileStore) -> Self {
        Self(store)
    }
}

impl Library for StoreLibrary {
    fn add(&self, dir: &Path, found: Vec<Found>, tag: &str, cancel: &AtomicBool) -> Result<Added, SyncError> {
        let given = found.into_iter().map(|f| Given {
            entry: f.entry,
            ino: f.ino,
            older: f.older,
        });
        let added = self
            .0
            .add_entries(dir, given.collect(), Some(tag), cancel)
            .map_err(|e| SyncError::Content {
                code: e.code(),
                text: e.to_string(),
            })?;
        let failed = added.failed.into_iter().map(|(path, e)| {
            let passing = matches!(e, FilesError::Unsteady { .. } | FilesError::Missing { .. });
            (path, e.to_string(), passing)
        });
        Ok(Added {
            root: added.root.hash,
            manifest: added.manifest,
            failed: failed.collect(),
        })
    }

    fn manifest(&self, root: &BlobHash) -> Option<Manifest> {
        self.0.manifest(root).ok().map(Arc::unwrap_or_clone)
    }

    fn release(&self, root: &BlobHash, tag: &str) {
        if let Err(error) = self.0.release(root, tag) {
            tracing::warn!(%error, "an old state of a mirror could not be dropped");
        }
    }
}
