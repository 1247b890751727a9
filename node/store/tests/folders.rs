//! Folders from one store to another: what a walk takes, how they come over, and what must not happen on the way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod files_kit;

use files_kit::{Node, noise, transfer};
use hive_protocol::{
    file::{GROUP, MAX_MANY_BYTES, SEGMENT},
    ids::BlobHash,
    manifest::{Entry, EntryKind, Manifest},
};
use hive_store::files::{AddOptions, Beneath, Destination, FolderPartial, Given, PART_SUFFIX, Small};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, symlink},
        net::UnixListener,
    },
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

/// Every path below a folder with mode, time and content.
fn tree(root: &Path) -> BTreeMap<String, (u32, i64, Vec<u8>)> {
    let (mut all, mut todo) = (BTreeMap::new(), vec![root.to_path_buf()]);
    while let Some(dir) = todo.pop() {
        for item in fs::read_dir(dir).unwrap() {
            let path = item.unwrap().path();
            let m = fs::symlink_metadata(&path).unwrap();
            let content = if m.is_dir() {
                todo.push(path.clone());
                b"folder".to_vec()
            } else if m.is_symlink() {
                fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
            } else {
                fs::read(&path).unwrap()
            };
            let rel = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            all.insert(
                rel,
                (
                    m.mode() & 0o7777,
                    m.mtime() * 1_000_000_000 + m.mtime_nsec(),
                    content,
                ),
            );
        }
    }
    all
}

