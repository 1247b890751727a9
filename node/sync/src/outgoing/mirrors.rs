//! All mirrors that this node sends.

use super::{
    kit::{Kit, Order, View, tag},
    mirror::Mirror,
    port::{Library, MirrorView, NewMirror, OutState, Sender},
};
use crate::{
    error::SyncError,
    rows::{OutRow, Rows},
};
use hive_protocol::{
    ids::{NodeId, SyncId},
    notice::MAX_RECIPIENTS,
    time::Timestamp,
};
use hive_store::journal::Journal;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

/// Mirrors a node sends.
const MAX_MIRRORS: usize = 256;
/// Orders a mirror has not obeyed yet.
const MAX_ORDERS: usize = 16;

/// What the sending side is made with.
pub struct OutDeps {
    /// Opened with [`crate::TREES`].
    pub journal: Arc<dyn Journal>,
    /// Gives folders to others.
    pub library: Arc<dyn Library>,
    /// Announces states.
    pub sender: Arc<dyn Sender>,
    /// The time.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

struct Running {
    view: View,
    orders: mpsc::Sender<Order>,
    cancel: Arc<AtomicBool>,
    task: Option<JoinHandle<()>>,
}

struct Shared {
    deps: OutDeps,
    rows: Rows,
    ticks: watch::Sender<u64>,
    mirrors: Mutex<BTreeMap<SyncId, Running>>,
    closed: AtomicBool,
}

/// The sending side.
#[derive(Clone)]
pub struct Outgoing(Arc<Shared>);

impl Outgoing {
    /// Begins with the mirrors kept in the journal: each looks at its folder and sends what changed meanwhile.
    ///
    /// # Errors
    /// The journal's.
    #[allow(clippy::unused_async)] // must be called inside a runtime
    pub async fn start(deps: OutDeps) -> Result<Self, SyncError> {
        let rows = Rows(deps.journal.clone());
        let kept = rows.outgoing()?;
        let this = Self(Arc::new(Shared {
            deps,
            rows,
            ticks: watch::Sender::new(0),
            mirrors: Mutex::default(),
            closed: AtomicBool::new(false),
        }));
        for row in kept {
            this.begin(row);
        }
        Ok(this)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SyncId, Running>> {
        self.0.mirrors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, row: OutRow) {
        let view = Arc::new(Mutex::new(MirrorView {
            id: row.id,
            dir: PathBuf::from(&row.dir),
            to: row.to.clone(),
            watch: row.watch,
            versions: row.versions,
            seq: row.seq,
            root: row.root,
            notice: row.notice,
            files: row.files,
            entries: 0,
            size: 0,
            state: OutState::Scanning,
            detail: String::new(),
            skipped: Vec::new(),
            skipped_count: 0,
            changed: row.changed,
        }));
        let (orders, receiver) = mpsc::channel(MAX_ORDERS);
        let cancel = Arc::new(AtomicBool::new(false));
        let kit = Kit {
            rows: self.0.rows.clone(),
            library: self.0.deps.library.clone(),
            sender: self.0.deps.sender.clone(),
            clock: self.0.deps.clock.clone(),
            ticks: self.0.ticks.clone(),
            cancel: cancel.clone(),
        };
        let id = row.id;
        let task = tokio::spawn(Mirror::new(kit, row, view.clone(), receiver).run());
        let task = Some(task);
        self.lock().insert(
            id,
            Running {
                view,
                orders,
                cancel,
                task,
            },
        );
        self.0.ticks.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Makes a mirror; its first state is announced as soon as the folder has been read.
    ///
    /// # Errors
    /// `sync.not_a_folder`, `sync.recipients`, `sync.exists`, `sync.too_many`, the journal's.
    #[allow(clippy::unused_async)] // a task is started
    pub async fn add(&self, new: NewMirror) -> Result<SyncId, SyncError> {
        if self.0.closed.load(Ordering::Relaxed) {
            return Err(SyncError::Closed);
        }
        let bad = || SyncError::NotAFolder {
            path: new.dir.clone(),
        };
        if !new.dir.is_absolute() {
            return Err(bad());
        }
        let dir = std::fs::canonicalize(&new.dir).map_err(|_| bad())?;
        let text = dir.to_str().filter(|_| dir.is_dir()).ok_or_else(bad)?;
        let to = in_order(new.to)?;
        {
            let mirrors = self.lock();
            if mirrors.len() >= MAX_MIRRORS {
                return Err(SyncError::TooMany { limit: MAX_MIRRORS });
            }
            let same = mirrors.iter().find(|(_, m)| {
                let view = m.view.lock().unwrap_or_else(PoisonError::into_inner);
                view.dir == dir && view.to == to
            });
            if let Some((id, _)) = same {
                return Err(SyncError::Exists {
                    dir: dir.clone(),
                    id: id.to_string(),
                });
            }
        }
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|e| SyncError::Io {
            what: "get random bytes for",
            path: dir.clone(),
            source: std::io::Error::other(e.to_string()),
        })?;
        let row = OutRow {
            id: SyncId(id),
            dir: text.to_owned(),
            to,
            watch: new.watch,
            versions: new.versions,
            skip_unsafe: new.skip_unsafe,
            seq: 0,
            root: None,
            notice: None,
            changed: (self.0.deps.clock)(),
            allow_empty: new.allow_empty,
            files: 0,
        };
        self.0.rows.put_out(&row)?;
        let id = row.id;
        self.begin(row);
        Ok(id)
    }

    /// All mirrors.
    #[must_use]
    pub fn list(&self) -> Vec<MirrorView> {
        let view = |m: &Running| m.view.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.lock().values().map(view).collect()
    }

    /// One mirror.
    #[must_use]
    pub fn view(&self, id: &SyncId) -> Option<MirrorView> {
        let mirrors = self.lock();
        let mirror = mirrors.get(id)?;
        Some(mirror.view.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// The mirrors of a folder.
    #[must_use]
    pub fn of_dir(&self, dir: &Path) -> Vec<MirrorView> {
        let dir = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_path_buf());
        self.list().into_iter().filter(|m| m.dir == dir).collect()
    }

    /// Counts up whenever anything in [`Outgoing::list`] has changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.ticks.subscribe()
    }

    async fn order(&self, id: &SyncId, order: Order) -> Result<(), SyncError> {
        let orders = self.lock().get(id).map(|m| m.orders.clone());
        let orders = orders.ok_or_else(|| SyncError::NotFound { id: id.to_string() })?;
        orders.send(order).await.map_err(|_| SyncError::Closed)
    }

    /// Looks at everything now. Returns when that has begun: the view says [`OutState::Scanning`] until what was found
    /// is announced. `allow_empty` confirms, this time, that the folder has no files any more.
    ///
    /// # Errors
    /// `sync.not_found`, or it is closed.
    pub async fn rescan(&self, id: &SyncId, allow_empty: bool) -> Result<(), SyncError> {
        let (begun, begins) = oneshot::channel();
        self.order(id, Order::Look { allow_empty, begun }).await?;
        begins.await.map_err(|_| SyncError::Closed)
    }

    /// Gives a mirror other recipients; those who have its latest state are done at once.
    ///
    /// # Errors
    /// `sync.not_found`, `sync.recipients`.
    pub async fn set_recipients(&self, id: &SyncId, to: Vec<NodeId>) -> Result<(), SyncError> {
        self.order(id, Order::Recipients(in_order(to)?)).await
    }

    /// Watches the folder from now on, or no longer; receivers keep so many old versions with the next state.
    ///
    /// # Errors
    /// `sync.not_found`.
    pub async fn set_watch(&self, id: &SyncId, watch: bool, versions: u32) -> Result<(), SyncError> {
        self.order(id, Order::Watch(watch, versions)).await
    }

    /// Sends a mirror no longer; receivers keep what they have.
    ///
    /// # Errors
    /// `sync.not_found`, the journal's.
    pub async fn remove(&self, id: &SyncId) -> Result<(), SyncError> {
        let running = self.lock().remove(id);
        let mut running = running.ok_or_else(|| SyncError::NotFound { id: id.to_string() })?;
        stop(&mut running).await;
        let root = running.view.lock().unwrap_or_else(PoisonError::into_inner).root;
        self.0.rows.drop_out(id)?;
        if let Some(root) = root {
            let (library, tag) = (self.0.deps.library.clone(), tag(id));
            let _ = tokio::task::spawn_blocking(move || library.release(&root, &tag)).await;
        }
        self.0.ticks.send_modify(|n| *n = n.wrapping_add(1));
        Ok(())
    }

    /// Stops; the mirrors go on with the next start.
    pub async fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
        let mirrors = std::mem::take(&mut *self.lock());
        for mut running in mirrors.into_values() {
            stop(&mut running).await;
        }
    }
}

async fn stop(running: &mut Running) {
    running.cancel.store(true, Ordering::Relaxed);
    // A full queue means that it will see the flag soon.
    let _ = running.orders.try_send(Order::Stop);
    if let Some(task) = running.task.take() {
        let _ = task.await;
    }
}

fn in_order(mut to: Vec<NodeId>) -> Result<Vec<NodeId>, SyncError> {
    to.sort_unstable();
    to.dedup();
    if to.is_empty() || to.len() > MAX_RECIPIENTS {
        return Err(SyncError::Recipients {
            limit: MAX_RECIPIENTS,
        });
    }
    Ok(to)
}
