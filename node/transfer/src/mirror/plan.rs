//! The plan: judges every local path against the wanted state and lists the steps.
//!
//! Their order: what has to be opened; contents gathered from local files; what goes or is in the way; folders;
//! contents that are here; then batch by batch what is fetched; what was compared with; emptied folders; permission
//! bits and times, folders last and the deepest first.

use super::{
    Ask, Effect, Fetch, Local, Plan, Thing,
    names::conflict_name,
    sources::Sources,
    wanted::{Want, above, below, wanted},
};
use hive_protocol::{ids::BlobHash, manifest::EntryKind};
use std::{
    borrow::Cow,
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

/// Contents fetched before they are put in place.
const BATCH_FILES: usize = 8192;
/// Bytes of such a batch: bounds what the staging folder holds beside the old versions.
const BATCH_BYTES: u64 = 1 << 30;
/// Owner's bits a folder must have for something in it to change.
const OPEN: u32 = 0o700;

/// What happens to a local path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It is as wanted.
    Right,
    /// The mirror's own, to be replaced by another file or link.
    Replace,
    /// The mirror's own file or link, to be removed; early when its place is needed.
    Remove { early: bool },
    /// Not the mirror's, and its place is needed, or its file was changed here and removed at the source.
    Aside,
    /// Not the mirror's and in nobody's way.
    Leave,
    /// The mirror's own folder that is not wanted: goes when it becomes empty.
    Folder,
    /// A folder where a file or link is wanted.
    InTheWay,
}

/// What was decided about the local paths.
pub(super) struct Judged<'a> {
    pub(super) fates: BTreeMap<&'a str, Fate>,
    /// Where what is kept aside goes.
    pub(super) asides: BTreeMap<&'a str, String>,
    /// Folders that become empty and go.
    empty: BTreeSet<&'a str>,
}

/// Plans the way from what is there to what is wanted.
#[must_use]
pub fn plan(ask: &Ask<'_>) -> Plan {
    let (want, refused) = wanted(ask);
    let judged = judge(ask, &want);
    let sources = Sources::find(ask, &want, &judged);
    let mut plan = Plan {
        refused,
        fetch_bytes: sources.fetches.iter().map(|f| f.size).fold(0, u64::saturating_add),
        fetches: sources.fetches.len(),
        ..Plan::default()
    };
    let blind = |path: &str| ask.blind.contains(path) || below(path, ask.blind);
    for path in want.keys().filter(|p| judged.fates.get(*p) == Some(&Fate::Right)) {
        let known = ask.applied.get(*path).filter(|a| a.becoming.is_none());
        if known.and_then(|a| a.is.as_ref()) != ask.local.get(*path).map(|l| &l.thing) {
            plan.adopted.push((*path).to_owned());
        }
    }
    for path in ask.applied.keys() {
        let gone = !ask.local.contains_key(path) && !want.contains_key(path.as_str());
        let left = judged.fates.get(path.as_str()) == Some(&Fate::Leave);
        if (gone || left) && !blind(path) {
            plan.forgotten.push(path.clone());
        }
    }
    let mut writer = Writer {
        ask,
        want: &want,
        judged: &judged,
        wanted_hashes: RefCell::new(None),
        effects: Vec::new(),
        touched: BTreeSet::new(),
        written: BTreeSet::new(),
    };
    writer.gathered(&sources);
    writer.cleared(&sources);
    writer.folders();
    writer.contents(&sources);
    writer.late(&sources);
    plan.effects = writer.finished();
    plan
}

fn judge<'a>(ask: &Ask<'a>, want: &BTreeMap<&'a str, Want<'a>>) -> Judged<'a> {
    let mut fates = BTreeMap::new();
    let mut in_way: BTreeSet<&str> = BTreeSet::new();
    let folded = folded_places(ask, want);
    for (path, local) in ask.local {
        let path = path.as_str();
        let early = below(path, &in_way) || folded.contains(path) || below(path, &folded);
        let fate = judge_one(ask, want, path, local, early, folded.contains(path));
        if fate == Fate::InTheWay {
            in_way.insert(path);
        }
        // What lies in a folder that is in the way goes aside with it.
        let fate = if fate == Fate::Aside && below(path, &in_way) {
            Fate::Leave
        } else {
            fate
        };
        fates.insert(path, fate);
    }
    let mut judged = Judged {
        fates,
        asides: BTreeMap::new(),
        empty: BTreeSet::new(),
    };
    judged.find_empty();
    judged.name_asides(ask, want);
    judged
}

fn judge_one(
    ask: &Ask<'_>,
    want: &BTreeMap<&str, Want<'_>>,
    path: &str,
    local: &Local,
    early: bool,
    in_place: bool,
) -> Fate {
    let applied = ask.applied.get(path);
    let ours = applied.is_some_and(|a| a.owns(&local.thing));
    if local.thing == Thing::Folder {
        return match want.get(path) {
            Some(w) if w.is_folder() => Fate::Right,
            Some(_) => Fate::InTheWay,
            None if in_place => Fate::InTheWay,
            None if ours => Fate::Folder,
            None => Fate::Leave,
        };
    }
    match want.get(path) {
        Some(w) if w.is(&local.thing) => Fate::Right,
        Some(w) if ours && w.is_folder() => Fate::Remove { early: true },
        Some(_) if ours => Fate::Replace,
        Some(_) => Fate::Aside,
        None if ours => Fate::Remove { early },
        None if applied.is_some() || in_place => Fate::Aside,
        None => Fate::Leave,
    }
}

