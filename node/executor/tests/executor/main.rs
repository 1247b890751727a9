//! The executor from outside: real processes, real modules, every code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod bounds;
mod examples;
mod files;
mod guests;
mod modules;
mod outcomes;
mod process;
mod sandbox;
mod stdin;
mod support;
