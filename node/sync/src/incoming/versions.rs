//! Old versions: `.hive-versions/<path>~<time>`, the newest few of each path.

use crate::{
    ground::{Ground, Kind},
    ignore::VERSIONS,
};
use rustix::io::Errno;

/// Versions of one path made in one second.
const MAX_SAME: u32 = 1000;

/// Moves what is at `from` to the old versions of `path`, and removes those over `keep`.
pub(crate) fn store(ground: &Ground, from: &str, path: &str, stamp: &str, keep: u32) -> Result<(), Errno> {
    let whole = format!("{VERSIONS}/{path}");
    let (folder, name) = whole.rsplit_once('/').unwrap_or((VERSIONS, path));
    make_folders(ground, folder)?;
    let mut cut = name.len().min(255 - "~-000".len() - stamp.len());
    while !name.is_char_boundary(cut) {
        cut -= 1;
    }
    let name = name.get(..cut).unwrap_or_default();
    // Numbers of one second count on: a removed one is not given again, or the newest would pass for the oldest.
    let same = format!("{name}~{stamp}");
    let there = versions_of(ground, folder, name).into_iter().filter_map(|v| {
        let tail = v.strip_prefix(&same)?.to_owned();
        Some(
            tail.strip_prefix('-')
                .and_then(|n| n.parse::<u32>().ok())
                .unwrap_or(0),
        )
    });
    let mut number = there.max().map_or(0, |n| n + 1);
    loop {
        let tail = match number {
            0 => String::new(),
            n => format!("-{n:03}"),
        };
        match ground.rename(from, &format!("{folder}/{name}~{stamp}{tail}")) {
            Ok(()) => {
                prune(ground, folder, name, keep);
                return Ok(());
            }
            Err(Errno::EXIST) if number < MAX_SAME => number += 1,
            Err(e) => return Err(e),
        }
    }
}

fn make_folders(ground: &Ground, folder: &str) -> Result<(), Errno> {
    let mut at = String::new();
    for name in folder.split('/') {
        if !at.is_empty() {
            at.push('/');
        }
        at.push_str(name);
        match ground.make_folder(&at, 0o700) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e),
        }
        // An old version of a file lies under another name (`~` and a time), so what is in the way is not ours.
        if ground.stamp(&at)?.is_none_or(|s| s.kind != Kind::Folder) {
            return Err(Errno::NOTDIR);
        }
    }
    Ok(())
}

fn prune(ground: &Ground, folder: &str, name: &str, keep: u32) {
    let mut versions = versions_of(ground, folder, name);
    versions.sort_unstable();
    let over = versions
        .len()
        .saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX));
    for old in versions.iter().take(over) {
        let path = format!("{folder}/{old}");
        if let Err(error) = ground.remove(&path) {
            tracing::warn!(path, %error, "an old version cannot be removed");
        }
    }
}

fn versions_of(ground: &Ground, folder: &str, name: &str) -> Vec<String> {
    let names = ground.dir(folder).and_then(|dir| Ground::names(&dir));
    names
        .unwrap_or_default()
        .into_iter()
        .filter_map(|n| n.name.ok())
        .filter(|n| {
            n.strip_prefix(name)
                .and_then(|r| r.strip_prefix('~'))
                .is_some_and(is_stamp)
        })
        .collect()
}

fn is_stamp(tail: &str) -> bool {
    tail.len() >= 15 && tail.bytes().all(|b| b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn the_newest_are_kept() {
        let temp = tempfile::tempdir().unwrap();
        let ground = Ground::open(temp.path()).unwrap();
        for n in 0..5 {
            fs::write(temp.path().join("x"), n.to_string()).unwrap();
            store(&ground, "x", "d/f.txt", "20260101-000000", 3).unwrap();
        }
        fs::write(temp.path().join(".hive-versions/d/f.txt~mine"), "").unwrap();
        fs::write(temp.path().join("x"), "9").unwrap();
        store(&ground, "x", "d/f.txt", "20260102-000000", 3).unwrap();
        let mut names: Vec<_> = fs::read_dir(temp.path().join(".hive-versions/d"))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "f.txt~20260101-000000-003",
                "f.txt~20260101-000000-004",
                "f.txt~20260102-000000",
                "f.txt~mine"
            ]
        );
        let newest = temp.path().join(".hive-versions/d/f.txt~20260102-000000");
        assert_eq!(fs::read_to_string(newest).unwrap(), "9");
    }
}
