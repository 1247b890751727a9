//! Words of one task: what is asked for, what bounds it, what came of it. Plain data that any
//! runtime can serve; knows nothing of processes, pipes or WebAssembly.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Names a program (module, image, archive) within a lease: the BLAKE3 hash of its bytes.
pub type ProgramId = [u8; 32];

/// Standard input given by value, and captured output returned by value, at most: 64 KiB.
/// Larger ones go through files so that frames stay small and no-op tasks touch no disk.
pub const MAX_INLINE: usize = 64 << 10;
/// Arguments plus environment of one task, in bytes: half of what Linux gives a process by default.
pub const MAX_ARGS_BYTES: usize = 256 << 10;
/// Arguments, and environment pairs, of one task.
pub const MAX_ARGS: usize = 4096;
/// Input files of one task.
pub const MAX_INPUTS: usize = 1024;
/// Output files one task may ever be allowed, whatever its limits say: their names travel in one frame.
pub const MAX_FILES: u32 = 10_000;
/// Directories inside each other below `/out` and `/tmp`, the file included. Deeper trees cannot be
/// named in one path on every file system.
pub const MAX_OUTPUT_DEPTH: usize = 32;
/// Bytes of all output paths together in one result.
pub const MAX_PATH_BYTES: usize = 2 << 20;
/// Bytes of a failure's text; longer texts are cut.
pub const MAX_MESSAGE: usize = 4 << 10;
/// Runtime-specific bytes a task may carry.
pub const MAX_PAYLOAD: usize = 64 << 10;

/// Bounds of one task. Every one that is met ends the task with its own code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Instructions, in the runtime's fuel units; `u64::MAX` is no limit. Over it: `task.fuel`.
    pub fuel: u64,
    /// Wall clock in milliseconds from the start of the run. Over it: `task.timeout`.
    pub wall_ms: u64,
    /// Linear memory and tables in bytes. Over it: `task.memory`.
    pub memory_bytes: u64,
    /// Standard output, standard error and all files in `/out` and `/tmp` together, in bytes
    /// (apparent sizes, so sparse files count in full). Over it: `task.output_limit`.
    pub output_bytes: u64,
    /// One file, in bytes. Over it: `task.output_limit`.
    pub file_bytes: u64,
    /// Files and directories in `/out` and `/tmp`, at most [`MAX_FILES`]. Over it: `task.files_limit`.
    pub files: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel: u64::MAX,
            wall_ms: 60_000,
            memory_bytes: 256 << 20,
            output_bytes: 64 << 20,
            file_bytes: 64 << 20,
            files: 1000,
        }
    }
}

/// Where a task's standard input comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Stdin {
    /// At end of file from the start.
    #[default]
    Empty,
    /// These bytes, at most [`MAX_INLINE`].
    Inline(Vec<u8>),
    /// A regular file of the host.
    File(PathBuf),
    /// So many bytes that are still coming: whoever hands over the task writes them into
    /// [`crate::LeaseHandle::open_stdin`]. If fewer come the task fails with `task.input`.
    Stream {
        /// How many bytes.
        size: u64,
    },
}

/// A file of the host that the task sees as `/in/<name>`, read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFile {
    /// Relative path below `/in`: plain components only, at most 255 bytes each and 8 deep.
    pub name: String,
    /// The host's regular file; it must not change while the task runs.
    pub path: PathBuf,
}

/// One task to run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TaskRun {
    /// The caller's number for it; unique among the unfinished tasks of the lease.
    pub task: u64,
    /// A program already prepared on this lease.
    pub program: ProgramId,
    /// The argument vector as the guest sees it; `argv[0]` is the program's name.
    pub argv: Vec<String>,
    /// Environment pairs as the guest sees them; nothing of the host's environment is added.
    pub env: Vec<(String, String)>,
    /// Standard input.
    pub stdin: Stdin,
    /// Input files; `/in` exists only if there is one.
    pub inputs: Vec<InputFile>,
    /// Give the guest a writable `/out` whose files are part of the result.
    pub out_dir: bool,
    /// Give the guest a writable `/tmp` that is thrown away; it counts towards the output limits.
    pub tmp_dir: bool,
    /// Send standard output and error as [`crate::Event::Log`] while the task runs. They are part of the
    /// result in any case.
    pub stream_logs: bool,
    /// Seed of the guest's random source: same seed, same numbers.
    pub seed: [u8; 32],
    /// Clocks that do not depend on the machine: both start at zero and move 1 µs per reading.
    /// Needed when results of two workers are compared.
    pub fixed_clock: bool,
    /// Its bounds.
    pub limits: Limits,
    /// Runtime-specific extras, at most [`MAX_PAYLOAD`] bytes; the WASM runtime takes none.
    pub payload: Vec<u8>,
}

