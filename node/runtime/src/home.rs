//! What a daemon remembers of its mesh between two starts: `<data>/mesh.bin`, written whole and renamed.

use hive_protocol::{
    codec::{self, CodecError},
    credential::{Credential, Delegation},
    ids::{InviteId, NodeId},
    keys::Signed,
    resources::Role,
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Largest membership file in bytes.
const MAX_HOME: usize = 64 << 10;
/// Format of the file; a newer one is refused by name.
const VERSION: u16 = 1;
/// Everything needed to be a member again after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    version: u16,
    /// The genesis bytes as received; their hash is the network.
    pub genesis: Vec<u8>,
    /// The last credential; may have expired while the machine was off.
    pub credential: Option<Signed<Credential>>,
    /// The account's word for this node.
    pub delegation: Signed<Delegation>,
    /// Role taken here.
    pub role: Role,
    /// Whether this node holds an authority.
    pub authority: bool,
    /// The invitation that was redeemed, if any.
    pub invite: Option<InviteId>,
    /// The port this node listened on last; 0 when it did not.
    pub port: u16,
    /// Where authorities and other members were last reached.
    pub peers: Vec<(NodeId, Vec<String>)>,
}

impl Membership {
    /// A membership of the current format.
    #[must_use]
    pub fn new(genesis: Vec<u8>, delegation: Signed<Delegation>, role: Role, authority: bool) -> Self {
        Self {
            version: VERSION,
            genesis,
            credential: None,
            delegation,
            role,
            authority,
            invite: None,
            port: 0,
            peers: Vec::new(),
        }
    }
}

/// Why the membership file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The file system refuses.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Damaged, or written by a newer program.
    #[error("{}: {source}; move it away and join again with a new ticket", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: CodecError,
    },
}

impl HomeError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "store.io",
            Self::Damaged { .. } => "member.damaged",
        }
    }
}

fn file(root: &Path) -> PathBuf {
    root.join("mesh.bin")
}

/// Reads the membership of this data folder; `None` before the first join.
///
/// # Errors
/// I/O, or a file that is damaged.
pub fn load(root: &Path) -> Result<Option<Membership>, HomeError> {
    let path = file(root);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(HomeError::Io { path, source }),
    };
    match codec::decode::<Membership>("membership file", &bytes, MAX_HOME) {
        Ok(m) if m.version == VERSION => Ok(Some(m)),
        Ok(m) => Err(HomeError::Damaged {
            path,
            source: CodecError::Version {
                what: "membership file",
                found: m.version,
                spoken: VERSION,
            },
        }),
        Err(source) => Err(HomeError::Damaged { path, source }),
    }
}

/// Writes the membership: to a temporary file, synced, renamed.
///
/// # Errors
/// I/O.
pub fn save(root: &Path, membership: &Membership) -> Result<(), HomeError> {
    let path = file(root);
    let bytes =
        codec::encode("membership file", membership, MAX_HOME).map_err(|source| HomeError::Damaged {
            path: path.clone(),
            source,
        })?;
    let temporary = path.with_extension("tmp");
    let write = || -> io::Result<()> {
        let mut out = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        out.write_all(&bytes)?;
        out.sync_all()?;
        fs::rename(&temporary, &path)?;
        fs::File::open(root)?.sync_all()
    };
    write().map_err(|source| HomeError::Io { path, source })
}
