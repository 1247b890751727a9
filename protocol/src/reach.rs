//! Wire protocol `/hive/reach/1`: whether strangers reach a node.
//!
//! Participants: an asker that wants to know whether an address of its own is open to everybody; a helper, a member it
//! is connected to; a stranger, another member, to which the asker has sent nothing. A helper that dials back (AutoNAT)
//! proves little: routers let back in whomever something was sent to. So the asker sends the helper
//! [`ReachAsk::Another`], the helper sends [`ReachAsk::Dial`] to a stranger, the stranger makes one connection to the
//! address and closes it, and its answer goes back the same way. What counts is the connection the asker sees come in.
//! Goal: no router's memory is taken for an open door. Non-goal: testing addresses of others.

use crate::{codec::Message, ids::NodeId};
use serde::{Deserialize, Serialize};

/// The protocol's name on the wire.
pub const PROTOCOL: &str = "/hive/reach/1";
/// Longest address in bytes.
pub const MAX_ADDR: usize = 256;
/// Most nodes that are no strangers to the asker.
pub const MAX_KNOWN: usize = 64;
/// Longest explanation in bytes.
pub const MAX_DETAIL: usize = 256;

/// One question; the stream carries one question and one answer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum ReachAsk {
    /// To the helper: have somebody else dial me there. Answered only for an address the helper has itself reached
    /// lately.
    Another {
        /// A direct QUIC or TCP multiaddress of the asker, at most [`MAX_ADDR`] bytes.
        addr: String,
        /// Nodes the asker has sent something to: no strangers. At most [`MAX_KNOWN`].
        known: Vec<NodeId>,
    },
    /// To the stranger: dial this node there.
    Dial {
        /// Who should answer there, by its key.
        node: NodeId,
        /// Where, at most [`MAX_ADDR`] bytes.
        addr: String,
    },
}

impl Message for ReachAsk {
    const NAME: &'static str = "reach question";
    const PROTO: u16 = 41;
    const VERSION: u16 = 1;
    const MAX: usize = 4096;
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum ReachSaid {
    /// The node answered there and proved its key.
    Reached {
        /// Who dialed.
        by: NodeId,
    },
    /// It did not.
    Failed {
        /// Who dialed.
        by: NodeId,
        /// Why, for people, at most [`MAX_DETAIL`] bytes.
        detail: String,
    },
    /// Nobody dialed: over a limit, an address that is not dialed for others, or nobody to ask.
    Refused {
        /// Why, for people, at most [`MAX_DETAIL`] bytes.
        detail: String,
    },
}

impl Message for ReachSaid {
    const NAME: &'static str = "reach answer";
    const PROTO: u16 = 42;
    const VERSION: u16 = 1;
    const MAX: usize = 512;
}
