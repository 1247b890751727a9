//! Key files: the node's and the account's secret seed. One file each, 0600, whole or not there, never overwritten.
//!
//! Format: a head line, the seed in hexadecimal, a checksum line that catches a slip of the hand. Knows nothing of
//! what a key is used for.

use hive_protocol::keys::SecretKey;
use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// A key file is about 150 bytes; whatever is larger is none.
const MAX_KEY_FILE: u64 = 1024;
/// Bytes of the checksum.
const SUM_BYTES: usize = 8;

/// Which key a file holds; bound into the file so that the two cannot be swapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// The node's identity on the network.
    Node,
    /// The account that owns money and trust.
    Account,
}

impl KeyKind {
    /// The file's name inside the keys folder.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Node => "node.key",
            Self::Account => "account.key",
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::Account => "account",
        })
    }
}

/// Why a key file cannot be used. No error ever carries key bytes.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is none.
    #[error("there is no key file {}", .path.display())]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// There is one already.
    #[error("the key file {} exists already and is not overwritten", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others can read it.
    #[error("the key file {} can be read by other users (mode {mode:03o})", .path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error("the key file {} belongs to user {owner}, not to this one ({me})", .path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
        /// Our user id.
        me: u32,
    },
    /// It is not such a key file, or was changed by accident.
    #[error("{} is not a whole {kind} key file: {why}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which key it should hold.
        kind: KeyKind,
        /// What is wrong.
        why: &'static str,
    },
    /// The system has no randomness to give.
    #[error("the system gives no random bytes: {0}")]
    Entropy(getrandom::Error),
    /// The file system refuses.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl KeyError {
    /// The stable error code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "key.not_found",
            Self::Exists { .. } => "key.exists",
            Self::Permissions { .. } => "key.permissions",
            Self::Owner { .. } => "key.owner",
            Self::Damaged { .. } => "key.damaged",
            Self::Entropy(_) => "key.entropy",
            Self::Io { .. } => "key.io",
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::NotFound { .. } => "create one, or put the backup in its place".into(),
            Self::Exists { path } => format!(
                "move {} away first if it really is to be replaced",
                path.display()
            ),
            Self::Permissions { path, .. } => {
                format!(
                    "chmod 600 {}; if others had access to it, treat the key as known to them",
                    path.display()
                )
            }
            Self::Owner { path, me, .. } => format!("chown {me} {}, or run as its owner", path.display()),
            Self::Damaged { path, .. } => format!("restore {} from a backup", path.display()),
            Self::Entropy(_) => {
                "check that /dev/urandom and the getrandom system call are allowed here".into()
            }
            Self::Io { path, .. } => format!("check that {} can be read and written", path.display()),
        }
    }

    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { what, path, source }
    }
}

/// Makes a new random key and its file.
///
/// # Errors
/// `key.exists`, `key.entropy`, I/O.
pub fn create(folder: &Path, kind: KeyKind) -> Result<SecretKey, KeyError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(KeyError::Entropy)?;
    let key = SecretKey::from_seed(&seed);
    seed.fill(0);
    save(folder, kind, &key)?;
    Ok(key)
}

/// Writes the file of a key made elsewhere (an import). Synced before it is visible, never over another.
///
/// # Errors
/// `key.exists`, I/O.
pub fn save(folder: &Path, kind: KeyKind, key: &SecretKey) -> Result<(), KeyError> {
    let path = folder.join(kind.file_name());
    let temp = folder.join(format!("{}.new-{}", kind.file_name(), std::process::id()));
    // Left by a process of our id that was killed here; nobody else writes to this folder.
    let _ = fs::remove_file(&temp);
    let written = write_synced(&temp, kind, key);
    // link(2), unlike rename(2), never replaces.
    let linked = written.and_then(|()| {
        fs::hard_link(&temp, &path).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.clone() },
            _ => KeyError::io("create", &path)(e),
        })
    });
    let _ = fs::remove_file(&temp);
    linked?;
    File::open(folder)
        .and_then(|d| d.sync_all())
        .map_err(KeyError::io("sync", folder))
}

fn write_synced(temp: &Path, kind: KeyKind, key: &SecretKey) -> Result<(), KeyError> {
    let failed = || KeyError::io("write", temp);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temp)
        .map_err(failed())?;
    file.write_all(text(kind, &key.seed()).as_bytes())
        .map_err(failed())?;
    file.sync_all().map_err(failed())
}

/// Reads a key file.
///
/// # Errors
/// `key.not_found`, `key.permissions`, `key.owner`, `key.damaged`, I/O.
pub fn load(folder: &Path, kind: KeyKind) -> Result<SecretKey, KeyError> {
    let path = folder.join(kind.file_name());
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(&path)
        .map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => KeyError::NotFound { path: path.clone() },
            _ => KeyError::io("open", &path)(e),
        })?;
    let meta = file.metadata().map_err(KeyError::io("read", &path))?;
    if !meta.is_file() {
        return Err(KeyError::Damaged {
            path,
            kind,
            why: "it is not a regular file",
        });
    }
    let mode = meta.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Permissions { path, mode });
    }
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() != me {
        return Err(KeyError::Owner {
            path,
            owner: meta.uid(),
            me,
        });
    }
    let mut text = String::new();
    match file.take(MAX_KEY_FILE).read_to_string(&mut text) {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::InvalidData => {
            return Err(KeyError::Damaged {
                path,
                kind,
                why: "it is not text",
            });
        }
        Err(e) => return Err(KeyError::io("read", &path)(e)),
    }
    parse(kind, &text).map_err(|why| KeyError::Damaged { path, kind, why })
}

