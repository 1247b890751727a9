//! Credits and trust.

use clap::{Args, Subcommand};
use hive_protocol::money::MicroCpt;

/// `wallet …`
#[derive(Debug, Subcommand)]
pub enum WalletCommand {
    /// What is free and what is held
    Balance {
        /// Account, node or name; this node's own when not said
        account: Option<String>,
    },
    /// What came and went, newest first
    History {
        /// At most so many lines
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Send credits
    Send(SendArgs),
}

/// `wallet send`
#[derive(Debug, Args)]
pub struct SendArgs {
    /// Account, node or name
    pub to: String,
    /// CPT
    pub amount: MicroCpt,
    /// A note
    #[arg(long, default_value = "")]
    pub memo: String,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// `trust …`
#[derive(Debug, Subcommand)]
pub enum TrustCommand {
    /// Score, tier and the latest reasons
    Show {
        /// Account, node or name; this node's own when not said
        who: Option<String>,
    },
}
