//! Blobs between nodes: who may have what, serving, fetching.

mod fetch;
mod grants;
mod port;
mod serve;

pub use fetch::{FetchError, Fetcher};
pub use grants::Grants;
pub use port::{StorePort, StoreRefusal};
pub use serve::serve;
