//! Founding, inviting, joining.

use super::NodeFlags;
use crate::quantity::parse_duration;
use clap::{Args, Subcommand};
use hive_protocol::{money::MicroCpt, resources::Role};
use std::time::Duration;

/// `mesh …`
#[derive(Debug, Subcommand)]
pub enum MeshCommand {
    /// Found a mesh and run its first authority here
    Create(Box<CreateArgs>),
    /// Show the mesh this node belongs to
    Show,
}

/// `mesh create`
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Its name
    // An id of its own: `--name` is this node's name.
    #[arg(id = "mesh", value_name = "NAME")]
    pub name: String,
    /// Credits minted to the founder, in CPT
    #[arg(long, default_value = "1000000", value_name = "CPT")]
    pub mint: MicroCpt,
    /// Trust score of joiners whose invitation says nothing
    #[arg(long, default_value_t = 50, value_name = "SCORE")]
    pub default_score: u32,
    /// Do not run tasks here
    #[arg(long)]
    pub no_worker: bool,
    /// Settings of the daemon
    #[command(flatten)]
    pub node: NodeFlags,
}

/// `invite` and `invite rm`
#[derive(Debug, Args)]
pub struct InviteCommand {
    /// What to do instead of inviting
    #[command(subcommand)]
    pub command: Option<InviteVerb>,
    /// The invitation
    #[command(flatten)]
    pub args: InviteArgs,
}

/// `invite …`
#[derive(Debug, Subcommand)]
pub enum InviteVerb {
    /// End an invitation
    Rm {
        /// Its id
        invite: String,
    },
}

/// `invite`
#[derive(Debug, Args)]
pub struct InviteArgs {
    /// Role admitted to: worker, client or relay
    #[arg(long, default_value = "worker")]
    pub role: Role,
    /// Trust score at the start; the mesh's default when not said
    #[arg(long)]
    pub score: Option<u32>,
    /// Credits for each joiner, in CPT
    #[arg(long, default_value = "0", value_name = "CPT")]
    pub grant: MicroCpt,
    /// How many may join with it
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub uses: u32,
    /// How long it holds
    #[arg(long, default_value = "24h", value_parser = parse_duration, value_name = "TIME")]
    pub ttl: Duration,
}

/// `up`
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Ticket from `hivenode invite`, `file:PATH`, or `-` for standard input
    #[arg(env = "HIVENODE_TICKET", hide_env_values = true)]
    pub ticket: Option<String>,
    /// Role expected; refused when the ticket is for another. `relay` without a ticket: relay for others from now on
    #[arg(long)]
    pub role: Option<Role>,
    /// Stay attached: run the daemon in this process
    #[arg(long)]
    pub foreground: bool,
    /// Settings of the daemon; kept for later starts
    #[command(flatten)]
    pub node: NodeFlags,
}
