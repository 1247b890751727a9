//! Notices in virtual time: senders, recipients and an authority with their real cores, over links that lose, repeat
//! and reorder, with kills between any two effects and clocks that jump.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod campaign;
mod cases;
mod host;
mod hostile;
mod mailbox;
mod world;
