//! What becomes of each local path, measured against the wanted state.

use super::{
    Ask, Local, Thing,
    names::conflict_name,
    wanted::{Want, above, below},
};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

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
    pub(super) empty: BTreeSet<&'a str>,
}

/// Judges every local path.
pub(super) fn judge<'a>(ask: &Ask<'a>, want: &BTreeMap<&'a str, Want<'a>>) -> Judged<'a> {
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

    /// Whether a folder above is where a file or link is wanted.
    pub(super) fn is_in_the_way(&self, path: &str) -> bool {
        let mut at = path;
        while let Some(up) = above(at) {
            if self.fates.get(up) == Some(&Fate::InTheWay) {
                return true;
            }
            at = up;
        }
        false
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
