//! Wire protocol `/hive/bulk/1`: a way for bulk bytes beside the mesh.
//!
//! Participants: a dialer, who wants to send or fetch much; an acceptor, who listens for bulk connections; both
//! members with a connection of the mesh between them. On a mesh stream the dialer asks with
//! [`BulkRequest::Ports`]; the acceptor names its TCP ports and gives a token. The dialer connects to the address
//! the mesh connection goes to, both sides prove their node keys by TLS 1.3, the dialer shows the token with
//! [`BulkRequest::Enter`], and after [`BulkReply::Welcome`] the connection carries the bytes of the protocol asked
//! for. Goals: bulk at the speed of one TCP connection, open to members only. Non-goals: paths through relays.

use crate::codec::Message;
use serde::{Deserialize, Serialize};

/// The protocol's name on the wire.
pub const PROTOCOL: &str = "/hive/bulk/1";
/// Longest protocol name that can be asked for, in bytes.
pub const MAX_NAME: usize = 64;
/// Most ports one answer names.
pub const MAX_PORTS: usize = 4;
/// Milliseconds for which a token can be shown.
pub const TOKEN_MILLIS: u64 = 5_000;

/// What a dialer says: one frame on the mesh stream, one on the bulk connection.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum BulkRequest {
    /// On a mesh stream: where can I connect to speak this protocol?
    Ports {
        /// Name of the protocol, at most [`MAX_NAME`] bytes.
        protocol: String,
    },
    /// On the bulk connection: I am the one who asked.
    Enter {
        /// The token from [`BulkReply::Ports`].
        token: [u8; 32],
    },
}

impl Message for BulkRequest {
    const NAME: &'static str = "bulk request";
    const PROTO: u16 = 13;
    const VERSION: u16 = 1;
    const MAX: usize = 128;
}

/// What an acceptor answers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum BulkReply {
    /// Connect here.
    Ports {
        /// TCP ports at the address of the mesh connection, to be tried in this order; at most [`MAX_PORTS`].
        ports: Vec<u16>,
        /// Lets the asker in once, within [`TOKEN_MILLIS`], for the protocol asked for.
        token: [u8; 32],
    },
    /// This node takes no bulk connections at that address.
    Off,
    /// This node does not serve that protocol, or not to this peer.
    NotServed,
    /// Too many tokens or connections at once; try again later, or use a mesh stream.
    Busy,
    /// On the bulk connection: what follows, both ways, are the bytes of the protocol.
    Welcome,
}

impl Message for BulkReply {
    const NAME: &'static str = "bulk reply";
    const PROTO: u16 = 14;
    const VERSION: u16 = 1;
    const MAX: usize = 64;
}
