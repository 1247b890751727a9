//! The daemon's side of the WASM runtime: starts executor processes, feeds them, keeps compiled
//! modules. Never runs or compiles guest code itself.

mod cache;
mod compile;
mod handle;
mod link;
mod process;
mod removal;
mod stage;
mod state;

pub use removal::remove_tree;

use crate::lease::{BoxFuture, EVENT_QUEUE, Executor, Lease, LeaseConfig, MAX_SLOTS, SpawnError};
use crate::sandbox::SandboxReport;
use crate::wire::{Init, Role, ToChild};
use cache::Cache;
use compile::Compiler;
use link::Link;
use std::ffi::OsString;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// An executor process must be ready in this time; it takes some 10 ms.
const READY_TIME: Duration = Duration::from_secs(10);

/// Settings of the WASM runtime.
#[derive(Debug, Clone)]
pub struct WasmConfig {
    /// The program to start as executor: the daemon's own binary, whose `main` calls
    /// [`crate::child_main`] when its first argument is [`crate::CHILD_ARG`].
    pub exe: PathBuf,
    /// Directory of this runtime alone for compiled modules; made with mode 0700.
    pub cache_dir: PathBuf,
    /// Largest module in bytes. Over it: `module.too_large`.
    pub max_module: u64,
    /// Time to compile one module. Over it: `module.compile_timeout`.
    pub compile_wall: Duration,
    /// Memory to compile one module in bytes. Over it: `module.compile_memory`.
    pub compile_memory: u64,
    /// Compiled modules kept on disk, in bytes; the least recently used go first.
    pub cache_bytes: u64,
    /// How long after its time limit a task may take to end before its whole process is killed.
    pub stuck_grace: Duration,
}

impl WasmConfig {
    /// The default bounds: 64 MiB modules, 10 s and 512 MiB to compile, 2 GiB of artefacts.
    #[must_use]
    pub fn new(exe: PathBuf, cache_dir: PathBuf) -> Self {
        Self {
            exe,
            cache_dir,
            max_module: 64 << 20,
            compile_wall: Duration::from_secs(10),
            compile_memory: 512 << 20,
            cache_bytes: 2 << 30,
            stuck_grace: Duration::from_secs(10),
        }
    }
}

/// The WASM runtime; its name is `wasm`.
pub struct WasmExecutor {
    config: WasmConfig,
    compiler: Arc<Compiler>,
}

impl WasmExecutor {
    /// Opens the cache directory, making it if need be.
    ///
    /// # Errors
    /// [`SpawnError::Spawn`] if the directory cannot be used.
    pub fn new(config: WasmConfig) -> Result<Self, SpawnError> {
        let cache =
            Cache::open(&config.cache_dir, config.cache_bytes).map_err(|source| SpawnError::Spawn {
                what: format!("cache directory {}", config.cache_dir.display()),
                source,
            })?;
        let compiler = Arc::new(Compiler::new(config.clone(), cache));
        Ok(Self { config, compiler })
    }

    /// Starts an executor process only to see what sandbox this machine grants: decides what a worker
    /// may offer, before any lease.
    ///
    /// # Errors
    /// As [`Executor::spawn`].
    pub async fn sandbox(&self) -> Result<SandboxReport, SpawnError> {
        let failed = |what: &str| {
            let what = format!("directory for a trial: {what}");
            move |source| SpawnError::Spawn { what, source }
        };
        let dir = self.compiler.build_dir().await.map_err(failed("make"))?;
        let config = LeaseConfig {
            dir: dir.clone(),
            slots: 1,
            memory_bytes: 0,
            file_bytes: 0,
        };
        let report = self.start(config).await.map(|(_, report)| report);
        blocking(move || remove_tree(&dir))
            .await
            .map_err(failed("remove"))?;
        report
    }

    async fn start(&self, lease: LeaseConfig) -> Result<(Lease, SandboxReport), SpawnError> {
        if lease.slots == 0 || lease.slots > MAX_SLOTS {
            return Err(SpawnError::Config(format!(
                "{} slots; 1 to {MAX_SLOTS} are possible",
                lease.slots
            )));
        }
        let dir = prepare_dir(&lease.dir)?;
        let init = Init {
            role: Role::Lease,
            dir: path_text(&dir)?,
            slots: lease.slots,
            memory_bytes: lease.memory_bytes,
            file_bytes: lease.file_bytes,
            compile_memory: 0,
        };
        let process = process::start(&self.config.exe)
            .await
            .map_err(|source| SpawnError::Spawn {
                what: format!("starting {}", self.config.exe.display()),
                source,
            })?;
        let (events, receiver) = mpsc::channel(EVENT_QUEUE);
        let (link, ready) = Link::open(process, events, self.config.stuck_grace);
        link.send(&ToChild::Init(init))
            .map_err(|e| SpawnError::NotReady(e.to_string()))?;
        let sandbox = match tokio::time::timeout(READY_TIME, ready).await {
            Ok(Ok(sandbox)) => sandbox,
            Ok(Err(_)) => return Err(SpawnError::NotReady(link.reason())),
            Err(_) => {
                link.kill();
                return Err(SpawnError::NotReady(format!(
                    "silent for {} s",
                    READY_TIME.as_secs()
                )));
            }
        };
        for layer in sandbox.missing() {
            tracing::warn!(layer = layer.name, why = layer.detail, "sandbox layer is missing");
        }
        let lease = LeaseConfig { dir, ..lease };
        let handle = handle::Handle::new(link, Arc::clone(&self.compiler), lease, sandbox.contained());
        let lease = Lease {
            handle: Box::new(handle),
            events: receiver,
        };
        Ok((lease, sandbox))
    }
}

impl Executor for WasmExecutor {
    fn name(&self) -> &'static str {
        "wasm"
    }

    fn spawn(&self, config: LeaseConfig) -> BoxFuture<'_, Result<Lease, SpawnError>> {
        Box::pin(async move { self.start(config).await.map(|(lease, _)| lease) })
    }
}

/// The directories the process is confined to; returns the absolute path of their parent.
fn prepare_dir(dir: &Path) -> Result<PathBuf, SpawnError> {
    let failed = |source| SpawnError::Spawn {
        what: format!("lease directory {}", dir.display()),
        source,
    };
    let dir = dir.canonicalize().map_err(failed)?;
    for name in ["in", "mod", "work"] {
        make_dir(&dir.join(name)).map_err(failed)?;
    }
    Ok(dir)
}

fn make_dir(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

fn path_text(path: &Path) -> Result<String, SpawnError> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| SpawnError::Config(format!("{} is not UTF-8", path.display())))
}

/// The arguments an executor process is started with.
fn child_args() -> [OsString; 2] {
    [crate::CHILD_ARG.into(), std::process::id().to_string().into()]
}

/// Locks a mutex whose data stays valid even if a holder panicked.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Runs blocking file work; a panic in it is an error of the work.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(std::io::Error::other(e)),
    }
}
