//! The network over real sockets on the loopback interface. Every wait has a deadline.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bulk;
mod bulk_doors;
mod bulk_silent;
mod bulk_vanish;
mod bulk_ways;
mod circuits;
mod connect;
mod crossed;
mod gate;
mod gossip;
mod greeter;
mod kad;
mod mesh;
mod others;
mod paths;
mod reach;
mod relay;
mod relay_attacks;
mod relay_bulk;
mod relay_restart;
mod relay_silent;
mod speed;
mod stock;
mod stock_autonat;
mod stock_kad;
mod streams;
