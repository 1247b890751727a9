//! hive-runtime: the loop that joins the pure cores with net, store and executor.
//!
//! Owns the daemon's life: start, join, serve, drain, stop. Everything the API can ask goes through
//! [`port::NodeHandle`]. Must not know HTTP or the command line.

pub mod config;
pub mod port;
