//! hive-trust: who may run what for whom, and how evidence moves a score.
//!
//! Owns the tier and container rules ([`rules`]), the ranking group, and the scores of all accounts with the
//! reasons they moved ([`score`]). Must not know money, leases, nodes, clocks or the network: evidence and its
//! time are arguments, and the same evidence in the same order gives the same scores.

pub mod rules;
pub mod score;

pub use score::{Evidence, Trust};
