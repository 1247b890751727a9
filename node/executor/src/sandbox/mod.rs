//! The box around the executor process: what it puts on before it sees any guest byte, and an
//! honest report of what the machine granted. Knows nothing of guests or of the pipe's protocol.
//!
//! Order matters: namespaces need a single thread and are entered first (they reset the parent-death
//! signal, which is therefore set after them), `no_new_privs` comes before Landlock and seccomp, and
//! seccomp is last because it forbids what the others need. All of it happens before the first thread
//! starts, so every thread inherits it.

mod fds;
mod landlock;
mod limits;
mod namespaces;
mod probe;
mod process;
mod seccomp;

pub(crate) use fds::close_inherited;
pub(crate) use probe::run_probe;
pub use probe::{Probe, ProbeResult};
pub(crate) use process::follow_parent;

use serde::{Deserialize, Serialize};
use std::path::Path;

/// One layer of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Stable name: `descriptors`, `environment`, `oom_first`, `parent_death`, `user_namespace`, `net_namespace`,
    /// `ipc_namespace`, `rlimits`, `no_new_privs`, `undumpable`, `landlock_fs`, `landlock_net`,
    /// `landlock_scope`, `seccomp`.
    pub name: String,
    /// Whether it holds.
    pub active: bool,
    /// How, or why not.
    pub detail: String,
}

/// All layers, active or missing; nothing is left out silently.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SandboxReport {
    /// In the order in which they were put on.
    pub layers: Vec<Layer>,
}

/// Layers without which guests would reach the host's files or network if they broke out of
/// WebAssembly.
const ESSENTIAL: [&str; 4] = ["environment", "no_new_privs", "landlock_fs", "seccomp"];

impl SandboxReport {
    /// Whether this layer is active.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.layers.iter().any(|l| l.name == name && l.active)
    }

    /// Layers that are missing.
    pub fn missing(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().filter(|l| !l.active)
    }

    /// Whether files and network of the host stay out of reach even of native code in the process:
    /// a worker without this should not offer itself to strangers.
    #[must_use]
    pub fn contained(&self) -> bool {
        ESSENTIAL.iter().all(|name| self.has(name))
    }

    pub(crate) fn note(&mut self, name: &str, result: Result<String, String>) {
        let (active, detail) = match result {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        self.layers.push(Layer {
            name: name.to_owned(),
            active,
            detail,
        });
    }
}

/// What the process may still use once it is in the box.
pub(crate) struct Bounds<'a> {
    /// Directories that may be read.
    pub(crate) read: &'a [&'a Path],
    /// Directories that may be read and written.
    pub(crate) write: &'a [&'a Path],
    /// Largest file it may write, in bytes.
    pub(crate) file_bytes: u64,
    /// Private writable memory of the whole process, in bytes.
    pub(crate) data_bytes: u64,
    /// Open files.
    pub(crate) open_files: u64,
    /// The process that started it.
    pub(crate) parent: u32,
}

/// Puts the box on. Must run while the process has one thread.
pub(crate) fn enter(bounds: &Bounds<'_>, report: &mut SandboxReport) {
    report.note("environment", process::environment_is_empty());
    report.note("oom_first", process::first_to_go());
    namespaces::enter(report);
    report.note("parent_death", process::follow_parent(bounds.parent));
    report.note("rlimits", limits::apply(bounds));
    report.note("no_new_privs", process::no_new_privs());
    report.note("undumpable", process::undumpable());
    landlock::restrict(bounds, report);
    report.note("seccomp", seccomp::install());
}
