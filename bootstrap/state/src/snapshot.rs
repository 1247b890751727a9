//! The state as bytes: its root hash, and snapshots that let an authority restart without the whole log.

use crate::state::State;
use hive_protocol::codec::{self, CodecError};

/// Largest snapshot in bytes.
pub const MAX_SNAPSHOT: usize = 3 << 30;
/// Version of the snapshot's form. Another version is refused; the log is then replayed from its beginning.
pub const SNAPSHOT_VERSION: u16 = 1;
const WHAT: &str = "state snapshot";

/// Why a snapshot cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Malformed, another version, or too large.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// It decodes, but what must always hold does not.
    #[error("state snapshot: inconsistent: {0}")]
    Inconsistent(String),
}

impl State {
    /// BLAKE3 over the canonical encoding of everything: equal roots mean equal states. Walks the whole state.
    ///
    /// # Errors
    /// When the state is larger than a snapshot may be.
    pub fn root(&self) -> Result<[u8; 32], CodecError> {
        Ok(root_of(&self.export()?))
    }

    /// The whole state as bytes, to be stored with its root.
    ///
    /// # Errors
    /// When the state is larger than a snapshot may be.
    pub fn export(&self) -> Result<Vec<u8>, CodecError> {
        let mut out = SNAPSHOT_VERSION.to_le_bytes().to_vec();
        out.extend(codec::encode(WHAT, self, MAX_SNAPSHOT)?);
        Ok(out)
    }

    /// Reads a snapshot made by [`State::export`] and checks every invariant. Whether it is the right one (its
    /// root, its place in the log) is the caller's to check.
    ///
    /// # Errors
    /// A [`SnapshotError`]; replay the log then.
    pub fn import(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let (version, body) = bytes.split_at_checked(2).ok_or_else(|| CodecError::Malformed {
            what: WHAT,
            detail: "too short".into(),
        })?;
        let version = u16::from_le_bytes([version[0], version[1]]);
        if version != SNAPSHOT_VERSION {
            return Err(CodecError::Version {
                what: WHAT,
                found: version,
                spoken: SNAPSHOT_VERSION,
            }
            .into());
        }
        let state: Self = codec::decode(WHAT, body, MAX_SNAPSHOT)?;
        state.check_invariants().map_err(SnapshotError::Inconsistent)?;
        Ok(state)
    }
}

/// The root of an exported state.
#[must_use]
pub fn root_of(export: &[u8]) -> [u8; 32] {
    blake3::derive_key("hivenode state root 1", export)
}
