//! hive-reach: how a node is reached by others, decided. Pure: time, seeds and what the network saw are arguments.
//!
//! Owns which addresses are told to others, whether this node counts as public, whether it relays for others, which
//! two relays it is reached through, whether it serves the hash table, and which peers it does not let go. Must not
//! know sockets, libp2p or clocks: addresses are text, peers are [`NodeId`](hive_protocol::ids::NodeId)s.
//!
//! [`Reach::handle`] takes what was seen, [`Reach::poll_effect`] gives what is to be done, [`Reach::poll_timeout`]
//! when to say [`Input::Tick`]. [`Reach::report`] is what people are shown.

mod addr;
mod anchors;
mod candidates;
mod config;
mod core;
mod effect;
mod input;
mod judge;
mod own;
mod publish;
mod report;
mod settle;
mod slots;
mod way;

#[cfg(test)]
mod tests;

pub use addr::{Block, Carrier, Direct, Scope, parse};
pub use anchors::MAX_PROTECTED;
pub use config::{Config, RelayMode, Seed};
pub use core::Reach;
pub use effect::{Effect, Published, PublishedKind};
pub use input::{Input, MappedBy, PeerFacts, RelayLoad};
pub use report::{
    AddressRow, CandidateRow, Filtering, Mapping, Passage, Reachability, Report, SeenRow, Serving,
    ServingWhy, SlotState,
};
