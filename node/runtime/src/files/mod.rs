//! Files beside the daemon's loop: the desk that answers what is asked about them, and the engines behind it.
//!
//! The loop only tells the desk who is there and what the registry says; it never waits for the desk, nor the desk
//! for it. Must not know jobs, leases or money.

mod address;
mod counting;
mod desk;
mod engines;
mod keep;
mod mirror_bind;
mod mirrors;
mod moving;
mod notices;
mod people;
mod post;
mod puller;
mod refusals;
mod reloads;
mod resolve;
mod settings;
mod shown;
mod streams;

pub use counting::Moved;
pub use desk::Desk;
pub use engines::Entering;
pub use streams::LeaseStreams;
