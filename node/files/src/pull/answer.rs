//! What is asked of a provider and where its answer goes.

use crate::pull::job::SegmentJob;
use hive_protocol::{file::FileRequest, ids::NodeId};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Why an ask got no answer, or not the one hoped for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The provider does not have it, or not for us.
    #[error("not there, or not for this node")]
    NotFound,
    /// It is larger than was said to be taken.
    #[error("it has {0} bytes, more than are taken")]
    TooLarge(u64),
    /// The provider's file has changed.
    #[error("its file has been changed or taken away")]
    Changed,
    /// Asked for too much; again after so many milliseconds.
    #[error("busy for {0} ms")]
    Busy(u32),
    /// No byte for too long.
    #[error("it has gone silent")]
    Stalled,
    /// The stream broke, could not be opened, or was closed.
    #[error("{0}")]
    Broken(String),
    /// Not what the protocol says.
    #[error("a wrong answer: {0}")]
    Wrong(&'static str),
    /// Bytes that do not belong to the content.
    #[error("bytes that do not belong to the content")]
    Corrupt,
}

/// What a provider has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaveAnswer {
    /// Size it claims; 0: it knows nothing of it.
    pub size: u64,
    /// Whether all of it.
    pub whole: bool,
    /// Which segments.
    pub segments: Vec<u8>,
    /// Who else fetches.
    pub fetchers: Vec<NodeId>,
}

/// Size and chaining values of the segments, not verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeAnswer {
    /// Size it claims.
    pub size: u64,
    /// One for each segment; empty for content of one segment.
    pub segments: Vec<[u8; 32]>,
}

/// Small contents, not verified yet.
#[derive(Debug)]
pub struct ManyAnswer {
    /// Size of each, `u32::MAX` for one not given.
    pub sizes: Vec<u32>,
    /// Back to back.
    pub bytes: Vec<u8>,
}

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, AskError>>;

/// What is wanted.
pub enum Want {
    /// What it has.
    Have(Reply<HaveAnswer>),
    /// Size and segments.
    Tree {
        /// Where to.
        to: Reply<TreeAnswer>,
        /// Most bytes the content may have.
        max_size: u64,
    },
    /// Groups.
    Segment(Arc<SegmentJob>),
    /// Small contents: how many, and the most bytes taken.
    Many {
        /// Where to.
        to: Reply<ManyAnswer>,
        /// Contents asked for.
        count: usize,
        /// Bytes they have together as the manifest says.
        bytes: u64,
    },
    /// Chunk rows.
    Chunks(Reply<Vec<([u8; 32], u32)>>),
}

/// One request with the place for its answer. If dropped unanswered, whoever waits is told that the stream broke.
pub struct Ask {
    /// What is sent.
    pub request: FileRequest,
    /// Taken when answered.
    want: Option<Want>,
}

impl Ask {
    /// An ask.
    pub const fn new(request: FileRequest, want: Want) -> Self {
        Self {
            request,
            want: Some(want),
        }
    }

    /// What is wanted; whoever takes it must answer it.
    pub const fn take(&mut self) -> Option<Want> {
        self.want.take()
    }

    /// Answers with an error.
    pub fn fail(mut self, error: &AskError) {
        if let Some(want) = self.want.take() {
            want.fail(error);
        }
    }
}

impl Want {
    /// Answers with an error.
    pub fn fail(self, error: &AskError) {
        // A waiter that has gone does not want to know.
        match self {
            Self::Have(to) => drop(to.send(Err(error.clone()))),
            Self::Tree { to, .. } => drop(to.send(Err(error.clone()))),
            Self::Segment(job) => job.fail(error.clone()),
            Self::Many { to, .. } => drop(to.send(Err(error.clone()))),
            Self::Chunks(to) => drop(to.send(Err(error.clone()))),
        }
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        if let Some(want) = self.want.take() {
            want.fail(&AskError::Broken("the stream was closed".to_owned()));
        }
    }
}
