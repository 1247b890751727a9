//! hive-protocol: the words every hivenode agrees on.
//!
//! Owns identities, money, time, resources, task descriptions, signed documents and one module for
//! each wire protocol, with the bounded codec they all pass through.
//! Must not know clocks, randomness, files, sockets or any runtime: everything here is plain data
//! and pure functions, so that the same bytes mean the same thing in the daemon and in the simulator.

pub mod codec;
pub mod credential;
pub mod genesis;
pub mod ids;
pub mod keys;
pub mod manifest;
pub mod money;
pub mod receipt;
pub mod resources;
pub mod share;
pub mod task;
pub mod text;
pub mod ticket;
pub mod time;

pub mod authority;
pub mod blob;
pub mod bulk;
pub mod command;
pub mod file;
pub mod gossip;
pub mod join;
pub mod member;
pub mod notice;
pub mod reach;
pub mod relay;
pub mod work;
