//! The daemon's local REST API under /v1 and the client the command line uses.
//!
//! The server turns HTTP requests into calls of [`hive_runtime::port::NodeHandle`] and back. It knows nothing of
//! leases, ledgers or peers: what is asked and answered is decided behind the port.

mod answer;
mod ask;
mod blob_body;
pub mod client;
mod context;
pub mod document;
mod error;
mod gate;
mod job_check;
pub mod limits;
mod listen;
mod metrics;
mod patience;
pub mod routes;
mod serve;
mod stream;

pub use document::TrustView;
pub use error::ApiError;
pub use serve::{ApiConfig, Running, serve};
