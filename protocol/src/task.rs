//! Jobs, tasks and their results as data.

use crate::{
    ids::{BlobHash, TaskIndex},
    money::MicroCpt,
    resources::Resources,
};
use serde::{Deserialize, Serialize};

/// Most tasks one job may have.
pub const MAX_TASKS_PER_JOB: u32 = 1_000_000;
/// Largest blob carried inside a message instead of being fetched, in bytes.
pub const MAX_INLINE: usize = 4096;
/// Most arguments of a task.
pub const MAX_ARGS: usize = 256;
/// Most bytes of all arguments and environment values of a task together.
pub const MAX_ARG_BYTES: usize = 32 << 10;
/// Most input files of a task.
pub const MAX_INPUTS: usize = 64;
/// Most output files a result may name.
pub const MAX_OUTPUTS: usize = 256;
/// Longest path inside the sandbox, in bytes.
pub const MAX_PATH: usize = 512;
/// Longest text of a failure, in bytes.
pub const MAX_DETAIL: usize = 2048;
/// Largest module, in bytes.
pub const MAX_MODULE: u64 = 256 << 20;

/// A blob by hash and size, with its bytes where it is small.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct BlobRef {
    /// BLAKE3 of the bytes.
    pub hash: BlobHash,
    /// Size in bytes.
    pub size: u64,
    /// The bytes themselves, only for at most [`MAX_INLINE`]; checked against the hash by the receiver.
    pub inline: Option<Vec<u8>>,
}

impl BlobRef {
    /// Names these bytes, and carries them when they are small enough.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            hash: BlobHash::of(bytes),
            size: bytes.len() as u64,
            inline: (bytes.len() <= MAX_INLINE).then(|| bytes.to_vec()),
        }
    }

    /// A reference without the bytes.
    #[must_use]
    pub const fn by_hash(hash: BlobHash, size: u64) -> Self {
        Self {
            hash,
            size,
            inline: None,
        }
    }

    /// Whether the inline bytes, if any, are the blob they claim to be.
    #[must_use]
    pub fn inline_is_true(&self) -> bool {
        self.inline.as_ref().is_none_or(|b| {
            b.len() <= MAX_INLINE && b.len() as u64 == self.size && BlobHash::of(b) == self.hash
        })
    }
}

/// Which engine runs the payload.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
pub enum RuntimeKind {
    /// A WASI preview 1 module; counts as contained.
    Wasm,
    /// An OCI container.
    Container,
    /// A native process.
    Process,
}

impl RuntimeKind {
    /// Its name in capabilities and in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wasm => "wasm",
            Self::Container => "container",
            Self::Process => "process",
        }
    }
}

/// Limits of one task. Each has its own failure code.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Limits {
    /// WASM fuel (about one unit an instruction): `task.fuel`.
    pub fuel: u64,
    /// Wall-clock time in milliseconds: `task.timeout`.
    pub wall_ms: u64,
    /// Linear memory in bytes: `task.memory`.
    pub memory: u64,
    /// Bytes of standard output, standard error and output files together: `task.output_limit`.
    pub output: u64,
    /// Number of output files: `task.files_limit`.
    pub files: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel: 100_000_000_000,
            wall_ms: 300_000,
            memory: 256 << 20,
            output: 64 << 20,
            files: 64,
        }
    }
}

/// Whom a job may run on.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct Placement {
    /// Lowest trust score of a worker's account; 0 for any.
    pub min_score: u32,
    /// Location the worker must have; empty for any.
    pub require_location: String,
    /// Location preferred among those that may; empty for none.
    pub prefer_location: String,
}

/// What all tasks of a job share.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Program {
    /// The engine.
    pub runtime: RuntimeKind,
    /// The module (WASM), as a blob. Never inline when larger than [`MAX_INLINE`].
    pub module: BlobRef,
    /// What each running task needs.
    pub need: Resources,
    /// Limits of each task.
    pub limits: Limits,
    /// Name shown to people and `argv[0]`.
    pub name: String,
}

