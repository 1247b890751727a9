//! What goes over the pipe between the daemon and its executor process. Both ends are the same
//! binary, so there is one version; the daemon still checks every byte, because a guest that broke
//! out would speak here.

use crate::sandbox::SandboxReport;
use crate::task::{Failure, Limits, ProgramId, Stream, TaskDone};
use hive_protocol::codec::Message;
use serde::{Deserialize, Serialize};

/// What the process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// Runs tasks for one lease.
    Lease,
    /// Compiles one module and ends.
    Compile,
}

/// First frame to the process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Init {
    pub role: Role,
    /// Absolute path of the directory with `in`, `mod` and `work`.
    pub dir: String,
    pub slots: u16,
    pub memory_bytes: u64,
    pub file_bytes: u64,
    /// Growth of the process while it compiles, in bytes.
    pub compile_memory: u64,
}

/// A task without anything of the host in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WireTask {
    pub task: u64,
    pub program: ProgramId,
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub stdin: WireStdin,
    pub in_dir: bool,
    pub out_dir: bool,
    pub tmp_dir: bool,
    pub stream_logs: bool,
    pub fixed_clock: bool,
    pub seed: [u8; 32],
    pub limits: Limits,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum WireStdin {
    Empty,
    Inline(Vec<u8>),
    /// `in/<task>/stdin`
    File,
    /// `in/<task>/stdin`, a pipe through which so many bytes will come.
    Stream {
        size: u64,
    },
}

/// Daemon to executor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum ToChild {
    Init(Init),
    /// Load `mod/<program>.cwasm`.
    Load {
        program: ProgramId,
    },
    Run(Box<WireTask>),
    Cancel {
        task: u64,
    },
    /// Try to reach something from inside; see [`crate::sandbox::Probe`].
    Probe {
        id: u32,
        probe: crate::sandbox::Probe,
    },
}

/// Executor to daemon.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum FromChild {
    Ready(SandboxReport),
    Loaded {
        program: ProgramId,
        failure: Option<Failure>,
    },
    /// The compile role's only answer; the artefact is `work/artefact`.
    Compiled {
        failure: Option<Failure>,
    },
    Started {
        task: u64,
    },
    Log {
        task: u64,
        stream: Stream,
        bytes: Vec<u8>,
    },
    Done(Box<TaskDone>),
    Probed {
        id: u32,
        result: crate::sandbox::ProbeResult,
    },
}

impl Message for ToChild {
    const NAME: &'static str = "executor request";
    const PROTO: u16 = 0xe001;
    const VERSION: u16 = 1;
    /// Arguments, environment and inline input, each bounded in [`crate::task`], with their lengths.
    const MAX: usize = 1 << 20;
}

impl Message for FromChild {
    const NAME: &'static str = "executor answer";
    const PROTO: u16 = 0xe002;
    const VERSION: u16 = 1;
    /// Two inline streams and the paths of all output files, with their lengths.
    const MAX: usize = 3 << 20;
}
