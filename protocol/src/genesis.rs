//! The genesis document: what a mesh is from its first moment. Its hash is the network id.

use crate::{
    codec::{self, CodecError},
    ids::{AccountId, NetworkId, NodeId},
    keys::Document,
    money::MicroCpt,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// The score an account has that nobody said otherwise of.
pub const DEFAULT_SCORE: u32 = 50;
/// The founder's score.
pub const FOUNDER_SCORE: u32 = 100;
/// Highest score an account can reach.
pub const MAX_SCORE: u32 = 1000;

/// The founding document of a mesh.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Genesis {
    /// Name for people, 1 to 64 bytes.
    pub name: String,
    /// Random bytes that make two meshes of one name different.
    pub nonce: [u8; 16],
    /// When it was made.
    pub created: Timestamp,
    /// Node keys of the founding authorities: 1, 3 or 5.
    pub authorities: Vec<NodeId>,
    /// The founder's account: receives the minted money and [`FOUNDER_SCORE`].
    pub founder: AccountId,
    /// µCPT minted to the founder. Nothing is ever minted again.
    pub minted: MicroCpt,
    /// Score of a joiner whose invitation says nothing.
    pub default_score: u32,
}

impl Document for Genesis {
    const DOMAIN: &'static str = "genesis/1";
    const MAX: usize = 1024;
}

impl Genesis {
    /// The encoded bytes whose hash is the network id.
    ///
    /// # Errors
    /// When a name is too long.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode("genesis", self, <Self as Document>::MAX)
    }

    /// Reads a genesis from the bytes another node sent or this one stored.
    ///
    /// # Errors
    /// Malformed bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode("genesis", bytes, <Self as Document>::MAX)
    }

    /// The id of the mesh these bytes found.
    #[must_use]
    pub fn network_of(bytes: &[u8]) -> NetworkId {
        NetworkId(blake3::derive_key("hivenode genesis 1", bytes))
    }
}
