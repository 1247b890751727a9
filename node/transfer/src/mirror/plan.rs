//! The plan: judges every local path against the wanted state and lists the steps.
//!
//! Their order: what has to be opened; contents gathered from local files; what goes or is in the way; folders;
//! contents that are here; then batch by batch what is fetched; what was compared with; emptied folders; permission
//! bits and times, folders last and the deepest first.

use super::{
    Ask, Effect, Fetch, Plan, Thing,
    judge::{Fate, Judged, judge},
    sources::Sources,
    wanted::{Want, above, below, wanted},
};
use hive_protocol::{ids::BlobHash, manifest::EntryKind};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

/// Contents fetched before they are put in place.
const BATCH_FILES: usize = 8192;
/// Bytes of such a batch: bounds what the staging folder holds beside the old versions.
const BATCH_BYTES: u64 = 1 << 30;
/// Owner's bits a folder must have for something in it to change.
const OPEN: u32 = 0o700;

/// Plans the way from what is there to what is wanted.
#[must_use]
pub fn plan(ask: &Ask<'_>) -> Plan {
    let (want, refused) = wanted(ask);
    let judged = judge(ask, &want);
    let sources = Sources::find(ask, &want, &judged);
    let mut plan = Plan {
        refused,
        fetch_bytes: sources
            .fetches
            .iter()
            .map(|f| f.size)
            .fold(0, u64::saturating_add),
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
        let left = match judged.fates.get(path.as_str()) {
            Some(Fate::Leave) => true,
            // Moves aside with the folder it is in.
            Some(Fate::Folder) => judged.is_in_the_way(path) && !judged.empty.contains(path.as_str()),
            _ => false,
        };
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
        self.ask.versions > 0
            && !self
                .wanted_hashes
                .borrow_mut()
                .get_or_insert_with(collect)
                .contains(hash)
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
                Fate::Folder if judged.empty.contains(path) && judged.is_in_the_way(path) => {
                    self.remove_folder(path);
                }
                Fate::Folder | Fate::Right | Fate::Replace | Fate::Leave => {}
            }
        }
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
            if let (EntryKind::Link { target }, false) =
                (w.kind, self.judged.fates.get(path) == Some(&Fate::Right))
            {
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
            if judged.fates.get(path) == Some(&Fate::Folder) && !judged.is_in_the_way(path) {
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
                .filter(|_| {
                    self.judged.fates.get(path) == Some(&Fate::Right) && !self.touched.contains(*path)
                })
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
