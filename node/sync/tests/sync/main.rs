//! Mirrors on real folders.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod kill;
mod library;
mod receive;
mod send;
mod stage;
