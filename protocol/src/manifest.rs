//! The manifest: a folder as a list of paths, stored and moved as content like any other.
//!
//! A manifest is data from a stranger until [`Manifest::decode`] has passed it: entries in strict order (so no path
//! twice, and a folder before what is in it), every path relative and inside, every link staying inside. Whether the
//! receiving file system can hold a name is the receiver's question.

use crate::{
    codec::{self, CodecError},
    file::MAX_CONTENT,
    ids::BlobHash,
};
use serde::{Deserialize, Serialize};

/// Largest encoded manifest in bytes.
pub const MAX_MANIFEST: usize = 512 << 20;
/// Entries of a manifest.
pub const MAX_ENTRIES: usize = 4_000_000;
/// Bytes of a path, and of a link's target.
pub const MAX_PATH: usize = 4096;
/// Bytes of one name in a path (what Linux, macOS and Windows file systems hold).
pub const MAX_NAME: usize = 255;
/// Names in a path.
pub const MAX_DEPTH: usize = 128;
/// Permission bits that travel: no set-user-id, set-group-id or sticky bit.
pub const MODE_MASK: u32 = 0o777;
const WHAT: &str = "manifest";
const VERSION: u16 = 1;

/// A folder.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Manifest {
    version: u16,
    /// What is in it, in byte order of the paths.
    pub entries: Vec<Entry>,
}

/// One path below the folder.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Entry {
    /// Relative, with `/` between names, UTF-8.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, within [`MODE_MASK`].
    pub mode: u32,
    /// When it was last changed, in nanoseconds since 1970 (may be negative).
    pub mtime_ns: i64,
}

/// What an entry is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Its content.
        hash: BlobHash,
        /// Its size in bytes.
        size: u64,
    },
    /// A folder; those with something in them are listed too.
    Folder,
    /// A symbolic link.
    Link {
        /// Its target, relative, staying inside the folder.
        target: String,
    },
}

/// Why bytes are no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not decodable, too large, or of a newer version.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// More entries than [`MAX_ENTRIES`].
    #[error("a manifest of {0} entries; {MAX_ENTRIES} are the most")]
    TooMany(usize),
    /// Not in strict order: a path twice, or a parent after its child.
    #[error("`{0}` is out of order, or there twice")]
    Order(String),
    /// A path nobody may write to.
    #[error("`{path}`: {why}")]
    Path {
        /// The path, cut to 200 characters.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl ManifestError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Codec(_) => "file.manifest",
            Self::TooMany(_) => "file.too_many_entries",
            Self::Order(_) => "file.manifest_order",
            Self::Path { .. } => "file.bad_path",
        }
    }
}

fn bad(path: &str, why: &'static str) -> ManifestError {
    ManifestError::Path {
        path: path.chars().take(200).collect(),
        why,
    }
}

/// Checks that a path is relative, inside, and of sane length.
///
/// # Errors
/// [`ManifestError::Path`].
pub fn check_path(path: &str) -> Result<(), ManifestError> {
    if path.is_empty() {
        return Err(bad(path, "an empty path"));
    }
    if path.len() > MAX_PATH {
        return Err(bad(path, "longer than 4096 bytes"));
    }
    if path.split('/').count() > MAX_DEPTH {
        return Err(bad(path, "more than 128 folders deep"));
    }
    for name in path.split('/') {
        match name {
            "" => return Err(bad(path, "absolute, or with an empty name in it")),
            "." | ".." => return Err(bad(path, "`.` and `..` lead elsewhere")),
            n if n.len() > MAX_NAME => return Err(bad(path, "a name longer than 255 bytes")),
            n if n.contains('\0') => return Err(bad(path, "a zero byte in a name")),
            _ => {}
        }
    }
    Ok(())
}

/// Checks that a link at `path` (already checked) with this target stays inside the folder, whatever the other
/// entries are: no step of the target may go above the folder.
///
/// # Errors
/// [`ManifestError::Path`].
pub fn check_link(path: &str, target: &str) -> Result<(), ManifestError> {
    if target.is_empty() || target.len() > MAX_PATH || target.contains('\0') {
        return Err(bad(path, "a link with an empty, overlong or impossible target"));
    }
    if target.starts_with('/') {
        return Err(bad(path, "a link with an absolute target leaves the folder"));
    }
    let mut depth = path.split('/').count() - 1;
    let mut down = false;
    for name in target.split('/') {
        match name {
            "" | "." => {}
            // After a step down, which may itself be a link, `..` could lead anywhere.
            ".." if down => return Err(bad(path, "a link whose target goes down and up again")),
            ".." => {
                depth = depth
                    .checked_sub(1)
                    .ok_or_else(|| bad(path, "a link that leaves the folder"))?;
            }
            _ => down = true,
        }
    }
    Ok(())
}

impl Manifest {
    /// A manifest of these entries, which are put in order and checked.
    ///
    /// # Errors
    /// As [`Manifest::decode`].
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, ManifestError> {
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let manifest = Self {
            version: VERSION,
            entries,
        };
        manifest.check()?;
        Ok(manifest)
    }

