//! The command line as data: every noun, verb and flag. Knows nothing of what they do.

mod files;
mod jobs;
mod mesh;
mod money;
mod net;
mod node;
mod tasks;
mod try_out;

pub use files::{
    AddArgs, CatArgs, FileCommand, InboxCommand, PullArgs, PushArgs, PushCommand, PushVerb, SyncArgs,
    SyncCommand, SyncVerb, TransfersArgs,
};
pub use jobs::{JobCommand, MapArgs, ResultsArgs, WorkFlags};
pub use mesh::{CreateArgs, InviteArgs, InviteCommand, InviteVerb, MeshCommand, UpArgs};
pub use money::{SendArgs, TrustCommand, WalletCommand};
pub use net::{CheckArgs, DrainArgs, LimitsArgs, NetCommand, RelayCommand};
pub use node::{ConfigCommand, DownArgs, EventsArgs, NodeCommand, NodeFlags, ServeArgs, StatusArgs};
pub use tasks::{SubmitArgs, TaskCommand};
pub use try_out::{BenchArgs, DemoArgs};

use crate::{output::Color, quantity::parse_duration};
use clap::{Args, Parser, Subcommand};
use std::{path::PathBuf, time::Duration};

/// One binary for a mesh of machines that run WASM tasks for each other and settle the bill.
#[derive(Debug, Parser)]
#[command(
    name = "hivenode",
    version,
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Write versioned JSON documents (errors too, on standard error)
    #[arg(long, global = true, help_heading = "Global")]
    pub json: bool,
    /// Print ids only and no talk
    #[arg(short, long, global = true, help_heading = "Global")]
    pub quiet: bool,
    /// When to colour
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        help_heading = "Global"
    )]
    pub color: Color,
    /// Show no progress
    #[arg(long, global = true, help_heading = "Global")]
    pub no_progress: bool,
    /// Never ask anything
    #[arg(long, global = true, help_heading = "Global")]
    pub no_input: bool,
    /// Give up after this long, such as 60s
    #[arg(long, global = true, value_parser = parse_duration, value_name = "TIME", help_heading = "Global")]
    pub timeout: Option<Duration>,
    /// Keep everything of this node below one folder
    #[arg(
        long,
        global = true,
        env = "HIVENODE_DATA",
        value_name = "DIR",
        help_heading = "Global"
    )]
    pub data: Option<PathBuf>,
    /// Socket or http://127.0.0.1:PORT of the daemon to talk to
    #[arg(
        long,
        global = true,
        env = "HIVENODE_API",
        value_name = "PLACE",
        help_heading = "Global"
    )]
    pub api: Option<String>,
}

