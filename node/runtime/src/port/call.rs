//! The calls themselves: requests with a place for the answer.

use super::{net_call::NetCall, refusal::Refused, views::*};
use hive_protocol::{
    money::MicroCpt,
    resources::{Resources, Role},
    task::{Limits, Placement},
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tokio::sync::{broadcast, mpsc, oneshot};

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, Refused>>;

/// Where bytes come from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A file on the daemon's machine, by absolute path; imported into the store.
    Path(PathBuf),
    /// A blob already in the daemon's store, by text id.
    Blob(String),
    /// The bytes themselves, as text (standard input of a small task).
    Text(String),
}

/// One task of a new job.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct TaskRequest {
    /// What it is about, for listings and errors (the input's name).
    pub label: String,
    /// Arguments; `{in}` and `{out}` are replaced by the daemon: `{in}` by `/in/<path of the first input>`, `{out}` by `/out/<output_name>`.
    pub args: Vec<String>,
    /// Environment.
    pub env: Vec<(String, String)>,
    /// Standard input.
    pub stdin: Option<Source>,
    /// Files below /in: (path, source).
    pub inputs: Vec<(String, Source)>,
    /// What `{out}` stands for, below /out; `out` when empty.
    pub output_name: String,
}

/// A new job.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// Name for people.
    pub name: String,
    /// The WASM module.
    pub module: Source,
    /// Its tasks; may be empty only when `open`.
    pub tasks: Vec<TaskRequest>,
    /// What each running task needs; `None` for one core and the memory limit.
    #[serde(default)]
    pub need: Option<Resources>,
    /// Limits of each task; `None` for the defaults.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// Where it may run.
    #[serde(default)]
    pub placement: Placement,
    /// Highest price in µCPT per Gfuel; `None` for any.
    #[serde(default)]
    pub max_price: Option<MicroCpt>,
    /// Most the job may cost in µCPT; `None` for all that is free in the wallet.
    #[serde(default)]
    pub budget: Option<MicroCpt>,
    /// Retries after a worker's fault; `None` for 3.
    #[serde(default)]
    pub retries: Option<u16>,
    /// Whether more tasks will follow.
    #[serde(default)]
    pub open: bool,
}

/// Which tasks of a job to list.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct TaskFilter {
    /// Only tasks in this state.
    pub state: Option<TaskState>,
    /// Continue after this index; `None` from the start.
    pub after: Option<u32>,
    /// At most this many, 1 to 1000.
    pub limit: u32,
}

/// A new mesh.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeshRequest {
    /// Name, 1 to 64 bytes.
    pub name: String,
    /// µCPT minted to the founder.
    pub mint: MicroCpt,
    /// Score of joiners whose invitation says nothing.
    pub default_score: u32,
    /// Whether this node works too.
    pub worker: bool,
}

/// A new invitation.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InviteRequest {
    /// Role admitted to.
    pub role: Role,
    /// Starting score; the mesh's default when absent.
    #[serde(default)]
    pub score: Option<u32>,
    /// µCPT for each joiner.
    #[serde(default)]
    pub grant: MicroCpt,
    /// Uses, at least 1.
    pub uses: u32,
    /// Life in milliseconds.
    pub ttl_ms: u64,
}

/// Bytes of a task's log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogChunk {
    /// Whether it is standard error.
    pub stderr: bool,
    /// The bytes as written by the task: untrusted, escape before showing on a terminal.
    pub bytes: Vec<u8>,
}

/// Everything that can be asked. Ids are text: whole, an unambiguous prefix, or `last` where that makes sense.
#[derive(Debug)]
#[allow(missing_docs)] // each variant is documented at the method of the handle that sends it
pub enum Call {
    Status {
        reply: Reply<StatusView>,
    },
    MeshCreate {
        request: MeshRequest,
        reply: Reply<MeshView>,
    },
    Join {
        ticket: String,
        reply: Reply<JoinView>,
    },
    Invite {
        request: InviteRequest,
        reply: Reply<InviteView>,
    },
    InviteRevoke {
        invite: String,
        reply: Reply<()>,
    },
    Nodes {
        reply: Reply<Vec<NodeRow>>,
    },
    Node {
        node: String,
        reply: Reply<NodeRow>,
    },
    JobSubmit {
        request: Box<JobRequest>,
        reply: Reply<JobView>,
    },
    JobAdd {
        job: String,
        tasks: Vec<TaskRequest>,
        reply: Reply<Vec<String>>,
    },
    JobClose {
        job: String,
        reply: Reply<JobView>,
    },
    Jobs {
        reply: Reply<Vec<JobView>>,
    },
    Job {
        job: String,
        reply: Reply<JobView>,
    },
    JobTasks {
        job: String,
        filter: TaskFilter,
        reply: Reply<Vec<TaskRow>>,
    },
    JobWait {
        job: String,
        reply: Reply<JobView>,
    },
    JobStop {
        job: String,
        reply: Reply<JobView>,
    },
    JobRetry {
        job: String,
        reply: Reply<JobView>,
    },
    JobRemove {
        job: String,
        reply: Reply<()>,
    },
    Task {
        task: String,
        reply: Reply<TaskView>,
    },
    TaskWait {
        task: String,
        reply: Reply<TaskView>,
    },
    TaskStop {
        task: String,
        reply: Reply<TaskView>,
    },
    TaskRetry {
        task: String,
        reply: Reply<TaskView>,
    },
    Explain {
        subject: String,
        reply: Reply<FunnelView>,
    },
    Logs {
        task: String,
        follow: bool,
        reply: Reply<mpsc::Receiver<LogChunk>>,
    },
    Events {
        reply: Reply<broadcast::Receiver<EventView>>,
    },
    Wallet {
        account: Option<String>,
        reply: Reply<WalletView>,
    },
    WalletHistory {
        before: Option<u64>,
        limit: u32,
        reply: Reply<Vec<WalletLine>>,
    },
    WalletSend {
        to: String,
        amount: MicroCpt,
        memo: String,
        reply: Reply<WalletLine>,
    },
    Metrics {
        reply: Reply<String>,
    },
    Net(NetCall),
    Stop {
        drain_ms: u64,
        reply: Reply<()>,
    },
}