/// Local paths that are the same place to the file system as a wanted path of another spelling.
fn folded_places<'a>(ask: &Ask<'a>, want: &BTreeMap<&'a str, Want<'a>>) -> BTreeSet<&'a str> {
    if !ask.names.folds() {
        return BTreeSet::new();
    }
    let keys: BTreeSet<Cow<'_, str>> = want
        .keys()
        .filter(|p| !ask.local.contains_key(**p))
        .map(|p| ask.names.key(p))
        .collect();
    ask.local
        .keys()
        .map(String::as_str)
        .filter(|p| !want.contains_key(p) && keys.contains(&ask.names.key(p)))
        .collect()
}

impl<'a> Judged<'a> {
    /// Finds the folders that become empty, from the deepest up.
    fn find_empty(&mut self) {
        let mut kept: BTreeSet<&str> = BTreeSet::new();
        for (path, fate) in self.fates.iter().rev() {
            let goes = match fate {
                Fate::Remove { .. } => true,
                Fate::Folder | Fate::InTheWay => !kept.contains(path),
                Fate::Right | Fate::Replace | Fate::Aside | Fate::Leave => false,
            };
            if goes {
                if matches!(fate, Fate::Folder | Fate::InTheWay) {
                    self.empty.insert(path);
                }
            } else if let Some(up) = above(path) {
                kept.insert(up);
            }
        }
    }

    /// Names what is kept aside.
    fn name_asides(&mut self, ask: &Ask<'a>, want: &BTreeMap<&'a str, Want<'a>>) {
        let mut named: BTreeSet<String> = BTreeSet::new();
        let asides = self.fates.iter().filter(|(path, fate)| match fate {
            Fate::Aside => true,
            Fate::InTheWay => !self.empty.contains(**path),
            _ => false,
        });
        for (path, _) in asides {
            let to = conflict_name(path, ask.now, ask.node, &|p| {
                named.contains(p) || ask.local.contains_key(p) || want.contains_key(p)
            });
            named.insert(to.clone());
            self.asides.insert(path, to);
        }
    }
}

/// Writes the steps down in order.
struct Writer<'w, 'a> {
    ask: &'w Ask<'a>,
    want: &'w BTreeMap<&'a str, Want<'a>>,
    judged: &'w Judged<'a>,
    /// All wanted contents; made when versions are asked about.
    wanted_hashes: RefCell<Option<BTreeSet<BlobHash>>>,
    effects: Vec<Effect>,
    /// Folders in which something changes.
    touched: BTreeSet<String>,
    /// Files that get their bits and time as they are placed.
    written: BTreeSet<&'a str>,
}

