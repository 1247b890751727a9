//! hive-natlab: a small internet of network namespaces with real kernel NAT, made from a short description.
//!
//! Owns topologies, kinds of NAT, the table of what theory allows, and probes that show that the NATs are what they
//! claim. Needs root, `ip` and `nft`. Everything it makes is inside namespaces of its own and is gone with it.
//! Must not know hivenode: who uses it starts whatever it likes inside a host's namespace.

mod cable;
mod capture;
mod change;
mod error;
mod kind;
mod plan;
mod probe;
mod raise;
mod rules;
mod space;
mod theory;

pub use capture::Capture;
pub use error::LabError;
pub use kind::NatKind;
pub use plan::{Cable, Case, Host, Net, Plan, Range4, Range6, Router, special};
pub use probe::{Behaviour, Filtering, Mapping, measure, punch};
pub use raise::Lab;
pub use space::Space;
pub use theory::{Transports, Way, between, expected, possible};
