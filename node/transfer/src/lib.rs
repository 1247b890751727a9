//! hive-transfer: the decisions of moving files. Pure: time and seeds are arguments, effects are data.
//!
//! Owns what to ask of whom (`swarm`), how fast (`limits`), which bytes an older version spares (`delta`), which
//! notices are due where (`notices`), and how a folder becomes another one (`mirror`). Must not know sockets, disks
//! or clocks; bytes never pass through it.

pub mod delta;
pub mod limits;
pub mod mirror;
pub mod notices;
pub mod swarm;
