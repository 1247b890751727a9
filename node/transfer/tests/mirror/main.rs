//! Mirrors in a model file system: random folders, random changes here and there, plans carried out whole or cut
//! off at any step.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod model;

use hive_protocol::{ids::BlobHash, manifest::Manifest};
use hive_transfer::mirror::{AnyName, Applied, Effect, Local, Thing, WindowsNames, emptied};
use model::{Dice, Disk, Tree, content, manifest, up};
use std::collections::{BTreeMap, BTreeSet};

const NAMES: &[&str] = &["a", "b", "c", "a-b", "ä", "b.c"];
/// Cases of each property: a second or two.
const CASES: u64 = 2500;

fn file(id: u64) -> Local {
    Local {
        thing: content(id),
        mode: 0o644,
        mtime_ns: id as i64 * 7,
    }
}

fn folder(mode: u32) -> Local {
    Local {
        thing: Thing::Folder,
        mode,
        mtime_ns: i64::from(mode),
    }
}

fn random_path(dice: &mut Dice) -> String {
    let depth = 1 + dice.roll(3);
    let names: Vec<&str> = (0..depth).map(|_| *dice.pick(NAMES)).collect();
    names.join("/")
}

fn random_thing(dice: &mut Dice, contents: u64) -> Local {
    match dice.roll(10) {
        0 | 1 => folder(*dice.pick(&[0o755, 0o700, 0o555, 0o500])),
        2 => Local {
            thing: Thing::Link {
                target: (*dice.pick(NAMES)).to_owned(),
            },
            mode: 0o777,
            mtime_ns: 3,
        },
        _ => Local {
            mode: *dice.pick(&[0o644, 0o600, 0o755, 0o444]),
            ..file(1 + dice.roll(contents))
        },
    }
}

fn remove(tree: &mut Tree, path: &str) {
    let prefix = format!("{path}/");
    tree.retain(|p, _| p != path && !p.starts_with(&prefix));
}

/// Puts a thing at a path, replacing what is there and what is above it and no folder.
fn put(tree: &mut Tree, path: &str, local: Local) {
    if local.thing != Thing::Folder {
        remove(tree, path);
    }
    let mut at = path;
    while let Some(above) = up(at) {
        if tree.get(above).is_none_or(|l| l.thing != Thing::Folder) {
            tree.insert(above.to_owned(), folder(0o755));
        }
        at = above;
    }
    tree.insert(path.to_owned(), local);
}

fn rename(tree: &mut Tree, from: &str, to: &str) {
    if to == from || to.starts_with(&format!("{from}/")) || from.starts_with(&format!("{to}/")) {
        return;
    }
    let prefix = format!("{from}/");
    let moved: Vec<(String, Local)> = tree
        .iter()
        .filter(|(p, _)| *p == from || p.starts_with(&prefix))
        .map(|(p, l)| (format!("{to}{}", &p[from.len()..]), l.clone()))
        .collect();
    remove(tree, from);
    remove(tree, to);
    for (path, local) in moved {
        put(tree, &path, local);
    }
}

fn random_tree(dice: &mut Dice) -> Tree {
    let mut tree = Tree::new();
    for _ in 0..dice.roll(12) {
        let path = random_path(dice);
        let thing = random_thing(dice, 9);
        put(&mut tree, &path, thing);
    }
    tree
}

/// What happens at the source between two states.
fn change_source(dice: &mut Dice, tree: &mut Tree) {
    for _ in 0..dice.roll(6) {
        let old = tree.keys().nth(dice.roll(12) as usize).cloned();
        match (dice.roll(4), old) {
            (0, Some(old)) => remove(tree, &old),
            (1 | 2, Some(old)) => {
                let to = random_path(dice);
                rename(tree, &old, &to);
            }
            _ => {
                let (path, thing) = (random_path(dice), random_thing(dice, 14));
                put(tree, &path, thing);
            }
        }
    }
}

/// What somebody does in the mirror; every content that comes in so is marked by a number of its own.
fn change_here(dice: &mut Dice, tree: &mut Tree, mark: &mut u64) {
    for _ in 0..dice.roll(5) {
        *mark += 1;
        let old = tree.keys().nth(dice.roll(12) as usize).cloned();
        match (dice.roll(8), old) {
            (0, Some(old)) => remove(tree, &old),
            (1, Some(old)) => {
                let to = random_path(dice);
                rename(tree, &old, &to);
            }
            (2, Some(old)) => {
                if let Some(l) = tree.get_mut(&old) {
                    l.mode ^= 0o022;
                    l.mtime_ns += 1;
                }
            }
            (3, Some(old)) => put(tree, &old, file(*mark)),
            (4, _) => {
                let thing = Thing::Link {
                    target: format!("mark{mark}"),
                };
                let (mode, mtime_ns) = (0o777, 1);
                put(
                    tree,
                    &random_path(dice),
                    Local {
                        thing,
                        mode,
                        mtime_ns,
                    },
                );
            }
            (5, _) => {
                let thing = Thing::Other;
                let (mode, mtime_ns) = (0o600, *mark as i64);
                put(
                    tree,
                    &random_path(dice),
                    Local {
                        thing,
                        mode,
                        mtime_ns,
                    },
                );
            }
            _ => put(tree, &random_path(dice), file(*mark)),
        }
    }
}

