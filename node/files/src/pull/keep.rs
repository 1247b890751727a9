//! Where a content's bytes are kept: the store's partial as the lanes and the core's shell see it.

use crate::{
    error::PullError,
    pull::job::{Sink, SinkError},
};
use hive_protocol::file;
use hive_store::files::{FilesError, Partial};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What of a content is here.
#[derive(Debug, Default)]
pub struct Local {
    /// Its size.
    pub size: u64,
    /// Segments of which something is here: which, its groups here, whether their chaining values are here.
    pub segments: Vec<(u32, u64, bool)>,
}

/// Why the store did not take a tree.
#[derive(Debug)]
pub enum Refused {
    /// It is not this content's.
    Sender,
    /// It cannot.
    Ours(PullError),
}

/// A partial.
pub struct Keeper {
    partial: Partial,
    syncing: Arc<AtomicBool>,
}

impl From<FilesError> for PullError {
    fn from(e: FilesError) -> Self {
        Self::Store {
            code: e.code(),
            detail: e.to_string(),
        }
    }
}

fn refused(e: &FilesError) -> SinkError {
    match e {
        FilesError::Corrupt { .. } => SinkError::Corrupt,
        e => SinkError::Store(e.code(), e.to_string()),
    }
}

/// Runs on a thread that may wait for the disk.
///
/// # Errors
/// The process ends.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, PullError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| PullError::Stopped)
}

impl Keeper {
    /// Keeps in this partial.
    pub fn new(partial: Partial) -> Self {
        Self {
            partial,
            syncing: Arc::default(),
        }
    }

    /// The partial.
    pub const fn partial(&self) -> &Partial {
        &self.partial
    }

    /// Size of the content, once known.
    pub fn size(&self) -> Option<u64> {
        self.partial.size()
    }

    /// Verified bytes here.
    pub fn here(&self) -> u64 {
        self.partial.bytes_here()
    }

    /// What is here already; `None` when the tree is not known yet. `known`: the size of content of one segment,
    /// which has no tree to be asked for.
    ///
    /// # Errors
    /// The store's refusal.
    pub fn local(&self, known: Option<u64>) -> Result<Option<Local>, PullError> {
        if self.partial.size().is_none() {
            match known {
                Some(size) => match self.partial.set_tree(size, &[]) {
                    // It cannot have that size: somebody else has to say it.
                    Err(FilesError::Corrupt { .. }) => return Ok(None),
                    taken => taken?,
                },
                None => return Ok(None),
            }
        }
        Ok(self.look())
    }

    /// Takes a tree in.
    ///
    /// # Errors
    /// It is not this content's, or the store refuses.
    pub fn tree(&self, size: u64, segments: &[[u8; 32]]) -> Result<Local, Refused> {
        match self.partial.set_tree(size, segments) {
            Ok(()) => {}
            Err(FilesError::Corrupt { .. }) => return Err(Refused::Sender),
            Err(e) => return Err(Refused::Ours(e.into())),
        }
        for segment in 0..file::segments(size) {
            // Holes need not travel; that the store cannot make one now does not matter.
            if self.partial.fill_zeros(segment).is_err() {
                break;
            }
        }
        Ok(self.look().unwrap_or_default())
    }

    fn look(&self) -> Option<Local> {
        let size = self.partial.size()?;
        let mut segments = Vec::new();
        for segment in 0..file::segments(size) {
            let here = file::whole_mask(size, segment) & !self.partial.missing(segment);
            let hashes = self.partial.has_groups(segment);
            if here != 0 || hashes {
                // At most 262,144 segments.
                segments.push((u32::try_from(segment).unwrap_or(u32::MAX), here, hashes));
            }
        }
        Some(Local { size, segments })
    }

    /// Forces what is here to the disk, on a thread of its own, one at a time.
    pub fn sync_apart(&self) {
        if self.syncing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (partial, syncing) = (self.partial.clone(), Arc::clone(&self.syncing));
        tokio::task::spawn_blocking(move || {
            if let Err(e) = partial.sync() {
                tracing::warn!(error = %e, "what was received could not be forced to the disk yet");
            }
            syncing.store(false, Ordering::Release);
        });
    }
}

impl Sink for Keeper {
    fn groups(&self, segment: u32, cvs: &[[u8; 32]]) -> Result<(), SinkError> {
        self.partial
            .set_groups(u64::from(segment), cvs)
            .map_err(|e| refused(&e))
    }

    fn write(&self, segment: u32, mask: u64, bytes: &[u8]) -> Result<(), SinkError> {
        let right = self
            .partial
            .write_mask(u64::from(segment), mask, bytes)
            .map_err(|e| refused(&e))?;
        if right == mask {
            Ok(())
        } else {
            Err(SinkError::Corrupt)
        }
    }
}
