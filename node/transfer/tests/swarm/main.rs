//! Swarms in virtual time: what a fetch costs its seeders, how long it takes, and that it ends whatever peers do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

mod chaos;
mod shares;
mod world;
