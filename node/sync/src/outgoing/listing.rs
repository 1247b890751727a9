//! What a mirrored folder holds, as the list from which its manifest is made.

use super::{
    folder::{Child, Tree},
    port::Found,
};
use crate::ground::Kind;
use hive_protocol::{
    ids::BlobHash,
    manifest::{Entry, EntryKind, MODE_MASK, Manifest},
};
use std::collections::BTreeMap;

/// A file of this size is not read while it is being written, as long as it was changed within [`HOT_NS`].
pub(super) const HOT_SIZE: u64 = 32 << 20;
/// See [`HOT_SIZE`].
pub(super) const HOT_NS: i64 = 500_000_000;

/// What was found, for a new manifest.
pub(crate) struct Listing {
    pub(crate) found: Vec<Found>,
    /// What was left out, with why.
    pub(crate) skipped: Vec<(String, String)>,
    /// Folders with files that are being written just now: to be looked at again soon.
    pub(crate) hot: bool,
}

impl Tree {
    /// Everything that was found, in the order of a manifest. `older` is the state before; `now_ns` the time.
    pub(crate) fn list(&self, older: Option<&Manifest>, now_ns: i64) -> Listing {
        let old: BTreeMap<&str, &Entry> = older
            .map(|m| m.entries.iter().map(|e| (e.path.as_str(), e)).collect())
            .unwrap_or_default();
        let mut listing = Listing {
            found: Vec::with_capacity(self.entries),
            skipped: Vec::new(),
            hot: false,
        };
        for (path, folder) in &self.folders {
            if let Some(why) = &folder.unread {
                listing
                    .skipped
                    .push((path.clone(), format!("cannot be read: {why}")));
                let prefix = format!("{path}/");
                // What cannot be seen is not gone.
                let kept = old
                    .range(prefix.as_str()..)
                    .take_while(|(p, _)| p.starts_with(&prefix));
                listing.found.extend(kept.map(|(_, e)| Found {
                    entry: (*e).clone(),
                    ino: 0,
                    older: Some((*e).clone()),
                }));
                continue;
            }
            for (name, child) in &folder.children {
                let full = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}/{name}")
                };
                if let Some(why) = child.skip {
                    listing.skipped.push((full, why.to_owned()));
                    continue;
                }
                let older = old.get(full.as_str()).copied();
                listing.push(full, child, older, now_ns);
            }
        }
        listing
            .found
            .sort_unstable_by(|a, b| a.entry.path.cmp(&b.entry.path));
        listing.found.dedup_by(|a, b| a.entry.path == b.entry.path);
        listing
    }
}

impl Listing {
    fn push(&mut self, path: String, child: &Child, older: Option<&Entry>, now_ns: i64) {
        let s = &child.stamp;
        let kind = match s.kind {
            Kind::Folder => EntryKind::Folder,
            Kind::Link => EntryKind::Link {
                target: child.target.clone(),
            },
            _ => EntryKind::File {
                hash: BlobHash::default(),
                size: s.size,
            },
        };
        let mut found = Found {
            entry: Entry {
                path,
                kind,
                mode: if s.kind == Kind::Link {
                    0o777
                } else {
                    s.mode & MODE_MASK
                },
                mtime_ns: s.mtime_ns,
            },
            ino: s.ino,
            older: None,
        };
        if s.kind == Kind::File {
            let older = older.filter(|e| matches!(e.kind, EntryKind::File { .. }));
            if s.size >= HOT_SIZE && s.mtime_ns <= now_ns && now_ns.saturating_sub(s.mtime_ns) < HOT_NS {
                self.hot = true;
                // As it was: it cannot be opened under that inode, so the older entry stays.
                let Some(older) = older else { return };
                found.entry = older.clone();
                found.ino = 0;
            }
            found.older = older.cloned();
        }
        self.found.push(found);
    }
}
