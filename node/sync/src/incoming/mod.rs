//! The receiving side: folders that become like those of others.

mod apply;
mod attempt;
mod names;
mod place;
mod port;
mod replicas;
mod scan;
mod staging;
mod versions;

pub use port::{FetchFault, FetchFile, Fetcher, InState, MAX_NAMED, News, Offer, Origin, ReplicaView};
pub use replicas::{InDeps, Incoming};
