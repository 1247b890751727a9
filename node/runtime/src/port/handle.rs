//! The clonable handle of a running daemon.

use super::{
    call::*,
    refusal::{Kind, Refused},
    views::*,
};
use hive_protocol::money::MicroCpt;
use std::{future::Future, path::Path, pin::Pin, sync::Arc};
use tokio::sync::{broadcast, mpsc, oneshot};

/// Calls that may wait for the daemon's loop. Callers beyond it wait for a place: the API bounds its own connections.
pub const CALL_QUEUE: usize = 256;

/// An answer that is being made.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<T, Refused>> + Send + 'a>>;

/// Blob bytes in and out, straight to the store.
pub trait BlobPort: Send + Sync + 'static {
    /// Imports a stream of at most `cap` bytes.
    fn put(
        &self,
        reader: Box<dyn tokio::io::AsyncRead + Send + Unpin>,
        cap: u64,
    ) -> Pin<Box<dyn Future<Output = Result<BlobView, Refused>> + Send + '_>>;
    /// Imports a file of this machine.
    fn import<'a>(
        &'a self,
        path: &'a Path,
    ) -> Pin<Box<dyn Future<Output = Result<BlobView, Refused>> + Send + 'a>>;
    /// Opens a whole blob for reading.
    fn open<'a>(&'a self, blob: &'a str) -> Answering<'a, (tokio::fs::File, u64)>;
}

/// A running daemon, as the API sees it.
#[derive(Clone)]
pub struct NodeHandle {
    calls: mpsc::Sender<Call>,
    blobs: Arc<dyn BlobPort>,
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) -> $out:ty = $variant:ident;)*) => {
        $($(#[$doc])*
        ///
        /// # Errors
        /// A [`Refused`] that names what, where, why and the next step.
        pub async fn $name(&self, $($arg: $ty),*) -> Result<$out, Refused> {
            let (reply, answer) = oneshot::channel();
            self.calls.send(Call::$variant { $($arg,)* reply }).await.map_err(|_| Refused::stopping())?;
            answer.await.map_err(|_| Refused::stopping())?
        })*
    };
}

impl NodeHandle {
    /// Joins a queue of calls and a store into a handle. The receiver belongs to the daemon's loop (or to a test).
    #[must_use]
    pub fn new(blobs: Arc<dyn BlobPort>) -> (Self, mpsc::Receiver<Call>) {
        let (calls, receiver) = mpsc::channel(CALL_QUEUE);
        (Self { calls, blobs }, receiver)
    }

    /// Blob bytes.
    #[must_use]
    pub fn blobs(&self) -> &dyn BlobPort {
        &*self.blobs
    }

    calls! {
        /// This node at a glance.
        status() -> StatusView = Status;
        /// Founds a mesh and runs its first authority here. Refused when this node is a member already.
        mesh_create(request: MeshRequest) -> MeshView = MeshCreate;
        /// Redeems a ticket. With a ticket of the mesh it is in already: says so and succeeds.
        join(ticket: String) -> JoinView = Join;
        /// Makes an invitation.
        invite(request: InviteRequest) -> InviteView = Invite;
        /// Ends an invitation.
        invite_revoke(invite: String) -> () = InviteRevoke;
        /// All nodes of the mesh.
        nodes() -> Vec<NodeRow> = Nodes;
        /// One node, by id, prefix or name.
        node(node: String) -> NodeRow = Node;
        /// Submits a job; answered when it is in the journal.
        job_submit(request: Box<JobRequest>) -> JobView = JobSubmit;
        /// Adds tasks to an open job; answers their ids.
        job_add(job: String, tasks: Vec<TaskRequest>) -> Vec<String> = JobAdd;
        /// Says that no more tasks follow.
        job_close(job: String) -> JobView = JobClose;
        /// All jobs in the journal, newest first.
        jobs() -> Vec<JobView> = Jobs;
        /// One job.
        job(job: String) -> JobView = Job;
        /// Tasks of a job.
        job_tasks(job: String, filter: TaskFilter) -> Vec<TaskRow> = JobTasks;
        /// Answers when the job has ended.
        job_wait(job: String) -> JobView = JobWait;
        /// Stops all that has not ended.
        job_stop(job: String) -> JobView = JobStop;
        /// Runs its failed and stopped tasks again.
        job_retry(job: String) -> JobView = JobRetry;
        /// Forgets an ended job and its results.
        job_remove(job: String) -> () = JobRemove;
        /// One task.
        task(task: String) -> TaskView = Task;
        /// Answers when the task has ended.
        task_wait(task: String) -> TaskView = TaskWait;
        /// Stops a task.
        task_stop(task: String) -> TaskView = TaskStop;
        /// Runs an ended task again.
        task_retry(task: String) -> TaskView = TaskRetry;
        /// Why a task or job runs where it does, or nowhere.
        explain(subject: String) -> FunnelView = Explain;
        /// A task's log: what is stored or streamed so far and, with `follow`, what comes until it ends.
        logs(task: String, follow: bool) -> mpsc::Receiver<LogChunk> = Logs;
        /// Everything that happens from now on. A reader that lags loses the oldest and is told so by the channel.
        events() -> broadcast::Receiver<EventView> = Events;
        /// A wallet; this node's account when `None`. Accounts, nodes and names are understood.
        wallet(account: Option<String>) -> WalletView = Wallet;
        /// This account's history, newest first.
        wallet_history(before: Option<u64>, limit: u32) -> Vec<WalletLine> = WalletHistory;
        /// Sends money.
        wallet_send(to: String, amount: MicroCpt, memo: String) -> WalletLine = WalletSend;
        /// Prometheus text.
        metrics() -> String = Metrics;
        /// Stops the daemon, after at most `drain_ms` of finishing what runs.
        stop(drain_ms: u64) -> () = Stop;
    }

    /// A refusal for an id that is not there.
    #[must_use]
    pub fn not_found(what: &str, id: &str) -> Refused {
        let id: String = id.chars().take(80).collect();
        Refused::new(Kind::NotFound, missing(what), format!("no {what} `{id}` here"))
            .hint(format!("hivenode {what} ls"))
    }
}

/// The stable code for a thing of this kind that is not here. Written out, so that the list of codes can be
/// held against the sources.
pub(crate) fn missing(what: &str) -> &'static str {
    match what {
        "account" => "account.not_found",
        "blob" => "blob.not_found",
        "invite" => "invite.not_found",
        "job" => "job.not_found",
        "node" => "node.not_found",
        "task" => "task.not_found",
        _ => "api.not_found",
    }
}
