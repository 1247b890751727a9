//! Files: keeping, sharing, bringing them here, sending them to others, mirroring folders.

use crate::quantity::parse_duration;
use clap::{Args, Subcommand, ValueEnum};
use std::{path::PathBuf, time::Duration};

/// `file …`
#[derive(Debug, Subcommand)]
pub enum FileCommand {
    /// Take in a file or folder; prints its id
    Add(AddArgs),
    /// Let all members pull a file or folder; prints its ticket
    Share(AddArgs),
    /// End the sharing of a file or folder
    Unshare(FileId),
    /// What is kept here
    #[command(alias = "list")]
    Ls,
    /// One file or folder, with what is in it
    #[command(alias = "inspect")]
    Show(FileId),
    /// Read all bytes again and compare them with their hashes
    Verify(FileId),
    /// Keep a file or folder no longer; its bytes at a path of yours stay there
    Rm(FileId),
    /// Free what nobody keeps
    Gc {
        /// Only say what would be freed
        #[arg(long)]
        dry_run: bool,
    },
    /// Transfers: who gives what, how fast, over which path
    Status(TransfersArgs),
    /// Write a file's bytes to standard output; what is not here is fetched and verified
    Cat(CatArgs),
    /// Hold a transfer, or all
    Pause(TransferId),
    /// Go on with a transfer, or all
    Resume(TransferId),
    /// Give a transfer up, or all; what was fetched stays until `file gc`
    Cancel(TransferId),
}

/// `file add`, `file share`
#[derive(Debug, Args)]
pub struct AddArgs {
    /// A file or folder; for `share` also the id or name of one kept already
    pub path: PathBuf,
    /// Keep a copy of the bytes; otherwise the path is referred to and must not change
    #[arg(long)]
    pub copy: bool,
    /// Leave out what cannot travel (devices, links out of the folder, names that are no UTF-8)
    #[arg(long)]
    pub skip_unsafe: bool,
}

/// A content.
#[derive(Debug, Args)]
pub struct FileId {
    /// Id, beginning of an id, name, or path
    pub file: String,
}

/// A transfer.
#[derive(Debug, Args)]
pub struct TransferId {
    /// Id, beginning of an id, `last`, or `all`
    pub transfer: String,
}

/// `file status`
#[derive(Debug, Args)]
pub struct TransfersArgs {
    /// Only this transfer
    pub transfer: Option<String>,
    /// Show it again every second
    #[arg(short, long)]
    pub watch: bool,
}

/// `file cat`
#[derive(Debug, Args)]
pub struct CatArgs {
    /// Id, name, path or ticket
    pub file: String,
    /// Only these bytes: FROM-TO, FROM-, both counted from 0, TO not included
    #[arg(long, value_name = "FROM-TO")]
    pub range: Option<String>,
}

/// How urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Urgency {
    /// Somebody waits for it
    Interactive,
    /// As usual
    Normal,
    /// When nothing else is to be done
    Bulk,
}

impl Urgency {
    /// Its name in requests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Normal => "normal",
            Self::Bulk => "bulk",
        }
    }
}

/// `pull`
#[derive(Debug, Args)]
pub struct PullArgs {
    /// Ticket from `file share`, or a content's id
    #[arg(value_name = "TICKET|ID")]
    pub what: String,
    /// Where to; into it when it is a folder. The present folder when not said
    pub dest: Option<PathBuf>,
    /// An older version on this machine: what it has in common is not fetched
    #[arg(long, value_name = "PATH")]
    pub like: Option<PathBuf>,
    /// Replace what stands at the destination
    #[arg(long)]
    pub overwrite: bool,
    /// A node that has it; may be given several times
    #[arg(long, value_name = "NODE")]
    pub from: Vec<String>,
    /// The id is a folder's
    #[arg(long)]
    pub folder: bool,
    /// How urgent
    #[arg(long, value_enum, value_name = "P")]
    pub priority: Option<Urgency>,
    /// How long nobody may have anything to give before it is given up; one that is detached waits for ever
    #[arg(long, default_value = "20s", value_parser = parse_duration, value_name = "TIME")]
    pub patience: Duration,
    /// Print the transfer's id and do not wait
    #[arg(short, long)]
    pub detach: bool,
}

/// `push` and its verbs
#[derive(Debug, Args)]
pub struct PushCommand {
    /// What to do instead of pushing
    #[command(subcommand)]
    pub command: Option<PushVerb>,
    /// The push
    #[command(flatten)]
    pub args: PushArgs,
}

