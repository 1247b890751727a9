//! Files and folders to move, and looking whether they arrived as they were.

use crate::{
    node::Node,
    wait::{SOON, until},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

/// Bytes that look like nothing else: no two groups of 64 KiB are the same.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A folder with everything a folder may hold.
pub fn folder(at: &Path) {
    fs::create_dir_all(at.join("deep/er")).unwrap();
    fs::create_dir_all(at.join("empty")).unwrap();
    for n in 0..40 {
        fs::write(at.join(format!("deep/small-{n}")), noise(n * 700, n as u64)).unwrap();
    }
    fs::write(at.join("deep/er/large"), noise(5 << 20, 77)).unwrap();
    fs::write(at.join("grüße 日本 🐝"), "unicode").unwrap();
    fs::write(at.join("run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(at.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(at.join("secret"), "s").unwrap();
    fs::set_permissions(at.join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("deep/er/large", at.join("link")).unwrap();
}

/// Everything below a folder: path → what it is. Times of folders and links are left out.
pub fn snapshot(at: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut open = vec![at.to_owned()];
    while let Some(dir) = open.pop() {
        // What vanishes while it is looked at is as good as not there: who waits for a state looks again.
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(at).unwrap().to_str().unwrap().to_owned();
            // What a mirror keeps for itself is no part of what it mirrors.
            if name.starts_with(".hive-") {
                continue;
            }
            let Ok(meta) = fs::symlink_metadata(&path) else {
                continue;
            };
            let what = if meta.is_dir() {
                open.push(path);
                format!("folder {:o}", meta.mode() & 0o777)
            } else if meta.is_symlink() {
                format!("link {:?}", fs::read_link(&path).unwrap_or_default())
            } else {
                let bytes = fs::read(&path).unwrap_or_default();
                let sum: u64 = bytes.iter().fold(7, |s, b| s.wrapping_mul(31) ^ u64::from(*b));
                format!(
                    "file {} {sum:x} {:o} {}.{}",
                    bytes.len(),
                    meta.mode() & 0o777,
                    meta.mtime(),
                    meta.mtime_nsec()
                )
            };
            all.insert(name, what);
        }
    }
    all
}

/// Shares a path; its ticket.
#[track_caller]
pub fn share(node: &Node, path: &Path) -> String {
    let ticket = node.run(&["file", "share", text(path)]).ok().text();
    assert!(ticket.starts_with("hivefile1"), "{ticket}");
    ticket.trim().to_owned()
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a text path")
}

/// A transfer by id.
pub fn transfer(node: &Node, id: &str) -> Option<Value> {
    node.get(&format!("/v1/transfers/{id}"), "transfer")
}

/// Waits until a transfer satisfies this.
#[track_caller]
pub fn transfer_until(node: &Node, id: &str, what: &str, test: impl Fn(&Value) -> bool) -> Value {
    let last = std::cell::RefCell::new(Value::Null);
    crate::wait::until_else(
        SOON * 2,
        || {
            let view = transfer(node, id)?;
            last.replace(view.clone());
            test(&view).then_some(view)
        },
        || format!("{what}: {}", last.borrow()),
    )
}

/// Waits until a path is there; it.
#[track_caller]
pub fn appears(path: PathBuf) -> PathBuf {
    until(&format!("{} is there", path.display()), SOON * 2, || {
        fs::symlink_metadata(&path).ok().map(|_| ())
    });
    path
}

/// Waits until a folder looks like another one.
#[track_caller]
pub fn same(of: &Path, at: &Path) {
    let want = snapshot(of);
    crate::wait::until_else(
        SOON * 2,
        || (at.is_dir() && snapshot(at) == want).then_some(()),
        || {
            format!(
                "{} is not like {}:\n{:#?}\n{want:#?}",
                at.display(),
                of.display(),
                snapshot(at)
            )
        },
    );
}
