//! End-to-end tests: the built program, in processes of its own, used as its users use it.
//!
//! Each test founds a mesh in a temporary folder ([`mesh`]), talks to it by the command line ([`command`]) or by
//! the local API ([`http`]), and leaves nothing behind. `HIVENODE_TEST_BIN` names another program to test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod command;
mod guests;
mod http;
mod mesh;
mod node;
mod trees;
mod wait;

mod at_once;
mod deaths;
mod demo;
mod files_disk;
mod files_hostile;
mod files_move;
mod files_push;
mod files_share;
mod files_sync;
mod flow;
mod inputs;
mod json;
mod limits;
mod machine;
mod map;
mod modules;
mod money;
mod nat_mesh;
mod nat_moves;
mod nat_relay;
mod nat_task;
mod net_behind;
mod net_paths;
mod net_relay;
mod place;
mod places;
mod progress;
mod sybils;
mod tasks;
mod tickets;
mod token;
