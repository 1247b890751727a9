//! hive-authority: what makes the pure state machine ([`hive_state`]) an authority: a durable log, an order, a clock.
//!
//! Owns the log's files, the order of commands, the moment at which an answer may be given, and the signing of
//! credentials and grants. Must not know libp2p or HTTP: whoever has proved to be a node calls
//! [`AuthorityHandle::ask`], whoever only wants in calls [`AuthorityHandle::join`]. The [`Mailbox`] beside it keeps
//! notices for members who are away.

pub mod clocks;
mod history;
pub mod log;
mod mailbox;
mod service;

pub use mailbox::{Answered, Mailbox, MailboxError, MailboxHandle, MailboxReport};
pub use service::{
    Authority, AuthorityHandle, Clock, FSYNC_BUCKETS_MS, MAX_BATCH, MAX_JOINS, MAX_WAITING, Metrics, Notice,
    OpenError,
};
