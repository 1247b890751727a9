//! Which of the many nodes that say they provide a key are believed, where there is room for few.
//!
//! First come, first kept would give a key to whoever names it first: a member with many identities could claim what
//! others share and leave the real provider no room anywhere. So each node draws lots: by a hash with a secret of its
//! own, over key and provider. Nobody can choose an identity that wins (the secret is never told), everybody wins at
//! about as many of the nodes that keep the key as others do, and who has won stays, however often all say it again.

use hive_protocol::ids::BlobHash;
use libp2p::PeerId;

/// A node's lots.
#[derive(Debug, Default)]
pub(super) struct Sample {
    secret: [u8; 32],
}

/// The smaller, the better.
pub(super) type Lot = [u8; 32];

impl Sample {
    pub(super) const fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    /// The lot of a provider of a key.
    pub(super) fn lot(&self, key: &BlobHash, provider: &PeerId) -> Lot {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(key.as_bytes());
        hasher.update(&provider.to_bytes());
        *hasher.finalize().as_bytes()
    }
}
