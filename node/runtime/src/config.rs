//! What a daemon is told when it starts. Composed by the binary from flags, environment, file and defaults.

use hive_protocol::{money::MicroCpt, resources::Resources};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Settings of one daemon. Every field has a default that works for a newcomer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Data folder: keys, ledger, journal, blobs, task folders.
    pub data_dir: PathBuf,
    /// Cache folder for compiled modules; below the data folder when empty.
    pub cache_dir: PathBuf,
    /// Name of this node in the mesh; the host's name when empty.
    pub name: String,
    /// Multiaddresses to listen on; QUIC and TCP on any port of all interfaces when empty.
    pub listen: Vec<String>,
    /// What this node offers; measured when zero. Only workers offer anything.
    pub offer: Resources,
    /// Where the node stands, such as `eu-fra`; may be empty.
    pub location: String,
    /// Asked price in µCPT per Gfuel.
    pub price: MicroCpt,
    /// Most bytes the blob store may take; 0 for no quota but the disk.
    pub store_quota: u64,
    /// Milliseconds added to the machine's clock (may be negative); for tests and for machines whose clock is known to be off.
    pub clock_offset_ms: i64,
}

/// µCPT per Gfuel asked when nothing else is said (0.001 CPT).
pub const DEFAULT_PRICE: MicroCpt = MicroCpt(1000);

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::new(),
            cache_dir: PathBuf::new(),
            name: String::new(),
            listen: Vec::new(),
            offer: Resources::default(),
            location: String::new(),
            price: DEFAULT_PRICE,
            store_quota: 0,
            clock_offset_ms: 0,
        }
    }
}
