//! The receiving side: folders that become like those of others.

mod apply;
mod attempt;
mod bring;
mod names;
mod place;
mod port;
mod replica;
mod replicas;
mod scan;
mod staging;
mod versions;

pub use port::{FetchFault, FetchFile, Fetcher, InState, MAX_NAMED, News, Offer, Origin, ReplicaView};
pub use replicas::{InDeps, Incoming};
