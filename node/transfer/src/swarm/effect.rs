//! What the swarm core wants done. Effects are data; the shell does them in order and answers with inputs.

use hive_protocol::{
    ids::NodeId,
    time::{Millis, Timestamp},
};

/// Why a peer is no longer asked for this content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropReason {
    /// It sent bytes that do not belong to the content. The only reason that is evidence against it.
    WrongBytes,
    /// It has gone silent in the middle of answers too often.
    Stalls,
    /// Its streams broke too often.
    Breaks,
    /// It said that it has parts which it then did not give.
    Lacks,
    /// Its copy has changed.
    Changed,
}

impl DropReason {
    /// Whether a third party may hold it against the peer.
    #[must_use]
    pub const fn evidence(self) -> bool {
        matches!(self, Self::WrongBytes)
    }
    /// One line for people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::WrongBytes => "it sent wrong bytes",
            Self::Stalls => "it went silent too often",
            Self::Breaks => "its streams broke too often",
            Self::Lacks => "it does not have what it says it has",
            Self::Changed => "its copy has changed",
        }
    }
}

/// Why bytes come or do not come, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Bytes come, or have just been asked for.
    Moving,
    /// Paused by `Input::Pause`.
    Paused,
    /// Nobody is known who could be asked.
    NoProviders,
    /// Those who are there do not have what is missing (yet).
    NobodyHasRest,
    /// All who could give something have asked to be left alone or have failed just now.
    Waiting {
        /// The one that may be asked first.
        peer: NodeId,
        /// When.
        until: Timestamp,
    },
    /// Asked, but no byte for [`super::Config::silent_after`].
    Silent {
        /// The peer that owes most.
        peer: NodeId,
    },
}

/// One thing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Send `FileRequest::Segment`; answer `Bytes`/`Groups` and then exactly one of `Done`, `Failed`, `Corrupt`
    /// (none after `PeerGone` or `Cancel`). At most one ask runs for each (peer, segment); a peer's asks are answered
    /// in the order they were made.
    Ask {
        /// Whom.
        peer: NodeId,
        /// Which segment.
        segment: u32,
        /// Which groups, never empty.
        mask: u64,
        /// Whether the chaining values of the groups are needed.
        hashes: bool,
    },
    /// The answer is no longer wanted. If it has begun the shell may let it run out and discard it; what is verified
    /// of it may still be told by `Groups`. Bytes still coming are told by `Bytes`.
    Cancel {
        /// Whom.
        peer: NodeId,
        /// Which segment.
        segment: u32,
    },
    /// Send `FileRequest::Tree`, verify the list against the root, answer `Tree`, `TreeFailed` or `Corrupt`.
    AskTree {
        /// Whom.
        peer: NodeId,
    },
    /// Send `FileRequest::Have`; answer `Have` or `HaveFailed`. At most one runs for each peer; use a stream (or
    /// place in it) where its waiting holds nothing up.
    AskHave {
        /// Whom.
        peer: NodeId,
        /// Segments known already.
        seen: u32,
        /// How long it may wait before it answers without news.
        wait: Millis,
    },
    /// Another fetcher was named: connect to it; answer `PeerUp` or `PeerGone`.
    Meet {
        /// Whom.
        peer: NodeId,
    },
    /// Ask nothing more of this peer for this content; its asks are over without an answer. After `WrongBytes` the core
    /// ignores it for ever, after other reasons it may come back by `PeerUp`.
    DropPeer {
        /// Whom.
        peer: NodeId,
        /// Why.
        reason: DropReason,
    },
    /// More providers would help: look into the directory. Repeated with growing pauses while it is so.
    WantPeers,
    /// The state has changed.
    State(State),
    /// All groups are here. Once; nothing follows it unless groups are lost.
    Complete,
}
