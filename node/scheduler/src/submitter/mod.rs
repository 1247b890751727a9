//! The submitter core: coordinator of all jobs of one daemon.
//!
//! Owns the state of every task, which worker has it, and what may be spent. Must not know how bytes move,
//! how signatures are made, or what time it is but from its inputs.

mod config;
mod effect;
mod input;
mod record;

pub use config::{Config, MAX_JOBS, MAX_LEASES, MAX_LEASES_PER_JOB, MAX_NODES, MAX_OFFERS, MAX_TASKS};
pub use effect::{DemandDraft, Effect, Event, LeaseDraft};
pub use input::{Input, NodeFacts};
pub use record::{JobRecord, JobState, TaskEnd, TaskRecord, Totals};
