//! The client of the local API: typed calls over kept-alive connections.
//!
//! Used by the command line. It knows the documents of /v1 and nothing of what happens behind them.

mod calls;
mod failure;
mod file_calls;
mod net_calls;
mod pool;
mod streams;

pub use streams::{BlobReader, EventItem, EventStream, LogStream};

use pool::{Pool, Target};
use std::{net::SocketAddr, path::PathBuf, sync::Arc};

/// A client of one daemon. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    pool: Arc<Pool>,
}

impl Client {
    /// Talks to the daemon whose socket lies at `path`. Nothing is opened before the first call.
    #[must_use]
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self {
            pool: Arc::new(Pool::new(Target::Unix(path.into()))),
        }
    }

    /// Talks to the daemon at a loopback address, with its bearer token.
    #[must_use]
    pub fn tcp(addr: SocketAddr, token: impl Into<String>) -> Self {
        Self {
            pool: Arc::new(Pool::new(Target::Tcp(addr, token.into()))),
        }
    }
}
