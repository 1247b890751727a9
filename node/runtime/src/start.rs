//! Starting a daemon: the data folder is locked, keys are loaded or made, the store is opened, then the loop runs.

use crate::{
    blobs::StorePort,
    clock::Clock,
    config::Config,
    daemon::{Daemon, Identity, Parts},
    home::HomeError,
    jobs::{JobJournal, TREES},
    measure,
    port::{Kind, NodeHandle, Problem, Refused},
    reach,
};
use hive_executor::{Registry, WasmConfig, WasmExecutor};
use hive_net::NetError;
use hive_store::{
    BlobError, BlobStore, DataDir, DirError, DiskBudget, JournalAlarm, JournalError, KeyError, KeyKind,
    SledJournal,
    files::{FileStore, FilesError},
    keys,
};
use std::{path::PathBuf, sync::Arc};
use tokio::{sync::oneshot, task::JoinHandle};

/// Why a daemon did not start. [`StartError::code`] is stable, the text is for people, [`StartError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The blob store.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The file store.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The job journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The membership file.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The network.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The executor cannot be set up.
    #[error("the executor cannot be set up: {0}")]
    Executor(String),
    /// The stored membership makes no sense.
    #[error("the stored membership is of no use: {0}")]
    Membership(String),
    /// The authority's ledger.
    #[error("{detail}")]
    Authority {
        /// Stable code.
        code: String,
        /// What is wrong.
        detail: String,
    },
    /// No randomness.
    #[error("the system has no randomness to give: {0}")]
    Entropy(String),
    /// A folder cannot be made.
    #[error("{}: {source}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The loop ended before it was ready.
    #[error("the daemon ended while it started; see its log")]
    Ended,
}

impl StartError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Dir(e) => e.code(),
            Self::Key(e) => e.code(),
            Self::Blob(e) => e.code(),
            Self::Files(e) => e.code(),
            Self::Journal(e) => e.code(),
            Self::Home(e) => e.code(),
            Self::Net(e) => e.code(),
            Self::Executor(_) => "exec.setup",
            Self::Membership(_) => "member.damaged",
            Self::Authority { code, .. } => code,
            Self::Entropy(_) => "daemon.entropy",
            Self::Io { .. } => "store.io",
            Self::Ended => "daemon.ended",
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Dir(e) => Some(e.fix()),
            Self::Key(e) => Some(e.fix()),
            Self::Net(e) if e.code() == "net.port_taken" => {
                Some("choose another port: --listen PORT".to_owned())
            }
            _ => None,
        }
    }
}

impl From<StartError> for Refused {
    fn from(e: StartError) -> Self {
        let kind = match e.code() {
            "store.locked" | "net.port_taken" | "ledger.locked" => Kind::Conflict,
            _ => Kind::Internal,
        };
        let refused = Self::new(kind, e.code(), e.to_string());
        match e.hint() {
            Some(hint) => refused.hint(hint),
            None => refused,
        }
    }
}

/// A running daemon. Dropping it does not stop it; [`Running::stop`] does.
#[derive(Debug)]
pub struct Running {
    stop: Option<oneshot::Sender<()>>,
    done: JoinHandle<Result<(), String>>,
}

impl Running {
    /// Asks the daemon to stop at once (running tasks are given back). Repeating it does nothing.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The loop may have ended by itself.
            let _ = stop.send(());
        }
    }

    /// Waits until the daemon has ended. Cancel safe.
    ///
    /// # Errors
    /// The fault that ended it.
    pub async fn ended(&mut self) -> Result<(), String> {
        (&mut self.done)
            .await
            .unwrap_or_else(|e| Err(format!("the daemon's loop broke: {e}")))
    }
}

