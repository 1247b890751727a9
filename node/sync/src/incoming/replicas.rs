//! All mirrors that this node receives: which state each works on, what it says of itself, what is kept of it.

use super::{
    attempt::{Attempt, Ended, Memory, Tell},
    port::{Fetcher, InState, MAX_NAMED, News, Offer, Origin, ReplicaView},
    replica::{Replica, admit, first_row},
    staging,
};
use crate::{
    error::SyncError,
    ground::Ground,
    rows::{Key, Rows},
};
use hive_protocol::{
    ids::{NodeId, SyncId},
    time::Timestamp,
};
use hive_store::journal::Journal;
use hive_transfer::mirror::{Next, Outcome, State};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
};

/// States applied at a time: each reads and writes a folder.
const MAX_AT_WORK: usize = 4;
/// Listeners of one mirror: a notice is offered again at most now and then.
const MAX_NEWS: usize = 64;
/// Longest pause of the driver, so that a clock that was set is noticed.
const LOOK: Duration = Duration::from_secs(30);

/// What the receiving side is made with.
pub struct InDeps {
    /// Opened with [`crate::TREES`].
    pub journal: Arc<dyn Journal>,
    /// Brings contents.
    pub fetcher: Arc<dyn Fetcher>,
    /// The time.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// This node.
    pub me: NodeId,
}

struct Shared {
    deps: InDeps,
    rows: Rows,
    runtime: Handle,
    replicas: Mutex<BTreeMap<Key, Replica>>,
    wake: Notify,
    ticks: watch::Sender<u64>,
    closed: AtomicBool,
    idle: Notify,
}

/// The receiving side.
#[derive(Clone)]
pub struct Incoming(Arc<Shared>);

impl Incoming {
    /// Begins with the mirrors kept in the journal; those whose last state was not reached go on.
    ///
    /// # Errors
    /// The journal's.
    #[allow(clippy::unused_async)] // must be called inside a runtime
    pub async fn start(deps: InDeps) -> Result<Self, SyncError> {
        let rows = Rows(deps.journal.clone());
        let replicas = rows
            .incoming()?
            .into_iter()
            .map(|row| ((row.from, row.sync), Replica::new(row)))
            .collect();
        let shared = Arc::new(Shared {
            deps,
            rows,
            runtime: Handle::current(),
            replicas: Mutex::new(replicas),
            wake: Notify::new(),
            ticks: watch::Sender::new(0),
            closed: AtomicBool::new(false),
            idle: Notify::new(),
        });
        tokio::spawn(drive(shared.clone()));
        Ok(Self(shared))
    }

    /// A state that this node is to have. Quick: what it takes happens afterwards.
    ///
    /// # Errors
    /// `sync.not_a_folder`, `sync.folder_taken`, `sync.too_many`, the journal's, or it is closed.
    pub fn offer(&self, offer: Offer, news: Arc<dyn News>) -> Result<(), SyncError> {
        if self.0.closed.load(Ordering::Relaxed) {
            return Err(SyncError::Closed);
        }
        let (key, now) = ((offer.from, offer.sync), (self.0.deps.clock)());
        let mut replicas = self.0.lock();
        let seq = offer.seq;
        if !replicas.contains_key(&key) {
            admit(&replicas, &offer)?;
            let row = first_row(&offer, now)?;
            self.0.rows.put_in(&row)?;
            replicas.insert(key, Replica::new(row));
        }
        let Some(replica) = replicas.get_mut(&key) else {
            return Err(SyncError::Closed);
        };
        let state = State {
            seq,
            root: offer.root,
            versions: offer.versions,
        };
        if replica.newest.newest().is_none_or(|known| known.seq < seq) {
            let mut row = replica.row.clone();
            (row.seq, row.root, row.versions) = (seq, offer.root, offer.versions);
            (row.hints, row.priority, row.transfer) = (offer.hints, offer.priority, offer.transfer);
            (row.name, row.changed) = (offer.name, now);
            self.0.rows.put_in(&row)?;
            replica.row = row;
            replica.newest.announce(now, state);
            replica.view.seq = seq;
            replica.view.root = offer.root;
            if replica.work.is_none() {
                replica.view.state = InState::Waiting;
                replica.view.detail.clear();
            }
            replica.view.name.clone_from(&replica.row.name);
            replica.view.changed = now;
        } else {
            // Offered again: perhaps because somebody is back who has what is missing.
            replica.newest.kick();
        }
        if replica.newest.is_whole() {
            drop(replicas);
            news.done();
            return Ok(());
        }
        if replica.news.len() == MAX_NEWS {
            replica.news.remove(0);
        }
        replica.news.push((seq, news));
        drop(replicas);
        self.0.changed();
        Ok(())
    }

