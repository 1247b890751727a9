//! What the daemon shows. These are the JSON documents of /v1: fields are only ever added.
//! Ids are in their text form, money in µCPT, times in milliseconds since 1970, sizes in bytes.

use super::ReachBrief;
use hive_protocol::{resources::Capabilities, resources::Resources, task::Limits};
use serde::{Deserialize, Serialize};

/// This node, at a glance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatusView {
    /// Node id.
    pub node: String,
    /// Account id.
    pub account: String,
    /// Node name.
    pub name: String,
    /// `starting`, `unjoined`, `joining`, `ready`, `offline` (no authority answers), `draining`, `stopping`.
    pub state: String,
    /// The mesh, once joined.
    pub mesh: Option<MeshView>,
    /// Roles held now.
    pub roles: Vec<String>,
    /// Trust score of the account, from the credential.
    pub score: u32,
    /// `low`, `normal` or `high`.
    pub tier: String,
    /// When the credential ends; 0 without.
    pub credential_expires: u64,
    /// Version of the program.
    pub version: String,
    /// When the daemon started.
    pub started: u64,
    /// This machine's time as the daemon sees it.
    pub now: u64,
    /// Where it listens.
    pub listen: Vec<String>,
    /// How this node is reached; absent before it has joined.
    #[serde(default)]
    pub reach: Option<ReachBrief>,
    /// Connected peers, and those of the nodes online that cannot be reached.
    pub peers: Vec<PeerRow>,
    /// What is offered; all zero when not a worker.
    pub capabilities: Capabilities,
    /// What is free of it.
    pub free: Resources,
    /// Leases this worker serves.
    pub leases: Vec<LeaseView>,
    /// Tasks running here for others (or ourselves).
    pub running: u32,
    /// Jobs of this daemon that are not finished.
    pub jobs_active: u32,
    /// µCPT earned by this node since it started.
    pub earned: u64,
    /// Bytes in the blob store.
    pub store_bytes: u64,
    /// Its quota; 0 for none.
    pub store_quota: u64,
    /// What is wrong, with fixes; empty when all is well.
    pub problems: Vec<Problem>,
}

/// The mesh a node belongs to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MeshView {
    /// Network id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Authorities' node ids.
    pub authorities: Vec<String>,
    /// Whether one answers now.
    pub authority_reachable: bool,
}

/// One thing that is wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Problem {
    /// Stable code.
    pub code: String,
    /// One line.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// A peer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeerRow {
    /// Node id.
    pub node: String,
    /// Name, where known.
    pub name: String,
    /// `direct`, `relay NAME`, `punching (relay NAME)`, `connecting` or `unreachable: REASON`.
    pub path: String,
    /// Address; empty without a connection.
    pub addr: String,
    /// `quic`, `tcp` or `relay`; empty without a connection.
    pub transport: String,
    /// Round trip in microseconds, where measured.
    pub rtt_us: Option<u64>,
    /// Whether it has passed the membership gate.
    pub member: bool,
    /// The first word of `path`, for programs.
    #[serde(default)]
    pub state: String,
    /// Node id of the relay in use.
    #[serde(default)]
    pub relay: Option<String>,
}

/// A lease a worker serves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LeaseView {
    /// Lease id.
    pub lease: String,
    /// Job id.
    pub job: String,
    /// The submitter's node.
    pub submitter: String,
    /// Slots.
    pub slots: u32,
    /// Tasks running.
    pub running: u32,
    /// Tasks waiting.
    pub queued: u32,
    /// Tasks ended.
    pub ended: u64,
    /// µCPT owed so far.
    pub owed: u64,
}

/// A node of the mesh.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeRow {
    /// Node id.
    pub node: String,
    /// Account id.
    pub account: String,
    /// Name.
    pub name: String,
    /// Roles.
    pub roles: Vec<String>,
    /// `online` or `offline`.
    pub state: String,
    /// This daemon's path to it: `self`, `direct`, `relay NAME`, `punching (relay NAME)`, `connecting`,
    /// `unreachable: REASON`, `none` (nobody has tried).
    pub path: String,
    /// The address in use, as in [`PeerRow`]; empty without a connection.
    #[serde(default)]
    pub addr: String,
    /// Round trip in microseconds, where measured.
    pub rtt_us: Option<u64>,
    /// Trust score.
    pub score: u32,
    /// Tier.
    pub tier: String,
    /// What it offers.
    pub capabilities: Capabilities,
    /// What is free.
    pub free: Resources,
    /// Tasks running.
    pub running: u32,
    /// Price, µCPT per Gfuel.
    pub price: u64,
    /// Last sign of life.
    pub last_seen: u64,
    /// Addresses.
    pub addrs: Vec<String>,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Not handed to a worker.
    Queued,
    /// Handed to a worker, not started.
    Assigned,
    /// Running.
    Running,
    /// Ended with exit code 0, results stored here.
    Succeeded,
    /// Failed for good.
    Failed,
    /// Stopped by its owner.
    Stopped,
}

