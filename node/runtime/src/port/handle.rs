//! The clonable handle of a running daemon.

use super::{
    call::*,
    file_call::*,
    file_views::*,
    net_call::{NetCall, RelayDo},
    net_views::*,
    refusal::{Kind, Refused},
    views::*,
};
use crate::config::FileConfig;
use hive_protocol::money::MicroCpt;
use std::{
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};
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
    files: mpsc::Sender<FileCall>,
    blobs: Arc<dyn BlobPort>,
}

/// What a handle's calls are taken from.
#[derive(Debug)]
pub struct NodeCalls {
    /// For the daemon's loop.
    pub daemon: mpsc::Receiver<Call>,
    /// For the desk that looks after files.
    pub files: mpsc::Receiver<FileCall>,
}

macro_rules! calls {
    ($queue:ident $call:ident: $($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) -> $out:ty = $variant:ident;)*) => {
        $($(#[$doc])*
        ///
        /// # Errors
        /// A [`Refused`] that names what, where, why and the next step.
        pub async fn $name(&self, $($arg: $ty),*) -> Result<$out, Refused> {
            let (reply, answer) = oneshot::channel();
            self.$queue.send($call::$variant { $($arg,)* reply }).await.map_err(|_| Refused::stopping())?;
            answer.await.map_err(|_| Refused::stopping())?
        })*
    };
}

/// Asks the daemon's loop about the network.
macro_rules! net_calls {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) -> $out:ty = $variant:ident;)*) => {
        $($(#[$doc])*
        ///
        /// # Errors
        /// A [`Refused`] that names what, where, why and the next step.
        pub async fn $name(&self, $($arg: $ty),*) -> Result<$out, Refused> {
            let (reply, answer) = oneshot::channel();
            let call = Call::Net(NetCall::$variant { $($arg,)* reply });
            self.calls.send(call).await.map_err(|_| Refused::stopping())?;
            answer.await.map_err(|_| Refused::stopping())?
        })*
    };
}

impl NodeHandle {
    /// Joins queues of calls and a store into a handle. The calls belong to the daemon (or to a test).
    #[must_use]
    pub fn new(blobs: Arc<dyn BlobPort>) -> (Self, NodeCalls) {
        let (calls, daemon) = mpsc::channel(CALL_QUEUE);
        let (files, desk) = mpsc::channel(CALL_QUEUE);
        let handle = Self { calls, files, blobs };
        (handle, NodeCalls { daemon, files: desk })
    }

    /// Blob bytes.
    #[must_use]
    pub fn blobs(&self) -> &dyn BlobPort {
        &*self.blobs
    }

