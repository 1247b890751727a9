//! The node's own store as the library of mirrors: states by reference, what cannot be read named, old states dropped.

use crate::stage::hash;
use hive_protocol::manifest::{Entry, EntryKind};
use hive_store::{BlobStore, DataDir, DiskBudget, files::FileStore};
use hive_sync::{Found, Library, StoreLibrary, SyncError};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

fn store(data: &Path) -> (DataDir, FileStore) {
    let dir = DataDir::open(data).unwrap();
    let (blobs, _) = BlobStore::open_in(&dir, DiskBudget::new(1 << 30)).unwrap();
    let (store, report) = FileStore::open(&dir, blobs).unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
    (dir, store)
}

/// A file as a look at its folder finds it.
fn found(dir: &Path, path: &str, older: Option<&[u8]>) -> Found {
    let meta = fs::symlink_metadata(dir.join(path)).ok();
    let entry = |bytes: Option<&[u8]>, size| Entry {
        path: path.to_owned(),
        kind: EntryKind::File {
            hash: bytes.map_or_else(|| hash(b""), hash),
            size,
        },
        mode: 0o644,
        mtime_ns: meta
            .as_ref()
            .map_or(0, |m| m.mtime() * 1_000_000_000 + m.mtime_nsec()),
    };
    Found {
        entry: entry(None, meta.as_ref().map_or(0, MetadataExt::size)),
        ino: meta.as_ref().map_or(0, MetadataExt::ino),
        older: older.map(|b| entry(Some(b), b.len() as u64)),
    }
}

fn folder(path: &str) -> Found {
    Found {
        entry: Entry {
            path: path.to_owned(),
            kind: EntryKind::Folder,
            mode: 0o755,
            mtime_ns: 0,
        },
        ino: 0,
        older: None,
    }
}

#[test]
fn states_are_given_by_reference_and_dropped_when_released() {
    let temp = tempfile::tempdir().unwrap();
    let (_dir, store) = store(&temp.path().join("data"));
    let library = StoreLibrary::new(store.clone());
    let (dir, go_on) = (temp.path().join("site"), AtomicBool::new(false));
    fs::create_dir_all(dir.join("sub")).unwrap();
    fs::write(dir.join("a"), "first").unwrap();
    fs::write(dir.join("sub/b"), vec![7; 300_000]).unwrap();
    let state = || vec![found(&dir, "a", None), folder("sub"), found(&dir, "sub/b", None)];
    let one = library.add(&dir, state(), "mirror", &go_on).unwrap();
    assert!(one.failed.is_empty());
    let hashes = one.manifest.entries.iter().filter_map(|e| match e.kind {
        EntryKind::File { hash, .. } => Some(hash),
        _ => None,
    });
    assert_eq!(
        hashes.collect::<Vec<_>>(),
        [hash(b"first"), hash(&vec![7; 300_000])]
    );
    assert_eq!(library.manifest(&one.root), Some(one.manifest.clone()));
    // It can be given from where it is, and no byte of it was copied.
    let mut bytes = Vec::new();
    let source = store.source(&hash(b"first")).unwrap();
    source.read_range(0, 5, true, &mut bytes).unwrap();
    assert_eq!(bytes, b"first");
    assert!(store.lists(&one.root, &hash(b"first")));
    let root = store.root(&one.root).unwrap();
    assert_eq!(root.path.as_deref(), Some(dir.as_path()));
    assert_eq!(root.tags, [("mirror".to_owned(), None)]);
    // The next state, then the first is of no use; the same state again is the same.
    fs::write(dir.join("a"), "second!").unwrap();
    let two = library.add(&dir, state(), "mirror", &go_on).unwrap();
    assert_ne!(one.root, two.root);
    assert_eq!(
        library.add(&dir, state(), "mirror", &go_on).unwrap().root,
        two.root
    );
    library.release(&one.root, "mirror");
    assert_eq!(library.manifest(&one.root), None);
    assert!(store.root(&one.root).is_none());
    assert_eq!(library.manifest(&two.root), Some(two.manifest));
    assert!(dir.join("a").exists(), "files of the user's stay");
    // What somebody else keeps too stays when the mirror lets go.
    store.keep(&two.root, "mine", None).unwrap();
    library.release(&two.root, "mirror");
    assert_eq!(store.root(&two.root).unwrap().tags, [("mine".to_owned(), None)]);
    library.release(&two.root, "mirror");
}

#[test]
fn what_cannot_be_read_is_named_and_stays_as_it_was() {
    let temp = tempfile::tempdir().unwrap();
    let (_dir, store) = store(&temp.path().join("data"));
    let library = StoreLibrary::new(store);
    let (dir, go_on) = (temp.path().join("site"), AtomicBool::new(false));
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("a"), "a").unwrap();
    // Gone between the look and the reading: one that was there before, and one that was not.
    let listed = vec![
        found(&dir, "a", None),
        found(&dir, "gone", Some(b"old")),
        found(&dir, "new", None),
    ];
    let added = library.add(&dir, listed, "m", &go_on).unwrap();
    let paths: Vec<&str> = added.manifest.entries.iter().map(|e| e.path.as_str()).collect();
    assert_eq!(
        paths,
        ["a", "gone"],
        "what was known stays, what was not is left out"
    );
    let failed: Vec<(&str, bool)> = added
        .failed
        .iter()
        .map(|(p, _, passing)| (p.as_str(), *passing))
        .collect();
    assert_eq!(failed, [("gone", true), ("new", true)], "looked at again soon");
    // No folder, and no wish to go on.
    let e = library.add(&temp.path().join("nothing"), Vec::new(), "m", &go_on);
    assert!(
        matches!(
            &e,
            Err(SyncError::Content {
                code: "file.missing",
                ..
            })
        ),
        "{e:?}"
    );
    go_on.store(true, Ordering::Relaxed);
    fs::write(dir.join("large"), vec![3; 3 << 20]).unwrap();
    let e = library.add(&dir, vec![found(&dir, "large", None)], "m", &go_on);
    assert!(e.is_err(), "{e:?}");
}
