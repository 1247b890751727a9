//! The swarm core: what to ask of whom so that one content is here soon and its providers give little twice.
//!
//! Owns the choice of segments, peers and moments for one content. Must not know streams, hashes, disks or clocks:
//! the shell checks bytes and tells the outcome.

mod config;
mod effect;
mod input;

pub use config::{Config, MAX_ASKS, MAX_ASKS_ALL, MAX_BUSY, MAX_PAST, MAX_PEERS, MAX_WINDOW};
pub use effect::{DropReason, Effect, State};
pub use input::{Failure, Input, Path};