/// Every noun and short verb.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the daemon here and join a mesh
    Up(UpArgs),
    /// Stop the daemon
    Down(DownArgs),
    /// Show this node: state, peers, work, problems
    Status(StatusArgs),
    /// Found or show a mesh
    #[command(subcommand)]
    Mesh(MeshCommand),
    /// Invite a machine into the mesh
    #[command(args_conflicts_with_subcommands = true)]
    Invite(InviteCommand),
    /// The nodes of the mesh
    #[command(subcommand)]
    Node(NodeCommand),
    /// How this node is reached, and the ways to others
    #[command(subcommand)]
    Net(NetCommand),
    /// Relaying for nodes that cannot reach each other
    #[command(subcommand)]
    Relay(RelayCommand),
    /// Jobs: one program over many inputs
    #[command(subcommand)]
    Job(JobCommand),
    /// Single tasks
    #[command(subcommand)]
    Task(TaskCommand),
    /// Files and folders: keep, share, look, clear
    #[command(subcommand)]
    File(FileCommand),
    /// Bring a shared file or folder here
    Pull(PullArgs),
    /// Send a file, folder or text to nodes, also to absent ones
    #[command(args_conflicts_with_subcommands = true)]
    Push(Box<PushCommand>),
    /// What others have sent here
    #[command(subcommand)]
    Inbox(InboxCommand),
    /// Mirror a folder to nodes
    #[command(args_conflicts_with_subcommands = true)]
    Sync(SyncCommand),
    /// Credits
    #[command(subcommand)]
    Wallet(WalletCommand),
    /// Trust
    #[command(subcommand)]
    Trust(TrustCommand),
    /// What happens in the daemon
    Events(EventsArgs),
    /// Try everything: a private mesh on this machine renders a picture
    Demo(DemoArgs),
    /// Measure tasks per second and latency through the running daemon
    Bench(BenchArgs),
    /// Run the daemon in the foreground
    Serve(ServeArgs),
    /// Settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Where everything lies
    Paths,
    /// Check this node and say what to mend; exit 0, 1 (warnings) or 2 (failures)
    Doctor,
    /// The version
    Version,
    /// Completion for a shell
    Completion {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Help on a command, or on `exit-codes`
    Help {
        /// Command or topic
        #[arg(value_name = "COMMAND")]
        topic: Vec<String>,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lines_of_the_guide_parse() {
        for line in [
            "hivenode mesh create lab",
            "hivenode mesh create lab --mint 500 --default-score 40 --no-worker",
            "hivenode mesh create lab --name anna --cpus 2",
            "hivenode mesh show --json",
            "hivenode invite --role worker --score 50 --grant 100 --uses 3 --ttl 24h",
            "hivenode invite rm i_42",
            "hivenode up hive1abc --cpus 50% --mem 8G --price 0.002 --timeout 60s",
            "hivenode up --foreground",
            "hivenode down --drain 10m",
            "hivenode down --force",
            "hivenode status -w",
            "hivenode node ls",
            "hivenode up hive1abc --role relay",
            "hivenode net check -v --json",
            "hivenode net check --last",
            "hivenode net peers -w",
            "hivenode net paths w1",
            "hivenode net trace n_abcde",
            "hivenode relay status -w",
            "hivenode relay limits total_rate=10M peer_day=off --once",
            "hivenode relay drain --wait 5m",
            "hivenode relay resume",
            "hivenode relay on",
            "hivenode node show last",
            "hivenode job map wc.wasm dir a b --out out --fuel 5 --budget 1.5 --trust high -- {in} -l",
            "hivenode job ls",
            "hivenode job results j_1 -o x",
            "hivenode task submit x.wasm --in a --in b=c --stdin - --wait -- -v",
            "hivenode task logs -f t_1.0",
            "hivenode task results t_1.0 -o out",
            "hivenode file add x --copy",
            "hivenode file share dir --skip-unsafe",
            "hivenode file ls --json",
            "hivenode file gc --dry-run",
            "hivenode file status -w",
            "hivenode file cat b_1 --range 0-10",
            "hivenode file cancel all",
            "hivenode pull hivefile1abc /tmp --overwrite --like old -d",
            "hivenode pull b_1 --from w1 --from w2 --folder",
            "hivenode push x --to w1 w2 --name y --ttl 2d -d",
            "hivenode push x --to role=worker,w3 --priority bulk",
            "hivenode push --text hello --to all",
            "hivenode push ls",
            "hivenode push show last -w",
            "hivenode inbox accept u_1 /tmp",
            "hivenode inbox decline u_1 --reason no",
            "hivenode sync dir --to all --watch --versions 3",
            "hivenode sync rm last",
            "hivenode wallet send a_1 25 --memo hi --yes",
            "hivenode wallet balance",
            "hivenode trust show",
            "hivenode events -f",
            "hivenode config show --origin",
            "hivenode config set cpus 4",
            "hivenode demo --keep --out x.png --size 320x180 --samples 16 --workers 2",
            "hivenode help exit-codes",
            "hivenode --data /x status --json",
            "hivenode completion bash",
        ] {
            if let Err(e) = parse(line) {
                panic_with(line, &e);
            }
        }
        assert!(parse("hivenode down --drain 1m --force").is_err());
        assert!(parse("hivenode nod ls").is_err());
    }

    #[allow(clippy::panic)]
    fn panic_with(line: &str, e: &clap::Error) {
        panic!("{line}: {e}");
    }

    #[test]
    fn the_modules_own_arguments_are_left_alone() {
        let Command::Job(JobCommand::Map(map)) =
            parse("hivenode job map m.wasm dir --out o -- --json -x {in}")
                .unwrap()
                .command
        else {
            unreachable!("parsed as another command");
        };
        assert_eq!(map.args, ["--json", "-x", "{in}"]);
        assert_eq!(map.paths, [PathBuf::from("dir")]);
    }
}
