//! What every runtime offers its caller: an executor that opens leases, a lease that takes tasks
//! and tells what becomes of them. Knows no runtime.

use crate::sandbox::{Probe, ProbeResult, SandboxReport};
use crate::task::{Failure, ProgramId, Stream, TaskDone, TaskRun};
use std::fs::File;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use tokio::sync::mpsc;

/// A boxed future, so that the traits below stay usable as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Unfinished tasks of one lease. Deep enough to hide a round trip of the mesh at 20,000 tasks/s,
/// small enough that their frames fit the executor's memory.
pub const MAX_IN_FLIGHT: usize = 4096;
/// Events waiting for the caller. When they are not read the executor process is held back, not memory.
pub const EVENT_QUEUE: usize = 1024;
/// Threads of one lease.
pub const MAX_SLOTS: u16 = 256;

/// A runtime that can open leases; entered by name in [`crate::Registry`].
pub trait Executor: Send + Sync {
    /// The name tasks ask for, e.g. `wasm`.
    fn name(&self) -> &'static str;

    /// Opens a lease: starts what the runtime needs and waits until it is ready for tasks.
    ///
    /// # Errors
    /// [`SpawnError`] with the code `exec.spawn` or `exec.died`.
    fn spawn(&self, config: LeaseConfig) -> BoxFuture<'_, Result<Lease, SpawnError>>;
}

/// What one lease may use.
#[derive(Debug, Clone)]
pub struct LeaseConfig {
    /// An existing, empty directory of the host for this lease alone (mode 0700). Everything the
    /// lease writes is below it; the caller removes it after the lease.
    pub dir: PathBuf,
    /// Tasks that run at once, `1..=`[`MAX_SLOTS`].
    pub slots: u16,
    /// Largest memory limit a task of this lease may have, in bytes.
    pub memory_bytes: u64,
    /// Largest single-file limit a task of this lease may have, in bytes.
    pub file_bytes: u64,
}

/// An open lease. Dropping `handle` ends it: unfinished tasks are lost.
pub struct Lease {
    /// Takes tasks.
    pub handle: Box<dyn LeaseHandle>,
    /// Tells what becomes of them. Bounded by [`EVENT_QUEUE`]; ends after [`Event::Died`].
    pub events: mpsc::Receiver<Event>,
}

/// A program to be made ready on a lease.
#[derive(Debug, Clone)]
pub struct Program {
    /// The name tasks refer to it by.
    pub id: ProgramId,
    /// Its bytes.
    pub source: ProgramSource,
}

/// Where a program's bytes are.
#[derive(Debug, Clone)]
pub enum ProgramSource {
    /// A regular file of the host.
    File(PathBuf),
    /// In memory.
    Bytes(Vec<u8>),
}

/// The caller's hold on a lease. All methods may be called at any time from any task.
pub trait LeaseHandle: Send + Sync {
    /// Checks, compiles (or takes from the cache) and loads a program. Repeating it is cheap.
    ///
    /// # Errors
    /// A [`Failure`] with a `module.…` or `exec.…` code.
    fn prepare(&self, program: Program) -> BoxFuture<'_, Result<(), Failure>>;

    /// Hands over a task; completes at once unless input files must be placed. Exactly one
    /// [`Event::Done`] follows for every `Ok`.
    ///
    /// # Errors
    /// [`SubmitError`]; then no event follows.
    fn submit(&self, run: TaskRun) -> BoxFuture<'_, Result<(), SubmitError>>;

    /// Asks for the end of a task; its [`Event::Done`] carries `task.cancelled` unless it ended before.
    /// Unknown tasks are ignored.
    fn cancel(&self, task: u64);

    /// The writing end of the standard input of a task that was handed over with [`crate::Stdin::Stream`]: a pipe
    /// that does not block. Once for each task; whoever drops it before all bytes are written fails the task, and
    /// who has it drops it when the task has ended.
    ///
    /// # Errors
    /// `NotFound` for a task that has no such input, or whose end was taken already.
    fn open_stdin(&self, task: u64) -> std::io::Result<File>;

    /// Opens an output file of a finished task without following any link.
    ///
    /// # Errors
    /// The system's, and `InvalidInput` if it is no regular file.
    fn open_output(&self, task: u64, path: &str) -> std::io::Result<File>;

    /// Opens a spooled standard stream of a finished task.
    ///
    /// # Errors
    /// As [`LeaseHandle::open_output`].
    fn open_capture(&self, task: u64, stream: Stream) -> std::io::Result<File>;

    /// Removes what a finished task left on disk. Call it for every task that had inputs, `/out`,
    /// `/tmp` or a spooled stream, once its outputs have been taken.
    fn release(&self, task: u64) -> BoxFuture<'_, ()>;

    /// Tries to reach something from inside the sandbox: the daemon's self-check. `None` if the runtime
    /// has no process of its own or it is gone.
    fn probe(&self, probe: Probe) -> BoxFuture<'_, Option<ProbeResult>>;

    /// Unfinished tasks now.
    fn in_flight(&self) -> usize;

    /// The executor's operating-system process, if it has one of its own.
    fn pid(&self) -> Option<u32>;

    /// Ends the lease at once: unfinished tasks are lost, then [`Event::Died`] follows.
    fn kill(&self);
}

/// What a lease tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// First event: the executor runs.
    Ready {
        /// Layers of the sandbox and whether each is active.
        sandbox: SandboxReport,
    },
    /// A task left the queue and runs.
    Started {
        /// The caller's number.
        task: u64,
    },
    /// Bytes a running task wrote; whole lines where it writes lines.
    Log {
        /// The caller's number.
        task: u64,
        /// Which stream.
        stream: Stream,
        /// As written; not necessarily UTF-8, escape before printing.
        bytes: Vec<u8>,
    },
    /// A task ended; exactly one per submitted task, also if the executor died (`exec.died`).
    Done(Box<TaskDone>),
    /// Last event: the executor is gone; every unfinished task has been reported before.
    Died {
        /// Why, for people: exit status and the end of its standard error.
        reason: String,
    },
}

/// Why a lease could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The lease's settings cannot be served.
    #[error("exec.config: {0}")]
    Config(String),
    /// The process, its pipe or its directories could not be made.
    #[error("exec.spawn: {what}: {source}")]
    Spawn {
        /// What was being done.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The process ended, or said nothing in time, before it was ready.
    #[error("exec.died: the executor process was not ready: {0}")]
    NotReady(String),
}

impl SpawnError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Config(_) => "exec.config",
            Self::Spawn { .. } => "exec.spawn",
            Self::NotReady(_) => "exec.died",
        }
    }
}

/// Why a task was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// [`MAX_IN_FLIGHT`] tasks are unfinished.
    #[error("exec.busy: {MAX_IN_FLIGHT} tasks are unfinished on this lease")]
    Busy,
    /// The executor process is gone.
    #[error("exec.died: the executor process has ended")]
    Died,
    /// The task cannot be expressed.
    #[error("task.invalid: task {task}: {why}")]
    Invalid {
        /// The caller's number.
        task: u64,
        /// What is wrong.
        why: String,
    },
    /// An input file could not be placed in the sandbox.
    #[error("task.input: task {task}: {name}: {source}")]
    Input {
        /// The caller's number.
        task: u64,
        /// The input's name.
        name: String,
        /// The system's error.
        source: std::io::Error,
    },
}

impl SubmitError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Busy => "exec.busy",
            Self::Died => "exec.died",
            Self::Invalid { .. } => "task.invalid",
            Self::Input { .. } => "task.input",
        }
    }
}
