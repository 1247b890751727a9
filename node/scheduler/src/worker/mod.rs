//! The worker core: what this machine has promised to whom, and what is owed for it.
//!
//! Owns the accounting of this node's resources over all leases. Must not know how tasks are run, how bytes
//! move, how signatures are made, or what time it is but from its inputs.

mod config;
mod effect;
mod input;

pub use config::{Config, MAX_DEMANDS, MAX_LEASES, MAX_LEASES_PER_PEER, MAX_SETTLING};
pub use effect::{Effect, Event, OfferDraft};
pub use input::{Checked, Input, Terms};