/// `push …`
#[derive(Debug, Subcommand)]
pub enum PushVerb {
    /// What was sent, and where it stands
    #[command(alias = "list")]
    Ls,
    /// One push: where it stands at each receiver
    #[command(alias = "inspect")]
    Show {
        /// Id, beginning of an id, or `last`
        notice: String,
        /// Follow it until nothing more happens
        #[arg(short, long)]
        watch: bool,
    },
    /// Take a push back from those who have not got it
    Cancel {
        /// Id, beginning of an id, or `last`
        notice: String,
    },
}

/// `push`
#[derive(Debug, Args)]
pub struct PushArgs {
    /// File or folder (`./ls` for one that is called like a verb), or the id of one kept here
    pub path: Option<PathBuf>,
    /// Who: names, ids, `all`, `role=worker`; several after each other or with commas
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "NODE|SELECTOR")]
    pub to: Vec<String>,
    /// Send this line of text instead of a file
    #[arg(long, conflicts_with_all = ["path", "event"])]
    pub text: Option<String>,
    /// Send an event for programs instead of a file: KIND or KIND=DATA
    #[arg(long, conflicts_with = "path", value_name = "KIND[=DATA]")]
    pub event: Option<String>,
    /// What it shall be called at the receivers
    #[arg(long)]
    pub name: Option<String>,
    /// How urgent
    #[arg(long, value_enum, value_name = "P")]
    pub priority: Option<Urgency>,
    /// How long absent receivers may take
    #[arg(long, default_value = "7d", value_parser = parse_duration, value_name = "TIME")]
    pub ttl: Duration,
    /// Keep a copy of the bytes; otherwise the path is referred to and must not change
    #[arg(long)]
    pub copy: bool,
    /// Leave out what cannot travel
    #[arg(long)]
    pub skip_unsafe: bool,
    /// Wait for absent receivers too
    #[arg(long)]
    pub wait: bool,
    /// Print the push's id and do not wait
    #[arg(short, long, conflicts_with = "wait")]
    pub detach: bool,
}

/// `inbox …`
#[derive(Debug, Subcommand)]
pub enum InboxCommand {
    /// What others have sent
    #[command(alias = "list")]
    Ls,
    /// One of it
    #[command(alias = "inspect")]
    Show {
        /// Id, beginning of an id, or `last`
        notice: String,
    },
    /// Take what waits for your word
    Accept {
        /// Id, beginning of an id, or `last`
        notice: String,
        /// Folder for it; that of the settings when not said
        dest: Option<PathBuf>,
    },
    /// Refuse it
    Decline {
        /// Id, beginning of an id, or `last`
        notice: String,
        /// Why, for the sender
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// `sync` and its verbs
#[derive(Debug, Args)]
pub struct SyncCommand {
    /// What to do instead of mirroring
    #[command(subcommand)]
    pub command: Option<SyncVerb>,
    /// The mirror
    #[command(flatten)]
    pub args: SyncArgs,
}

/// `sync …`
#[derive(Debug, Subcommand)]
pub enum SyncVerb {
    /// Mirrors, out and in
    #[command(alias = "list")]
    Ls,
    /// One mirror
    #[command(alias = "inspect")]
    Show {
        /// Id, beginning of an id, `last`, or the folder
        sync: String,
    },
    /// End a mirror; what receivers have stays
    Rm {
        /// Id, beginning of an id, `last`, or the folder
        sync: String,
    },
}

/// `sync`
#[derive(Debug, Args)]
pub struct SyncArgs {
    /// Folder (`./ls` for one that is called like a verb)
    pub dir: Option<PathBuf>,
    /// Who: names, ids, `all`, `role=worker`; several after each other or with commas
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "NODE|SELECTOR")]
    pub to: Vec<String>,
    /// Go on: send changes as they happen, also after a restart of the daemon
    #[arg(long)]
    pub watch: bool,
    /// Old versions of changed and deleted files the receivers keep
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub versions: u32,
    /// Leave out what cannot travel
    #[arg(long)]
    pub skip_unsafe: bool,
    /// The folder is meant to be empty now: remove its files at the receivers too
    #[arg(long)]
    pub allow_empty: bool,
    /// Print the mirror's id and do not wait
    #[arg(short, long)]
    pub detach: bool,
}