fn sample(n: &Node, name: &str) -> std::path::PathBuf {
    n.file(&format!("{name}/a.txt"), b"small");
    n.file(&format!("{name}/same.txt"), b"small");
    n.file(&format!("{name}/empty"), b"");
    n.file(&format!("{name}/sub/dir-ä/日本語 🦀.bin"), &noise(1, 70_000));
    n.file(
        &format!("{name}/sub/large"),
        &noise(2, (2 * SEGMENT + 3 * GROUP + 5) as usize),
    );
    n.file(
        &format!("{name}/sub/large copy"),
        &noise(2, (2 * SEGMENT + 3 * GROUP + 5) as usize),
    );
    n.file(&format!("{name}/group"), &noise(3, GROUP as usize));
    let root = n.path(name);
    fs::create_dir_all(root.join("void/inner")).unwrap();
    symlink("sub/large", root.join("link")).unwrap();
    symlink("../a.txt", root.join("sub/up")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    for path in ["sub/large", "sub/large copy", "group"] {
        files_kit::age(&root.join(path));
    }
    for (path, mode) in [
        ("a.txt", 0o600),
        ("sub/large", 0o755),
        ("void", 0o500),
        ("sub", 0o711),
    ] {
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    root
}

/// Takes the manifest over, then everything that is wanted.
fn pull(from: &Node, to: &Node, hash: &BlobHash, dest: &Destination) -> FolderPartial {
    let p = begin(from, to, hash, dest);
    fetch(from, &p);
    p
}

fn begin(from: &Node, to: &Node, hash: &BlobHash, dest: &Destination) -> FolderPartial {
    if !to.store.blobs().has(hash) {
        let m = to.begin(hash, None);
        transfer(&from.store.source(hash).unwrap(), &m);
        m.finish(None, None).unwrap();
    }
    let manifest = to.store.manifest(hash).unwrap();
    to.store.begin_folder(hash, &manifest, dest, u64::MAX).unwrap()
}

/// Returns the bytes that came from the other side.
fn fetch(from: &Node, p: &FolderPartial) -> u64 {
    let mut bytes = 0;
    while let Some((n, hash, size)) = p.wanted(None, 1).first().copied() {
        bytes += size;
        if size <= GROUP {
            let (mut out, mut sizes) = (Vec::new(), Vec::new());
            from.store
                .small(&[hash], &mut out, &mut sizes, MAX_MANY_BYTES)
                .unwrap();
            assert_eq!(sizes, [size as u32]);
            assert!(p.write_small(&[(n, &out)]).unwrap().is_empty());
        } else {
            let one = p.begin_entry(n).unwrap();
            transfer(&from.store.source(&hash).unwrap(), &one);
            one.finish(None, None).unwrap();
        }
    }
    bytes
}

#[test]
fn a_folder_comes_over_as_it_is() {
    let (a, mut b) = (Node::new(), Node::new());
    let root = sample(&a, "src");
    let added = a.add(&root);
    assert_eq!(
        (added.root.folder, added.root.files, added.root.entries),
        (true, 7, 14)
    );
    let dest = b.path("got");
    let p = pull(&a, &b, &added.root.hash, &b.dest(Some(&dest)));
    assert!(!dest.exists(), "it comes as a whole");
    assert_eq!(p.bytes_here(), added.root.size);
    let got = p.finish().unwrap();
    assert_eq!(
        (got.hash, got.size, got.name.as_str()),
        (added.root.hash, added.root.size, "got")
    );
    assert_eq!(tree(&dest), tree(&root));
    assert!(b.store.partials().is_empty());
    drop(p);
    // It is served on from there, also after a new start, and adding it gives the same hash without reading.
    b.reopen();
    assert_eq!(b.report.problems, Vec::<String>::new());
    assert_eq!(
        b.store.verify(&got.hash, &AtomicBool::new(false)).unwrap(),
        got.size + b.store.blobs().size(&got.hash).unwrap()
    );
    let large = BlobHash::of(&noise(2, (2 * SEGMENT + 3 * GROUP + 5) as usize));
    assert!(b.store.lists(&got.hash, &large) && !b.store.lists(&got.hash, &BlobHash::of(b"x")));
    assert_eq!(b.store.content(&large).unwrap().size, 2 * SEGMENT + 3 * GROUP + 5);
    let c = Node::new();
    let p = pull(&b, &c, &got.hash, &c.dest(Some(&c.path("third"))));
    p.finish().unwrap();
    assert_eq!(tree(&c.path("third")), tree(&root));
    assert_eq!(b.add(&dest).root.hash, got.hash);
    // The values were kept from the transfer: nothing is hashed to serve.
    assert!(
        fs::read_dir(b.temp.path().join("data/files/cvs"))
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn an_interrupted_folder_goes_on_and_asks_for_nothing_twice() {
    let (a, mut b) = (Node::new(), Node::new());
    let added = a.add(&sample(&a, "src"));
    let dest = b.dest(Some(&b.path("got")));
    let p = begin(&a, &b, &added.root.hash, &dest);
    let all = p.wanted(None, 100);
    assert_eq!(all.len(), 5, "each content once: {all:?}");
    let small: Vec<_> = all.iter().filter(|w| w.2 < 100).copied().collect();
    for (n, ..) in &small {
        let bytes: &[u8] = if p.manifest().entries[*n as usize].path == "empty" {
            b""
        } else {
            b"small"
        };
        assert_eq!(p.write_small(&[(*n, b"wrong"), (*n, bytes)]).unwrap(), [*n]);
    }
    let large = all.iter().find(|w| w.2 > SEGMENT).unwrap();
    let one = p.begin_entry(large.0).unwrap();
    assert_eq!(p.begin_entry(large.0).unwrap_err().code(), "file.busy");
    let s = a.store.source(&large.1).unwrap();
    one.set_tree(s.size(), &s.segment_cvs().unwrap()).unwrap();
    one.set_groups(1, &s.group_cvs(1).unwrap()).unwrap();
    let mut bytes = Vec::new();
    s.read(1, u64::MAX, &mut bytes).unwrap();
    one.write_mask(1, u64::MAX, &bytes).unwrap();
    // What is here of an unfinished folder is served.
    assert_eq!(b.store.content(&BlobHash::of(b"small")).unwrap().size, 5);
    let (mut out, mut sizes) = (Vec::new(), Vec::new());
    b.store
        .small(&[BlobHash::of(b"small"), large.1], &mut out, &mut sizes, 1 << 20)
        .unwrap();
    assert_eq!(
        (out.as_slice(), sizes.as_slice()),
        (b"small".as_slice(), [5, u32::MAX].as_slice())
    );
    assert!(b.store.lists(&added.root.hash, &large.1));
    assert!(b.store.source(&large.1).unwrap().has(1, 1));
    let manifest = b.store.manifest(&added.root.hash).unwrap();
    assert_eq!(
        b.store
            .begin_folder(&added.root.hash, &manifest, &dest, u64::MAX)
            .unwrap_err()
            .code(),
        "file.busy"
    );
    assert_eq!(p.finish().unwrap_err().code(), "file.incomplete");
    drop((p, one));
    b.reopen();
    let p = begin(&a, &b, &added.root.hash, &dest);
    assert_eq!(p.wanted(None, 100).len(), 3);
    let one = p.begin_entry(large.0).unwrap();
    assert_eq!((one.bytes_here(), one.missing(1)), (SEGMENT, 0));
    drop(one);
    fetch(&a, &p);
    p.finish().unwrap();
    assert_eq!(tree(&b.path("got")), tree(&a.path("src")));
}

#[test]
fn what_is_here_already_is_not_asked_for() {
    let (a, b) = (Node::new(), Node::new());
    let added = a.add(&sample(&a, "src"));
    pull(&a, &b, &added.root.hash, &b.dest(Some(&b.path("one"))))
        .finish()
        .unwrap();
    // A second state: one file new, one gone, one moved.
    let root = a.path("src");
    fs::set_permissions(root.join("void"), fs::Permissions::from_mode(0o700)).unwrap();
    a.file("src/new", &noise(9, 1000));
    fs::remove_file(root.join("group")).unwrap();
    fs::rename(root.join("sub/large"), root.join("void/moved")).unwrap();
    let second = a.add(&root);
    assert!(
        second.hashed <= 1000 + 200_000,
        "a renamed file is known by its inode: {}",
        second.hashed
    );
    let p = begin(&a, &b, &second.root.hash, &b.dest(Some(&b.path("two"))));
    p.fill_from_store(&AtomicBool::new(false)).unwrap();
    assert_eq!(fetch(&a, &p), 1000);
    p.finish().unwrap();
    assert_eq!(tree(&b.path("two")), tree(&root));
    // In place, over the first state: nothing at all is asked for but the new file, and strangers stay.
    b.file("one/stranger", b"stays");
    let dest = b.dest(Some(&b.path("one")));
    let manifest = b.store.manifest(&second.root.hash).unwrap();
    let refused = b
        .store
        .begin_folder(&second.root.hash, &manifest, &dest, u64::MAX);
    assert_eq!(refused.unwrap_err().code(), "file.exists");
    let dest = Destination {
        overwrite: true,
        ..dest
    };
    let p = begin(&a, &b, &second.root.hash, &dest);
    p.fill_from_store(&AtomicBool::new(false)).unwrap();
    assert_eq!(fetch(&a, &p), 0);
    p.finish().unwrap();
    let got = tree(&b.path("one"));
    for (path, what) in tree(&root) {
        assert_eq!(got.get(&path), Some(&what), "{path}");
    }
    assert_eq!(got.get("stranger").unwrap().2, b"stays");
}

#[test]
fn what_cannot_travel_is_refused_by_name_or_left_out() {
    let a = Node::new();
    let root = sample(&a, "src");
    let try_with = |name: &OsStr, make: &dyn Fn(&Path)| {
        let path = root.join(name);
        make(&path);
        let e = a
            .store
            .add_path(&root, &AddOptions::default(), &AtomicBool::new(false))
            .unwrap_err();
        assert_eq!(e.code(), "file.unsafe");
        let options = AddOptions {
            skip_unsafe: true,
            ..AddOptions::default()
        };
        let added = a
            .store
            .add_path(&root, &options, &AtomicBool::new(false))
            .unwrap();
        assert_eq!((added.skipped_count, added.skipped.len()), (1, 1));
        assert_eq!(added.skipped[0].0, fs::canonicalize(&root).unwrap().join(name));
        fs::remove_file(&path).unwrap();
        e.to_string()
    };
    let e = try_with(OsStr::from_bytes(b"bad\xff"), &|p| fs::write(p, b"x").unwrap());
    assert!(e.contains("UTF-8"), "{e}");
    for target in ["/etc/passwd", "../outside", "sub/../../x", "a/../b"] {
        let e = try_with(OsStr::new("bad"), &|p| symlink(target, p).unwrap());
        assert!(e.contains("leaves"), "{e}");
    }
    try_with(OsStr::new("sock"), &|p| drop(UnixListener::bind(p).unwrap()));
    // What is being received is nobody's file.
    a.file(&format!("src/.x.0011{PART_SUFFIX}"), b"half");
    a.file("src/.left-out/x", b"");
    let options = AddOptions {
        exclude: &[".left-out"],
        ..AddOptions::default()
    };
    let added = a
        .store
        .add_path(&root, &options, &AtomicBool::new(false))
        .unwrap();
    assert_eq!(added.root.files, 7);
    assert_eq!(
        a.store
            .add_path(&a.path("none"), &options, &AtomicBool::new(false))
            .unwrap_err()
            .code(),
        "file.missing"
    );
    assert_eq!(
        a.store
            .add_path(&root, &options, &AtomicBool::new(true))
            .unwrap_err()
            .code(),
        "file.cancelled"
    );
}

#[test]
fn folders_swapped_for_links_lead_nowhere() {
    let (a, b) = (Node::new(), Node::new());
    a.file("src/sub/small", b"evil");
    a.file("src/sub/large", &noise(1, 200_000));
    let added = a.add(&a.path("src"));
    let outside = b.path("outside");
    fs::create_dir_all(&outside).unwrap();
    // In the staging folder, before anything is written there.
    let p = begin(&a, &b, &added.root.hash, &b.dest(Some(&b.path("got"))));
    let staging = b.store.partials()[0].part.clone();
    symlink(&outside, staging.join("sub")).unwrap();
    let n = p.wanted(None, 10).iter().find(|w| w.2 == 4).unwrap().0;
    assert_eq!(
        p.write_small(&[(n, b"evil")]).unwrap_err().code(),
        "file.bad_destination"
    );
    let large = p.wanted(None, 10).iter().find(|w| w.2 > 4).unwrap().0;
    assert_eq!(p.begin_entry(large).unwrap_err().code(), "file.bad_destination");
    p.abandon(false).unwrap();
    // In place, after the folder was opened: what was opened is written to, not where the link leads.
    let home = b.path("home");
    fs::create_dir_all(home.join("sub")).unwrap();
    let dest = Destination {
        overwrite: true,
        ..b.dest(Some(&home))
    };
    let p = begin(&a, &b, &added.root.hash, &dest);
    let one = p.begin_entry(large).unwrap();
    fs::rename(home.join("sub"), home.join("sub-moved")).unwrap();
    symlink(&outside, home.join("sub")).unwrap();
    transfer(&a.store.source(&one.hash()).unwrap(), &one);
    one.finish(None, None).unwrap();
    let _ = p.write_small(&[(n, b"evil")]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    p.abandon(false).unwrap();
    // A single file below a folder that must not be left.
    let below = b.path("below");
    fs::create_dir_all(&below).unwrap();
    symlink(&outside, below.join("link")).unwrap();
    for path in ["link/x", "../x", "/x", "a/../../x", ""] {
        let dest = Destination {
            path: Some(path.into()),
            below: Some(below.clone()),
            overwrite: true,
            ..Destination::default()
        };
        let code = b
            .store
            .begin(&BlobHash([7; 32]), &dest, u64::MAX)
            .unwrap_err()
            .code();
        assert!(
            ["file.bad_path", "file.bad_destination"].contains(&code),
            "{path}: {code}"
        );
    }
    // The destination itself is a link: it is replaced, never followed.
    let victim = b.file("outside2/victim", b"victim");
    symlink(&victim, below.join("f")).unwrap();
    let dest = Destination {
        path: Some("f".into()),
        below: Some(below.clone()),
        overwrite: true,
        ..Destination::default()
    };
    let hash = a.add(&a.path("src/sub/small")).root.hash;
    let q = b.store.begin(&hash, &dest, u64::MAX).unwrap();
    transfer(&a.store.source(&hash).unwrap(), &q);
    q.finish(None, None).unwrap();
    assert_eq!(fs::read(&victim).unwrap(), b"victim");
    assert_eq!(fs::read(below.join("f")).unwrap(), b"evil");
    assert!(!below.join("f").is_symlink());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_folder_given_by_its_entries_and_one_known_to_be_in_place() {
    let (a, b) = (Node::new(), Node::new());
    let root = sample(&a, "src");
    let whole = a.add(&root);
    let manifest = a.store.manifest(&whole.root.hash).unwrap();
    let given = |manifest: &Manifest| -> Vec<Given> {
        let one = |e: &Entry| Given {
            entry: e.clone(),
            ino: fs::symlink_metadata(root.join(&e.path)).map_or(0, |m| m.ino()),
            older: None,
        };
        manifest.entries.iter().rev().map(one).collect()
    };
    let cancel = AtomicBool::new(false);
    let same = a
        .store
        .add_entries(&root, given(&manifest), Some("m"), &cancel)
        .unwrap();
    assert_eq!(
        (same.root.hash, same.failed.len(), &same.manifest),
        (whole.root.hash, 0, &*manifest)
    );
    // One vanishes, one changes while we look: the one has an older state to stand for it, the other has none.
    let mut list = given(&manifest);
    fs::remove_file(root.join("group")).unwrap();
    fs::write(root.join("empty"), b"no more").unwrap();
    for g in &mut list {
        if g.entry.path == "group" {
            g.older = Some(g.entry.clone());
        }
        if ["group", "empty"].contains(&g.entry.path.as_str()) {
            // As if they had been changed when the list was made.
            g.entry.mtime_ns += 1;
        }
    }
    let odd = a.store.add_entries(&root, list, Some("m"), &cancel).unwrap();
    let mut failed: Vec<_> = odd.failed.iter().map(|(p, e)| (p.as_str(), e.code())).collect();
    failed.sort();
    assert_eq!(failed, [("empty", "file.unsteady"), ("group", "file.unsteady")]);
    assert!(odd.manifest.entries.iter().any(|e| e.path == "group"));
    assert!(!odd.manifest.entries.iter().any(|e| e.path == "empty"));
    assert!(a.store.release(&odd.root.hash, "m").unwrap());
    assert!(a.store.release(&whole.root.hash, "m").unwrap());
    assert!(a.store.content(&BlobHash::of(b"small")).is_none());
    // At the receiver: put there by somebody, known by its manifest.
    let below = b.path("mirror");
    fs::create_dir_all(&below).unwrap();
    let handle = Beneath::open(&below).unwrap();
    let small = |path, bytes| Small {
        hash: BlobHash::of(b"small"),
        bytes,
        path,
        mode: 0o640,
        mtime_ns: 5,
        overwrite: false,
    };
    let results = b.store.place_small(
        &handle,
        &[
            small("a.txt", b"small"),
            small("a.txt", b"small"),
            small("x/y", b"wrong"),
            small("../z", b"small"),
        ],
    );
    let codes: Vec<_> = results
        .iter()
        .map(|r| r.as_ref().map_or_else(|e| e.code(), |()| "ok"))
        .collect();
    assert_eq!(codes, ["ok", "file.exists", "file.corrupt", "file.bad_path"]);
    b.file("mirror/big", &noise(4, 300_000));
    let entry = |path: &str, hash, size| Entry {
        path: path.into(),
        kind: EntryKind::File { hash, size },
        mode: 0o640,
        mtime_ns: 5,
    };
    let big = BlobHash::of(&noise(4, 300_000));
    let m = Manifest::new(vec![
        entry("a.txt", BlobHash::of(b"small"), 5),
        entry("big", big, 300_000),
        entry("gone", big, 300_000),
    ])
    .unwrap();
    let known = b.store.add_known(&below, &m, None).unwrap();
    assert!(b.store.lists(&known.hash, &big));
    let mut out = Vec::new();
    b.store
        .source(&big)
        .unwrap()
        .read_range(70_000, 80_000, true, &mut out)
        .unwrap();
    assert_eq!(out, &noise(4, 300_000)[70_000..80_000]);
}

#[test]
fn a_manifest_of_a_million_entries() {
    let b = Node::new();
    let entries: Vec<Entry> = (0..1_000_000u32)
        .map(|n| Entry {
            path: format!("d{:03}/f{n:07}", n % 1000),
            kind: EntryKind::File {
                hash: BlobHash::of(&n.to_le_bytes()),
                size: 4,
            },
            mode: 0o644,
            mtime_ns: 0,
        })
        .collect();
    let manifest = Arc::new(Manifest::new(entries).unwrap());
    let bytes = manifest.encode().unwrap();
    let hash = b.store.blobs().add_bytes(&bytes).unwrap().hash;
    let dest = b.dest(Some(&b.path("got")));
    assert_eq!(
        b.store
            .begin_folder(&hash, &manifest, &dest, 3_999_999)
            .unwrap_err()
            .code(),
        "file.too_large"
    );
    let p = b.store.begin_folder(&hash, &manifest, &dest, u64::MAX).unwrap();
    let page = p.wanted(Some(499_999), 1000);
    assert_eq!((page.len(), page[0].0), (1000, 500_000));
    let bytes: Vec<[u8; 4]> = page
        .iter()
        .map(|(n, ..)| {
            let path = &manifest.entries[*n as usize].path;
            path[6..].parse::<u32>().unwrap().to_le_bytes()
        })
        .collect();
    let batch: Vec<(u32, &[u8])> = page
        .iter()
        .zip(&bytes)
        .map(|(w, b)| (w.0, b.as_slice()))
        .collect();
    assert_eq!(p.write_small(&batch).unwrap(), Vec::<u32>::new());
    assert_eq!(p.bytes_here(), 4000);
    assert!(b.store.content(&page[7].1).unwrap().whole);
    assert!(b.store.lists(&hash, &BlobHash::of(&999_999u32.to_le_bytes())));
    p.abandon(false).unwrap();
}
