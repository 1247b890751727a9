//! A folder in memory that carries out a mirror's plans and refuses whatever a real one would refuse, and a real
//! mirror must not do.

use hive_protocol::{
    ids::BlobHash,
    manifest::{Entry, EntryKind, Manifest},
    time::Timestamp,
};
use hive_transfer::mirror::{Applied, Ask, Effect, Local, Names, Plan, Thing, plan};
use std::collections::{BTreeMap, BTreeSet};

/// Numbers from a seed.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    }
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.roll(of.len() as u64) as usize]
    }
}

pub fn content(id: u64) -> Thing {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&id.to_le_bytes());
    Thing::File {
        hash: BlobHash(hash),
        size: if id.is_multiple_of(3) { (2 << 20) + id } else { id },
    }
}

pub type Tree = BTreeMap<String, Local>;

pub fn up(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(up, _)| up)
}

fn entry(path: &str, local: &Local) -> Option<Entry> {
    let kind = match &local.thing {
        Thing::File { hash, size } => EntryKind::File {
            hash: *hash,
            size: *size,
        },
        Thing::Folder => EntryKind::Folder,
        Thing::Link { target } => EntryKind::Link {
            target: target.clone(),
        },
        Thing::Other => return None,
    };
    Some(Entry {
        path: path.to_owned(),
        kind,
        mode: local.mode,
        mtime_ns: local.mtime_ns,
    })
}

pub fn manifest(tree: &Tree) -> Manifest {
    Manifest::new(tree.iter().filter_map(|(p, l)| entry(p, l)).collect()).unwrap()
}

/// The folder, and what the mirror keeps about it.
#[derive(Clone, Default)]
pub struct Disk {
    pub tree: Tree,
    pub staged: BTreeSet<BlobHash>,
    pub applied: BTreeMap<String, Applied>,
    pub versions: BTreeSet<BlobHash>,
    pub fetched: Vec<BlobHash>,
    clock: i64,
}

impl Disk {
    pub fn plan(&self, wanted: &Manifest, versions: u32, names: &dyn Names) -> Plan {
        plan(&Ask {
            wanted,
            local: &self.tree,
            blind: &BTreeSet::new(),
            applied: &self.applied,
            staged: &self.staged,
            versions,
            names,
            now: Timestamp(1_000_000),
            node: "n_abc",
        })
    }

    /// Carries out a plan, or its first steps: then the step it breaks off at is intended, and perhaps done
    /// without having been noted.
    pub fn run(&mut self, plan: &Plan, steps: usize, done_unnoted: bool) {
        for effect in plan.effects.iter().take(steps) {
            self.intend(effect);
            self.act(effect);
            self.settle(effect);
        }
        if let Some(effect) = plan.effects.get(steps) {
            self.intend(effect);
            if done_unnoted {
                self.act(effect);
            }
            return;
        }
        for path in &plan.adopted {
            let thing = self.tree[path].thing.clone();
            self.applied.insert(path.clone(), Applied::of(thing));
        }
        for path in &plan.forgotten {
            assert!(self.applied.remove(path).is_some(), "{path} was not known");
        }
        self.staged.clear();
    }

    fn touch(&mut self, path: &str) {
        self.clock += 1;
        let Some(up) = up(path) else { return };
        let at = self.clock;
        let folder = self
            .tree
            .get_mut(up)
            .unwrap_or_else(|| panic!("nothing above {path}"));
        assert_eq!(folder.thing, Thing::Folder, "above {path}");
        assert_eq!(folder.mode & 0o300, 0o300, "above {path} is read-only");
        folder.mtime_ns = at + 1_000_000;
    }

    fn own(&self, path: &str) -> &Local {
        let local = self.tree.get(path).unwrap_or_else(|| panic!("nothing at {path}"));
        let ours = self.applied.get(path).is_some_and(|a| a.owns(&local.thing));
        assert!(ours, "{path} is not the mirror's: {local:?}");
        local
    }

    fn version(&mut self, path: &str, version: bool) {
        if let (Thing::File { hash, .. }, true) = (self.own(path).thing.clone(), version) {
            self.versions.insert(hash);
        }
    }

    fn make(&mut self, path: &str, local: Local, over: bool, version: bool) {
        self.touch(path);
        if over {
            self.version(path, version);
            assert_ne!(self.own(path).thing, Thing::Folder, "{path}");
        } else {
            assert!(!self.tree.contains_key(path), "{path} is taken");
        }
        self.tree.insert(path.to_owned(), local);
    }

    fn has_below(&self, path: &str) -> bool {
        let prefix = format!("{path}/");
        self.tree
            .range(prefix.clone()..)
            .next()
            .is_some_and(|(p, _)| p.starts_with(&prefix))
    }

