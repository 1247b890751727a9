//! Notices over real loopback swarms: sent, kept for the absent, taken once, also when processes die.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod delivery;
mod rig;
