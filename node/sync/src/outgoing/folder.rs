//! A mirrored folder as it was last looked at, folder by folder, so that after a change only those that changed are
//! looked at again. Knows stats and names, not contents.

use super::watcher::{Dirty, Watcher};
use crate::{
    error::SyncError,
    ground::{Ground, Kind, Stamp},
    ignore::{IGNORE_FILE, Ignore, MAX_IGNORE},
};
use hive_protocol::manifest::{MAX_ENTRIES, check_link, check_path};
use rustix::io::Errno;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// One name in a folder.
pub(super) struct Child {
    pub(super) stamp: Stamp,
    /// Of a link.
    pub(super) target: String,
    /// Why it cannot travel.
    pub(super) skip: Option<&'static str>,
}

#[derive(Default)]
pub(super) struct Folder {
    pub(super) children: BTreeMap<String, Child>,
    watch: Option<i32>,
    /// Why it could not be read when last looked at; `children` are those of before.
    pub(super) unread: Option<String>,
}

/// The folder.
pub(crate) struct Tree {
    dir: PathBuf,
    pub(super) folders: BTreeMap<String, Folder>,
    by_watch: BTreeMap<i32, String>,
    watcher: Option<Arc<Watcher>>,
    ignore: Ignore,
    ignore_stamp: Option<Stamp>,
    pub(super) entries: usize,
    /// Some folders have no watch: changes in them are only found by looking.
    pub(crate) unwatched: bool,
}

impl Tree {
    pub(crate) fn new(dir: &Path, watcher: Option<Arc<Watcher>>) -> Self {
        Self {
            dir: dir.to_path_buf(),
            folders: BTreeMap::new(),
            by_watch: BTreeMap::new(),
            watcher,
            ignore: Ignore::default(),
            ignore_stamp: None,
            entries: 0,
            unwatched: false,
        }
    }

    /// Looks at what changed, or at everything (`dirty.all`).
    pub(crate) fn look(&mut self, dirty: Dirty, cancel: &AtomicBool) -> Result<(), SyncError> {
        let ground = match Ground::open(&self.dir) {
            Ok(ground) => ground,
            Err(Errno::NOENT | Errno::NOTDIR) => {
                let dir = self.dir.clone();
                self.forget();
                return Err(SyncError::SourceGone { dir });
            }
            Err(e) => return Err(SyncError::io("open", &self.dir, e)),
        };
        let fresh_rules = self.read_ignore(&ground)?;
        let mut todo: BTreeSet<String> = if dirty.all || fresh_rules || !self.folders.contains_key("") {
            self.folders.keys().cloned().chain([String::new()]).collect()
        } else {
            dirty
                .watches
                .iter()
                .filter_map(|w| self.by_watch.get(w).cloned())
                .collect()
        };
        if dirty.all {
            self.unwatched = false;
        }
        let mut gone: Vec<String> = Vec::new();
        while let Some(path) = todo.pop_first() {
            if cancel.load(Ordering::Relaxed) {
                return Err(SyncError::Closed);
            }
            self.look_at(&ground, &path, &mut todo, &mut gone)?;
        }
        // Last, so that what was only moved keeps its watches.
        for path in gone {
            self.drop_below(&path);
        }
        Ok(())
    }

    /// Forgets all, so that the next look takes everything for new.
    fn forget(&mut self) {
        if let Some(watcher) = &self.watcher {
            self.by_watch.keys().for_each(|w| watcher.remove(*w));
        }
        self.by_watch.clear();
        self.folders.clear();
        self.entries = 0;
    }

    /// Reads the patterns if they were changed.
    fn read_ignore(&mut self, ground: &Ground) -> Result<bool, SyncError> {
        let failed = |e: Errno| SyncError::io("read", ground.full(IGNORE_FILE), e);
        let stamp = ground
            .stamp(IGNORE_FILE)
            .map_err(failed)?
            .filter(|s| s.kind == Kind::File);
        if stamp == self.ignore_stamp {
            return Ok(false);
        }
        let mut text = String::new();
        if stamp.is_some() {
            let file = ground.file(IGNORE_FILE).map_err(failed)?;
            let read = file.take(MAX_IGNORE).read_to_string(&mut text);
            read.map_err(|e| SyncError::io("read", ground.full(IGNORE_FILE), e))?;
        }
        self.ignore = Ignore::parse(&text)?;
        self.ignore_stamp = stamp;
        Ok(true)
    }

