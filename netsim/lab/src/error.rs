//! What can go wrong with a laboratory.

use std::{io, process::Output};

/// Why a laboratory, or something in it, did not work.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A line of the description makes no sense.
    #[error("line {line}: {why}")]
    Plan {
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// A tool of the system failed.
    #[error("`{command}` failed: {detail}")]
    Tool {
        /// The command line.
        command: String,
        /// What it said.
        detail: String,
    },
    /// A tool of the system could not be started.
    #[error("`{command}` cannot be started: {source}; the laboratory needs root, iproute2 and nftables")]
    Start {
        /// The command line.
        command: String,
        /// The system's error.
        source: io::Error,
    },
    /// Something inside a namespace failed.
    #[error("inside `{space}`: {source}; the laboratory needs root")]
    Inside {
        /// The namespace.
        space: String,
        /// The system's error.
        source: io::Error,
    },
    /// No host of this name.
    #[error("there is no host `{0}` in this laboratory")]
    NoHost(String),
    /// What was asked for does not fit this laboratory.
    #[error("{0}")]
    Unfit(String),
}

impl LabError {
    /// The failure of a command that ran.
    pub(crate) fn of(command: &str, output: &Output) -> Self {
        let said = String::from_utf8_lossy(&output.stderr);
        Self::Tool {
            command: command.to_owned(),
            detail: said.trim().chars().take(500).collect(),
        }
    }
}