/// Starts a daemon and, if the data folder belongs to a member, takes the membership up.
///
/// # Errors
/// A [`StartError`]; nothing runs then.
pub async fn start(config: Config) -> Result<(NodeHandle, Running), StartError> {
    hive_net::init_crypto()?;
    let clock = Clock::new(config.clock_offset_ms);
    let dir = DataDir::open(&config.data_dir)?;
    let (node, _) = keys::load_or_create(&dir.keys(), KeyKind::Node)?;
    let (account, _) = keys::load_or_create(&dir.keys(), KeyKind::Account)?;
    let quota = if config.store_quota == 0 {
        u64::MAX
    } else {
        config.store_quota
    };
    let (store, report) = BlobStore::open_in(&dir, DiskBudget::new(quota))?;
    tracing::info!(target: "hive_runtime", ?report, "blob store open");
    let (files, report) = FileStore::open(&dir, store.clone())?;
    tracing::info!(target: "hive_runtime", ?report, "file store open");
    let trees: Vec<&'static str> = TREES.into_iter().chain([reach::TREE]).collect();
    let (journal, alarm) = SledJournal::open(&dir.journal(), &trees)?;
    let problems = alarm.into_iter().map(|a| Problem {
        code: a.code().to_owned(),
        message: match a {
            JournalAlarm::MovedAside { moved_to, why } => {
                format!(
                    "the job journal was unreadable ({why}) and was moved to {}",
                    moved_to.display()
                )
            }
            JournalAlarm::RolledBack { batches } => {
                let n = batches.map_or_else(|| "some".to_owned(), |n| n.to_string());
                format!("the newest entries of the job journal are lost ({n} batches): their tasks run again")
            }
        },
        hint: Some("hivenode job ls shows what is known; submit again what is missing".to_owned()),
    });
    clear_tasks(&dir.tasks())?;
    let cache = if config.cache_dir.as_os_str().is_empty() {
        dir.root().join("cache")
    } else {
        config.cache_dir.clone()
    };
    std::fs::create_dir_all(&cache).map_err(|source| StartError::Io {
        path: cache.clone(),
        source,
    })?;
    let mut registry = Registry::default();
    let executor = wasm(&cache)?;
    let uncontained = uncontained(&executor).await;
    registry.insert(Arc::new(executor));
    let free = dir.space()?.available;
    let capabilities = measure::capabilities(&config, dir.root(), free);
    let (handle, calls) = NodeHandle::new(Arc::new(StorePort(store.clone())));
    let parts = Parts {
        clock,
        identity: Identity { node, account },
        store,
        files,
        journal: JobJournal::new(journal),
        registry,
        capabilities,
        problems: problems
            .chain(uncontained)
            .chain(damaged_files(&report))
            .collect(),
        config,
        dir,
    };
    let (stop, stopped) = oneshot::channel();
    let (ready, entered) = oneshot::channel();
    let done = tokio::spawn(Daemon::new(parts, calls).run(ready, stopped));
    entered.await.map_err(|_| StartError::Ended)??;
    Ok((
        handle,
        Running {
            stop: Some(stop),
            done,
        },
    ))
}

fn wasm(cache: &std::path::Path) -> Result<WasmExecutor, StartError> {
    let exe = std::env::current_exe().map_err(|e| StartError::Executor(e.to_string()))?;
    let config = WasmConfig::new(exe, cache.join("modules"));
    WasmExecutor::new(config).map_err(|e| StartError::Executor(e.to_string()))
}

/// What is said when the machine does not give the sandbox's essential layers.
async fn uncontained(executor: &WasmExecutor) -> Option<Problem> {
    let report = executor.sandbox().await.ok()?;
    if report.contained() {
        return None;
    }
    let missing: Vec<_> = report
        .missing()
        .map(|l| format!("{} ({})", l.name, l.detail))
        .collect();
    Some(Problem {
        code: "exec.uncontained".to_owned(),
        message: format!(
            "guests here are held by the WASM runtime alone; missing: {}",
            missing.join(", ")
        ),
        hint: Some("a newer kernel with Landlock and user namespaces; see docs/guides/worker.md".to_owned()),
    })
}

/// What is said when rows about files could not be read.
fn damaged_files(report: &hive_store::files::Report) -> Option<Problem> {
    let first = report.problems.first()?;
    Some(Problem {
        code: "file.damaged_rows".to_owned(),
        message: format!(
            "{} things about files could not be read and are forgotten: {first}",
            report.problems.len()
        ),
        hint: Some("add or share again what is missing: hivenode file ls".to_owned()),
    })
}

/// Task folders of an earlier life hold nothing that is still wanted.
fn clear_tasks(tasks: &std::path::Path) -> Result<(), StartError> {
    let io = |source| StartError::Io {
        path: tasks.to_owned(),
        source,
    };
    for entry in std::fs::read_dir(tasks).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if let Err(e) = hive_executor::remove_tree(&path) {
            tracing::warn!(target: "hive_runtime", path = %path.display(), "cannot remove an old task folder: {e}");
        }
    }
    Ok(())
}
