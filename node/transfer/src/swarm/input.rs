//! What the shell tells the swarm core. Everything a peer says is a claim; the shell has checked bytes, not words.

use hive_protocol::{ids::NodeId, time::Millis};

/// How bytes from a peer travel; a relayed path is asked last of equals and never for what a direct one can give.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Path {
    /// A connection between the two machines.
    Direct,
    /// Through a third node that pays for the bytes.
    Relayed,
}

/// Why an ask got no (more) bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// `FileReply::NotFound`: it does not have that part, or not for us.
    NotFound,
    /// `FileReply::Changed`: its copy is no longer this content.
    Changed,
    /// `FileReply::Busy`; the peer is let alone for that long (at most [`super::MAX_BUSY`]).
    Busy {
        /// How long.
        retry: Millis,
    },
    /// The shell gave up waiting (the core also does so by itself when no byte comes).
    Stalled,
    /// The stream broke, or the answer was not what the protocol says.
    Broken,
}

/// One thing that has happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// A peer can be asked now. Once again for a known peer: its path has changed.
    PeerUp {
        /// Who.
        peer: NodeId,
        /// How.
        path: Path,
        /// Whether a ticket or notice says that it has all of it: then it is asked without waiting for its `Have`.
        whole: bool,
    },
    /// `FileReply::Have` came, asked for or not.
    Have {
        /// Who.
        peer: NodeId,
        /// Whether it has all.
        whole: bool,
        /// One bit a segment, lowest bit of the first byte first; bits beyond the content are ignored.
        segments: Vec<u8>,
        /// Who fetches from it, as it says; more than `MAX_FETCHERS` are ignored.
        fetchers: Vec<NodeId>,
    },
    /// `Effect::AskHave` failed.
    HaveFailed {
        /// Who.
        peer: NodeId,
        /// Why.
        why: Failure,
    },
    /// The peer cannot be asked any more; also the answer to `Effect::Meet` for a node that cannot be reached.
    /// All its asks are over without a further word.
    PeerGone {
        /// Who.
        peer: NodeId,
    },
    /// The list of chaining values of the segments has been verified (or was here already): asks can begin. Hand in
    /// all `Local` with it before effects are drained. A second one is ignored.
    Tree {
        /// Size of the content in bytes, at most `MAX_CONTENT`.
        size: u64,
    },
    /// `Effect::AskTree` failed, or the list did not merge to the root (`Corrupt` then, with segment 0).
    TreeFailed {
        /// Who.
        peer: NodeId,
        /// Why.
        why: Failure,
    },
    /// Groups that are here and verified without a peer: resumed, or the same in an older version.
    Local {
        /// Which segment.
        segment: u32,
        /// Which groups.
        mask: u64,
        /// Whether the chaining values of the segment's groups are here too.
        hashes: bool,
    },
    /// Groups that were thought to be here are not (the disk lost them): they are fetched again.
    Lost {
        /// Which segment.
        segment: u32,
        /// Which groups.
        mask: u64,
    },
    /// Payload bytes arrived from a peer, verified or not yet. Tell it at least every 250 ms while bytes flow: rates
    /// and stalls are measured by it.
    Bytes {
        /// Who.
        peer: NodeId,
        /// How many since the last time.
        bytes: u64,
    },
    /// Groups of an ask have been verified and written. Optional while an answer runs (now and then; it makes the end
    /// sharper), needed before `Failed` so that they are not fetched again.
    Groups {
        /// Who gave them.
        peer: NodeId,
        /// Which segment.
        segment: u32,
        /// Which groups.
        mask: u64,
    },
    /// The answer to an ask is over; all its groups have been verified and written.
    Done {
        /// Who.
        peer: NodeId,
        /// Which segment.
        segment: u32,
    },
    /// An ask got no (more) bytes.
    Failed {
        /// Who.
        peer: NodeId,
        /// Which segment.
        segment: u32,
        /// Why.
        why: Failure,
    },
    /// Bytes (or chaining values) from this peer were wrong. It is dropped for this content, with evidence.
    Corrupt {
        /// Who.
        peer: NodeId,
        /// Which segment.
        segment: u32,
    },
    /// A reader is at `from`: that segment and `window - 1` after it come first, in order. `window` 0: no reader.
    Want {
        /// The first segment it has not read.
        from: u32,
        /// How many, at most [`super::MAX_WINDOW`].
        window: u32,
    },
    /// Ask nothing more and cancel what runs (a person paused it, the disk is full).
    Pause,
    /// Go on.
    Resume,
    /// The moment that `poll_timeout` named has come.
    Tick,
}
