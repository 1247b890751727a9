//! What can go wrong with a matrix, as opposed to what can go wrong between two nodes: that is a result.

use hive_natlab::LabError;
use std::{io, path::PathBuf};

/// Why a matrix, or one trial of it, did not come to a result.
#[derive(Debug, thiserror::Error)]
pub enum MatrixError {
    /// The laboratory.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// A file or folder.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The program does not start.
    #[error("{name} did not start: {detail}")]
    Start {
        /// Which node.
        name: String,
        /// What it said.
        detail: String,
    },
    /// A node's API refused or did not answer.
    #[error("{name}: {path}: {detail}")]
    Asked {
        /// Which node.
        name: String,
        /// What was asked.
        path: String,
        /// What came back.
        detail: String,
    },
    /// Something did not happen in time.
    #[error("{name}: not within {seconds} s: {what}")]
    Late {
        /// Which node.
        name: String,
        /// How long was waited.
        seconds: u64,
        /// For what, and what there was instead.
        what: String,
    },
    /// What was asked for makes no matrix.
    #[error("{0}")]
    Choice(String),
}
