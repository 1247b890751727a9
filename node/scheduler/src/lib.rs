//! hive-scheduler: demand → offers → leases → dispatch, as two pure cores.
//!
//! [`submitter::Submitter`] coordinates all jobs of one daemon; [`worker::Worker`] answers for what one
//! machine has promised. Both keep the contract of every core: `new(config, seed)`, `handle(now, input)`,
//! `poll_effect()`, `poll_timeout()`, `check_invariants()`.
//! Must not know sockets, files, clocks or entropy; those are inputs and effects.

mod link;
pub mod payment;
mod seed;
pub mod submitter;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod timers;
pub mod worker;

pub use seed::Seed;