    fn act(&mut self, effect: &Effect) {
        match effect {
            Effect::Unlock { path } => {
                let local = self.tree.get_mut(path).unwrap();
                assert_eq!(local.thing, Thing::Folder);
                local.mode |= 0o700;
            }
            Effect::Copy { path, hash } => {
                assert!(matches!(self.tree[path].thing, Thing::File { hash: h, .. } if h == *hash));
                self.staged.insert(*hash);
            }
            Effect::Take { path, hash } => {
                assert!(matches!(self.own(path).thing, Thing::File { hash: h, .. } if h == *hash));
                self.touch(path);
                self.tree.remove(path);
                self.staged.insert(*hash);
            }
            Effect::Remove { path, version } => {
                self.version(path, *version);
                assert_ne!(self.own(path).thing, Thing::Folder);
                self.touch(path);
                self.tree.remove(path);
            }
            Effect::RemoveFolder { path } => {
                assert_eq!(self.tree[path].thing, Thing::Folder);
                assert!(!self.has_below(path), "{path} is not empty");
                self.touch(path);
                self.tree.remove(path);
            }
            Effect::Aside { path, to } => self.aside(path, to),
            Effect::Folder { path } => {
                let thing = Thing::Folder;
                let (mode, mtime_ns) = (0o700, 0);
                let local = Local {
                    thing,
                    mode,
                    mtime_ns,
                };
                self.make(path, local, false, false);
            }
            Effect::Fetch(list) => {
                for fetch in list {
                    if let Some(like) = &fetch.like {
                        assert!(matches!(self.tree[like].thing, Thing::File { .. }), "{like}");
                    }
                    self.staged.insert(fetch.hash);
                    self.fetched.push(fetch.hash);
                }
            }
            Effect::Place {
                path,
                hash,
                size,
                mode,
                mtime_ns,
                last,
                over,
                version,
            } => {
                assert!(self.staged.contains(hash), "{hash} for {path} is not staged");
                let thing = Thing::File {
                    hash: *hash,
                    size: *size,
                };
                let (mode, mtime_ns) = (*mode, *mtime_ns);
                self.make(
                    path,
                    Local {
                        thing,
                        mode,
                        mtime_ns,
                    },
                    *over,
                    *version,
                );
                if *last {
                    self.staged.remove(hash);
                }
            }
            Effect::Link {
                path,
                target,
                mtime_ns,
                over,
                version,
            } => {
                let target = target.clone();
                let thing = Thing::Link { target };
                let (mode, mtime_ns) = (0o777, *mtime_ns);
                self.make(
                    path,
                    Local {
                        thing,
                        mode,
                        mtime_ns,
                    },
                    *over,
                    *version,
                );
            }
            Effect::Meta { path, mode, mtime_ns } => {
                let local = self.tree.get_mut(path).unwrap();
                local.mtime_ns = *mtime_ns;
                if !matches!(local.thing, Thing::Link { .. }) {
                    local.mode = *mode;
                }
            }
        }
    }

    fn aside(&mut self, path: &str, to: &str) {
        assert_eq!(up(path), up(to), "aside is beside");
        assert!(!self.tree.contains_key(to), "{to} is taken");
        self.touch(path);
        let prefix = format!("{path}/");
        let moved: Vec<String> = self
            .tree
            .keys()
            .filter(|p| *p == path || p.starts_with(&prefix))
            .cloned()
            .collect();
        for old in moved {
            let local = self.tree.remove(&old).unwrap();
            self.tree.insert(format!("{to}{}", &old[path.len()..]), local);
        }
    }

    fn intend(&mut self, effect: &Effect) {
        let (path, thing) = match effect {
            Effect::Place { path, hash, size, .. } => {
                let (hash, size) = (*hash, *size);
                (path, Thing::File { hash, size })
            }
            Effect::Link { path, target, .. } => {
                let target = target.clone();
                (path, Thing::Link { target })
            }
            Effect::Folder { path } => (path, Thing::Folder),
            _ => return,
        };
        let row = self.applied.remove(path).unwrap_or_default();
        let there = self.tree.get(path).map(|l| &l.thing);
        self.applied.insert(path.clone(), row.before(there, thing));
    }

    fn settle(&mut self, effect: &Effect) {
        match effect {
            Effect::Place { path, .. } | Effect::Link { path, .. } | Effect::Folder { path } => {
                let row = self.applied.get_mut(path).unwrap();
                row.is = row.becoming.take();
            }
            Effect::Remove { path, .. }
            | Effect::RemoveFolder { path }
            | Effect::Take { path, .. }
            | Effect::Aside { path, .. } => {
                self.applied.remove(path);
            }
            _ => {}
        }
    }
}