/// A job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobView {
    /// Job id.
    pub job: String,
    /// Name.
    pub name: String,
    /// `running`, `waiting` (why: see `waiting`), `open`, `succeeded`, `partial`, `failed`, `stopped`.
    pub state: String,
    /// Why nothing moves, when nothing does: a code such as `place.no_fit`, `place.no_worker`, `wallet.insufficient`, `job.budget`, `authority.unreachable`.
    pub waiting: Option<Problem>,
    /// When it was submitted.
    pub submitted: u64,
    /// When it ended; 0 while it has not.
    pub ended: u64,
    /// All tasks.
    pub tasks: u32,
    /// Not handed out.
    pub queued: u32,
    /// Handed out and not started.
    pub assigned: u32,
    /// Running now.
    pub running: u32,
    /// Ended well.
    pub succeeded: u32,
    /// Failed for good.
    pub failed: u32,
    /// Stopped.
    pub stopped: u32,
    /// Tries that were lost and repeated.
    pub retried: u64,
    /// µCPT captured or owed so far.
    pub cost: u64,
    /// Most it may cost.
    pub budget: u64,
    /// Fuel burnt in all its results.
    pub fuel: u64,
    /// Bytes of results fetched.
    pub bytes_in: u64,
    /// Tasks ended well by worker node id, with µCPT each earned by receipts.
    pub by_worker: Vec<(String, u32, u64)>,
    /// Module hash.
    pub module: String,
    /// Limits of each task.
    pub limits: Limits,
}

/// One line of a task listing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskRow {
    /// Task id.
    pub task: String,
    /// Its place in the job.
    pub index: u32,
    /// What it is about (the input's name), as the submitter said.
    pub label: String,
    /// Where it stands.
    pub state: TaskState,
    /// Tries so far.
    pub attempt: u16,
    /// The worker it runs or ran on.
    pub node: Option<String>,
    /// Exit code, once it ended by itself.
    pub exit_code: Option<i32>,
    /// Failure code and text, once failed.
    pub failure: Option<Problem>,
    /// Fuel burnt.
    pub fuel: u64,
    /// Wall-clock microseconds.
    pub wall_us: u64,
    /// Standard output, once ended.
    pub stdout: Option<OutputView>,
    /// Standard error, once ended.
    pub stderr: Option<OutputView>,
    /// Files written below /out, once ended.
    pub outputs: Vec<OutputView>,
}

/// A task in full.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskView {
    /// The line.
    #[serde(flatten)]
    pub row: TaskRow,
    /// Job id.
    pub job: String,
    /// Arguments.
    pub args: Vec<String>,
    /// CPU time in microseconds.
    pub cpu_us: u64,
    /// Peak memory in bytes.
    pub memory: u64,
}

/// A file (or stream) a task has produced.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OutputView {
    /// Path below /out; empty for standard output and error.
    pub path: String,
    /// Blob hash.
    pub blob: String,
    /// Size in bytes.
    pub size: u64,
    /// The bytes in base 64, where small (at most 4 KiB).
    pub inline: Option<String>,
}

/// Why a task runs nowhere (or where it could).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FunnelView {
    /// What was asked about: task or job id.
    pub subject: String,
    /// Where it stands.
    pub state: String,
    /// What it needs, for people.
    pub needs: String,
    /// known → online → fits → trust → location → price, with how many are left after each.
    pub steps: Vec<FunnelStep>,
    /// The nearest changes that would help, as flags or commands, best first.
    pub fixes: Vec<String>,
}

/// One step of the funnel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FunnelStep {
    /// `known`, `online`, `runtime`, `cpu`, `memory`, `disk`, `gpu`, `trust`, `location`, `price`.
    pub rule: String,
    /// Nodes left after it.
    pub left: u32,
    /// Who fell here and why, at most a few, for people.
    pub lost: Vec<String>,
}

/// A wallet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WalletView {
    /// Account id.
    pub account: String,
    /// Free µCPT.
    pub available: u64,
    /// µCPT in holds and invitations.
    pub held: u64,
    /// Trust score.
    pub score: u32,
    /// Tier.
    pub tier: String,
    /// Latest reasons of score changes: (time, score afterwards, reason).
    pub reasons: Vec<(u64, u32, String)>,
    /// Open holds: (hold, lease, payee, µCPT, expires).
    pub holds: Vec<(String, String, String, u64, u64)>,
    /// Sums of the whole ledger: minted, available, held. minted = available + held, always.
    pub ledger: (u64, u64, u64),
}

/// One line of a wallet's history.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WalletLine {
    /// Number in the ledger.
    pub index: u64,
    /// When.
    pub time: u64,
    /// What.
    pub kind: String,
    /// The other account.
    pub other: Option<String>,
    /// µCPT into (positive) or out of (negative) the free balance.
    pub delta: i64,
    /// Free balance afterwards.
    pub available: u64,
    /// Note.
    pub note: String,
}

/// A new invitation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InviteView {
    /// Invitation id.
    pub invite: String,
    /// The line to paste after `hivenode up`.
    pub ticket: String,
    /// Role admitted to.
    pub role: String,
    /// Uses.
    pub uses: u32,
    /// When it ends.
    pub expires: u64,
}

/// The outcome of joining.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JoinView {
    /// The mesh.
    pub mesh: MeshView,
    /// Name given in the mesh.
    pub name: String,
    /// Score.
    pub score: u32,
    /// Tier.
    pub tier: String,
    /// Whether it was a member already.
    pub already: bool,
}

/// A stored blob.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BlobView {
    /// Hash.
    pub blob: String,
    /// Size in bytes.
    pub size: u64,
}

/// Something that happened. One JSON object a line in `events -f`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventView {
    /// Counts up from 1 since the daemon started.
    pub seq: u64,
    /// When.
    pub time: u64,
    /// Such as `node.online`, `node.offline`, `job.submitted`, `job.ended`, `task.started`, `task.ended`, `task.retried`, `lease.opened`, `lease.closed`, `receipt.refused`, `ledger.captured`, `member.refused`.
    pub kind: String,
    /// The job, task, node or lease it is about.
    pub subject: String,
    /// One line for people.
    pub message: String,
}
