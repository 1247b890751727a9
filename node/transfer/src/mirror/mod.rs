//! How a folder becomes like another: what a mirror's receiver does to its own folder, in which order.
//!
//! Owns the decisions: what is moved, copied, fetched, kept aside, removed ([`plan`]), which names cannot be held
//! ([`Names`]), when a change is ripe to be sent ([`Debounce`]) and which state is worked on next ([`Newest`]).
//! Must not know disks: what is there comes in as data, what is to be done goes out as [`Effect`]s.
//!
//! The one promise: a thing that this mirror did not put there itself is never removed nor written over. What is
//! not as it was put there, or was never put there, is kept under another name when its place is needed.

mod debounce;
mod judge;
mod names;
mod newest;
mod plan;
mod sources;
mod wanted;

pub use debounce::{Debounce, MAX_DELAY, QUIET};
pub use names::{AnyName, Names, WindowsNames, conflict_name, stamp};
pub use newest::{Newest, Next, Outcome, State};
pub use plan::plan;

use hive_protocol::{
    ids::BlobHash,
    manifest::{Entry, EntryKind, Manifest},
    time::Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// What lies at a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Thing {
    /// A regular file.
    File {
        /// Its content.
        hash: BlobHash,
        /// Its size in bytes.
        size: u64,
    },
    /// A folder.
    Folder,
    /// A symbolic link.
    Link {
        /// Its target.
        target: String,
    },
    /// Something no manifest has: a socket, a device, a name or target that is not UTF-8.
    Other,
}

impl From<&EntryKind> for Thing {
    fn from(kind: &EntryKind) -> Self {
        match kind {
            EntryKind::File { hash, size } => Self::File {
                hash: *hash,
                size: *size,
            },
            EntryKind::Folder => Self::Folder,
            EntryKind::Link { target } => Self::Link {
                target: target.clone(),
            },
        }
    }
}

/// A path as it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Local {
    /// What it is.
    pub thing: Thing,
    /// Permission bits.
    pub mode: u32,
    /// When it was last changed, in nanoseconds since 1970.
    pub mtime_ns: i64,
}

/// What this mirror has put at a path, or was about to when it was last heard of: either may be there after a
/// crash, and both are the mirror's to replace.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// Put there.
    pub is: Option<Thing>,
    /// About to be put there.
    pub becoming: Option<Thing>,
}

impl Applied {
    /// Put there, and nothing else intended.
    #[must_use]
    pub const fn of(thing: Thing) -> Self {
        Self {
            is: Some(thing),
            becoming: None,
        }
    }

    /// The row as it has to be kept before something else is put at the path, given what is there now.
    #[must_use]
    pub fn before(self, there: Option<&Thing>, becoming: Thing) -> Self {
        // The row may stand for two things after a crash: the one that is there must not be forgotten.
        let is = there.filter(|t| self.owns(t)).cloned();
        Self {
            is,
            becoming: Some(becoming),
        }
    }

    /// Whether a thing found at the path is the mirror's own.
    #[must_use]
    pub fn owns(&self, thing: &Thing) -> bool {
        !matches!(thing, Thing::Other)
            && (self.is.as_ref() == Some(thing) || self.becoming.as_ref() == Some(thing))
    }
}

/// What is known before a plan is made.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// The state to reach.
    pub wanted: &'a Manifest,
    /// Everything in the folder now, by path.
    pub local: &'a BTreeMap<String, Local>,
    /// Folders in it that could not be read: nothing in them is touched.
    pub blind: &'a BTreeSet<String>,
    /// What the mirror itself has put there.
    pub applied: &'a BTreeMap<String, Applied>,
    /// Whole contents that wait in the staging folder (left by a plan that was not finished).
    pub staged: &'a BTreeSet<BlobHash>,
    /// Old versions of replaced and removed files to keep; 0 for none.
    pub versions: u32,
    /// Which names the file system holds.
    pub names: &'a dyn Names,
    /// For the names of what is kept aside.
    pub now: Timestamp,
    /// Short name of this node, for the same.
    pub node: &'a str,
}

/// One step. Each is safe to be the last one done: a plan made anew from what is then there goes on from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// A folder of the mirror that its owner cannot write to is made writable; [`Effect::Meta`] comes at the end.
    Unlock {
        /// Which folder.
        path: String,
    },
    /// The content of a file that stays is copied to the staging folder.
    Copy {
        /// Which file.
        path: String,
        /// Its content.
        hash: BlobHash,
    },
    /// A file that goes away is moved to the staging folder, because its content is needed elsewhere.
    Take {
        /// Which file.
        path: String,
        /// Its content.
        hash: BlobHash,
    },
    /// A file or link of the mirror goes away.
    Remove {
        /// Which.
        path: String,
        /// Whether an old version is kept.
        version: bool,
    },
    /// A folder that is empty by now goes away; one that is not stays.
    RemoveFolder {
        /// Which.
        path: String,
    },
    /// A thing that is not the mirror's is kept under another name.
    Aside {
        /// Where it is.
        path: String,
        /// Where it goes: in the same folder, a name that is free.
        to: String,
    },
    /// A folder is made.
    Folder {
        /// Which; what is above it is there.
        path: String,
    },
    /// Contents come from other nodes to the staging folder.
    Fetch(Vec<Fetch>),
    /// A content leaves the staging folder for its place.
    Place {
        /// Where to.
        path: String,
        /// Which content.
        hash: BlobHash,
        /// Its size in bytes.
        size: u64,
        /// Permission bits.
        mode: u32,
        /// When it was last changed, in nanoseconds since 1970.
        mtime_ns: i64,
        /// Whether it is moved out; otherwise it is needed again and a copy is placed.
        last: bool,
        /// Whether a file or link of the mirror is there to be replaced.
        over: bool,
        /// Whether an old version of that is kept.
        version: bool,
    },
    /// A symbolic link is made.
    Link {
        /// Where.
        path: String,
        /// Its target.
        target: String,
        /// When it was last changed, in nanoseconds since 1970.
        mtime_ns: i64,
        /// Whether a file or link of the mirror is there to be replaced.
        over: bool,
        /// Whether an old version of that is kept.
        version: bool,
    },
    /// Permission bits and time are set.
    Meta {
        /// Of which file or folder.
        path: String,
        /// Permission bits.
        mode: u32,
        /// When it was last changed, in nanoseconds since 1970.
        mtime_ns: i64,
    },
}

/// One content to fetch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetch {
    /// Which.
    pub hash: BlobHash,
    /// Its size in bytes.
    pub size: u64,
    /// A local file that is probably similar.
    pub like: Option<String>,
}

/// A path of the wanted state that cannot be had here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Which.
    pub path: String,
    /// Why.
    pub why: &'static str,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// The steps, in order.
    pub effects: Vec<Effect>,
    /// Paths that are right already: the mirror's from now on.
    pub adopted: Vec<String>,
    /// Paths that are neither wanted nor there any more.
    pub forgotten: Vec<String>,
    /// What cannot be had here; the rest goes on.
    pub refused: Vec<Refused>,
    /// Bytes to fetch.
    pub fetch_bytes: u64,
    /// Number of contents to fetch.
    pub fetches: usize,
}

/// Whether all files of a folder are gone that had some: rather a disk that is not mounted than a wish.
#[must_use]
pub fn emptied(before: &Manifest, now: &Manifest) -> bool {
    let has_files = |m: &Manifest| {
        m.entries
            .iter()
            .any(|e: &Entry| matches!(e.kind, EntryKind::File { .. }))
    };
    has_files(before) && !has_files(now)
}