/// Things nobody but this folder has: what their owner would miss.
fn precious(disk: &Disk) -> Vec<Thing> {
    let own = |(path, l): (&String, &Local)| {
        let ours = disk.applied.get(path).is_some_and(|a| a.owns(&l.thing));
        (!ours && l.thing != Thing::Folder).then(|| l.thing.clone())
    };
    disk.tree.iter().filter_map(own).collect()
}

fn others(tree: &Tree) -> BTreeSet<i64> {
    let all = tree.values().filter(|l| l.thing == Thing::Other);
    all.map(|l| l.mtime_ns).collect()
}

fn assert_reached(disk: &Disk, wanted: &Manifest, kept: &[Thing], what: &str) {
    for entry in &wanted.entries {
        let local = disk
            .tree
            .get(&entry.path)
            .unwrap_or_else(|| panic!("{what}: {} is missing", entry.path));
        assert_eq!(local.thing, Thing::from(&entry.kind), "{what}: {}", entry.path);
        assert_eq!(local.mtime_ns, entry.mtime_ns, "{what}: time of {}", entry.path);
        if !matches!(local.thing, Thing::Link { .. }) {
            assert_eq!(local.mode, entry.mode, "{what}: mode of {}", entry.path);
        }
    }
    let there: Vec<&Thing> = disk.tree.values().map(|l| &l.thing).collect();
    for thing in kept {
        assert!(there.contains(&thing), "{what}: {thing:?} is lost");
    }
    // Nothing else is there but what is not the mirror's, and folders that hold it.
    let wanted_paths: BTreeSet<&str> = wanted.entries.iter().map(|e| e.path.as_str()).collect();
    for (path, local) in &disk.tree {
        if wanted_paths.contains(path.as_str()) || local.thing == Thing::Folder {
            continue;
        }
        assert!(
            local.thing == Thing::Other || kept.contains(&local.thing),
            "{what}: {path} should be gone"
        );
    }
    let again = disk.plan(wanted, 0, &AnyName);
    assert_eq!(again.effects, vec![], "{what}: a second plan finds nothing to do");
    assert!(
        again.adopted.is_empty() && again.forgotten.is_empty(),
        "{what}: {again:?}"
    );
}

/// A folder that has a state, changed by its owner, and a newer state.
fn case(seed: u64) -> (Disk, Manifest, Tree, Dice) {
    let mut dice = Dice(seed);
    let mut source = random_tree(&mut dice);
    let mut disk = Disk::default();
    if dice.roll(4) == 0 {
        disk.tree = random_tree(&mut dice);
        for local in disk.tree.values_mut() {
            local.mode |= 0o200;
        }
    }
    let first = manifest(&source);
    let plan = disk.plan(&first, 0, &AnyName);
    disk.run(&plan, usize::MAX, false);
    let mut mark = 1000;
    change_here(&mut dice, &mut disk.tree, &mut mark);
    if dice.roll(8) == 0 {
        source = random_tree(&mut dice);
    } else {
        change_source(&mut dice, &mut source);
    }
    (disk, manifest(&source), source, dice)
}

#[test]
fn the_folder_becomes_as_wanted_and_nothing_of_its_owner_is_lost() {
    for seed in 0..CASES {
        let (mut disk, wanted, _, mut dice) = case(seed);
        let (kept, odd) = (precious(&disk), others(&disk.tree));
        let versions = dice.roll(2) as u32;
        let before: BTreeMap<String, Local> = disk.tree.clone();
        let own = disk.applied.clone();
        let here: BTreeSet<BlobHash> = before
            .values()
            .filter_map(|l| match l.thing {
                Thing::File { hash, .. } => Some(hash),
                _ => None,
            })
            .collect();
        disk.fetched.clear();
        let plan = disk.plan(&wanted, versions, &AnyName);
        disk.run(&plan, usize::MAX, false);
        let what = format!("seed {seed}");
        assert_reached(&disk, &wanted, &kept, &what);
        assert_eq!(others(&disk.tree), odd, "{what}");
        for hash in &disk.fetched {
            assert!(!here.contains(hash), "{what}: fetched {hash}, which was here");
        }
        let unique: BTreeSet<_> = disk.fetched.iter().collect();
        assert_eq!(unique.len(), disk.fetched.len(), "{what}: fetched twice");
        // Old versions: of every file of the mirror whose content is nowhere any more.
        for (path, local) in &before {
            if let (Thing::File { hash, .. }, true) =
                (&local.thing, own.get(path).is_some_and(|a| a.owns(&local.thing)))
            {
                let there = disk.tree.values().any(|l| l.thing == local.thing);
                assert_eq!(
                    !there && versions > 0,
                    disk.versions.contains(hash) && !there,
                    "{what}: {path}"
                );
            }
        }
    }
}

