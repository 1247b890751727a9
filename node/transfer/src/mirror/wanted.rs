//! The wanted state as this file system can have it: what it cannot hold is left out, by name.

use super::{Ask, Refused, Thing};
use hive_protocol::manifest::EntryKind;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

/// A wanted path.
pub(super) struct Want<'a> {
    pub(super) kind: &'a EntryKind,
    /// Permission bits and time; `None` for a folder that the manifest does not list itself.
    pub(super) meta: Option<(u32, i64)>,
}

impl Want<'_> {
    pub(super) const fn is_folder(&self) -> bool {
        matches!(self.kind, EntryKind::Folder)
    }

    /// Whether a thing found at its path is it already.
    pub(super) fn is(&self, thing: &Thing) -> bool {
        match (self.kind, thing) {
            (EntryKind::File { hash, .. }, Thing::File { hash: found, .. }) => hash == found,
            (EntryKind::Folder, Thing::Folder) => true,
            (EntryKind::Link { target }, Thing::Link { target: found }) => target == found,
            _ => false,
        }
    }
}

/// The folder above a path.
pub(super) fn above(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(above, _)| above)
}

/// Whether one of the folders above a path is in a set.
pub(super) fn below<S: std::borrow::Borrow<str> + Ord>(path: &str, set: &BTreeSet<S>) -> bool {
    if set.is_empty() {
        return false;
    }
    let mut at = path;
    while let Some(up) = above(at) {
        if set.contains(up) {
            return true;
        }
        at = up;
    }
    false
}

/// Folders must stay open to their owner and files readable, or the mirror could neither go on nor give them.
const fn usable(mode: u32, folder: bool) -> u32 {
    (mode & 0o777) | if folder { 0o500 } else { 0o400 }
}

static FOLDER: EntryKind = EntryKind::Folder;

/// Splits the wanted state into what can be had and what cannot.
pub(super) fn wanted<'a>(ask: &Ask<'a>) -> (BTreeMap<&'a str, Want<'a>>, Vec<Refused>) {
    let mut refused = Vec::new();
    let mut out: BTreeSet<&str> = BTreeSet::new();
    let losers = losers(ask);
    let mut want = BTreeMap::new();
    for entry in &ask.wanted.entries {
        let path = entry.path.as_str();
        let name = path.rsplit('/').next().unwrap_or(path);
        let why = if below(path, &out) {
            Some("in a folder that cannot be made here")
        } else if ask.blind.contains(path) || below(path, ask.blind) {
            Some("in a folder that cannot be read here")
        } else if losers.contains(path) {
            Some("this file system does not tell its name from another one's in the same folder")
        } else {
            refusal(ask, path, name)
        };
        if let Some(why) = why {
            out.insert(path);
            refused.push(Refused {
                path: path.to_owned(),
                why,
            });
            continue;
        }
        let mut up = above(path);
        while let Some(folder) = up.filter(|f| !want.contains_key(f)) {
            let kind = &FOLDER;
            want.insert(folder, Want { kind, meta: None });
            up = above(folder);
        }
        let folder = matches!(entry.kind, EntryKind::Folder);
        let meta = Some((usable(entry.mode, folder), entry.mtime_ns));
        let kind = &entry.kind;
        want.insert(path, Want { kind, meta });
    }
    (want, refused)
}

/// A manifest need not list the folders of its paths: then each of their names is looked at with the path.
fn refusal(ask: &Ask<'_>, path: &str, name: &str) -> Option<&'static str> {
    ask.names
        .refuses(name)
        .or_else(|| path.split('/').find_map(|n| ask.names.refuses(n)))
}

/// Paths that are the same place to the file system as another wanted one. The one that is there already stays,
/// otherwise the first.
fn losers<'a>(ask: &Ask<'a>) -> BTreeSet<&'a str> {
    let mut lost = BTreeSet::new();
    if !ask.names.folds() {
        return lost;
    }
    let mut by_key: BTreeMap<Cow<'a, str>, &'a str> = BTreeMap::new();
    for entry in &ask.wanted.entries {
        let path = entry.path.as_str();
        match by_key.get(&ask.names.key(path)).copied() {
            Some(first) if ask.applied.contains_key(path) && !ask.applied.contains_key(first) => {
                lost.insert(first);
                by_key.insert(ask.names.key(path), path);
            }
            Some(_) => {
                lost.insert(path);
            }
            None => {
                by_key.insert(ask.names.key(path), path);
            }
        }
    }
    lost
}
