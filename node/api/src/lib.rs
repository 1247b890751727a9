//! The daemon's local REST API under /v1 and the client the command line uses.
//!
//! The server turns HTTP requests into calls of [`hive_runtime::port::NodeHandle`] and back. It knows nothing of
//! leases, ledgers or peers: what is asked and answered is decided behind the port.

pub mod client;
pub mod document;
pub mod limits;

pub use document::TrustView;
