//! What a guest sees: WASI preview 1 with its arguments, its streams, and directories of its own.

use super::control::{Control, Deadline};
use super::engine;
use super::limiter::Limiter;
use super::poll;
use super::random::Seeded;
use super::sinks::{Sink, Sinks};
use super::stdin::Coming;
use crate::task::{Failure, Stream};
use crate::wire::{WireStdin, WireTask};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use wasmtime::{Engine, Linker};
use wasmtime_wasi::cli::InputFile;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::{FsPerms, HostMonotonicClock, HostWallClock, I32Exit, WasiCtxBuilder, WasiView};

/// Handles of one guest: open files and streams.
const HANDLES: usize = 128;
/// Random bytes of one call. They are made in host memory first.
const RANDOM_BYTES: u64 = 16 << 20;
/// Bytes of guest memory the host copies in one call.
pub(super) const HOSTCALL_BYTES: usize = 64 << 20;

/// The state of one guest.
pub(super) struct Guest {
    wasi: WasiP1Ctx,
    pub(super) limiter: Limiter,
    pub(super) control: Arc<Control>,
    pub(super) deadline: Deadline,
    pub(super) clocks: Clocks,
}

impl Guest {
    /// A guest with nothing, to look at imports.
    pub(super) fn idle() -> Self {
        Self {
            wasi: WasiCtxBuilder::new().build_p1(),
            limiter: Limiter::new(0),
            control: Arc::default(),
            deadline: Deadline::new(Instant::now(), 0),
            clocks: Clocks::new(true),
        }
    }

    /// A guest for this task; `lease` is the lease's directory, `work` the task's own.
    pub(super) fn new(
        task: &WireTask,
        lease: &Path,
        work: &Path,
        sinks: &Arc<Sinks>,
        control: Arc<Control>,
        deadline: Deadline,
    ) -> Result<Self, Failure> {
        let clocks = Clocks::new(task.fixed_clock);
        let mut builder = WasiCtxBuilder::new();
        builder
            // Every slot is a thread of its own: blocking is what it is for.
            .allow_blocking_current_thread(true)
            .args(&task.argv)
            .envs(&task.env)
            .stdout(Sink {
                sinks: Arc::clone(sinks),
                stream: Stream::Out,
            })
            .stderr(Sink {
                sinks: Arc::clone(sinks),
                stream: Stream::Err,
            })
            .secure_random(Seeded::new(task.seed))
            .insecure_random(Seeded::new(task.seed))
            .insecure_random_seed(0)
            .max_random_size(RANDOM_BYTES)
            .allow_tcp(false)
            .allow_udp(false)
            .wall_clock(clocks.clone())
            .monotonic_clock(clocks.clone());
        let inputs = || lease.join("in").join(task.task.to_string());
        match &task.stdin {
            WireStdin::Empty => {}
            WireStdin::Inline(bytes) => {
                builder.stdin(MemoryInputPipe::new(bytes::Bytes::copy_from_slice(bytes)));
            }
            WireStdin::File => {
                let file = File::open(inputs().join("stdin")).map_err(|e| io("stdin", &e))?;
                builder.stdin(InputFile::new(file));
            }
            WireStdin::Stream { size } => {
                let path = inputs().join("stdin");
                let coming = Coming::open(&path, *size, Arc::clone(&control), deadline);
                builder.stdin(coming.map_err(|e| io("stdin", &e))?);
            }
        }
        if task.in_dir {
            preopen(&mut builder, &inputs().join("files"), "/in", FsPerms::ReadOnly)?;
        }
        for (wanted, name, guest) in [(task.out_dir, "out", "/out"), (task.tmp_dir, "tmp", "/tmp")] {
            if wanted {
                let dir = work.join(name);
                std::fs::create_dir_all(&dir).map_err(|e| io(guest, &e))?;
                preopen(&mut builder, &dir, guest, FsPerms::ReadWrite)?;
            }
        }
        let mut wasi = builder.build_p1();
        wasi.ctx().table.set_max_capacity(HANDLES);
        Ok(Self {
            wasi,
            limiter: Limiter::new(task.limits.memory_bytes),
            control,
            deadline,
            clocks,
        })
    }
}

fn io(what: &str, e: &std::io::Error) -> Failure {
    Failure::new("exec.io", format!("{what}: {e}"))
}

fn preopen(builder: &mut WasiCtxBuilder, host: &Path, guest: &str, perms: FsPerms) -> Result<(), Failure> {
    let opened = builder.preopened_dir(host, guest, perms);
    opened
        .map(|_| ())
        .map_err(|e| Failure::new("exec.io", format!("{guest}: {e}")))
}

/// Everything a guest may import.
pub(super) fn linker(engine: &Engine) -> Result<Linker<Guest>, Failure> {
    const WASI: &str = "wasi_snapshot_preview1";
    let mut linker = Linker::new(engine);
    let add = |linker: &mut Linker<Guest>| -> wasmtime::Result<()> {
        wasmtime_wasi::p1::add_to_linker_sync(linker, |guest: &mut Guest| &mut guest.wasi)?;
        linker.allow_shadowing(true);
        linker.func_wrap(WASI, "poll_oneoff", poll::poll_oneoff)?;
        // The library's own one turns codes from 126 up into traps.
        linker.func_wrap(WASI, "proc_exit", |code: i32| -> wasmtime::Result<()> {
            Err(I32Exit(code).into())
        })?;
        linker.allow_shadowing(false);
        Ok(())
    };
    add(&mut linker).map_err(|e| Failure::new("exec.engine", format!("{e:#}")))?;
    Ok(linker)
}

/// The guest's clocks: the machine's, or a count of readings.
#[derive(Clone)]
pub(super) struct Clocks {
    start: Instant,
    /// Microseconds that have passed on the fixed clock.
    fixed: Option<Arc<AtomicU64>>,
}

impl Clocks {
    fn new(fixed: bool) -> Self {
        Self {
            start: Instant::now(),
            fixed: fixed.then(Arc::default),
        }
    }

    fn fixed(&self) -> Option<Duration> {
        self.fixed
            .as_ref()
            .map(|us| Duration::from_micros(us.fetch_add(1, Ordering::Relaxed)))
    }

    fn since_start(&self) -> Duration {
        self.fixed().unwrap_or_else(|| self.start.elapsed())
    }

    fn wall(&self) -> Duration {
        self.fixed().unwrap_or_else(|| {
            SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default()
        })
    }

    pub(super) fn monotonic_nanos(&self) -> u64 {
        u64::try_from(self.since_start().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn wall_nanos(&self) -> u64 {
        u64::try_from(self.wall().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl HostWallClock for Clocks {
    fn resolution(&self) -> Duration {
        Duration::from_micros(1)
    }

    fn now(&self) -> Duration {
        self.wall()
    }
}

impl HostMonotonicClock for Clocks {
    fn resolution(&self) -> u64 {
        1000
    }

    fn now(&self) -> u64 {
        self.monotonic_nanos()
    }
}

/// Threads that run guests need their stack plus room for host calls on top.
pub(super) const THREAD_STACK: usize = engine::GUEST_STACK + (3 << 20);
