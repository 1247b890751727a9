//! Ways to peers: how one is reached now, and everything that was tried. Values for the owner to show; nothing here
//! decides.

use crate::event::Transport;
use hive_protocol::ids::NodeId;
use std::time::{Duration, Instant};

/// Attempts remembered of one peer; the oldest go first.
pub const MAX_ATTEMPTS: usize = 64;

/// How a peer is reached now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// Over a connection of its own.
    Direct,
    /// Through a relay; a direct way is tried again later.
    Relay {
        /// Through whom.
        relay: NodeId,
    },
    /// Through a relay, while a direct way is being sought.
    Punching {
        /// Through whom.
        relay: NodeId,
    },
    /// Not at all yet: a dial is under way.
    Connecting,
    /// Not at all.
    Unreachable {
        /// Why the last attempt failed, as one line for people.
        reason: String,
    },
}

impl Path {
    /// The word in tables and JSON.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Relay { .. } => "relay",
            Self::Punching { .. } => "punching",
            Self::Connecting => "connecting",
            Self::Unreachable { .. } => "unreachable",
        }
    }

    /// The relay it leads through, if any.
    #[must_use]
    pub const fn relay(&self) -> Option<NodeId> {
        match self {
            Self::Relay { relay } | Self::Punching { relay } => Some(*relay),
            _ => None,
        }
    }
}

/// Everything about the way to one peer.
#[derive(Debug, Clone)]
pub struct PathView {
    /// Whom to.
    pub node: NodeId,
    /// How it is reached.
    pub path: Path,
    /// Remote address of the preferred connection.
    pub addr: Option<String>,
    /// How the preferred connection is carried.
    pub transport: Option<Transport>,
    /// Last round trip on it, if measured.
    pub rtt: Option<Duration>,
    /// Since when the path is what it is, as far as remembered.
    pub since: Option<Instant>,
    /// When a direct way is tried again, of a relayed peer.
    pub next_punch: Option<Duration>,
    /// Addresses known of it.
    pub known: Vec<String>,
    /// Every connection to it, the preferred one included.
    pub links: Vec<Link>,
}

/// One connection to a peer.
#[derive(Debug, Clone)]
pub struct Link {
    /// Its remote address.
    pub addr: String,
    /// How it is carried.
    pub transport: Transport,
    /// Whether this node dialed.
    pub dialer: bool,
    /// Last round trip measured on it.
    pub rtt: Option<Duration>,
    /// Streams of ours open on it.
    pub streams: usize,
    /// When it was made.
    pub since: Instant,
    /// Whether new streams go there.
    pub preferred: bool,
    /// Whether it has stopped answering and is about to be given up.
    pub suspect: bool,
}

/// One thing that was tried to reach a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When it began.
    pub at: Instant,
    /// How long until its outcome, or so far.
    pub took: Duration,
    /// What it was.
    pub kind: AttemptKind,
    /// Where to; none for an exchange that concerns no single address.
    pub addr: Option<String>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptKind {
    /// A dial of a direct address.
    Dial,
    /// A dial through a relay.
    Circuit,
    /// Both sides sending at the same time, agreed on through a relay.
    Punch,
    /// The peer connected to this node.
    Inbound,
    /// A dial for the sake of knowing.
    Trace,
    /// A question whether a connection still carries anything.
    Probe,
}

impl AttemptKind {
    /// The word in tables and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dial => "dial",
            Self::Circuit => "circuit",
            Self::Punch => "punch",
            Self::Inbound => "inbound",
            Self::Trace => "trace",
            Self::Probe => "probe",
        }
    }
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing yet.
    Pending,
    /// A connection.
    Connected,
    /// No connection.
    Failed {
        /// Why, as one line for people.
        reason: String,
    },
    /// A connection that has ended since.
    Lost {
        /// Why, as one line for people.
        reason: String,
    },
    /// Another way was faster.
    GivenUp,
}

impl Outcome {
    /// The word in tables and JSON.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Connected => "connected",
            Self::Failed { .. } => "failed",
            Self::Lost { .. } => "lost",
            Self::GivenUp => "given up",
        }
    }

    /// The reason in it, if there is one.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Failed { reason } | Self::Lost { reason } => Some(reason),
            _ => None,
        }
    }
}
