//! hive-push: notices to other nodes, also to absent ones, and what this node does with those it gets.
//!
//! Joins the decisions of `hive_transfer::notices` with the network and the journal. Moves no content itself: that is
//! a [`Puller`]'s matter. Nothing is said to anybody before the journal has it, and nothing here waits for ever on a
//! peer: words that are not answered are said again, streams that stall are given up.

mod calls;
mod engine;
mod error;
mod feed;
mod handle;
mod journal;
mod links;
mod news;
mod ports;
mod reader;
mod turn;

pub use error::{PushError, StartError};
pub use handle::{Counts, Outgoing, Push, PushEvent, Started};
pub use hive_transfer::notices::{
    inbox::{InState, InView, Order},
    outbox::{OutView, Standing, ToView},
    policy::{Accept, Open, Policy},
};
pub use journal::TREES;
pub use news::News;
pub use ports::{Answered, Answering, Clock, Deps, PostOffice, Puller, Sign, TierOf};

/// How long a text or an event lives when its sender does not say.
pub const USUAL_LIFE: hive_protocol::time::Millis = hive_protocol::time::Millis::hours(7 * 24);
/// How long a file lives when its sender does not say.
pub const FILE_LIFE: hive_protocol::time::Millis = hive_protocol::time::Millis::hours(30 * 24);
