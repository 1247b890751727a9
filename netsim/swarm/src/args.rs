//! What can be asked for on the command line.

use clap::{Args as Group, Parser, Subcommand, ValueEnum};

/// Many real nodes on one machine.
#[derive(Parser)]
pub struct Args {
    /// Threads of the runtime, here and in every process started.
    #[arg(long, global = true, default_value_t = 2)]
    pub threads: usize,
    #[command(subcommand)]
    pub run: Run,
}

/// The runs.
#[derive(Subcommand)]
pub enum Run {
    /// Many nodes join one bootstrap node (a process of its own) and then do nothing: time to join, the server's
    /// processor time a join, its memory a peer.
    Storm(Storm),
    /// A message published in a random mesh: who hears it when.
    Gossip(Gossip),
    /// Look-ups in the hash table.
    Kad(Kad),
    /// Nodes come and go while messages are published.
    Churn(Churn),
    /// A bootstrap node (started by `storm`).
    #[command(hide = true)]
    Serve(Serve),
    /// Many clients (started by `storm`).
    #[command(hide = true)]
    Crowd(Crowd),
}

/// Whose nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Kind {
    /// hive-net's.
    Hive,
    /// libp2p's as it comes.
    Plain,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hive => "hive",
            Self::Plain => "plain",
        }
    }
}

/// What carries connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Carrier {
    Tcp,
    Quic,
}

impl Carrier {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Quic => "quic",
        }
    }

    /// Where a node of the laboratory listens.
    pub const fn listen(self) -> &'static str {
        match self {
            Self::Tcp => "/ip4/127.0.0.1/tcp/0",
            Self::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
        }
    }
}

#[derive(Group, Clone)]
pub struct Storm {
    /// Nodes that join.
    #[arg(long, default_value_t = 500)]
    pub nodes: usize,
    /// Seconds over which they come; 0: all at once.
    #[arg(long, default_value_t = 15)]
    pub over: u64,
    /// Seconds the server's memory is watched afterwards.
    #[arg(long, default_value_t = 20)]
    pub idle: u64,
    /// Whose nodes; without it both, one after the other.
    #[arg(long)]
    pub kind: Option<Kind>,
    /// What carries; without it both.
    #[arg(long)]
    pub carrier: Option<Carrier>,
    /// Rounds; medians are shown.
    #[arg(long, default_value_t = 1)]
    pub rounds: usize,
    /// The nodes can be dialed and serve the hash table: a storm of dials would show.
    #[arg(long)]
    pub listening: bool,
    /// Lines of JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

#[derive(Group, Clone)]
pub struct Gossip {
    #[arg(long, default_value_t = 200)]
    pub nodes: usize,
    /// Messages published, one after the other, each by another node.
    #[arg(long, default_value_t = 100)]
    pub messages: usize,
    /// Messages a second.
    #[arg(long, default_value_t = 5.0)]
    pub rate: f64,
    /// Bytes of a message.
    #[arg(long, default_value_t = 1024)]
    pub size: usize,
    /// Earlier nodes that each node dials.
    #[arg(long, default_value_t = 5)]
    pub degree: usize,
    /// Milliseconds that bytes take from a node to the next one (TCP only). With 0 all time is the processor's.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(..=1000))]
    pub delay: u64,
    /// Neighbours a node of ours passes messages on to; without it as many as a node has by default.
    #[arg(long)]
    pub neighbours: Option<usize>,
    /// Of a hundred nodes of ours, so many take part but pass nothing on.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=90))]
    pub silent: u64,
    /// Ninety-nine of a hundred must hear within so many times the median of one hop; 0: only that all hear counts, as
    /// on a machine on which other things run.
    #[arg(long, default_value_t = 6.0)]
    pub most_hops: f64,
    #[arg(long)]
    pub kind: Option<Kind>,
    #[arg(long, default_value = "tcp")]
    pub carrier: Carrier,
    #[arg(long)]
    pub json: bool,
}

#[derive(Group, Clone)]
pub struct Kad {
    #[arg(long, default_value_t = 50)]
    pub nodes: usize,
    /// Look-ups of each kind.
    #[arg(long, default_value_t = 100)]
    pub lookups: usize,
    #[arg(long, default_value_t = 5)]
    pub degree: usize,
    #[arg(long, default_value = "tcp")]
    pub carrier: Carrier,
    #[arg(long)]
    pub json: bool,
}

#[derive(Group, Clone)]
pub struct Churn {
    #[arg(long, default_value_t = 100)]
    pub nodes: usize,
    /// Seconds.
    #[arg(long, default_value_t = 60)]
    pub time: u64,
    /// Nodes that are replaced each second.
    #[arg(long, default_value_t = 1)]
    pub replaced: usize,
    #[arg(long, default_value_t = 5)]
    pub degree: usize,
    #[arg(long, default_value = "tcp")]
    pub carrier: Carrier,
    #[arg(long)]
    pub json: bool,
}

#[derive(Group, Clone)]
pub struct Serve {
    #[arg(long)]
    pub kind: Kind,
    #[arg(long)]
    pub carrier: Carrier,
}

#[derive(Group, Clone)]
pub struct Crowd {
    #[arg(long)]
    pub kind: Kind,
    #[arg(long)]
    pub carrier: Carrier,
    #[arg(long)]
    pub nodes: usize,
    #[arg(long)]
    pub over: u64,
    /// The server's name and address.
    #[arg(long)]
    pub id: String,
    #[arg(long)]
    pub addr: String,
    #[arg(long)]
    pub listening: bool,
}
