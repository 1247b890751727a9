//! hive-tests: checks over the whole tree and, in `tests/`, over the built program.
//!
//! Owns the rules of the house as code: which crate may depend on which ([`graph`]), and how a source file
//! looks ([`sources`]). Must not know any crate's insides: it reads text and the dependency graph only.

pub mod graph;
pub mod sources;