/// Reads the key file, making it when there is none. True when it was made.
///
/// # Errors
/// As [`load`] and [`create`].
pub fn load_or_create(folder: &Path, kind: KeyKind) -> Result<(SecretKey, bool), KeyError> {
    match load(folder, kind) {
        Err(KeyError::NotFound { .. }) => create(folder, kind).map(|k| (k, true)),
        other => other.map(|k| (k, false)),
    }
}

fn head(kind: KeyKind) -> String {
    format!("hivenode {kind} secret key v1 - whoever has this file is this {kind}")
}

fn checksum(kind: KeyKind, seed: &[u8; 32]) -> String {
    let mut h = blake3::Hasher::new_derive_key("hivenode key file checksum v1");
    h.update(kind.file_name().as_bytes());
    h.update(seed);
    let sum = h.finalize();
    data_encoding::HEXLOWER.encode(sum.as_bytes().get(..SUM_BYTES).unwrap_or_default())
}

fn text(kind: KeyKind, seed: &[u8; 32]) -> String {
    format!(
        "{}\n{}\nchecksum {}\n",
        head(kind),
        data_encoding::HEXLOWER.encode(seed),
        checksum(kind, seed)
    )
}

fn parse(kind: KeyKind, text: &str) -> Result<SecretKey, &'static str> {
    let mut lines = text.lines();
    if lines.next() != Some(head(kind).as_str()) {
        return Err("its first line is another one");
    }
    let seed: [u8; 32] = lines
        .next()
        .and_then(|l| data_encoding::HEXLOWER.decode(l.as_bytes()).ok())
        .and_then(|b| b.try_into().ok())
        .ok_or("its second line is not 64 hexadecimal digits")?;
    if lines.next().and_then(|l| l.strip_prefix("checksum ")) != Some(checksum(kind, &seed).as_str()) {
        return Err("the checksum does not fit");
    }
    if lines.next().is_some() {
        return Err("there is more after the checksum");
    }
    Ok(SecretKey::from_seed(&seed))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_survives_its_file_and_is_private() {
        let t = tempfile::tempdir().unwrap();
        let k = create(t.path(), KeyKind::Node).unwrap();
        let file = t.path().join("node.key");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(load(t.path(), KeyKind::Node).unwrap().seed(), k.seed());
        assert_eq!(fs::read_dir(t.path()).unwrap().count(), 1);
        let (again, made) = load_or_create(t.path(), KeyKind::Node).unwrap();
        assert_eq!((again.seed(), made), (k.seed(), false));
        let (account, made) = load_or_create(t.path(), KeyKind::Account).unwrap();
        assert!(made && account.seed() != k.seed());
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let t = tempfile::tempdir().unwrap();
        let k = create(t.path(), KeyKind::Account).unwrap();
        assert_eq!(
            create(t.path(), KeyKind::Account).unwrap_err().code(),
            "key.exists"
        );
        assert_eq!(load(t.path(), KeyKind::Account).unwrap().seed(), k.seed());
        assert_eq!(fs::read_dir(t.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_others_can_read_is_refused_with_the_fix() {
        let t = tempfile::tempdir().unwrap();
        create(t.path(), KeyKind::Node).unwrap();
        let file = t.path().join("node.key");
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let e = load(t.path(), KeyKind::Node).unwrap_err();
            assert_eq!(e.code(), "key.permissions", "{mode:o}");
            assert!(e.fix().contains("chmod 600"));
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(load(t.path(), KeyKind::Node).is_ok());
    }

    #[test]
    fn every_single_changed_character_is_noticed() {
        let t = tempfile::tempdir().unwrap();
        create(t.path(), KeyKind::Node).unwrap();
        let whole = fs::read_to_string(t.path().join("node.key")).unwrap();
        assert!(parse(KeyKind::Node, &whole).is_ok());
        // The last byte is the line feed, which may be missing.
        for i in 0..whole.len() - 1 {
            let mut bytes = whole.clone().into_bytes();
            bytes[i] = if bytes[i] == b'0' { b'1' } else { b'0' };
            assert!(
                parse(KeyKind::Node, &String::from_utf8(bytes).unwrap()).is_err(),
                "byte {i}"
            );
            assert!(parse(KeyKind::Node, &whole[..i]).is_err(), "cut at {i}");
        }
        assert!(parse(KeyKind::Account, &whole).is_err());
    }

    #[test]
    fn links_folders_and_binary_rubbish_are_refused() {
        let t = tempfile::tempdir().unwrap();
        assert_eq!(load(t.path(), KeyKind::Node).unwrap_err().code(), "key.not_found");
        fs::create_dir(t.path().join("node.key")).unwrap();
        assert_eq!(load(t.path(), KeyKind::Node).unwrap_err().code(), "key.damaged");
        fs::write(t.path().join("account.key"), [0xff; 80]).unwrap();
        fs::set_permissions(t.path().join("account.key"), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(
            load(t.path(), KeyKind::Account).unwrap_err().code(),
            "key.damaged"
        );
        let u = tempfile::tempdir().unwrap();
        create(u.path(), KeyKind::Node).unwrap();
        fs::remove_file(t.path().join("account.key")).unwrap();
        std::os::unix::fs::symlink(u.path().join("node.key"), t.path().join("account.key")).unwrap();
        assert_eq!(load(t.path(), KeyKind::Account).unwrap_err().code(), "key.io");
    }
}
