//! The port: everything the local API (and so the CLI) can ask of a running daemon, and what it answers.
//!
//! [`NodeHandle`] is cheap to clone; its calls go through one bounded queue into the daemon's loop, except
//! blob bytes, which go straight to the store.

mod call;
mod handle;
mod refusal;
mod views;

pub use call::{
    Call, InviteRequest, JobRequest, LogChunk, MeshRequest, Reply, Source, TaskFilter, TaskRequest,
};
pub(crate) use handle::missing;
pub use handle::{BlobPort, CALL_QUEUE, NodeHandle};
pub use refusal::{Kind, Refused};
pub use views::{
    BlobView, EventView, FunnelStep, FunnelView, InviteView, JobView, JoinView, LeaseView, MeshView, NodeRow,
    OutputView, PeerRow, Problem, StatusView, TaskRow, TaskState, TaskView, WalletLine, WalletView,
};
