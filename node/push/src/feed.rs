//! What comes to the loop from its tasks.

use hive_net::NetStream;
use hive_protocol::{
    ids::{NodeId, NoticeId},
    notice::{Notice, NoticeMsg},
};
use hive_transfer::notices::inbox::{self, Key};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Events that may wait; senders wait when it is full.
pub(crate) const FEED: usize = 256;

pub(crate) type Feed = mpsc::Sender<Event>;
/// Tells one stream from another.
pub(crate) type LinkId = u64;

/// A frame as it may be used.
#[derive(Debug)]
pub(crate) enum Frame {
    /// A notice that has passed the check.
    Notice(Box<Notice>),
    /// A page of mail.
    Mail {
        notices: Vec<Notice>,
        useless: Vec<NoticeId>,
        end: bool,
    },
    /// Anything else, as it came.
    Other(Box<NoticeMsg>),
}

#[derive(Debug)]
pub(crate) enum Event {
    /// A peer has opened a stream.
    Inbound(NodeId, NetStream),
    /// Opening a stream has ended.
    Opened(NodeId, Result<NetStream, String>),
    /// A frame came; the permit is given back when it is dealt with.
    Frame(NodeId, Option<LinkId>, Frame, Option<OwnedSemaphorePermit>),
    /// A stream is over.
    Ended(NodeId, LinkId),
    /// The mailbox has answered somebody.
    Answered(NodeId, Option<LinkId>, crate::ports::Answered),
    /// A place was found, or not.
    Placed(Key, Result<String, String>),
    /// A pull goes on; of which attempt.
    Pull(Key, u64, inbox::News),
    /// Bytes free.
    Free(Option<u64>),
}
