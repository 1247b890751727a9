//! The port: everything the local API (and so the CLI) can ask of a running daemon, and what it answers.
//!
//! [`NodeHandle`] is cheap to clone; its calls go through one bounded queue into the daemon's loop, except
//! those about files, which have a queue and a desk of their own beside it, and blob bytes, which go straight to the
//! store.

mod call;
mod file_call;
mod file_views;
mod handle;
mod net_call;
mod net_views;
mod refusal;
mod views;

pub use call::{
    Call, InviteRequest, JobRequest, LogChunk, MeshRequest, Reply, Source, TaskFilter, TaskRequest,
};
pub use file_call::{
    AddRequest, FileBytes, FileCall, MAX_FILE_WAIT_MS, PullRequest, PushRequest, SyncRequest, TransferDo,
};
pub use file_views::{
    EntryRow, FileRow, FileView, GcRow, GcView, InboxRow, NoticeView, RecipientRow, SyncView, TransferPeer,
    TransferView, VerifyView,
};
pub(crate) use handle::missing;
pub use handle::{BlobPort, CALL_QUEUE, NodeCalls, NodeHandle};
pub use net_call::{NetCall, RelayChange, RelayDo};
pub use net_views::{
    AddrRow, AttemptRow, CheckRow, CircuitRow, MappingRow, NetCheckView, ObservedRow, PathView, PathsView,
    ReachBrief, ReachView, RelayHeld, RelayKnown, RelayRefused, RelayView,
};
pub use refusal::{Kind, Refused};
pub use views::{
    BlobView, EventView, FunnelStep, FunnelView, InviteView, JobView, JoinView, LeaseView, MeshView, NodeRow,
    OutputView, PeerRow, Problem, StatusView, TaskRow, TaskState, TaskView, WalletLine, WalletView,
};