/// One input file of a task.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct InputFile {
    /// Path below `/in` in the sandbox: relative, `/`-separated, no `..`.
    pub path: String,
    /// Its bytes.
    pub blob: BlobRef,
}

/// What differs from task to task.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct TaskSpec {
    /// Arguments after `argv[0]`. `{in}` and `{out}` are already replaced.
    pub args: Vec<String>,
    /// Environment.
    pub env: Vec<(String, String)>,
    /// Standard input; empty when absent.
    pub stdin: Option<BlobRef>,
    /// Files below `/in`.
    pub inputs: Vec<InputFile>,
    /// Whether files written below `/out` are collected.
    pub collect_out: bool,
}

/// A task handed to a worker.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct TaskOrder {
    /// Which task of the job.
    pub index: TaskIndex,
    /// Which try, counted from 1.
    pub attempt: u16,
    /// What to run.
    pub spec: TaskSpec,
}

/// One file a task has written.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct OutputFile {
    /// Path below `/out`: relative, `/`-separated, no `..`.
    pub path: String,
    /// Its bytes.
    pub blob: BlobRef,
}

/// How a task ended.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Outcome {
    /// The program ended by itself with this code (0 is success).
    Exited(i32),
    /// It was stopped or could not start.
    Failed {
        /// Stable code such as `task.fuel` or `module.unknown_imports`.
        code: String,
        /// One line for people, at most [`MAX_DETAIL`] bytes.
        detail: String,
        /// Whether the same task may succeed elsewhere or later (the worker's fault, not the program's).
        retryable: bool,
    },
}

impl Outcome {
    /// Whether the task did what it was asked.
    #[must_use]
    pub fn is_success(&self) -> bool {
        *self == Self::Exited(0)
    }
}

/// What running a task took.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct Usage {
    /// WASM fuel burnt.
    pub fuel: u64,
    /// Wall-clock time in microseconds.
    pub wall_us: u64,
    /// CPU time in microseconds.
    pub cpu_us: u64,
    /// Peak linear memory in bytes.
    pub memory: u64,
}

/// A finished task as its worker reports it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct TaskResult {
    /// Which task.
    pub index: TaskIndex,
    /// Which try.
    pub attempt: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Standard output; absent when empty.
    pub stdout: Option<BlobRef>,
    /// Standard error; absent when empty.
    pub stderr: Option<BlobRef>,
    /// Files below `/out`, sorted by path.
    pub outputs: Vec<OutputFile>,
    /// What it took.
    pub usage: Usage,
}

/// A whole job as its submitter's daemon keeps it, tasks apart.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct JobSpec {
    /// Name for people; at most [`crate::resources::MAX_NAME`] bytes.
    pub name: String,
    /// What all its tasks share.
    pub program: Program,
    /// Where it may run.
    pub placement: Placement,
    /// Highest price accepted, µCPT per Gfuel.
    pub max_price: MicroCpt,
    /// Most µCPT the whole job may cost.
    pub budget: MicroCpt,
    /// How often a task is tried again after a worker's fault; the program's own failures are final.
    pub retries: u16,
    /// Number of tasks so far.
    pub tasks: u32,
    /// Whether more tasks may be added until the job is closed. An open job keeps its leases while it is
    /// idle, so that a task added later starts at once; it may begin with no task.
    pub open: bool,
}

/// Why a path or a task's shape is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A path that is absolute, empty, too long, or climbs.
    #[error(
        "path `{0}` is refused: it must be relative, without empty, `.` or `..` parts, at most {MAX_PATH} bytes"
    )]
    Path(String),
    /// A count or size over its bound.
    #[error("{what}: {found} is over the limit of {limit}")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Inline bytes that are not the blob they claim to be.
    #[error("inline bytes of {0} do not have the hash they claim")]
    Inline(BlobHash),
    /// Zero or too many tasks, a wrong name, or the like.
    #[error("{0}")]
    Shape(&'static str),
}

