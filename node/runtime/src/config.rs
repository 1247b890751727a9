//! What a daemon is told when it starts. Composed by the binary from flags, environment, file and defaults.

pub use crate::net_config::{
    MIN_CONNECTIONS, NetConfig, OwnLimits, RelayConfig, RelayLimits, RelayMode, Transports, Unit,
};
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
    /// What this node does with files of others, and how fast bytes may move.
    pub files: FileConfig,
    /// How it reaches others and is reached.
    pub net: NetConfig,
}

/// A part of the day: minutes after midnight, the end not included; over midnight when it ends before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hours {
    /// 0 to 1439.
    pub from: u16,
    /// 0 to 1440.
    pub to: u16,
}

/// Bytes a second; `None` for no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rate {
    /// What holds when no hours do.
    pub base: Option<u64>,
    /// What holds in these hours; the first that fits.
    pub hours: Vec<(Hours, Option<u64>)>,
}

/// Whose pushes are taken without asking the user of this node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AcceptPush {
    /// Those of nodes of one's own account; files of others wait in the inbox.
    #[default]
    Own,
    /// Everybody's.
    All,
    /// Nobody's: all files wait in the inbox.
    Ask,
    /// Nothing is taken at all.
    None,
    /// Those of these nodes (names or ids) and of one's own account; files of others wait in the inbox.
    Nodes(Vec<String>),
}

/// What a node does with files of others, and how fast bytes may move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileConfig {
    /// Where pushes go, into a folder for each sender; `inbox` in the data folder when empty.
    pub inbox: PathBuf,
    /// Whose are taken.
    pub accept: AcceptPush,
    /// Most bytes of one push; 0 for any.
    pub max_size: u64,
    /// Bytes that must stay free on the disk.
    pub min_free: u64,
    /// When pushes are pulled; always when `None`.
    pub hours: Option<Hours>,
    /// Minutes by which the clock of all these hours is ahead of UTC.
    pub utc_offset_min: i32,
    /// Everything that comes in.
    pub rate_in: Rate,
    /// Everything that goes out.
    pub rate_out: Rate,
    /// What one peer may give, and may get.
    pub rate_peer: Rate,
}

impl Default for FileConfig {
    fn default() -> Self {
        Self {
            inbox: PathBuf::new(),
            accept: AcceptPush::default(),
            max_size: 0,
            min_free: 1 << 30,
            hours: None,
            utc_offset_min: 0,
            rate_in: Rate::default(),
            rate_out: Rate::default(),
            rate_peer: Rate::default(),
        }
    }
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
            files: FileConfig::default(),
            net: NetConfig::default(),
        }
    }
}
