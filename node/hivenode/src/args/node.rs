//! This node and its neighbours.

use crate::quantity::parse_duration;
use clap::{Args, Subcommand};
use std::{path::PathBuf, time::Duration};

/// Settings of the daemon as flags.
#[derive(Debug, Clone, Args, Default)]
pub struct NodeFlags {
    /// Name of this node in the mesh
    #[arg(long, help_heading = "Node settings")]
    pub name: Option<String>,
    /// Cores offered: 4 or 50%
    #[arg(long, help_heading = "Node settings")]
    pub cpus: Option<String>,
    /// Memory offered: 8G
    #[arg(long, help_heading = "Node settings")]
    pub mem: Option<String>,
    /// Scratch disk offered: 50G
    #[arg(long, help_heading = "Node settings")]
    pub disk: Option<String>,
    /// Price asked, CPT per Gfuel
    #[arg(long, help_heading = "Node settings", value_name = "CPT")]
    pub price: Option<String>,
    /// Where the node stands, such as eu-fra
    #[arg(long, help_heading = "Node settings")]
    pub location: Option<String>,
    /// Multiaddress to listen on; may be given several times
    #[arg(long, help_heading = "Node settings", value_name = "ADDR")]
    pub listen: Vec<String>,
    /// Whether to relay for others: auto, on or off
    #[arg(long, help_heading = "Node settings", value_name = "WHEN")]
    pub relay: Option<String>,
    /// Multiaddress at which this node is known to be reachable (a forwarded port); may be given several times
    #[arg(long, help_heading = "Node settings", value_name = "ADDR")]
    pub announce: Vec<String>,
    /// What connections go over: both, quic or tcp
    #[arg(long, help_heading = "Node settings", value_name = "WHICH")]
    pub transports: Option<String>,
}

impl NodeFlags {
    /// The settings named, by key.
    pub fn named(&self) -> Vec<(&'static str, String)> {
        let list = |all: &[String]| (!all.is_empty()).then(|| all.join(","));
        [
            ("name", self.name.clone()),
            ("cpus", self.cpus.clone()),
            ("mem", self.mem.clone()),
            ("disk", self.disk.clone()),
            ("price", self.price.clone()),
            ("location", self.location.clone()),
            ("listen", list(&self.listen)),
            ("relay", self.relay.clone()),
            ("announce", list(&self.announce)),
            ("transports", self.transports.clone()),
        ]
        .into_iter()
        .filter_map(|(k, v)| v.map(|v| (k, v)))
        .collect()
    }
}

/// `serve`
#[derive(Debug, Args, Default)]
pub struct ServeArgs {
    /// Settings for this run
    #[command(flatten)]
    pub node: NodeFlags,
    /// Write the log to this file instead of standard error
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// Begin a session of its own and say on standard output when ready
    #[arg(long, hide = true)]
    pub detached: bool,
    /// Say on standard output when ready, and stop when standard input closes
    #[arg(long, hide = true, conflicts_with = "detached")]
    pub attached: bool,
}

/// `down`
#[derive(Debug, Args)]
pub struct DownArgs {
    /// Let running tasks end, for at most this long
    #[arg(long, value_parser = parse_duration, value_name = "TIME", conflicts_with = "force")]
    pub drain: Option<Duration>,
    /// Stop at once; running tasks are handed back
    #[arg(long)]
    pub force: bool,
}

/// `status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Show it again every second
    #[arg(short, long)]
    pub watch: bool,
}

/// `node …`
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// All nodes
    #[command(alias = "list")]
    Ls,
    /// One node
    #[command(alias = "inspect")]
    Show {
        /// Id, beginning of an id, or name
        node: String,
    },
}

/// `events`
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Follow until interrupted (events of the past are not kept, so this is also the default)
    #[arg(short, long)]
    pub follow: bool,
    /// Only events about this job, task, node or lease
    #[arg(long = "for", value_name = "ID")]
    pub subject: Option<String>,
    /// End after so many
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
}

/// `config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// All settings
    Show {
        /// And where each comes from
        #[arg(long)]
        origin: bool,
    },
    /// One setting
    Get {
        /// Its name
        key: String,
    },
    /// Change a setting in the file; it holds from the next start on
    Set {
        /// Its name
        key: String,
        /// Its value; empty takes it out
        value: String,
    },
    /// The file's path
    Path,
    /// Check the file
    Validate,
}
