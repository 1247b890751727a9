//! Wire protocol `/hive/join/1`: redeeming a ticket.
//!
//! Participants: a newcomer without credential; an authority. The newcomer opens a stream, sends one
//! [`JoinRequest`] and reads one [`JoinReply`]. The only protocol served before the membership gate is passed.

use crate::{
    codec::Message,
    command::{Command, Refusal},
    credential::Credential,
    ids::NodeId,
    keys::Signed,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// The protocol's name on the wire.
pub const PROTOCOL: &str = "/hive/join/1";
/// Most peers handed to a newcomer.
pub const MAX_PEERS: usize = 16;

/// A newcomer's wish.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct JoinRequest {
    /// A [`crate::command::CommandBody::Join`], signed by the newcomer's account key.
    pub command: Signed<Command>,
    /// The newcomer's clock, so that a skew can be named instead of a dark refusal.
    pub now: Timestamp,
}

impl Message for JoinRequest {
    const NAME: &'static str = "join request";
    const PROTO: u16 = 3;
    const VERSION: u16 = 1;
    const MAX: usize = 8192;
}

/// The authority's answer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum JoinReply {
    /// A member now.
    Welcome {
        /// The genesis bytes; their hash must be the network the ticket names.
        genesis: Vec<u8>,
        /// The first credential.
        credential: Signed<Credential>,
        /// Members to connect to, with addresses, at most [`MAX_PEERS`].
        peers: Vec<(NodeId, Vec<String>)>,
    },
    /// Refused: `ticket.expired`, `ticket.used`, `ticket.revoked`, `ticket.unknown`, `join.clock_skew`, `join.wrong_mesh`, …
    Refused(Refusal),
}

impl Message for JoinReply {
    const NAME: &'static str = "join reply";
    const PROTO: u16 = 4;
    const VERSION: u16 = 1;
    const MAX: usize = 32 << 10;
}
