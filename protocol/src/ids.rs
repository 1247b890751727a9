//! Identities and identifiers. Each is a newtype over raw bytes with one text form and one prefix.

use crate::text::{self, TextError};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// What every text form of this kind starts with.
            pub const PREFIX: &'static str = $prefix;

            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The first characters of the text form, enough to tell a handful apart on a screen.
            #[must_use]
            pub fn short(&self) -> String {
                self.to_string().chars().take($prefix.len() + 8).collect()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&text::encode($prefix, &self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.short())
            }
        }

        impl FromStr for $name {
            type Err = TextError;
            fn from_str(s: &str) -> Result<Self, TextError> {
                text::decode::<$len>($prefix, s).map(Self)
            }
        }
    };
}

id!(
    /// A node: the Ed25519 public key it proves on every connection.
    NodeId, 32, "n_"
);
id!(
    /// An account: the Ed25519 public key that owns money and trust.
    AccountId, 32, "a_"
);
id!(
    /// A mesh: BLAKE3 of its encoded genesis document.
    NetworkId, 32, "m_"
);
id!(
    /// Content: the BLAKE3 hash of a blob's bytes.
    BlobHash, 32, "b_"
);
id!(
    /// A job: a named group of tasks submitted together.
    JobId, 16, "j_"
);
id!(
    /// A lease: slots on one worker held for one job.
    LeaseId, 16, "l_"
);
id!(
    /// A hold: money set aside for one lease.
    HoldId, 16, "h_"
);
id!(
    /// An invitation.
    InviteId, 16, "i_"
);
id!(
    /// A signed command; made by the client, it is the key that makes a retry harmless.
    CommandId, 16, "c_"
);
id!(
    /// A demand announced by gossip.
    DemandId, 16, "d_"
);
id!(
    /// A notice: a short signed message to some nodes.
    NoticeId, 16, "u_"
);
id!(
    /// A mirrored folder.
    SyncId, 16, "s_"
);
id!(
    /// A transfer on this node: one content or folder being pulled.
    TransferId, 16, "x_"
);

/// One task of a job: its position, counted from 0. At most [`crate::task::MAX_TASKS_PER_JOB`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug, Default)]
pub struct TaskIndex(pub u32);

/// A task named across jobs: `t_<job>.<index>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
pub struct TaskId {
    /// The job it belongs to.
    pub job: JobId,
    /// Its place in the job.
    pub index: TaskIndex,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", text::encode("t_", &self.job.0), self.index.0)
    }
}

impl FromStr for TaskId {
    type Err = TextError;
    fn from_str(s: &str) -> Result<Self, TextError> {
        let (job, index) = s.rsplit_once('.').ok_or_else(|| TextError::Body {
            text: text::cut(s),
            detail: "a task id ends in .N".into(),
        })?;
        let index = index.parse().map_err(|_| TextError::Body {
            text: text::cut(s),
            detail: "a task id ends in .N".into(),
        })?;
        Ok(Self {
            job: JobId(text::decode::<16>("t_", job)?),
            index: TaskIndex(index),
        })
    }
}

impl BlobHash {
    /// The hash of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Lower-case hexadecimal, as file names use it.
    #[must_use]
    pub fn hex(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn text_forms_round_trip_and_refuse_others() {
        let n = NodeId([7; 32]);
        assert_eq!(n.to_string().parse::<NodeId>().unwrap(), n);
        assert!(n.to_string().parse::<AccountId>().is_err());
        assert!("n_abc".parse::<NodeId>().is_err());
        let t = TaskId {
            job: JobId([3; 16]),
            index: TaskIndex(12),
        };
        assert_eq!(t.to_string().parse::<TaskId>().unwrap(), t);
        assert!("t_x".parse::<TaskId>().is_err());
    }
}