impl<'a> Writer<'_, 'a> {
    fn push(&mut self, path: &str, effect: Effect) {
        if let Some(up) = above(path) {
            self.touched.insert(up.to_owned());
        }
        self.effects.push(effect);
    }

    /// Whether an old version of a local thing is kept: not if its content is still wanted somewhere.
    fn version(&self, path: &str) -> bool {
        let Some(Thing::File { hash, .. }) = self.ask.local.get(path).map(|l| &l.thing) else {
            return false;
        };
        let collect = || {
            let kinds = self.want.values().map(|w| w.kind);
            kinds
                .filter_map(|kind| match kind {
                    EntryKind::File { hash, .. } => Some(*hash),
                    _ => None,
                })
                .collect::<BTreeSet<_>>()
        };
        self.ask.versions > 0 && !self.wanted_hashes.borrow_mut().get_or_insert_with(collect).contains(hash)
    }

    fn gathered(&mut self, sources: &Sources<'a>) {
        for effect in &sources.effects {
            match effect {
                Effect::Take { path, .. } => self.push(path, effect.clone()),
                _ => self.effects.push(effect.clone()),
            }
        }
    }

    fn remove(&mut self, path: &str) {
        let effect = Effect::Remove {
            path: path.to_owned(),
            version: self.version(path),
        };
        self.push(path, effect);
    }

    /// Everything that goes or is in the way, the deepest first.
    fn cleared(&mut self, sources: &Sources<'a>) {
        let judged = self.judged;
        for (path, fate) in judged.fates.iter().rev() {
            match fate {
                Fate::Remove { .. } if sources.taken.contains(path) || sources.late.contains(path) => {}
                Fate::Remove { .. } => self.remove(path),
                Fate::InTheWay if judged.empty.contains(path) => self.remove_folder(path),
                Fate::Aside | Fate::InTheWay => {
                    if let Some(to) = judged.asides.get(path) {
                        let effect = Effect::Aside {
                            path: (*path).to_owned(),
                            to: to.clone(),
                        };
                        self.push(path, effect);
                    }
                }
                // In a folder that is in the way it has to go before that one does.
                Fate::Folder if judged.empty.contains(path) && self.above_is_in_the_way(path) => {
                    self.remove_folder(path);
                }
                Fate::Folder | Fate::Right | Fate::Replace | Fate::Leave => {}
            }
        }
    }

    fn above_is_in_the_way(&self, path: &str) -> bool {
        let mut at = path;
        while let Some(up) = above(at) {
            if self.judged.fates.get(up) == Some(&Fate::InTheWay) {
                return true;
            }
            at = up;
        }
        false
    }

    fn remove_folder(&mut self, path: &str) {
        let path = path.to_owned();
        self.push(&path.clone(), Effect::RemoveFolder { path });
    }

    fn folders(&mut self) {
        let want = self.want;
        for (path, w) in want {
            if w.is_folder() && self.judged.fates.get(path) != Some(&Fate::Right) {
                let effect = Effect::Folder {
                    path: (*path).to_owned(),
                };
                self.push(path, effect);
            }
        }
    }

    /// Contents and links to their places.
    fn contents(&mut self, sources: &Sources<'a>) {
        let fetched: BTreeSet<BlobHash> = sources.fetches.iter().map(|f| f.hash).collect();
        for hash in sources.needs.keys().filter(|h| !fetched.contains(h)) {
            self.place(sources, *hash);
        }
        let want = self.want;
        for (path, w) in want {
            if let (EntryKind::Link { target }, false) = (w.kind, self.judged.fates.get(path) == Some(&Fate::Right)) {
                let effect = Effect::Link {
                    path: (*path).to_owned(),
                    target: target.clone(),
                    mtime_ns: w.meta.map_or(0, |(_, t)| t),
                    over: self.over(sources, path),
                    version: self.version(path),
                };
                self.push(path, effect);
                self.written.insert(path);
            }
        }
        for batch in batches(&sources.fetches) {
            self.effects.push(Effect::Fetch(batch.to_vec()));
            for fetch in batch {
                self.place(sources, fetch.hash);
            }
        }
    }

    fn over(&self, sources: &Sources<'a>, path: &str) -> bool {
        self.judged.fates.get(path) == Some(&Fate::Replace) && !sources.taken.contains(path)
    }

    fn place(&mut self, sources: &Sources<'a>, hash: BlobHash) {
        let paths = sources.needs.get(&hash).map_or(&[][..], Vec::as_slice);
        for (at, path) in paths.iter().enumerate() {
            let Some((EntryKind::File { size, .. }, Some((mode, mtime_ns)))) =
                self.want.get(path).map(|w| (w.kind, w.meta))
            else {
                continue;
            };
            let over = self.over(sources, path);
            let effect = Effect::Place {
                path: (*path).to_owned(),
                hash,
                size: *size,
                mode,
                mtime_ns,
                last: at + 1 == paths.len(),
                over,
                version: over && self.version(path),
            };
            self.push(path, effect);
            self.written.insert(path);
        }
    }

    /// What fetches were compared with, then the folders that are empty now.
    fn late(&mut self, sources: &Sources<'a>) {
        for path in &sources.late {
            self.remove(path);
        }
        let judged = self.judged;
        for path in judged.empty.iter().rev() {
            if judged.fates.get(path) == Some(&Fate::Folder) && !self.above_is_in_the_way(path) {
                self.remove_folder(path);
            }
        }
    }

    /// Bits and times of all that is not as wanted; folders that must be opened come before everything.
    fn finished(mut self) -> Vec<Effect> {
        for (path, w) in self.want.iter().rev() {
            let Some((mode, mtime_ns)) = w.meta.filter(|_| !self.written.contains(path)) else {
                continue;
            };
            let is_link = matches!(w.kind, EntryKind::Link { .. });
            let right = self
                .ask
                .local
                .get(*path)
                .filter(|_| self.judged.fates.get(path) == Some(&Fate::Right) && !self.touched.contains(*path))
                .is_some_and(|l| (is_link || l.mode == mode) && l.mtime_ns == mtime_ns);
            if !right {
                self.effects.push(Effect::Meta {
                    path: (*path).to_owned(),
                    mode,
                    mtime_ns,
                });
            }
        }
        let closed = self.touched.iter().filter(|path| {
            let local = self.ask.local.get(*path);
            local.is_some_and(|l| l.thing == Thing::Folder && l.mode & OPEN != OPEN)
        });
        let mut effects: Vec<_> = closed.map(|path| Effect::Unlock { path: path.clone() }).collect();
        effects.append(&mut self.effects);
        effects
    }
}

/// Cuts what is to be fetched into batches.
fn batches(fetches: &[Fetch]) -> Vec<&[Fetch]> {
    let (mut out, mut rest) = (Vec::new(), fetches);
    while !rest.is_empty() {
        let mut bytes = 0u64;
        let fitting = rest.iter().take(BATCH_FILES).take_while(|f| {
            bytes = bytes.saturating_add(f.size);
            bytes <= BATCH_BYTES
        });
        // One that is larger than a batch is one.
        let (batch, left) = rest.split_at(fitting.count().max(1));
        out.push(batch);
        rest = left;
    }
    out
}