    /// The bytes that are stored, hashed and sent.
    ///
    /// # Errors
    /// Larger than [`MAX_MANIFEST`].
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(WHAT, self, MAX_MANIFEST)
    }

    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// [`ManifestError`]; nothing of it may be used then.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest: Self = codec::decode(WHAT, bytes, MAX_MANIFEST)?;
        if manifest.version != VERSION {
            return Err(CodecError::Version {
                what: WHAT,
                found: manifest.version,
                spoken: VERSION,
            }
            .into());
        }
        manifest.check()?;
        Ok(manifest)
    }

    /// Bytes of all files together.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        let sizes = self.entries.iter().map(|e| match e.kind {
            EntryKind::File { size, .. } => size,
            EntryKind::Folder | EntryKind::Link { .. } => 0,
        });
        sizes.fold(0, u64::saturating_add)
    }

    /// Number of regular files.
    #[must_use]
    pub fn files(&self) -> usize {
        let is_file = |e: &&Entry| matches!(e.kind, EntryKind::File { .. });
        self.entries.iter().filter(is_file).count()
    }

    fn check(&self) -> Result<(), ManifestError> {
        if self.entries.len() > MAX_ENTRIES {
            return Err(ManifestError::TooMany(self.entries.len()));
        }
        let mut before: Option<&Entry> = None;
        // Paths that are no folders, of which the present path may not be below: kept as a stack of one, because
        // what is below `a` follows `a` at once but for names such as `a-b` and `a.b`.
        let mut solid = std::collections::BTreeSet::new();
        for entry in &self.entries {
            check_path(&entry.path)?;
            if before.is_some_and(|b| b.path >= entry.path) {
                return Err(ManifestError::Order(entry.path.chars().take(200).collect()));
            }
            if entry.mode & !MODE_MASK != 0 {
                return Err(bad(&entry.path, "a mode with more than permission bits"));
            }
            match &entry.kind {
                EntryKind::Folder => {}
                EntryKind::File { size, .. } if *size > MAX_CONTENT => {
                    return Err(bad(&entry.path, "larger than 1 TiB"));
                }
                EntryKind::File { .. } => {
                    solid.insert(entry.path.as_str());
                }
                EntryKind::Link { target } => {
                    check_link(&entry.path, target)?;
                    solid.insert(entry.path.as_str());
                }
            }
            let mut parent = entry.path.as_str();
            while let Some((above, _)) = parent.rsplit_once('/') {
                if solid.contains(above) {
                    return Err(bad(&entry.path, "below something that is not a folder"));
                }
                parent = above;
            }
            before = Some(entry);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(path: &str) -> Entry {
        Entry {
            path: path.into(),
            kind: EntryKind::File {
                hash: BlobHash([1; 32]),
                size: 5,
            },
            mode: 0o644,
            mtime_ns: -1,
        }
    }

    fn link(path: &str, target: &str) -> Entry {
        Entry {
            kind: EntryKind::Link {
                target: target.into(),
            },
            ..file(path)
        }
    }

    #[test]
    fn round_trip_in_order() {
        let m = Manifest::new(vec![file("b"), file("a/ü"), link("a/l", "../b"), file("a-b")]).unwrap();
        assert_eq!(Manifest::decode(&m.encode().unwrap()).unwrap(), m);
        assert_eq!((m.files(), m.total_bytes()), (3, 15));
    }

    #[test]
    fn nothing_leaves_the_folder() {
        for path in [
            "",
            "/a",
            "a//b",
            "../a",
            "a/..",
            "a/./b",
            "a\0",
            &"x".repeat(256),
            &"a/".repeat(200),
        ] {
            assert!(Manifest::new(vec![file(path)]).is_err(), "{path}");
        }
        for (path, target) in [
            ("l", "/etc/passwd"),
            ("l", "../x"),
            ("a/l", "../../x"),
            ("a/l", "b/../../../x"),
            ("l", "a/../x"),
            ("l", ""),
        ] {
            assert!(Manifest::new(vec![link(path, target)]).is_err(), "{target}");
        }
        for (path, target) in [("l", "x"), ("a/l", "../x"), ("a/b/l", "../../x/y"), ("l", "./x")] {
            assert!(Manifest::new(vec![link(path, target)]).is_ok(), "{target}");
        }
        assert!(Manifest::new(vec![file("a"), file("a")]).is_err(), "twice");
        assert!(
            Manifest::new(vec![link("a", "x"), file("a-b"), file("a/b")]).is_err(),
            "through a link"
        );
        let mut m = Manifest::new(vec![file("a"), file("b")]).unwrap();
        m.entries.swap(0, 1);
        assert!(Manifest::decode(&m.encode().unwrap()).is_err(), "order");
        m.entries.swap(0, 1);
        m.entries[0].mode = 0o4755;
        assert!(Manifest::decode(&m.encode().unwrap()).is_err(), "set-user-id");
    }

    #[test]
    fn a_lying_count_costs_nothing() {
        let mut bytes = Manifest::new(vec![]).unwrap().encode().unwrap();
        let n = bytes.len();
        bytes[n - 8..].copy_from_slice(&1_000_000u64.to_le_bytes());
        assert!(Manifest::decode(&bytes).is_err());
    }
}
