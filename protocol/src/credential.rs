//! Who a node is: the account's delegation to it and the authority's short-lived credential.

use crate::{
    ids::{AccountId, NetworkId, NodeId},
    keys::{Document, Signed, SignedError},
    resources::Role,
    time::{MAX_CLOCK_SKEW, Millis, Timestamp},
};
use serde::{Deserialize, Serialize};

/// How long a credential lives. At least ten minutes; renewed at half its life.
pub const CREDENTIAL_LIFE: Millis = Millis::mins(20);

/// An account's word that a node acts for it. Signed by the account key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Delegation {
    /// The mesh it is for.
    pub network: NetworkId,
    /// The account.
    pub account: AccountId,
    /// The node.
    pub node: NodeId,
    /// When it ends.
    pub expires: Timestamp,
}

impl Document for Delegation {
    const DOMAIN: &'static str = "delegation/1";
    const MAX: usize = 256;
}

/// Trust tiers, lowest first. The score decides; see [`Tier::of`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
pub enum Tier {
    /// Score below 50.
    Low,
    /// Score 50 to 99.
    Normal,
    /// Score 100 and more.
    High,
}

impl Tier {
    /// The tier of a score.
    #[must_use]
    pub const fn of(score: u32) -> Self {
        match score {
            0..50 => Self::Low,
            50..100 => Self::Normal,
            _ => Self::High,
        }
    }
    /// The name shown beside the score.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

/// An authority's word on a node, good until it expires. Signed by an authority's node key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Credential {
    /// The mesh.
    pub network: NetworkId,
    /// The node it speaks of.
    pub node: NodeId,
    /// The account the node acts for.
    pub account: AccountId,
    /// The node's name in the mesh; at most 64 bytes.
    pub name: String,
    /// The account's trust score.
    pub score: u32,
    /// Whether the node has a container runtime.
    pub containers: bool,
    /// What the node may do.
    pub roles: Vec<Role>,
    /// When it was signed.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
}

impl Document for Credential {
    const DOMAIN: &'static str = "credential/1";
    const MAX: usize = 512;
}

/// Why a credential is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Not signed by an authority of this mesh, or malformed.
    #[error(transparent)]
    Signed(#[from] SignedError),
    /// No authority of this mesh signed it.
    #[error("credential: not signed by an authority of this mesh")]
    NotAuthority,
    /// It speaks of another mesh.
    #[error("credential: for mesh {found}, not for this one")]
    Network {
        /// The mesh it names.
        found: NetworkId,
    },
    /// It speaks of another node than the one that showed it.
    #[error("credential: for node {found:?}, shown by {shown:?}")]
    Node {
        /// The node it names.
        found: NodeId,
        /// The node that showed it.
        shown: NodeId,
    },
    /// It has expired.
    #[error(
        "credential: expired {by_ms} ms ago by this machine's clock; if the machine was asleep or its clock is wrong, set the clock, and the node renews by itself"
    )]
    Expired {
        /// How long ago, in milliseconds.
        by_ms: u64,
    },
    /// It begins in the future: one of the two clocks is wrong.
    #[error("credential: begins {by_ms} ms in the future; this machine's clock or the authority's is wrong")]
    Future {
        /// How far ahead, in milliseconds.
        by_ms: u64,
    },
}

impl Credential {
    /// Checks a credential shown by `node`: an authority of this mesh signed it, for that node, and it is in force now.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn check(
        signed: &Signed<Self>,
        authorities: &[NodeId],
        network: NetworkId,
        node: NodeId,
        now: Timestamp,
    ) -> Result<Self, CredentialError> {
        if !authorities.iter().any(|a| a.0 == signed.signer) {
            return Err(CredentialError::NotAuthority);
        }
        let c = signed.verify()?;
        if c.network != network {
            return Err(CredentialError::Network { found: c.network });
        }
        if c.node != node {
            return Err(CredentialError::Node {
                found: c.node,
                shown: node,
            });
        }
        if now >= c.expires + MAX_CLOCK_SKEW {
            return Err(CredentialError::Expired {
                by_ms: now.since(c.expires).0,
            });
        }
        if c.issued > now + MAX_CLOCK_SKEW {
            return Err(CredentialError::Future {
                by_ms: c.issued.since(now).0,
            });
        }
        Ok(c)
    }

    /// The tier of its score.
    #[must_use]
    pub const fn tier(&self) -> Tier {
        Tier::of(self.score)
    }
}
