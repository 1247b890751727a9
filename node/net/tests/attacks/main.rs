//! Attacks on one node over real sockets, by strangers and by members that went bad. What must hold: honest
//! members are served, nothing grows without bound, the attacker pays. Every wait has a deadline.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod flood;
mod forged;
mod gossip;
mod honest;
mod identity;
mod liars;
#[path = "../net/mesh.rs"]
#[allow(dead_code)]
mod mesh;
mod punches;
mod raw;
mod records;
mod spam;
mod spoof;
mod sybil;
