//! The table of leases with an executor, and the carrying out of what the worker core asks of them.

use super::{
    coming::{Coming, STREAM_FROM, Streams},
    feed,
    feed::Feed,
    pump,
};
use crate::{
    blobs::{Fetcher, Grants},
    inbox::Inbox,
};
use hive_executor::{LeaseConfig, LeaseHandle, ProgramSource, Registry};
use hive_protocol::{
    ids::{LeaseId, NodeId, TaskIndex},
    task::{BlobRef, Program, TaskOrder},
    work::RESUME_GRACE,
};
use hive_scheduler::worker::Input;
use hive_store::BlobStore;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;

/// Tasks between the core and one executor: more than the core hands over ahead with the most slots.
const FEED: usize = 8192;
/// How long results of an ended lease may still be fetched.
const RESULTS_STAY: Duration = Duration::from_millis(RESUME_GRACE.0 * 30);

/// What executors are made of and where their things lie.
#[derive(Clone)]
pub struct ExecPlaces {
    /// The runtimes of this node.
    pub registry: Registry,
    /// The blob store.
    pub store: BlobStore,
    /// Who may fetch results.
    pub grants: Grants,
    /// Folder for task folders, on the store's file system.
    pub tasks: PathBuf,
}

/// One lease's executor.
pub(super) struct Run {
    pub lease: LeaseId,
    pub submitter: NodeId,
    pub program: Arc<Program>,
    pub dir: PathBuf,
    pub stopped: AtomicBool,
    pub places: ExecPlaces,
    pub inbox: mpsc::Sender<Inbox>,
    pub coming: Coming,
}

impl Run {
    /// Tells the worker core something, waiting for a place: the executor is held back, not memory.
    pub(super) async fn tell(&self, input: Input) {
        let _ = self.inbox.send(Inbox::Worker(Box::new(input))).await;
    }

    /// Where inputs are linked for the executor to pick up.
    pub(super) fn inputs(&self) -> PathBuf {
        self.dir.join("inputs")
    }
}

struct Held {
    run: Arc<Run>,
    feed: mpsc::Sender<Feed>,
}

/// All executors of this node.
pub struct ExecShell {
    places: ExecPlaces,
    fetcher: Fetcher,
    inbox: mpsc::Sender<Inbox>,
    leases: BTreeMap<LeaseId, Held>,
    serial: u64,
    /// Without it every input is waited for.
    streams: Option<Arc<dyn Streams>>,
}

impl ExecShell {
    /// None yet.
    #[must_use]
    pub fn new(places: ExecPlaces, fetcher: Fetcher, inbox: mpsc::Sender<Inbox>) -> Self {
        Self {
            places,
            fetcher,
            inbox,
            leases: BTreeMap::new(),
            serial: 0,
            streams: None,
        }
    }

    /// Large standard inputs come from here from now on, while their tasks run.
    pub fn set_streams(&mut self, streams: Arc<dyn Streams>) {
        self.streams = Some(streams);
    }

    /// Starts (again) the executor of a lease.
    pub fn start(&mut self, lease: LeaseId, from: NodeId, slots: u32, program: Arc<Program>) {
        self.serial += 1;
        let name = format!("{}-{}", lease.short(), self.serial);
        let run = Arc::new(Run {
            lease,
            submitter: from,
            program,
            dir: self.places.tasks.join(name),
            stopped: AtomicBool::new(false),
            places: self.places.clone(),
            inbox: self.inbox.clone(),
            coming: Coming::default(),
        });
        let (feed, fed) = mpsc::channel(FEED);
        if let Some(old) = self.leases.insert(
            lease,
            Held {
                run: Arc::clone(&run),
                feed,
            },
        ) {
            old.run.stopped.store(true, Ordering::Release);
        }
        let slots = u16::try_from(slots.min(u32::from(hive_executor::MAX_SLOTS)))
            .unwrap_or(1)
            .max(1);
        tokio::spawn(live(run, self.fetcher.clone(), slots, fed));
    }

    /// Ends the executor of a lease; its results can be fetched for a while.
    pub fn stop(&mut self, lease: LeaseId) {
        let Some(held) = self.leases.remove(&lease) else {
            return;
        };
        held.run.stopped.store(true, Ordering::Release);
        let (grants, store) = (self.places.grants.clone(), self.places.store.clone());
        tokio::spawn(async move {
            tokio::time::sleep(RESULTS_STAY).await;
            grants.end(&lease);
            store.unpin_all(&pin_name(lease));
        });
    }

    /// Hands over a task. False when the executor cannot take it: then the caller reports it as lost.
    #[must_use]
    pub fn run(&self, lease: LeaseId, order: Box<TaskOrder>) -> bool {
        let held = self.leases.get(&lease);
        held.is_some_and(|held| held.feed.try_send(Feed::Run(order)).is_ok())
    }

    /// Asks for the end of a task.
    pub fn cancel(&self, lease: LeaseId, index: TaskIndex, attempt: u16) {
        if let Some(held) = self.leases.get(&lease) {
            // A full queue means that thousands of tasks wait: the lease is being closed then anyway.
            let _ = held.feed.try_send(Feed::Cancel(index, attempt));
        }
    }

