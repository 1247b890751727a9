//! Relaying: carrying bytes between two nodes that cannot reach each other, within limits.

mod book;
mod copy;
mod serve;
mod wire;

pub use book::{RelayCounts, RelayLimits};
pub use serve::Relay;
