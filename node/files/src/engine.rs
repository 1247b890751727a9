//! The engine: one value that serves content and pulls it.

use crate::{
    access::{Access, LeaseGate},
    buffers::Buffers,
    error::PullError,
    evidence::OnEvidence,
    limits::{Clock, Limits, LimitsConfig},
    news::News,
    outgoing::Pieces,
    providers::Providers,
    pull::{self, Engine, First, Links, MAX_RUNNING, Means, Ranged},
    request::{MAX_HINTS, PullRequest, Target, Wanted},
    rows::{Rows, TransferRow},
    serve::{self, Fetchers, Serving},
    transfer::Transfer,
    view::TransferView,
};
use hive_net::{NetHandle, ProtocolPolicy};
use hive_protocol::{file, ids::TransferId, time::Timestamp};
use hive_store::{Journal, files::FileStore};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
};

/// Transfers known at a time, ended ones included; the oldest ended ones make room.
pub const MAX_TRANSFERS: usize = 4096;
/// Streams one peer may have open with us: two for each of its transfers would be plenty, it shares them.
const MAX_SESSIONS_PER_PEER: usize = 16;

/// What the engine stands on.
pub struct Deps {
    /// The network.
    pub net: NetHandle,
    /// Where content is.
    pub store: FileStore,
    /// Where transfers and shares are kept: opened with [`crate::TREES`].
    pub journal: Arc<dyn Journal>,
    /// The wall clock.
    pub clock: Clock,
    /// Who may have what under a lease.
    pub leases: Arc<dyn LeaseGate>,
    /// Told of bad providers.
    pub on_evidence: OnEvidence,
    /// Random: differs between processes.
    pub seed: u64,
}

/// Settings.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// How fast bytes may come.
    pub limits_in: LimitsConfig,
    /// How fast bytes may leave.
    pub limits_out: LimitsConfig,
}

struct Inner {
    engine: Engine,
    net: NetHandle,
    seed: AtomicU64,
    transfers: Mutex<BTreeMap<TransferId, Transfer>>,
    /// Order of arrival, for listing and for making room.
    order: AtomicU64,
    changes: Arc<watch::Sender<u64>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    sent: Arc<AtomicU64>,
}

/// The engine. Clones share it.
#[derive(Clone)]
pub struct Files(Arc<Inner>);

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Files({} transfers)", self.lock().len())
    }
}

