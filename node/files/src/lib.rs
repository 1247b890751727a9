//! hive-files: content between nodes: serving it, pulling it from many at once, putting it where it belongs.
//!
//! Joins the decisions of `hive_transfer` with the network and the store. Must not know jobs, leases or money.

mod access;
mod buffers;
mod engine;
mod error;
mod evidence;
mod growing;
mod limits;
mod mono;
mod news;
mod outgoing;
mod providers;
mod pull;
mod range;
mod reading;
mod request;
mod rows;
mod serve;
mod sharing;
mod transfer;
mod view;

pub use access::{Access, Audience, LeaseGate, MAX_AUDIENCE, MAX_GRANTED, NoLeases, Verdict};
pub use engine::{Config, Deps, Files, MAX_TRANSFERS};
pub use error::PullError;
pub use evidence::{Evidence, EvidenceKind, OnEvidence};
pub use growing::Growing;
pub use limits::{Class, Clock, Direction, Limits, LimitsConfig, Schedule};
pub use range::{RangeReader, RangeRequest};
pub use request::{Existing, Hint, Like, MAX_HINTS, PullRequest, Target, Wanted};
pub use rows::TREES;
pub use transfer::{Pulled, Transfer};
pub use view::{MAX_PEERS_SHOWN, PeerView, Stage, StallView, TransferView};