#[test]
fn a_plan_cut_off_anywhere_is_made_good_by_the_next() {
    for seed in 0..CASES {
        let (disk, wanted, mut source, mut dice) = case(seed);
        let (kept, odd) = (precious(&disk), others(&disk.tree));
        let plan = disk.plan(&wanted, 0, &AnyName);
        for steps in 0..plan.effects.len().min(24) {
            let mut cut = disk.clone();
            cut.run(&plan, steps, dice.roll(2) == 0);
            let what = format!("seed {seed} cut at {steps}");
            // The same state again, or a newer one that came meanwhile.
            let next = if dice.roll(3) == 0 {
                change_source(&mut dice, &mut source);
                manifest(&source)
            } else {
                wanted.clone()
            };
            let mut second = cut.plan(&next, 0, &AnyName);
            if dice.roll(4) == 0 && !second.effects.is_empty() {
                let again = dice.roll(second.effects.len() as u64) as usize;
                cut.run(&second, again, dice.roll(2) == 0);
                second = cut.plan(&next, 0, &AnyName);
            }
            cut.run(&second, usize::MAX, false);
            assert_reached(&cut, &next, &kept, &what);
            assert_eq!(others(&cut.tree), odd, "{what}");
        }
    }
}

fn applied_tree(tree: &Tree) -> Disk {
    let mut disk = Disk::default();
    let plan = disk.plan(&manifest(tree), 0, &AnyName);
    disk.run(&plan, usize::MAX, false);
    disk.fetched.clear();
    disk
}

#[test]
fn renames_fetch_nothing_not_even_in_a_ring() {
    let mut tree = Tree::new();
    for n in 0..500 {
        put(&mut tree, &format!("old/{}/f{n}", n % 7), file(n + 1));
    }
    put(&mut tree, "x", file(9001));
    put(&mut tree, "y", file(9002));
    put(&mut tree, "z", file(9003));
    let disk = applied_tree(&tree);
    rename(&mut tree, "old", "new/deep");
    let (x, y, z) = (tree["x"].clone(), tree["y"].clone(), tree["z"].clone());
    put(&mut tree, "x", y);
    put(&mut tree, "y", z);
    put(&mut tree, "z", x.clone());
    put(&mut tree, "copy of x", x);
    let wanted = manifest(&tree);
    let mut renamed = disk.clone();
    let plan = renamed.plan(&wanted, 3, &AnyName);
    assert_eq!((plan.fetches, plan.fetch_bytes), (0, 0));
    renamed.run(&plan, usize::MAX, false);
    assert_reached(&renamed, &wanted, &[], "renames");
    assert!(renamed.versions.is_empty(), "nothing was lost by a rename");
}

