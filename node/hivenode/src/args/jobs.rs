//! Jobs.

use crate::quantity::{parse_duration, parse_size};
use clap::{Args, Subcommand};
use hive_protocol::money::MicroCpt;
use std::{path::PathBuf, time::Duration};

/// `job …`
#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// Run a WASI program over many files, one task a file
    Map(Box<MapArgs>),
    /// All jobs
    #[command(alias = "list")]
    Ls,
    /// One job
    #[command(alias = "inspect")]
    Show(JobId),
    /// Wait until a job has ended
    Wait(JobId),
    /// Stop what has not ended
    Stop(JobId),
    /// Run failed and stopped tasks again
    Retry(JobId),
    /// Forget an ended job and its results
    Rm(JobId),
    /// Say where a job could run, and why not
    Explain(JobId),
    /// Fetch the outputs of a job
    Results(ResultsArgs),
}

/// A job.
#[derive(Debug, Args)]
pub struct JobId {
    /// Id, beginning of an id, name, or `last`
    pub job: String,
}

/// `job results`, `task results`
#[derive(Debug, Args)]
pub struct ResultsArgs {
    /// Id, beginning of an id, or `last`
    pub id: String,
    /// Folder to write to
    #[arg(short, long, default_value = "hive-out", value_name = "DIR")]
    pub out: PathBuf,
}

/// `job map`
#[derive(Debug, Args)]
pub struct MapArgs {
    /// The WASI program
    pub module: PathBuf,
    /// Files, and folders taken with everything below them
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// Folder for the outputs
    #[arg(short, long, default_value = "hive-out", value_name = "DIR")]
    pub out: PathBuf,
    /// Need, limits, placement, price
    #[command(flatten)]
    pub work: WorkFlags,
    /// Arguments of the program; `{in}` and `{out}` stand for its input and output file
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<String>,
}

/// What a job needs, may take and may cost.
#[derive(Debug, Clone, Args, Default)]
pub struct WorkFlags {
    /// Name for people; the program's file name when not said
    #[arg(long)]
    pub name: Option<String>,
    /// Cores each task needs
    #[arg(long, default_value = "1", help_heading = "Need")]
    pub cpus: String,
    /// Memory each task needs and may take
    #[arg(long, default_value = "256M", value_parser = parse_size, help_heading = "Need", value_name = "SIZE")]
    pub mem: u64,
    /// Scratch disk each task needs
    #[arg(long, value_parser = parse_size, help_heading = "Need", value_name = "SIZE")]
    pub disk: Option<u64>,
    /// Most fuel of a task, in Gfuel (10^9 instructions, about)
    #[arg(long, default_value = "100", help_heading = "Limits", value_name = "GFUEL")]
    pub fuel: String,
    /// Longest time of a task
    #[arg(long, default_value = "5m", value_parser = parse_duration, help_heading = "Limits", value_name = "TIME")]
    pub task_timeout: Duration,
    /// Most bytes a task may write
    #[arg(long, default_value = "64M", value_parser = parse_size, help_heading = "Limits", value_name = "SIZE")]
    pub output_limit: u64,
    /// Most files a task may write
    #[arg(long, default_value_t = 64, help_heading = "Limits", value_name = "N")]
    pub files_limit: u32,
    /// Lowest trust of a worker: low, normal, high or a score
    #[arg(long, help_heading = "Placement", value_name = "TIER")]
    pub trust: Option<String>,
    /// Location a worker must have
    #[arg(long, help_heading = "Placement")]
    pub location: Option<String>,
    /// Location preferred
    #[arg(long, help_heading = "Placement", value_name = "LOCATION")]
    pub near: Option<String>,
    /// Highest price, CPT per Gfuel
    #[arg(long, help_heading = "Price", value_name = "CPT")]
    pub max_price: Option<MicroCpt>,
    /// Most the whole job may cost, CPT
    #[arg(long, help_heading = "Price", value_name = "CPT")]
    pub budget: Option<MicroCpt>,
    /// Tries again after a worker's fault
    #[arg(long, help_heading = "Placement", value_name = "N")]
    pub retries: Option<u16>,
    /// How long it may wait for a worker or for credits before it is given up
    #[arg(long, default_value = "30s", value_parser = parse_duration, help_heading = "Placement", value_name = "TIME")]
    pub patience: Duration,
}