/// Checks a sandbox path.
///
/// # Errors
/// [`SpecError::Path`].
pub fn check_path(path: &str) -> Result<(), SpecError> {
    let ok = !path.is_empty()
        && path.len() <= MAX_PATH
        && !path.contains(['\0', '\\'])
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != ".." && part.len() <= 255);
    if ok {
        Ok(())
    } else {
        Err(SpecError::Path(path.chars().take(80).collect()))
    }
}

fn at_most(what: &'static str, found: usize, limit: usize) -> Result<(), SpecError> {
    if found > limit {
        Err(SpecError::TooMany { what, found, limit })
    } else {
        Ok(())
    }
}

fn check_blob(blob: &BlobRef) -> Result<(), SpecError> {
    if blob.inline_is_true() {
        Ok(())
    } else {
        Err(SpecError::Inline(blob.hash))
    }
}

impl TaskSpec {
    /// Checks every bound a peer's task must keep before it is queued.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self) -> Result<(), SpecError> {
        at_most("arguments", self.args.len() + self.env.len(), MAX_ARGS)?;
        let bytes = self.args.iter().map(String::len).sum::<usize>()
            + self.env.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
        at_most("bytes of arguments", bytes, MAX_ARG_BYTES)?;
        at_most("input files", self.inputs.len(), MAX_INPUTS)?;
        let nul = |s: &String| s.contains('\0');
        if self.args.iter().any(nul)
            || self
                .env
                .iter()
                .any(|(k, v)| nul(k) || nul(v) || k.is_empty() || k.contains('='))
        {
            return Err(SpecError::Shape(
                "an argument or environment entry holds a NUL, or a name is empty or holds `=`",
            ));
        }
        for input in &self.inputs {
            check_path(&input.path)?;
            check_blob(&input.blob)?;
        }
        self.stdin.as_ref().map_or(Ok(()), check_blob)
    }

    /// Every blob this task reads.
    pub fn blobs(&self) -> impl Iterator<Item = &BlobRef> {
        self.inputs.iter().map(|i| &i.blob).chain(self.stdin.as_ref())
    }
}

impl TaskResult {
    /// Checks every bound a peer's result must keep before it is used.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self) -> Result<(), SpecError> {
        at_most("output files", self.outputs.len(), MAX_OUTPUTS)?;
        if let Outcome::Failed { code, detail, .. } = &self.outcome {
            at_most("bytes of a failure", code.len() + detail.len(), MAX_DETAIL + 64)?;
        }
        for file in &self.outputs {
            check_path(&file.path)?;
            check_blob(&file.blob)?;
        }
        self.stdout.iter().chain(&self.stderr).try_for_each(check_blob)
    }

    /// Every blob this result names.
    pub fn blobs(&self) -> impl Iterator<Item = &BlobRef> {
        self.outputs
            .iter()
            .map(|o| &o.blob)
            .chain(self.stdout.as_ref())
            .chain(self.stderr.as_ref())
    }
}

impl JobSpec {
    /// Checks what a user or a journal hands in.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.tasks == 0 && !self.open {
            return Err(SpecError::Shape("a job needs at least one task"));
        }
        at_most("tasks", self.tasks as usize, MAX_TASKS_PER_JOB as usize)?;
        at_most(
            "bytes of a name",
            self.name.len().max(self.program.name.len()),
            crate::resources::MAX_NAME,
        )?;
        if self.program.module.size > MAX_MODULE {
            return Err(SpecError::Shape("the module is larger than 256 MiB"));
        }
        check_blob(&self.program.module)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_that_climb_are_refused() {
        for bad in ["", "/etc", "a/../b", "..", "a//b", "a/", "./a", "a\\b", "a\0"] {
            assert!(check_path(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "a/b.c", "ünïcode/…", "..."] {
            check_path(good).unwrap();
        }
    }

    #[test]
    fn inline_bytes_must_be_true() {
        let mut b = BlobRef::of(b"hello");
        assert!(b.inline_is_true());
        b.inline = Some(b"hellO".to_vec());
        assert!(!b.inline_is_true());
    }
}