#[test]
fn a_changed_file_is_compared_with_its_older_self() {
    let mut tree = Tree::new();
    put(&mut tree, "a/model.bin", file(3));
    put(&mut tree, "b/data.bin", file(6));
    let mut disk = applied_tree(&tree);
    put(&mut tree, "a/model.bin", file(9));
    rename(&mut tree, "b", "c");
    put(&mut tree, "c/data.bin", file(12));
    let wanted = manifest(&tree);
    let plan = disk.plan(&wanted, 1, &AnyName);
    let likes: Vec<_> = plan
        .effects
        .iter()
        .filter_map(|e| match e {
            Effect::Fetch(list) => Some(list.iter().map(|f| f.like.clone().unwrap()).collect::<Vec<_>>()),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(likes, ["a/model.bin", "b/data.bin"]);
    disk.run(&plan, usize::MAX, false);
    assert_reached(&disk, &wanted, &[], "likes");
    assert_eq!(disk.versions.len(), 2);
}

#[test]
fn what_was_changed_here_is_kept_by_name() {
    let mut tree = Tree::new();
    for name in ["edited", "deleted there", "gone here", "sub/x"] {
        put(&mut tree, name, file(1));
    }
    let mut disk = applied_tree(&tree);
    put(&mut disk.tree, "edited", file(1001));
    put(&mut disk.tree, "deleted there", file(1002));
    put(&mut disk.tree, "mine", file(1003));
    put(&mut disk.tree, "sub", file(1004));
    remove(&mut disk.tree, "gone here");
    remove(&mut tree, "deleted there");
    let wanted = manifest(&tree);
    let plan = disk.plan(&wanted, 0, &AnyName);
    disk.run(&plan, usize::MAX, false);
    let tail = ".conflict-19700101-001640-nabc";
    let now: Vec<&str> = disk.tree.keys().map(String::as_str).collect();
    assert_eq!(
        now,
        [
            &format!("deleted there{tail}"),
            "edited",
            &format!("edited{tail}"),
            "gone here",
            "mine",
            "sub",
            &format!("sub{tail}"),
            "sub/x",
        ]
    );
}

#[test]
fn the_owners_things_stay_when_the_source_is_emptied() {
    let mut tree = Tree::new();
    put(&mut tree, "a/b/c", file(1));
    put(&mut tree, "d/e", file(2));
    let mut disk = applied_tree(&tree);
    put(&mut disk.tree, "d/mine", file(1001));
    let empty = manifest(&Tree::new());
    assert!(emptied(&manifest(&tree), &empty) && !emptied(&empty, &empty));
    let plan = disk.plan(&empty, 0, &AnyName);
    disk.run(&plan, usize::MAX, false);
    assert_eq!(disk.tree.keys().collect::<Vec<_>>(), ["d", "d/mine"]);
}

#[test]
fn names_that_cannot_be_held_are_left_out_and_the_rest_goes_on() {
    let mut tree = Tree::new();
    put(&mut tree, "README", file(1));
    put(&mut tree, "Readme", file(2));
    put(&mut tree, "con", file(3));
    put(&mut tree, "a:b/x", file(4));
    put(&mut tree, "fine", file(5));
    let mut disk = Disk::default();
    put(&mut disk.tree, "FINE", file(1001));
    let wanted = manifest(&tree);
    let plan = disk.plan(&wanted, 0, &WindowsNames);
    let refused: Vec<&str> = plan.refused.iter().map(|r| r.path.as_str()).collect();
    assert_eq!(refused, ["Readme", "a:b", "a:b/x", "con"]);
    disk.run(&plan, usize::MAX, false);
    let now: Vec<&str> = disk.tree.keys().map(String::as_str).collect();
    assert_eq!(now, ["FINE.conflict-19700101-001640-nabc", "README", "fine"]);
    // Renamed in case only at the source: what is there is moved, not fetched.
    rename(&mut tree, "fine", "Fine");
    disk.fetched.clear();
    let plan = disk.plan(&manifest(&tree), 0, &WindowsNames);
    disk.run(&plan, usize::MAX, false);
    assert!(disk.fetched.is_empty() && disk.tree.contains_key("Fine"));
    // The one that is there stays when another of the same name comes.
    let mut other = Tree::new();
    put(&mut other, "b", file(1));
    let mut disk = applied_tree(&other);
    put(&mut other, "B", file(2));
    let plan = disk.plan(&manifest(&other), 0, &WindowsNames);
    assert_eq!(plan.refused[0].path, "B");
    disk.run(&plan, usize::MAX, false);
    assert_eq!(disk.tree.keys().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn what_cannot_be_read_here_is_not_touched() {
    let mut tree = Tree::new();
    put(&mut tree, "a/x", file(1));
    put(&mut tree, "b", file(2));
    let mut disk = applied_tree(&tree);
    let wanted = manifest(&{
        let mut t = tree.clone();
        put(&mut t, "a/x", file(5));
        put(&mut t, "c", file(6));
        t
    });
    remove(&mut disk.tree, "a/x");
    let blind = BTreeSet::from(["a".to_owned()]);
    let ask = hive_transfer::mirror::Ask {
        wanted: &wanted,
        local: &disk.tree,
        blind: &blind,
        applied: &disk.applied,
        staged: &disk.staged,
        versions: 0,
        names: &AnyName,
        now: hive_protocol::time::Timestamp(0),
        node: "n",
    };
    let plan = hive_transfer::mirror::plan(&ask);
    assert_eq!(plan.refused.len(), 2);
    assert!(plan.forgotten.is_empty());
    assert!(
        !format!("{:?}", plan.effects).contains("\"a/x\""),
        "{:?}",
        plan.effects
    );
    assert!(disk.applied.get("a/x") == Some(&Applied::of(content(1))));
}
