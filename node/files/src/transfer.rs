//! A transfer as its users hold it: seeing, pausing, ending, waiting for it.

use crate::{
    error::PullError,
    providers::Providers,
    pull::Wish,
    request::{Hint, PullRequest, Target, Wanted},
    view::{Stage, TransferView},
};
use hive_protocol::{
    ids::{BlobHash, TransferId},
    time::Timestamp,
};
use hive_store::files::{FolderPartial, Partial};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

/// What came of a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The content, or the folder's manifest.
    pub root: BlobHash,
    /// Whether a folder.
    pub folder: bool,
    /// Where it is; `None`: in the store.
    pub path: Option<PathBuf>,
    /// Bytes of all of it.
    pub bytes: u64,
    /// Payload bytes that came over the network.
    pub fetched: u64,
    /// Bytes that were here already.
    pub reused: u64,
    /// Files.
    pub files: u64,
}

/// What is open on the disk for a transfer.
pub enum Open {
    /// One content.
    One(Partial),
    /// A folder.
    Folder(FolderPartial),
}

pub struct Inner {
    pub id: TransferId,
    pub request: PullRequest,
    pub list: Option<Arc<[Wanted]>>,
    pub providers: Providers,
    pub view: watch::Sender<TransferView>,
    pub wish: watch::Sender<Wish>,
    pub end: watch::Sender<Option<Result<Pulled, PullError>>>,
    /// Ticks when any transfer changes.
    pub changes: Arc<watch::Sender<u64>>,
    /// What a cancelled transfer leaves or takes away.
    pub open: Mutex<Vec<Open>>,
    /// Whether its parts stay when it is cancelled.
    pub keep: std::sync::atomic::AtomicBool,
}

/// A transfer. Clones are the same one; dropping all of them does not end it.
#[derive(Clone)]
pub struct Transfer(pub(crate) Arc<Inner>);

impl std::fmt::Debug for Transfer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Transfer({:?})", self.0.id)
    }
}

impl Transfer {
    pub(crate) fn new(
        id: TransferId,
        request: PullRequest,
        list: Option<Arc<[Wanted]>>,
        providers: Providers,
        changes: Arc<watch::Sender<u64>>,
        now: Timestamp,
    ) -> Self {
        let view = TransferView {
            id,
            root: request.root,
            folder: request.folder,
            name: request.name.clone(),
            path: match &request.target {
                Target::Path(path) => Some(path.clone()),
                Target::Store => None,
            },
            stage: Stage::Queued,
            done: 0,
            total: request.size_hint.unwrap_or(0),
            fetched: 0,
            reused: 0,
            files_done: 0,
            files: u64::from(!request.folder),
            rate: 0,
            peers: Vec::new(),
            stalled: None,
            error: None,
            started: now,
            ended: None,
        };
        Self(Arc::new(Inner {
            id,
            request,
            list,
            providers,
            view: watch::Sender::new(view),
            wish: watch::Sender::new(Wish::default()),
            end: watch::Sender::new(None),
            changes,
            open: Mutex::new(Vec::new()),
            keep: true.into(),
        }))
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> TransferId {
        self.0.id
    }

    /// How it stands.
    #[must_use]
    pub fn view(&self) -> TransferView {
        self.0.view.borrow().clone()
    }

    /// How it stands, now and whenever that changes (at most some times a second).
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<TransferView> {
        self.0.view.subscribe()
    }

    /// What was asked for.
    #[must_use]
    pub fn request(&self) -> &PullRequest {
        &self.0.request
    }

    /// Asks nothing more until resumed; what is on its way still comes in.
    pub fn pause(&self) {
        self.0.wish.send_modify(|w| w.paused = true);
        self.show(|v| {
            if !v.stage.ended() {
                v.stage = Stage::Paused;
                v.rate = 0;
            }
        });
    }

    /// Goes on.
    pub fn resume(&self) {
        self.0.wish.send_modify(|w| w.paused = false);
        self.show(|v| {
            if v.stage == Stage::Paused {
                v.stage = if v.done == 0 {
                    Stage::Starting
                } else {
                    Stage::Running
                };
            }
        });
    }

    /// Whether it is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.0.wish.borrow().paused
    }

    /// Gives up. With `keep` what is here stays for a later pull of the same content to the same place.
    pub fn cancel(&self, keep: bool) {
        self.0.keep.store(keep, std::sync::atomic::Ordering::Release);
        self.0.wish.send_modify(|w| w.cancelled = true);
    }

    /// More nodes that may have it.
    pub fn add_hints(&self, hints: Vec<Hint>) {
        self.0.providers.add(hints);
    }

    /// Its end. May be asked for any number of times, also after the end.
    ///
    /// # Errors
    /// Why it ended without its content.
    pub async fn done(&self) -> Result<Pulled, PullError> {
        let mut end = self.0.end.subscribe();
        let ended = end.wait_for(Option::is_some).await;
        // The sender lives in `self`: the other cases cannot be.
        ended.map_or(Err(PullError::Stopped), |e| {
            e.clone().unwrap_or(Err(PullError::Stopped))
        })
    }

    /// Changes what is seen. Verified bytes never go back.
    pub(crate) fn show(&self, change: impl FnOnce(&mut TransferView)) {
        let changed = self.0.view.send_if_modified(|view| {
            let before = view.clone();
            change(view);
            view.done = view.done.max(before.done);
            view.fetched = view.fetched.max(before.fetched);
            view.files_done = view.files_done.max(before.files_done);
            *view != before
        });
        if changed {
            self.0.changes.send_modify(|n| *n = n.wrapping_add(1));
        }
    }

    pub(crate) fn opened(&self, open: Open) {
        self.0
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(open);
    }

    pub(crate) fn take_open(&self) -> Vec<Open> {
        std::mem::take(&mut *self.0.open.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Resolves when its user has given it up.
    pub(crate) async fn cancelled(&self) {
        let mut wish = self.0.wish.subscribe();
        // The sender lives in `self`.
        let _ = wish.wait_for(|w| w.cancelled).await;
    }

    /// Resolves when it is not paused.
    pub(crate) async fn unpaused(&self) {
        let mut wish = self.0.wish.subscribe();
        let _ = wish.wait_for(|w| !w.paused).await;
    }
}
