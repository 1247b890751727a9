//! hive-files: content between nodes: serving it, pulling it from many at once, putting it where it belongs.
//!
//! Joins the decisions of `hive_transfer` with the network and the store. Must not know jobs, leases or money.

mod access;
mod error;
mod request;
mod view;

pub use access::{Access, Audience, LeaseGate, MAX_AUDIENCE, MAX_GRANTED, NoLeases, Verdict};
pub use error::PullError;
pub use request::{Existing, Hint, Like, MAX_HINTS, PullRequest, Target, Wanted};
pub use view::{MAX_PEERS_SHOWN, PeerView, Stage, StallView, TransferView};