/// Standard output or standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Stream {
    /// Name of its file in the task's directory, when it is spooled.
    pub(crate) fn file_name(self) -> &'static str {
        match self {
            Self::Out => "stdout",
            Self::Err => "stderr",
        }
    }
}

/// A stable dotted code and a text for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Failure {
    /// For programs, e.g. `task.fuel`; never reworded.
    pub code: String,
    /// For people: what, where, why; at most [`MAX_MESSAGE`] bytes. It can quote the guest's own
    /// names: escape it before a terminal sees it.
    pub message: String,
}

impl Failure {
    /// A failure with its text cut to [`MAX_MESSAGE`] bytes.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MAX_MESSAGE {
            let mut end = MAX_MESSAGE;
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            message.truncate(end);
        }
        Self {
            code: code.to_owned(),
            message,
        }
    }
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It ended by itself with this exit code; any but 0 is the code `task.exit`.
    Exited(i32),
    /// It was ended, or never ran.
    Failed(Failure),
}

impl Outcome {
    /// The stable code, or `None` for success.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Exited(0) => None,
            Self::Exited(_) => Some("task.exit"),
            Self::Failed(f) => Some(&f.code),
        }
    }
}

/// What a task used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Fuel units; the same for the same program, input and seed on every machine.
    pub fuel: u64,
    /// Wall clock of the run in microseconds, without waiting for a slot.
    pub wall_us: u64,
    /// Processor time of the slot's thread in microseconds.
    pub cpu_us: u64,
    /// Largest linear memory plus tables, in bytes.
    pub peak_memory: u64,
    /// Standard output, standard error and files together, in bytes.
    pub output_bytes: u64,
}

/// A captured standard stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Captured {
    /// All of it, at most [`MAX_INLINE`] bytes.
    Inline(Vec<u8>),
    /// It is in a file, see [`crate::LeaseHandle::open_capture`].
    Spooled {
        /// Its size in bytes.
        bytes: u64,
    },
}

impl Default for Captured {
    fn default() -> Self {
        Self::Inline(Vec::new())
    }
}

/// A regular file the task left in `/out`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFile {
    /// Path below `/out`, `/` between components. Any character but NUL can occur: escape before printing.
    pub path: String,
    /// Size in bytes when the task ended.
    pub bytes: u64,
}

/// The end of one task. Exactly one per submitted task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDone {
    /// The caller's number.
    pub task: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
    /// Standard output; also what was written before a failure.
    pub stdout: Captured,
    /// Standard error; also what was written before a failure.
    pub stderr: Captured,
    /// Files in `/out`, sorted by path; empty after a failure.
    pub files: Vec<OutputFile>,
}

impl TaskDone {
    /// The end of a task that produced nothing.
    pub(crate) fn failed(task: u64, failure: Failure) -> Self {
        Self {
            task,
            outcome: Outcome::Failed(failure),
            usage: Usage::default(),
            stdout: Captured::default(),
            stderr: Captured::default(),
            files: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_failure_text_is_cut_at_a_character() {
        let failure = Failure::new("task.trap", "é".repeat(MAX_MESSAGE));
        assert!(failure.message.len() <= MAX_MESSAGE);
        assert!(failure.message.chars().all(|c| c == 'é'));
    }

    #[test]
    fn only_exit_zero_has_no_code() {
        assert_eq!(Outcome::Exited(0).code(), None);
        assert_eq!(Outcome::Exited(3).code(), Some("task.exit"));
        assert_eq!(
            Outcome::Failed(Failure::new("task.fuel", "")).code(),
            Some("task.fuel")
        );
    }
}
