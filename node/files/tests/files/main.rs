//! Content between real nodes over loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod faults;
mod hostile;
mod killed;
mod node;
mod pulls;
mod relayed;
mod returning;
mod swarm;
mod ways;
