//! Wire protocol `/hive/member/1`: the membership gate.
//!
//! Participants: any two nodes with a fresh connection. Goal: within [`GATE_TIMEOUT`] each knows whether the
//! other is a member; until then, and without it, only the join protocol is served. Non-goal: secrecy of the
//! credential from the peer it is shown to. The dialer opens one stream; both send [`Hello`], then both send
//! [`Verdict`]; the stream ends.

use crate::{
    codec::Message,
    credential::Credential,
    ids::NetworkId,
    keys::Signed,
    time::{Millis, Timestamp},
};
use serde::{Deserialize, Serialize};

/// The protocol's name on the wire.
pub const PROTOCOL: &str = "/hive/member/1";
/// A peer that has not passed the gate by then may only join.
pub const GATE_TIMEOUT: Millis = Millis::secs(5);
/// Most listen addresses in a hello.
pub const MAX_ADDRS: usize = 8;

/// The first words of each side.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Hello {
    /// The mesh this node belongs to.
    pub network: NetworkId,
    /// This node's credential; absent before joining.
    pub credential: Option<Signed<Credential>>,
    /// Where this node listens (multiaddresses), at most [`MAX_ADDRS`].
    pub listen: Vec<String>,
    /// Version of the program, at most 32 bytes.
    pub version: String,
    /// This node's clock, so that a skew can be named.
    pub now: Timestamp,
}

impl Message for Hello {
    const NAME: &'static str = "member hello";
    const PROTO: u16 = 1;
    const VERSION: u16 = 1;
    const MAX: usize = 4096;
}

/// What each side makes of the other's hello.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Verdict {
    /// A member: every protocol is served.
    Welcome,
    /// Not a member, or not of this mesh.
    Refused {
        /// Stable code: `member.wrong_mesh`, `member.no_credential`, `member.expired`, `member.clock_skew`, `member.forged`.
        code: String,
        /// One line for people, at most 256 bytes.
        detail: String,
    },
}

impl Message for Verdict {
    const NAME: &'static str = "member verdict";
    const PROTO: u16 = 2;
    const VERSION: u16 = 1;
    const MAX: usize = 512;
}
