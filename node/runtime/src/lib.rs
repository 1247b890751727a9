//! hive-runtime: the loop that joins the pure cores with net, store and executor.
//!
//! Owns the daemon's life: start, join, serve, drain, stop. Everything the API can ask goes through
//! [`port::NodeHandle`]. Must not know HTTP or the command line.

mod authority_link;
mod authority_serve;
mod blobs;
mod clock;
pub mod config;
mod daemon;
mod exec;
mod files;
mod heartbeat;
mod home;
mod inbox;
mod jobs;
mod measure;
mod membership;
mod metrics;
pub mod net_check;
mod net_config;
pub mod port;
mod reach;
mod start;
mod work_streams;

pub use clock::Clock;
pub use config::Config;
pub use start::{Running, StartError, start};

/// Version of the program, as peers and people see it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Fresh random bytes.
///
/// # Errors
/// The system has none to give.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| StartError::Entropy(e.to_string()))?;
    Ok(bytes)
}
