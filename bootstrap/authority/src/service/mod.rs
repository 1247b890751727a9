//! The authority at work: opening and founding, the one ordering thread, and the handle everybody asks.

mod answers;
mod core;
mod handle;
mod join;
mod metrics;
mod restore;

use crate::log::{DirStorage, LogError, OpenReport, Storage};
use core::Core;
use handle::Shared;
use hive_protocol::{
    codec::CodecError,
    ids::{NetworkId, NodeId},
    keys::SecretKey,
    time::Timestamp,
};
use hive_state::{Event, GenesisError, State};
use restore::Restored;
use std::{
    path::Path,
    sync::{Arc, mpsc},
    thread,
};

pub use core::MAX_BATCH;
pub use handle::{AuthorityHandle, MAX_JOINS, MAX_WAITING};
pub use metrics::{FSYNC_BUCKETS_MS, Metrics};

/// Reads the wall clock; the only way time comes in.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Why the authority does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The founding document.
    #[error("ledger.genesis: {0}")]
    Genesis(#[from] GenesisError),
    /// The founding document does not fit an entry.
    #[error("ledger.genesis: {0}")]
    Codec(#[from] CodecError),
    /// The founding document names other authorities than this node.
    #[error(
        "authority.key: node {node} is no authority of mesh {network}; start it with the key the mesh was founded with"
    )]
    Key {
        /// This node.
        node: NodeId,
        /// The mesh.
        network: NetworkId,
    },
    /// The operating system gives no thread.
    #[error("authority.thread: {0}")]
    Thread(std::io::Error),
}

impl OpenError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Log(e) => e.code(),
            Self::Genesis(_) | Self::Codec(_) => "ledger.genesis",
            Self::Key { .. } => "authority.key",
            Self::Thread(_) => "authority.thread",
        }
    }
}

/// Something durable that happened, for audit lines and subscribers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// A record has taken effect.
    Ledger {
        /// The record.
        index: u64,
        /// Its time.
        time: Timestamp,
        /// What happened.
        event: Event,
    },
    /// A node's heartbeats have begun.
    Online(NodeId),
    /// A node's heartbeats have stopped.
    Offline(NodeId),
    /// The disk failed: the authority takes nothing more. The text says why.
    Stopped(String),
}

/// A running authority. Dropping it stops it, but only [`Authority::close`] says whether the log was closed well.
pub struct Authority {
    handle: AuthorityHandle,
    thread: Option<thread::JoinHandle<Result<(), LogError>>>,
    report: OpenReport,
}

impl Authority {
    /// Founds the ledger of a mesh in this folder and starts its authority.
    ///
    /// # Errors
    /// `ledger.exists` and the others of [`OpenError`].
    pub fn create(dir: &Path, genesis: &[u8], key: SecretKey, clock: Clock) -> Result<Self, OpenError> {
        let storage = Box::new(DirStorage::take(dir)?);
        let founded = restore::found(storage, genesis, Some(dir))?;
        Self::start(founded, key, clock)
    }

    /// Opens the ledger of this mesh in this folder and starts its authority. Everything that was ever acknowledged
    /// is there again and durable when this returns.
    ///
    /// # Errors
    /// `ledger.corrupt`, `ledger.absent`, `ledger.locked` and the others of [`OpenError`].
    pub fn open(dir: &Path, network: NetworkId, key: SecretKey, clock: Clock) -> Result<Self, OpenError> {
        Self::start(restore::restore_dir(dir, network)?, key, clock)
    }

    /// As [`Authority::create`] on any storage, without an index of old history.
    ///
    /// # Errors
    /// As [`Authority::create`].
    pub fn create_in(
        storage: Box<dyn Storage>,
        genesis: &[u8],
        key: SecretKey,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        Self::start(restore::found(storage, genesis, None)?, key, clock)
    }

    /// As [`Authority::open`] on any storage, without an index of old history.
    ///
    /// # Errors
    /// As [`Authority::open`].
    pub fn open_in(
        storage: Box<dyn Storage>,
        network: NetworkId,
        key: SecretKey,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        Self::start(restore::restore(storage, network, None)?, key, clock)
    }

    fn start(restored: Restored, key: SecretKey, clock: Clock) -> Result<Self, OpenError> {
        let Restored {
            log,
            state,
            report,
            history,
            writer,
        } = restored;
        check_key(&state, &key)?;
        let (tx, rx) = mpsc::sync_channel(MAX_WAITING);
        let shared = Arc::new(Shared::new(tx, &state, key, Arc::clone(&clock), history));
        let (metrics, notices) = (Arc::clone(&shared.metrics), shared.notices.clone());
        let core = Core::new(log, state, clock, metrics, notices, writer);
        let thread = thread::Builder::new()
            .name("hive-ledger".into())
            .spawn(move || core.run(&rx))
            .map_err(OpenError::Thread)?;
        Ok(Self {
            handle: AuthorityHandle::new(shared),
            thread: Some(thread),
            report,
        })
    }

    /// The handle everybody asks; cheap to clone.
    #[must_use]
    pub fn handle(&self) -> AuthorityHandle {
        self.handle.clone()
    }

    /// What opening found.
    #[must_use]
    pub const fn report(&self) -> &OpenReport {
        &self.report
    }

    /// Answers what is queued, syncs, and closes the log. Blocks.
    ///
    /// # Errors
    /// Disk errors.
    pub fn close(mut self) -> Result<(), LogError> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), LogError> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        self.handle.send_stop();
        thread.join().unwrap_or_else(|_| {
            Err(LogError::Stopped {
                first: "the ledger's thread ended by a panic".into(),
            })
        })
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        if let Err(e) = self.stop() {
            tracing::error!(target: "hive_authority", "{e}");
        }
    }
}

fn check_key(state: &State, key: &SecretKey) -> Result<(), OpenError> {
    let node = NodeId(key.public());
    if state.founding().authorities.contains(&node) {
        return Ok(());
    }
    let network = state.network();
    Err(OpenError::Key { node, network })
}