    /// Where a mirror comes to, if it is known.
    #[must_use]
    pub fn dir_of(&self, from: &NodeId, sync: &SyncId) -> Option<PathBuf> {
        self.0
            .lock()
            .get(&(*from, *sync))
            .map(|r| PathBuf::from(&r.row.dir))
    }

    /// All mirrors.
    #[must_use]
    pub fn list(&self) -> Vec<ReplicaView> {
        self.0.lock().values().map(|r| r.view.clone()).collect()
    }

    /// Counts up whenever anything in [`Incoming::list`] has changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.ticks.subscribe()
    }

    /// A node has come back: what waits for contents is tried now (all that wait, for `None`).
    pub fn kick(&self, node: Option<&NodeId>) {
        let mut replicas = self.0.lock();
        for replica in replicas.values_mut() {
            if node.is_none_or(|n| replica.row.from == *n || replica.row.hints.contains(n)) {
                replica.newest.kick();
            }
        }
        drop(replicas);
        self.0.wake.notify_one();
    }

    /// Looks at a folder again and puts right what differs; a folder that has vanished is made anew.
    ///
    /// # Errors
    /// `sync.not_found`.
    pub fn rescan(&self, from: &NodeId, sync: &SyncId) -> Result<(), SyncError> {
        let mut replicas = self.0.lock();
        let replica = replicas.get_mut(&(*from, *sync)).ok_or_else(|| not_found(sync))?;
        replica.newest.again();
        replica.forced = true;
        drop(replicas);
        self.0.wake.notify_one();
        Ok(())
    }

    /// Receives a mirror no longer. Its folder stays as it is, with old versions.
    ///
    /// # Errors
    /// `sync.not_found`, the journal's.
    pub async fn remove(&self, from: &NodeId, sync: &SyncId) -> Result<(), SyncError> {
        let key = (*from, *sync);
        loop {
            let idle = self.0.idle.notified();
            {
                let mut replicas = self.0.lock();
                let replica = replicas.get_mut(&key).ok_or_else(|| not_found(sync))?;
                replica.removed = true;
                if replica.work.is_none() {
                    self.0.rows.drop_in(&key)?;
                    let gone = replicas.remove(&key);
                    drop(replicas);
                    if let Some(gone) = gone {
                        if let Ok(ground) = Ground::open(Path::new(&gone.row.dir)) {
                            staging::clear(&ground, true);
                        }
                        end_news(gone.news, |n| {
                            n.failed("the mirror was given up".to_owned(), false)
                        });
                    }
                    self.0.changed();
                    return Ok(());
                }
                replica.halt();
            }
            let _ = tokio::time::timeout(Duration::from_secs(1), idle).await;
        }
    }

    /// Stops at the next safe step; what was reached is kept, and goes on with the next start.
    pub async fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
        loop {
            let idle = self.0.idle.notified();
            let at_work = {
                let replicas = self.0.lock();
                replicas.values().for_each(Replica::halt);
                replicas.values().filter(|r| r.work.is_some()).count()
            };
            self.0.wake.notify_one();
            if at_work == 0 {
                return;
            }
            let _ = tokio::time::timeout(Duration::from_secs(1), idle).await;
        }
    }
}

fn not_found(sync: &SyncId) -> SyncError {
    SyncError::NotFound { id: sync.to_string() }
}

