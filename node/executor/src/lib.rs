//! Runs tasks of strangers, apart from everything that is ours.
//!
//! The daemon never runs or compiles guest code. It starts its own binary again as an executor process
//! ([`child_main`]): without keys, environment or descriptors but one pipe, in a box of namespaces,
//! Landlock, seccomp and resource limits ([`SandboxReport`] tells which of them the machine grants), and
//! tied to the daemon's life. One such process serves one lease with a number of slots; every task gets
//! a fresh WebAssembly store in it. Compiling happens in a process of its own for every module.
//!
//! This crate owns: runtimes by name ([`Registry`]), the process, its sandbox, limits of a task, compiled
//! modules on disk. It must not know: money, trust, peers, jobs, where blobs come from.

mod child;
mod lease;
mod parent;
mod registry;
mod sandbox;
mod task;
mod wire;
#[cfg(test)]
mod wire_golden;

pub use child::{CHILD_ARG, child_main};
pub use lease::{
    BoxFuture, EVENT_QUEUE, Event, Executor, Lease, LeaseConfig, LeaseHandle, MAX_IN_FLIGHT, MAX_SLOTS,
    Program, ProgramSource, SpawnError, SubmitError,
};
pub use parent::{WasmConfig, WasmExecutor, remove_tree};
pub use registry::Registry;
pub use sandbox::{Layer, Probe, ProbeResult, SandboxReport};
pub use task::{
    Captured, Failure, InputFile, Limits, MAX_ARGS, MAX_ARGS_BYTES, MAX_FILES, MAX_INLINE, MAX_INPUTS,
    MAX_MESSAGE, MAX_OUTPUT_DEPTH, MAX_PAYLOAD, Outcome, OutputFile, ProgramId, Stdin, Stream, TaskDone,
    TaskRun, Usage,
};