impl Files {
    /// Begins to serve; to be called inside a runtime. Call [`Files::restore`] next.
    ///
    /// # Errors
    /// `net.served_twice`, `net.busy`.
    pub fn new(deps: Deps, config: Config) -> Result<Self, PullError> {
        let policy = ProtocolPolicy {
            max_inbound_per_peer: MAX_SESSIONS_PER_PEER,
            ..ProtocolPolicy::default()
        };
        let inbound = deps
            .net
            .serve_bulk(file::PROTOCOL, policy)
            .map_err(|e| PullError::Net {
                code: e.code(),
                detail: e.to_string(),
            })?;
        let limits = Limits::new(config.limits_in, config.limits_out, Arc::clone(&deps.clock));
        let (access, news) = (Access::new(deps.leases), News::default());
        let sent = Arc::new(AtomicU64::new(0));
        let serving = Serving {
            store: deps.store.clone(),
            access: access.clone(),
            limits: limits.clone(),
            clock: Arc::clone(&deps.clock),
            fetchers: Fetchers::default(),
            news: news.clone(),
            pieces: Pieces::new(),
            sent: Arc::clone(&sent),
        };
        let accepting = tokio::spawn(serve::accept(inbound, serving));
        let engine = Engine {
            store: deps.store,
            means: Means {
                links: Links::new(deps.net.clone(), Buffers::new(), limits.clone()),
                news,
                on_evidence: deps.on_evidence,
                seed: deps.seed,
            },
            limits,
            access,
            rows: Rows::new(deps.journal),
            clock: deps.clock,
            first: First::default(),
            ranged: Ranged::default(),
            turns: Arc::new(Semaphore::new(MAX_RUNNING)),
            closing: watch::Sender::new(false),
        };
        Ok(Self(Arc::new(Inner {
            engine,
            net: deps.net,
            seed: AtomicU64::new(deps.seed),
            transfers: Mutex::default(),
            order: AtomicU64::new(0),
            changes: Arc::new(watch::Sender::new(0)),
            tasks: Mutex::new(vec![accepting]),
            sent,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TransferId, Transfer>> {
        self.0.transfers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(crate) fn net(&self) -> &NetHandle {
        &self.0.net
    }

    /// Where content is.
    #[must_use]
    pub fn store(&self) -> &FileStore {
        &self.0.engine.store
    }

    /// Who may have what.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.0.engine.access
    }

    /// How fast.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.engine.limits
    }

    /// Bytes sent since the start, frames included.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Begins a pull.
    ///
    /// # Errors
    /// `file.request`, `file.too_many_transfers`. Everything later is told by the transfer.
    pub async fn pull(&self, request: PullRequest) -> Result<Transfer, PullError> {
        self.start(request, None, None).await
    }

    /// Begins a pull of some files of a folder's root, each to a path of its own (which is replaced).
    ///
    /// # Errors
    /// As [`Files::pull`].
    pub async fn pull_list(&self, request: PullRequest, list: Vec<Wanted>) -> Result<Transfer, PullError> {
        if list.len() > hive_protocol::manifest::MAX_ENTRIES || list.iter().any(|w| !w.path.is_absolute()) {
            return Err(PullError::Request(
                "each file of a list needs an absolute path".to_owned(),
            ));
        }
        self.start(request, Some(list.into()), None).await
    }

    pub(crate) async fn start(
        &self,
        request: PullRequest,
        list: Option<Arc<[Wanted]>>,
        row: Option<(TransferId, &TransferRow)>,
    ) -> Result<Transfer, PullError> {
        check(&request)?;
        let id = match row {
            Some((id, _)) => id,
            None => request.id.unwrap_or_else(|| self.fresh_id(&request)),
        };
        if let Some(known) = self.transfer(id).filter(|t| !t.view().stage.ended()) {
            return Ok(known);
        }
        if list.is_none() && row.is_none() {
            // The same content to the same place: one transfer, of which this is another view.
            let same = |t: &&Transfer| {
                let (r, running) = (t.request(), !t.view().stage.ended());
                running
                    && t.0.list.is_none()
                    && (r.root, r.folder, &r.target) == (request.root, request.folder, &request.target)
            };
            let known = self.lock().values().find(same).cloned();
            if let Some(known) = known {
                known.add_hints(request.hints);
                return Ok(known);
            }
        }
        let engine = &self.0.engine;
        if row.is_none() && request.durable && !engine.rows_keep(id, &request, list.as_deref()).await? {
            tracing::debug!(
                ?id,
                "a transfer with a long list does not survive a restart by itself"
            );
        }
        let lookup = request.lookup.then(|| self.0.net.clone());
        let providers = Providers::new(request.root, self.0.net.me(), request.hints.clone(), lookup);
        let now = row.map_or_else(|| (engine.clock)(), |(_, row)| row.started);
        let transfer = Transfer::new(id, request, list, providers, Arc::clone(&self.0.changes), now);
        if row.is_some_and(|(_, row)| row.paused) {
            transfer.pause();
        }
        self.enter(&transfer)?;
        tokio::spawn(pull::run(engine.clone(), transfer.clone()));
        Ok(transfer)
    }

    fn enter(&self, transfer: &Transfer) -> Result<(), PullError> {
        let mut table = self.lock();
        if table.len() >= MAX_TRANSFERS {
            let ended = table
                .values()
                .filter_map(|t| t.view().ended.map(|at| (at, t.id())));
            let Some((_, oldest)) = ended.min() else {
                return Err(PullError::TooMany { count: table.len() });
            };
            table.remove(&oldest);
        }
        table.insert(transfer.id(), transfer.clone());
        Ok(())
    }

    fn fresh_id(&self, request: &PullRequest) -> TransferId {
        let serial = self.0.order.fetch_add(1, Ordering::Relaxed);
        let seed = self.0.seed.load(Ordering::Relaxed);
        let mut bytes = [0; 16];
        let Timestamp(now) = (self.0.engine.clock)();
        let words = [seed ^ now.rotate_left(20), serial ^ seed.rotate_left(32)];
        let words = words.iter().flat_map(|w| w.to_le_bytes());
        bytes
            .iter_mut()
            .zip(words)
            .zip(request.root.as_bytes())
            .for_each(|((b, w), r)| *b = w ^ r);
        TransferId(bytes)
    }

    /// All transfers known, oldest first.
    #[must_use]
    pub fn transfers(&self) -> Vec<TransferView> {
        let mut all: Vec<TransferView> = self.lock().values().map(Transfer::view).collect();
        all.sort_by_key(|v| (v.started, v.id));
        all
    }

    /// A transfer.
    #[must_use]
    pub fn transfer(&self, id: TransferId) -> Option<Transfer> {
        self.lock().get(&id).cloned()
    }

    /// Forgets a transfer that has ended.
    ///
    /// # Errors
    /// `file.no_transfer`; `file.request` for one that runs.
    pub async fn forget(&self, id: TransferId) -> Result<(), PullError> {
        {
            let mut table = self.lock();
            let transfer = table.get(&id).ok_or(PullError::NoTransfer)?;
            if !transfer.view().stage.ended() {
                return Err(PullError::Request("it still runs; cancel it first".to_owned()));
            }
            table.remove(&id);
        }
        self.0.engine.rows.end_transfer(id, false).await;
        self.0.changes.send_modify(|n| *n = n.wrapping_add(1));
        Ok(())
    }

    /// Pauses a transfer, also over a restart.
    ///
    /// # Errors
    /// `file.no_transfer`.
    pub async fn pause(&self, id: TransferId) -> Result<(), PullError> {
        let transfer = self.transfer(id).ok_or(PullError::NoTransfer)?;
        transfer.pause();
        self.0.engine.rows.keep_paused(&transfer).await
    }

    /// Goes on with a paused transfer, or tries a failed one again.
    ///
    /// # Errors
    /// `file.no_transfer`.
    pub async fn resume(&self, id: TransferId) -> Result<Transfer, PullError> {
        let transfer = self.transfer(id).ok_or(PullError::NoTransfer)?;
        if transfer.view().stage.ended() {
            let (request, list) = (transfer.request().clone(), transfer.0.list.clone());
            self.lock().remove(&id);
            return self
                .start(
                    PullRequest {
                        id: Some(id),
                        ..request
                    },
                    list,
                    None,
                )
                .await;
        }
        transfer.resume();
        self.0.engine.rows.keep_paused(&transfer).await?;
        Ok(transfer)
    }

    /// Pauses all.
    pub async fn pause_all(&self) {
        for view in self.transfers() {
            if !view.stage.ended() {
                // One that has just gone needs no pause.
                let _ = self.pause(view.id).await;
            }
        }
    }

    /// Goes on with all that are paused.
    pub async fn resume_all(&self) {
        for view in self.transfers() {
            if !view.stage.ended() {
                let _ = self.resume(view.id).await;
            }
        }
    }

    /// Ticks when any transfer has changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Ends serving and leaves all transfers so that the next process goes on with them.
    pub async fn close(&self) {
        self.0.engine.closing.send_replace(true);
        let all: Vec<Transfer> = self.lock().values().cloned().collect();
        for transfer in all {
            // Each ends at once, since they all watch the same word.
            let _ = tokio::time::timeout(std::time::Duration::from_secs(5), transfer.done()).await;
        }
        let tasks = std::mem::take(&mut *self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            task.abort();
        }
    }
}

fn check(request: &PullRequest) -> Result<(), PullError> {
    if request.hints.len() > MAX_HINTS {
        return Err(PullError::Request(format!(
            "{} providers are named; {MAX_HINTS} are the most",
            request.hints.len()
        )));
    }
    match &request.target {
        Target::Path(path) if !path.is_absolute() => Err(PullError::Request(format!(
            "{} is not an absolute path",
            path.display()
        ))),
        Target::Store if request.folder => {
            Err(PullError::Request("a folder needs a path to go to".to_owned()))
        }
        _ => Ok(()),
    }
}
