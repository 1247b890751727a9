//! The network of this node, and relaying for others.

use clap::{Args, Subcommand};
use std::time::Duration;

/// `net …`
#[derive(Debug, Subcommand)]
pub enum NetCommand {
    /// Check how this node is reached: UDP, NAT, addresses, relays, clock; exit 0, 1 (warnings) or 2 (failures)
    Check(CheckArgs),
    /// The ways to all peers connected or tried lately
    #[command(alias = "ls")]
    Peers(PeersArgs),
    /// The way to a node, and every attempt with its time and outcome
    Paths {
        /// Id, beginning of an id, or name
        node: String,
    },
    /// Try every known way to a node now
    Trace {
        /// Id, beginning of an id, or name
        node: String,
    },
}

/// `net check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Show the results of the last tests instead of testing again
    #[arg(long)]
    pub last: bool,
    /// Show all that is known, too: observers, tested addresses, mappings, relays
    #[arg(short, long)]
    pub verbose: bool,
}

/// `net peers`
#[derive(Debug, Args)]
pub struct PeersArgs {
    /// Show it again every second
    #[arg(short, long)]
    pub watch: bool,
}

/// `relay …`
#[derive(Debug, Subcommand)]
pub enum RelayCommand {
    /// What this node relays for others
    #[command(alias = "show")]
    Status(RelayStatusArgs),
    /// Show or change what it gives at most
    Limits(LimitsArgs),
    /// Relay for others always
    On,
    /// Relay for nobody; what runs goes on
    Off,
    /// Relay for others once this node was found to be reachable from everywhere
    Auto,
    /// Take nothing new; what runs goes on
    Drain(DrainArgs),
    /// Take new reservations and circuits again
    Resume,
}

/// `relay status`
#[derive(Debug, Args)]
pub struct RelayStatusArgs {
    /// Show it again every second
    #[arg(short, long)]
    pub watch: bool,
}

/// `relay limits`
#[derive(Debug, Args)]
pub struct LimitsArgs {
    /// Limits to change: total_rate=10M peer_day=50G circuit_life=2h circuit_bytes=off
    #[arg(value_name = "LIMIT=VALUE")]
    pub changes: Vec<String>,
    /// Only until the daemon ends: do not keep it in the settings
    #[arg(long, requires = "changes")]
    pub once: bool,
}

/// `relay drain`
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// Return when the last circuit has ended, or after this long
    #[arg(long, value_parser = crate::quantity::parse_duration, value_name = "TIME")]
    pub wait: Option<Duration>,
}