    calls! {
        calls Call:
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

    net_calls! {
        /// How this node is reached, judged line by line; with `fresh` after new tests, which take some seconds.
        net_check(fresh: bool) -> NetCheckView = Check;
        /// The ways to all peers connected or tried lately.
        net_peers() -> Vec<PathView> = Peers;
        /// The way to a node and how it came about; by id, prefix or name.
        net_paths(node: String) -> PathsView = Paths;
        /// Tries every known way to a node now and says how each ended.
        net_trace(node: String) -> PathsView = Trace;
        /// What this node relays for others.
        relay() -> RelayView = Relay;
        /// Drains, resumes or limits it.
        relay_do(what: RelayDo) -> RelayView = RelayDo;
    }

    calls! {
        files FileCall:
        /// Takes in a file or folder: by reference, or with a copy of its bytes.
        file_add(request: AddRequest) -> FileView = Add;
        /// All contents kept here for somebody's wish.
        files() -> Vec<FileRow> = Files;
        /// One content, by id, beginning of an id, name or path.
        file(file: String) -> FileView = File;
        /// Lets all members pull it; the answer has a ticket.
        file_share(file: String) -> FileView = Share;
        /// Ends that.
        file_unshare(file: String) -> FileRow = Unshare;
        /// Reads all its bytes again.
        file_verify(file: String) -> VerifyView = Verify;
        /// Keeps it no longer. What stands at a path of the user's stays there.
        file_remove(file: String) -> () = Remove;
        /// Frees what nobody keeps; with `dry_run` only says what that would be.
        file_gc(dry_run: bool) -> GcView = Gc;
        /// Verified bytes `from..to` of a content or ticket; what is not here is fetched.
        file_read(what: String, from: u64, to: Option<u64>) -> FileBytes = Read;
        /// Other settings for files and pushes from now on; `None`: those that were read are no good, and all stays.
        file_settings(settings: Option<FileConfig>) -> () = Settings;
        /// Answers when the settings are to be read again; [`NodeHandle::file_settings`] says that they were.
        settings_wanted() -> () = SettingsWanted;
        /// Has the settings read again; answered when they hold.
        reload() -> () = Reload;
        /// Begins to bring content here; answered when it has begun.
        file_pull(request: PullRequest) -> TransferView = Pull;
        /// Transfers that run, and the latest that have ended.
        transfers() -> Vec<TransferView> = Transfers;
        /// One transfer, answered when it has ended or after `wait_ms`.
        transfer(transfer: String, wait_ms: u64) -> TransferView = Transfer;
        /// Pauses, resumes or cancels one transfer, or `all`.
        transfer_do(transfer: String, what: TransferDo) -> Vec<TransferView> = TransferDo;
        /// Sends a notice; answered when it is in the outbox.
        push(request: Box<PushRequest>) -> NoticeView = Push;
        /// The outbox, newest first.
        notices() -> Vec<NoticeView> = Notices;
        /// One notice of the outbox, answered when nothing more will happen to it or after `wait_ms`.
        notice(notice: String, wait_ms: u64) -> NoticeView = Notice;
        /// Takes a notice back from those who have not got it.
        notice_cancel(notice: String) -> NoticeView = NoticeCancel;
        /// What others have sent here, newest first.
        inbox() -> Vec<InboxRow> = Inbox;
        /// One of it.
        inbox_item(notice: String) -> InboxRow = InboxItem;
        /// Accepts what waits for it; `dest` overrides the folder of the settings.
        inbox_accept(notice: String, dest: Option<PathBuf>) -> InboxRow = InboxAccept;
        /// Declines it; the sender is told the reason.
        inbox_decline(notice: String, reason: String) -> InboxRow = InboxDecline;
        /// Begins to mirror a folder.
        sync_start(request: SyncRequest) -> SyncView = SyncStart;
        /// All mirrors, out and in.
        syncs() -> Vec<SyncView> = Syncs;
        /// One mirror, answered when all receivers have its latest state or after `wait_ms`.
        sync(sync: String, wait_ms: u64) -> SyncView = Sync;
        /// Ends a mirror. What receivers have stays there.
        sync_remove(sync: String) -> () = SyncRemove;
    }

    /// A refusal for an id that is not there.
    #[must_use]
    pub fn not_found(what: &str, id: &str) -> Refused {
        let id: String = id.chars().take(80).collect();
        let list = match what {
            "transfer" => "file status",
            "notice" => "push ls",
            "inbox" => "inbox ls",
            what => &format!("{what} ls"),
        };
        Refused::new(Kind::NotFound, missing(what), format!("no {what} `{id}` here"))
            .hint(format!("hivenode {list}"))
    }
}

/// The stable code for a thing of this kind that is not here. Written out, so that the list of codes can be
/// held against the sources.
pub(crate) fn missing(what: &str) -> &'static str {
    match what {
        "account" => "account.not_found",
        "blob" => "blob.not_found",
        "file" => "file.not_found",
        "inbox" => "inbox.not_found",
        "invite" => "invite.not_found",
        "job" => "job.not_found",
        "node" => "node.not_found",
        "notice" => "notice.not_found",
        "sync" => "sync.not_found",
        "task" => "task.not_found",
        "transfer" => "transfer.not_found",
        _ => "api.not_found",
    }
}