    /// Fetches what a queued task reads; of a large standard input only so much that it can begin to flow.
    pub fn fetch(
        &self,
        lease: LeaseId,
        from: NodeId,
        task: (TaskIndex, u16),
        mut blobs: Vec<BlobRef>,
        stdin: Option<BlobRef>,
    ) {
        let (index, attempt) = task;
        let store = self.places.store.clone();
        let held = self.leases.get(&lease).map(|held| Arc::clone(&held.run));
        let streamed = match (&stdin, &self.streams, held) {
            (Some(blob), Some(streams), Some(run))
                if blob.size >= STREAM_FROM && !store.has(&blob.hash) && run.coming.room() =>
            {
                Some((blob.clone(), Arc::clone(streams), run))
            }
            _ => None,
        };
        if streamed.is_none() {
            blobs.extend(stdin);
        }
        let (fetcher, inbox) = (self.fetcher.clone(), self.inbox.clone());
        tokio::spawn(async move {
            let fetched = async {
                for blob in &blobs {
                    // Pinned first, so that a collection between arrival and use cannot take it.
                    let pinned = store.pin(blob.hash, &pin_name(lease), None);
                    fetcher
                        .fetch(from, lease, blob)
                        .await
                        .map_err(|e| (e.code, e.detail))?;
                    pinned.map_err(|e| (e.code().to_owned(), e.to_string()))?;
                }
                if let Some((blob, streams, run)) = streamed {
                    store
                        .pin(blob.hash, &pin_name(lease), None)
                        .map_err(|e| (e.code().to_owned(), e.to_string()))?;
                    let reader = streams.open(from, lease, &blob).await;
                    let reader = reader.map_err(|e| (e.code, e.detail))?;
                    run.coming
                        .keep(pump::task_number(index, attempt), reader, blob.size);
                }
                Ok::<_, (String, String)>(())
            };
            let input = match fetched.await {
                Ok(()) => Input::BlobsReady {
                    lease,
                    index,
                    attempt,
                },
                Err((code, detail)) => Input::BlobsFailed {
                    lease,
                    index,
                    attempt,
                    code,
                    detail,
                },
            };
            let _ = inbox.send(Inbox::Worker(Box::new(input))).await;
        });
    }

    /// Forgets the executor of a lease that ended by itself.
    pub fn gone(&mut self, lease: &LeaseId) {
        if self.leases.get(lease).is_some_and(|h| h.feed.is_closed()) {
            self.leases.remove(lease);
        }
    }
}

/// The name blobs of a lease are pinned under.
pub(super) fn pin_name(lease: LeaseId) -> String {
    format!("lease {lease}")
}

/// The life of one executor, from module to death.
async fn live(run: Arc<Run>, fetcher: Fetcher, slots: u16, fed: mpsc::Receiver<Feed>) {
    let lease = run.lease;
    match open(&run, &fetcher, slots).await {
        Ok((handle, events)) => {
            let handle: Arc<dyn LeaseHandle> = Arc::from(handle);
            run.tell(Input::ExecutorReady { lease }).await;
            let feeding = tokio::spawn(feed::feed(Arc::clone(&run), Arc::clone(&handle), fed));
            let reason = pump::pump(&run, &handle, events).await;
            feeding.abort();
            run.coming.end_all();
            handle.kill();
            if !run.stopped.load(Ordering::Acquire) {
                tracing::warn!(target: "hive_runtime::exec", ?lease, "executor died: {reason}");
                run.tell(Input::ExecutorDied {
                    lease,
                    detail: reason,
                })
                .await;
            }
        }
        Err((code, detail, retryable)) => {
            if !run.stopped.load(Ordering::Acquire) {
                run.tell(Input::ExecutorFailed {
                    lease,
                    code,
                    detail,
                    retryable,
                })
                .await;
            }
        }
    }
    let _ = run.inbox.send(Inbox::ExecutorGone(lease)).await;
    let dir = run.dir.clone();
    let _ = tokio::task::spawn_blocking(move || hive_executor::remove_tree(&dir)).await;
}

type Opened = (Box<dyn LeaseHandle>, mpsc::Receiver<hive_executor::Event>);

async fn open(run: &Run, fetcher: &Fetcher, slots: u16) -> Result<Opened, (String, String, bool)> {
    let module = &run.program.module;
    let _ = run.places.store.pin(module.hash, &pin_name(run.lease), None);
    fetcher
        .fetch(run.submitter, run.lease, module)
        .await
        .map_err(|e| (e.code, format!("the module: {}", e.detail), true))?;
    let io =
        |what: &'static str| move |e: std::io::Error| ("exec.spawn".to_owned(), format!("{what}: {e}"), true);
    let work = run.dir.join("work");
    std::fs::create_dir_all(run.inputs()).map_err(io("folder for inputs"))?;
    std::fs::create_dir_all(&work).map_err(io("folder of the lease"))?;
    set_private(&run.dir).map_err(io("folder of the lease"))?;
    set_private(&work).map_err(io("folder of the lease"))?;
    let path = run
        .places
        .store
        .link_into(&module.hash, &run.dir, "module.wasm")
        .map_err(|e| (e.code().to_owned(), e.to_string(), true))?;
    let limits = run.program.limits;
    let config = LeaseConfig {
        dir: work,
        slots,
        memory_bytes: limits.memory,
        file_bytes: limits.output,
    };
    let name = run.program.runtime.name();
    let executor = run.places.registry.get(name).ok_or_else(|| {
        (
            "lease.runtime".to_owned(),
            format!("this node runs no {name}"),
            true,
        )
    })?;
    let opened = executor
        .spawn(config)
        .await
        .map_err(|e| (e.code().to_owned(), e.to_string(), true))?;
    let program = hive_executor::Program {
        id: module.hash.0,
        source: ProgramSource::File(path),
    };
    if let Err(failure) = opened.handle.prepare(program).await {
        // A module that cannot be used is nobody's fault but its author's; everything else may go better elsewhere.
        let retryable = !failure.code.starts_with("module.");
        return Err((failure.code, failure.message, retryable));
    }
    Ok((opened.handle, opened.events))
}

fn set_private(dir: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
}