fn end_news(news: Vec<(u64, Arc<dyn News>)>, say: impl Fn(&dyn News)) {
    for (_, one) in news {
        say(&*one);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Replica>> {
        self.replicas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.ticks.send_modify(|n| *n = n.wrapping_add(1));
        self.wake.notify_one();
    }

    /// Begins and stops work as is due; until when there is nothing to do.
    fn turn(self: &Arc<Self>) -> Option<Timestamp> {
        let now = (self.deps.clock)();
        let mut until: Option<Timestamp> = None;
        let mut replicas = self.lock();
        let mut at_work = replicas.values().filter(|r| r.work.is_some()).count();
        for (key, replica) in replicas.iter_mut() {
            if self.closed.load(Ordering::Relaxed) || replica.removed {
                continue;
            }
            if replica.work.is_none() && at_work >= MAX_AT_WORK {
                continue;
            }
            match replica.newest.next(now) {
                Next::Apply(state) => {
                    at_work += 1;
                    self.begin(key, replica, state);
                }
                Next::Abandon => replica.halt(),
                Next::Wait(at) => until = Some(until.map_or(at, |u| u.min(at))),
                Next::Idle => {}
            }
        }
        until
    }

    fn begin(self: &Arc<Self>, key: &Key, replica: &mut Replica, state: State) {
        let flag = Arc::new(AtomicBool::new(false));
        let (sender, stopping) = watch::channel(false);
        replica.work = Some((flag.clone(), sender));
        (replica.view.done, replica.view.total) = (0, 0);
        let mut memory = replica.memory.take().unwrap_or_default();
        let attempt = Attempt {
            key: *key,
            dir: PathBuf::from(&replica.row.dir),
            state,
            before: replica.row.whole.map(|(_, root)| root),
            origin: Origin {
                root: state.root,
                hints: replica.row.hints.clone(),
                priority: replica.row.priority,
                transfer: replica.row.transfer,
                name: replica.row.name.clone(),
            },
            rows: self.rows.clone(),
            fetcher: self.deps.fetcher.clone(),
            runtime: self.runtime.clone(),
            clock: self.deps.clock.clone(),
            node: self.deps.me.short(),
            stop: flag,
            stopping,
            forced: std::mem::take(&mut replica.forced),
            tell: Arc::new(Teller {
                shared: self.clone(),
                key: *key,
                seq: state.seq,
            }),
        };
        let (shared, key) = (self.clone(), *key);
        tokio::spawn(async move {
            let worked = tokio::task::spawn_blocking(move || {
                let ended = attempt.run(&mut memory);
                (ended, memory)
            });
            let (ended, memory) = match worked.await {
                Ok((ended, memory)) => (Some(ended), memory),
                Err(error) => {
                    tracing::error!(%error, "applying a mirror's state broke off");
                    (None, Memory::default())
                }
            };
            shared.ended(&key, state, ended, memory);
        });
    }

    fn ended(&self, key: &Key, state: State, ended: Option<Ended>, memory: Memory) {
        let now = (self.deps.clock)();
        let mut replicas = self.lock();
        let Some(replica) = replicas.get_mut(key) else {
            return;
        };
        replica.work = None;
        replica.memory = Some(memory);
        let outcome = ended.as_ref().map_or(Outcome::Later, |e| e.outcome);
        replica.newest.ended(now, outcome);
        if outcome == Outcome::Whole {
            replica.row.whole = Some((state.seq, state.root));
            replica.row.changed = now;
            if let Err(error) = self.rows.put_in(&replica.row) {
                tracing::warn!(%error, "that a mirror has its state could not be written down; it is looked at again");
            }
        }
        replica.view.changed = now;
        let mut news = Vec::new();
        let mut why = String::new();
        if let Some(ended) = ended {
            // A newer state may have come meanwhile: then it is not whole, whatever became of this one.
            let newest = replica.newest.newest().is_some_and(|s| s.seq == state.seq);
            replica.view.state = if newest { ended.state } else { InState::Waiting };
            replica.view.detail = if newest {
                ended.detail.clone()
            } else {
                String::new()
            };
            replica.view.refused_count = ended.refused.len();
            replica.view.refused = ended.refused.into_iter().take(MAX_NAMED).collect();
            replica.view.conflicts.extend(ended.conflicts);
            let over = replica.view.conflicts.len().saturating_sub(MAX_NAMED);
            replica.view.conflicts.drain(..over);
            why = ended.detail;
        }
        if outcome != Outcome::Abandoned {
            let all = std::mem::take(&mut replica.news);
            (news, replica.news) = all.into_iter().partition(|(seq, _)| *seq <= state.seq);
        }
        drop(replicas);
        match outcome {
            Outcome::Whole => end_news(news, |n| n.done()),
            _ => end_news(news, |n| n.failed(why.clone(), true)),
        }
        self.idle.notify_waiters();
        self.changed();
    }
}

/// Begins and ends work until it is closed.
async fn drive(shared: Arc<Shared>) {
    while !shared.closed.load(Ordering::Relaxed) {
        let pause = match shared.turn() {
            Some(until) => Duration::from_millis(until.since((shared.deps.clock)()).0.max(1)).min(LOOK),
            None => LOOK,
        };
        let _ = tokio::time::timeout(pause, shared.wake.notified()).await;
    }
}

/// Brings what an attempt says into the view.
struct Teller {
    shared: Arc<Shared>,
    key: Key,
    seq: u64,
}

impl Tell for Teller {
    fn state(&self, state: InState) {
        let mut replicas = self.shared.lock();
        if let Some(replica) = replicas.get_mut(&self.key) {
            replica.view.state = state;
            replica.view.detail.clear();
        }
        drop(replicas);
        self.shared.ticks.send_modify(|n| *n = n.wrapping_add(1));
    }

    fn progress(&self, done: u64, total: u64) {
        let mut replicas = self.shared.lock();
        let mut news = Vec::new();
        if let Some(replica) = replicas.get_mut(&self.key) {
            (replica.view.done, replica.view.total) = (done, total);
            let mine = replica.news.iter().filter(|(seq, _)| *seq <= self.seq);
            news = mine.map(|(_, n)| n.clone()).collect();
        }
        drop(replicas);
        for one in news {
            one.progress(done, total);
        }
        self.shared.ticks.send_modify(|n| *n = n.wrapping_add(1));
    }
}
