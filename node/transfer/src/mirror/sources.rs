//! Where a needed content comes from: staged already, moved from a file that goes, copied from one that stays, or
//! fetched, if possible with a similar file to compare with.

use super::{
    Ask, Effect, Fetch, Thing,
    judge::{Fate, Judged},
    wanted::Want,
};
use hive_protocol::{ids::BlobHash, manifest::EntryKind};
use std::collections::{BTreeMap, BTreeSet};

/// Smallest file that is looked for under the name of a missing one, to compare with: below, the question costs
/// more than the bytes.
const LIKE_FROM: u64 = 1 << 20;

/// How the needed contents get to the staging folder.
#[derive(Default)]
pub(super) struct Sources<'a> {
    /// Needed contents with the paths that need them.
    pub(super) needs: BTreeMap<BlobHash, Vec<&'a str>>,
    /// Copies and takes.
    pub(super) effects: Vec<Effect>,
    /// Files that are moved to the staging folder instead of being removed or replaced.
    pub(super) taken: BTreeSet<&'a str>,
    /// What has to be fetched.
    pub(super) fetches: Vec<Fetch>,
    /// Files that a fetch is compared with: removed only after it.
    pub(super) late: BTreeSet<&'a str>,
}

impl<'a> Sources<'a> {
    pub(super) fn find(ask: &Ask<'a>, want: &BTreeMap<&'a str, Want<'a>>, judged: &Judged<'a>) -> Self {
        let mut found = Self::default();
        let mut sizes = BTreeMap::new();
        for (path, w) in want {
            if let EntryKind::File { hash, size } = w.kind
                && judged.fates.get(path) != Some(&Fate::Right)
            {
                found.needs.entry(*hash).or_default().push(path);
                sizes.insert(*hash, *size);
            }
        }
        let here = found.here(ask, judged);
        let is_local = |hash: &BlobHash| ask.staged.contains(hash) || here.contains_key(hash);
        let needed: Vec<BlobHash> = found.needs.keys().copied().collect();
        let mut missing = Vec::new();
        for hash in needed.into_iter().filter(|h| !ask.staged.contains(h)) {
            let Some(paths) = here.get(&hash) else {
                missing.push(hash);
                continue;
            };
            let goes = paths.iter().find(|p| match judged.fates.get(*p) {
                Some(Fate::Remove { .. }) => true,
                // What is fetched to its place is compared with it: that one stays until then.
                Some(Fate::Replace) => match want.get(*p).map(|w| w.kind) {
                    Some(EntryKind::File { hash, .. }) => is_local(hash),
                    _ => true,
                },
                _ => false,
            });
            match (goes, paths.first()) {
                (Some(path), _) => {
                    found.taken.insert(path);
                    found.effects.push(Effect::Take {
                        path: (*path).to_owned(),
                        hash,
                    });
                }
                (None, Some(path)) => found.effects.push(Effect::Copy {
                    path: (*path).to_owned(),
                    hash,
                }),
                (None, None) => missing.push(hash),
            }
        }
        // Copies first: a file they read may be taken for the sake of another content.
        found.effects.sort_by_key(|e| matches!(e, Effect::Take { .. }));
        found.fetch(ask, judged, missing, &sizes);
        found
    }

    /// Local files that have a needed content.
    fn here(&self, ask: &Ask<'a>, judged: &Judged<'a>) -> BTreeMap<BlobHash, Vec<&'a str>> {
        let mut here: BTreeMap<BlobHash, Vec<&'a str>> = BTreeMap::new();
        for (path, local) in ask.local {
            if let Thing::File { hash, .. } = &local.thing
                && self.needs.contains_key(hash)
                && judged.fates.contains_key(path.as_str())
            {
                here.entry(*hash).or_default().push(path);
            }
        }
        here
    }

    fn fetch(
        &mut self,
        ask: &Ask<'a>,
        judged: &Judged<'a>,
        missing: Vec<BlobHash>,
        sizes: &BTreeMap<BlobHash, u64>,
    ) {
        // Files that go away, by name: a renamed and changed one is among them.
        let mut going: BTreeMap<&str, Vec<(&'a str, u64)>> = BTreeMap::new();
        for (path, fate) in &judged.fates {
            if let (Fate::Remove { early: false }, Some(Thing::File { size, .. })) =
                (fate, ask.local.get(*path).map(|l| &l.thing))
                && *size >= LIKE_FROM
                && !self.taken.contains(path)
            {
                going
                    .entry(path.rsplit('/').next().unwrap_or(path))
                    .or_default()
                    .push((path, *size));
            }
        }
        for hash in missing {
            let size = sizes.get(&hash).copied().unwrap_or_default();
            let paths = self.needs.get(&hash).map_or(&[][..], Vec::as_slice);
            let like = paths
                .iter()
                .find_map(|p| self.similar(ask, judged, p))
                .or_else(|| {
                    let name = paths.first()?.rsplit('/').next()?;
                    let nearest = going.get(name)?.iter().min_by_key(|(_, s)| s.abs_diff(size))?.0;
                    (size >= LIKE_FROM).then(|| {
                        self.late.insert(nearest);
                        nearest.to_owned()
                    })
                });
            self.fetches.push(Fetch { hash, size, like });
        }
        // In the order of the paths: what is next to each other comes together.
        let needs = &self.needs;
        self.fetches
            .sort_by_key(|f| needs.get(&f.hash).and_then(|p| p.first().copied()));
    }

    /// The older version at a wanted path.
    fn similar(&self, ask: &Ask<'a>, judged: &Judged<'a>, path: &str) -> Option<String> {
        let local = ask.local.get(path)?;
        if !matches!(local.thing, Thing::File { .. }) || self.taken.contains(path) {
            return None;
        }
        match judged.fates.get(path)? {
            Fate::Replace => Some(path.to_owned()),
            Fate::Aside => judged.asides.get(path).cloned(),
            _ => None,
        }
    }
}
