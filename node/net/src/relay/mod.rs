//! Relaying: carrying bytes between two nodes that cannot reach each other, within limits.

mod book;
mod bucket;
mod copy;
mod desk;
mod limits;
mod meet;
mod serve;
mod splice;
mod terms;
mod users;
mod views;
mod wire;

pub(crate) use desk::Desk;
pub use desk::Relay;
pub use limits::{CircuitView, RelayCounts, RelayDay, RelayLimits, RelayLoad, RelayPeer};
