//! hive-authority: the authority's durable log and the service around the pure state machine.

pub mod log;