    fn look_at(
        &mut self,
        ground: &Ground,
        path: &str,
        todo: &mut BTreeSet<String>,
        gone: &mut Vec<String>,
    ) -> Result<(), SyncError> {
        let opened = ground.dir(path);
        let (watch, listed) = match &opened {
            // The watch comes first: what changes while the folder is listed is told.
            Ok(dir) => (self.watch(path, dir.as_fd()), Ground::names(dir)),
            Err(e) => (None, Err(*e)),
        };
        let names = match listed {
            Ok(names) => names,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if !path.is_empty() => {
                gone.push(path.to_owned());
                return Ok(());
            }
            Err(e) if path.is_empty() => return Err(SyncError::io("read", &self.dir, e)),
            Err(e) => {
                let folder = self.folders.entry(path.to_owned()).or_default();
                folder.unread = Some(std::io::Error::from(e).to_string());
                return Ok(());
            }
        };
        let mut children = BTreeMap::new();
        for found in names {
            let (name, odd) = match found.name {
                Ok(name) => (name, None),
                Err(lossy) => (lossy, Some("its name is not UTF-8")),
            };
            let full = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}/{name}")
            };
            if self.ignore.leaves_out(&full, found.stamp.kind == Kind::Folder) {
                continue;
            }
            let mut target = String::new();
            let skip = odd.or_else(|| match (check_path(&full), found.stamp.kind) {
                (Err(_), _) => Some("its path is longer or deeper than a path may be"),
                (_, Kind::Other) => Some("neither a file, a folder nor a link"),
                (_, Kind::Link) => match ground.target(&full) {
                    Ok(Ok(t)) => {
                        let leaves = check_link(&full, &t).is_err();
                        target = t;
                        leaves.then_some("a link that leads out of the folder")
                    }
                    Ok(Err(_)) => Some("a link whose target is not UTF-8"),
                    Err(_) => Some("a link that cannot be read"),
                },
                _ => None,
            });
            let stamp = found.stamp;
            children.insert(name, Child { stamp, target, skip });
        }
        self.replace(path, children, watch, todo, gone)
    }

    fn watch(&mut self, path: &str, dir: std::os::fd::BorrowedFd<'_>) -> Option<i32> {
        let watcher = self.watcher.clone()?;
        if let Some(watch) = self.folders.get(path).and_then(|f| f.watch) {
            // Still the same folder, unless its inode says otherwise (see `replace`).
            if self.by_watch.get(&watch).is_some_and(|p| p == path) {
                return Some(watch);
            }
        }
        match watcher.add(dir, self.by_watch.len()) {
            Ok(watch) => {
                self.by_watch.insert(watch, path.to_owned());
                Some(watch)
            }
            Err(why) => {
                if !self.unwatched {
                    tracing::warn!(dir = %self.dir.display(), path, ?why, "a folder cannot be watched");
                }
                self.unwatched = true;
                None
            }
        }
    }

    fn replace(
        &mut self,
        path: &str,
        children: BTreeMap<String, Child>,
        watch: Option<i32>,
        todo: &mut BTreeSet<String>,
        gone: &mut Vec<String>,
    ) -> Result<(), SyncError> {
        let below = |name: &str| {
            if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}/{name}")
            }
        };
        let old = self.folders.remove(path).unwrap_or_default();
        for (name, child) in old.children.iter().filter(|(_, c)| c.stamp.kind == Kind::Folder) {
            let same = children
                .get(name)
                .is_some_and(|now| now.stamp.ino == child.stamp.ino && now.stamp.kind == Kind::Folder);
            if !same {
                // Another one of this name is looked at anew; its watch is another one, too.
                let full = below(name);
                match children.get(name).map(|c| c.stamp.kind) {
                    Some(Kind::Folder) => self.drop_below(&full),
                    _ => gone.push(full),
                }
            }
        }
        let folders = children
            .iter()
            .filter(|(_, c)| c.stamp.kind == Kind::Folder && c.skip.is_none());
        for (name, _) in folders {
            let full = below(name);
            // A folder that could not be read may be readable by now: its bits are this folder's news.
            if self.folders.get(&full).is_none_or(|f| f.unread.is_some()) {
                todo.insert(full);
            }
        }
        self.entries = self
            .entries
            .saturating_sub(old.children.len())
            .saturating_add(children.len());
        let folder = Folder {
            children,
            watch,
            unread: None,
        };
        self.folders.insert(path.to_owned(), folder);
        if self.entries > MAX_ENTRIES {
            return Err(SyncError::Content {
                code: "file.too_many_entries",
                text: format!("{} has more than {MAX_ENTRIES} entries", self.dir.display()),
            });
        }
        Ok(())
    }

    /// Forgets a folder and all below it.
    fn drop_below(&mut self, path: &str) {
        let mut todo = vec![path.to_owned()];
        while let Some(path) = todo.pop() {
            let Some(folder) = self.folders.remove(&path) else {
                continue;
            };
            self.entries = self.entries.saturating_sub(folder.children.len());
            if let (Some(watch), Some(watcher)) = (folder.watch, &self.watcher)
                && self.by_watch.get(&watch).is_some_and(|p| *p == path)
            {
                self.by_watch.remove(&watch);
                watcher.remove(watch);
            }
            for (name, child) in &folder.children {
                if child.stamp.kind == Kind::Folder {
                    todo.push(format!("{path}/{name}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::outgoing::listing::{HOT_NS, HOT_SIZE};
    use hive_protocol::manifest::Manifest;
    use std::{fs, os::unix::fs::MetadataExt};

    fn all() -> Dirty {
        Dirty {
            all: true,
            ..Dirty::default()
        }
    }

    fn paths(tree: &Tree, older: Option<&Manifest>) -> Vec<String> {
        let listing = tree.list(older, 0);
        listing.found.into_iter().map(|f| f.entry.path).collect()
    }

    #[test]
    fn when_watches_run_out_it_is_said_and_all_is_found_all_the_same() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir_all(temp.path().join("a/b/c")).unwrap();
        let never = AtomicBool::new(false);
        let mut tree = Tree::new(temp.path(), Some(Watcher::with_limit(2).unwrap()));
        tree.look(all(), &never).unwrap();
        assert!(tree.unwatched);
        assert_eq!(paths(&tree, None), ["a", "a/b", "a/b/c"]);
        let mut enough = Tree::new(temp.path(), Some(Watcher::with_limit(4).unwrap()));
        enough.look(all(), &never).unwrap();
        assert!(!enough.unwatched);
        // A renamed folder keeps its watches: the bound is not used up by moving things about.
        for n in 0..20 {
            let (from, to) = (format!("a{}", "x".repeat(n)), format!("a{}", "x".repeat(n + 1)));
            fs::rename(temp.path().join(from), temp.path().join(to)).unwrap();
            enough.look(all(), &never).unwrap();
        }
        assert!(!enough.unwatched);
        assert_eq!(
            (enough.folders.len(), enough.by_watch.len(), enough.entries),
            (4, 4, 3)
        );
    }

    #[test]
    fn what_cannot_be_seen_is_not_gone() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("d")).unwrap();
        fs::write(temp.path().join("d/f"), "f").unwrap();
        let never = AtomicBool::new(false);
        let mut tree = Tree::new(temp.path(), None);
        tree.look(all(), &never).unwrap();
        let entries = tree.list(None, 0).found.into_iter().map(|f| f.entry).collect();
        let older = Manifest::new(entries).unwrap();
        tree.folders.get_mut("d").unwrap().unread = Some("denied".to_owned());
        assert_eq!(paths(&tree, Some(&older)), ["d", "d/f"]);
        assert_eq!(tree.list(Some(&older), 0).skipped.len(), 1);
        // Readable again: looked at when the folder above is.
        tree.look(all(), &never).unwrap();
        fs::remove_file(temp.path().join("d/f")).unwrap();
        tree.look(all(), &never).unwrap();
        assert_eq!(paths(&tree, Some(&older)), ["d"]);
        // A large file that is being written stays as it was.
        fs::File::create(temp.path().join("big"))
            .unwrap()
            .set_len(HOT_SIZE)
            .unwrap();
        tree.look(all(), &never).unwrap();
        let written = fs::metadata(temp.path().join("big")).unwrap();
        let written = written.mtime() * 1_000_000_000 + written.mtime_nsec();
        let listing = tree.list(None, written + HOT_NS / 2);
        assert!(listing.hot && listing.found.len() == 1);
        assert_eq!(tree.list(None, written + 2 * HOT_NS).found.len(), 2);
    }
}
