//! Single tasks.

use super::{ResultsArgs, WorkFlags};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `task …`
#[derive(Debug, Subcommand)]
pub enum TaskCommand {
    /// Run a WASI program once
    Submit(Box<SubmitArgs>),
    /// Tasks, of the newest jobs first
    #[command(alias = "list")]
    Ls {
        /// Only of this job
        #[arg(long)]
        job: Option<String>,
        /// Only in this state: queued, assigned, running, succeeded, failed, stopped
        #[arg(long)]
        state: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// One task
    #[command(alias = "inspect")]
    Show(TaskId),
    /// What a task has written to standard output and error
    Logs {
        /// Id, beginning of an id, or `last`
        task: String,
        /// Follow until the task ends
        #[arg(short, long)]
        follow: bool,
    },
    /// Fetch the outputs of a task
    Results(ResultsArgs),
    /// Stop a task
    Stop(TaskId),
    /// Run an ended task again
    Retry(TaskId),
    /// Say where a task could run, and why not
    Explain(TaskId),
    /// Wait for a task and end with its exit code
    Wait(TaskId),
}

/// A task.
#[derive(Debug, Args)]
pub struct TaskId {
    /// Id, beginning of an id, or `last`
    pub task: String,
}

/// `task submit`
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// The WASI program
    pub module: PathBuf,
    /// Input file, seen by the program as /in/NAME; `{in}` stands for the first. May be given several times
    #[arg(long = "in", value_name = "PATH[=NAME]")]
    pub inputs: Vec<String>,
    /// File for standard input; `-` for this command's own
    #[arg(long, value_name = "FILE")]
    pub stdin: Option<String>,
    /// Environment of the program
    #[arg(long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Show what it writes, wait for it, end with its exit code
    #[arg(long)]
    pub wait: bool,
    /// With --wait: fetch its output files into this folder
    #[arg(short, long, value_name = "DIR", requires = "wait")]
    pub out: Option<PathBuf>,
    /// Need, limits, placement, price
    #[command(flatten)]
    pub work: WorkFlags,
    /// Arguments of the program; `{in}` and `{out}` stand for its input and output file
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<String>,
}
