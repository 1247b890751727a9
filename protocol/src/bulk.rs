//! Wire protocol `/hive/bulk/1`: a way for bulk bytes beside the mesh.
//!
//! Participants: a dialer, who wants to send or fetch much; an acceptor, who listens for bulk connections; both
//! members with a connection of the mesh between them. On a mesh stream the dialer asks with
//! [`BulkRequest::Ports`]; the acceptor names its TCP ports and gives a token. The dialer connects to the address
//! the mesh connection goes to, both sides prove their node keys by TLS 1.3, the dialer shows the token with
//! [`BulkRequest::Enter`], and after [`BulkReply::Welcome`] the connection carries the bytes of the protocol asked
//! for. Goals: bulk at the speed of one TCP connection, open to members only.
//!
//! Between two nodes that reach each other through a relay only, both connect to the relay and it connects the two
//! TCP connections: the dialer asks the relay for a place with [`BulkRequest::Place`] and the acceptor, through the
//! relay, to [`BulkRequest::Come`] there. Each begins its connection with [`MEET`] and its key. What follows is as
//! above, from end to end; the relay sees TLS only.

use crate::{codec::Message, ids::NodeId};
use serde::{Deserialize, Serialize};

/// The protocol's name on the wire.
pub const PROTOCOL: &str = "/hive/bulk/1";
/// Longest protocol name that can be asked for, in bytes.
pub const MAX_NAME: usize = 64;
/// Most ports one answer names.
pub const MAX_PORTS: usize = 4;
/// Milliseconds for which a token can be shown.
pub const TOKEN_MILLIS: u64 = 5_000;
/// What a connection to a place at a relay begins with; a key of 32 bytes follows, and then the bytes for the other
/// end. No TLS connection begins like this.
pub const MEET: [u8; 8] = *b"hivemeet";
/// Milliseconds for which a place is kept until both have come.
pub const PLACE_MILLIS: u64 = 5_000;

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
        /// The token from [`BulkReply::Ports`] or [`BulkReply::Coming`].
        token: [u8; 32],
    },
    /// On a mesh stream to a relay: give me a place to meet this node, which is reachable through you.
    Place {
        /// Whom.
        with: NodeId,
    },
    /// On a mesh stream that goes through the relay: meet me there.
    Come {
        /// TCP ports at the address of the acceptor's own mesh connection to the relay; at most [`MAX_PORTS`].
        ports: Vec<u16>,
        /// What the relay lets the acceptor in by.
        key: [u8; 32],
        /// Name of the protocol, at most [`MAX_NAME`] bytes.
        protocol: String,
    },
}

impl Message for BulkRequest {
    const NAME: &'static str = "bulk request";
    const PROTO: u16 = 13;
    const VERSION: u16 = 1;
    const MAX: usize = 192;
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
    /// A relay's: this place is kept for [`PLACE_MILLIS`].
    Place {
        /// TCP ports for the asker, at the address of its mesh connection to the relay; at most [`MAX_PORTS`].
        ports: Vec<u16>,
        /// The asker's key.
        key: [u8; 32],
        /// TCP ports for the other node.
        their_ports: Vec<u16>,
        /// The other node's key.
        their_key: [u8; 32],
    },
    /// I come there; show me this token.
    Coming {
        /// Lets the asker in once, within [`TOKEN_MILLIS`], for the protocol asked for.
        token: [u8; 32],
    },
}

impl Message for BulkReply {
    const NAME: &'static str = "bulk reply";
    const PROTO: u16 = 14;
    const VERSION: u16 = 1;
    const MAX: usize = 128;
}
