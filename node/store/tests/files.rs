//! Content by hash from one store to another: every size, every kind of destination, and what must be refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod files_kit;

use files_kit::{Node, noise, transfer};
use hive_protocol::{
    file::{GROUP, SEGMENT, groups_of, segments, whole_mask},
    ids::BlobHash,
};
use hive_store::files::{AddOptions, ContentKind, Destination, FilesError};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    sync::atomic::AtomicBool,
};

const SIZES: [u64; 12] = [
    0,
    1,
    1000,
    GROUP - 1,
    GROUP,
    GROUP + 1,
    5 * GROUP,
    SEGMENT - 1,
    SEGMENT,
    SEGMENT + 1,
    3 * SEGMENT + 5 * GROUP + 7,
    9 * SEGMENT,
];

#[test]
fn content_of_every_size_comes_over_whole() {
    let (a, b) = (Node::new(), Node::new());
    for size in SIZES {
        let data = noise(size, size as usize);
        let path = a.file(&format!("f{size}"), &data);
        let added = a.add(&path);
        assert_eq!(added.root.hash, BlobHash::of(&data), "{size}");
        assert_eq!(added.hashed, size);
        let content = a.store.content(&added.root.hash).unwrap();
        assert_eq!(
            (content.size, content.whole, content.kind),
            (size, true, ContentKind::Reference)
        );
        // To a place, and into the blob store.
        let dest = b.path(&format!("to/{size}"));
        let p = b.begin(&added.root.hash, Some(&dest));
        transfer(&a.store.source(&added.root.hash).unwrap(), &p);
        let root = p.finish(Some(0o640), Some(1_234_567_890_123_456_789)).unwrap();
        assert_eq!((root.size, root.name), (size, size.to_string()));
        assert_eq!(fs::read(&dest).unwrap(), data);
        let m = fs::metadata(&dest).unwrap();
        assert_eq!(
            (m.permissions().mode() & 0o7777, m.mtime(), m.mtime_nsec()),
            (0o640, 1_234_567_890, 123_456_789)
        );
        assert_eq!(b.store.content(&root.hash).unwrap().kind, ContentKind::Reference);
        assert_eq!(b.store.verify(&root.hash, &AtomicBool::new(false)).unwrap(), size);
        let c = Node::new();
        let p = c.begin(&root.hash, None);
        transfer(&b.store.source(&root.hash).unwrap(), &p);
        p.finish(None, None).unwrap();
        assert_eq!(c.store.blobs().read(&root.hash, u64::MAX).unwrap(), data);
        assert_eq!(c.store.blobs().verify(&root.hash).unwrap(), size);
        assert_eq!(c.store.content(&root.hash).unwrap().kind, ContentKind::Blob);
        assert!(c.store.partials().is_empty() && b.store.partials().is_empty());
        // A blob is served like anything else.
        let s = c.store.source(&root.hash).unwrap();
        assert_eq!(
            s.segment_cvs().unwrap(),
            a.store.source(&root.hash).unwrap().segment_cvs().unwrap()
        );
        let mut out = Vec::new();
        s.read_range(size / 3, size, true, &mut out).unwrap();
        assert_eq!(out, &data[(size / 3) as usize..]);
    }
}

#[test]
fn a_blob_that_came_the_old_way_is_served_by_segments() {
    let a = Node::new();
    let data = noise(5, (2 * SEGMENT + 3 * GROUP + 9) as usize);
    let hash = a.store.blobs().add_bytes(&data).unwrap().hash;
    let b = Node::new();
    let p = b.begin(&hash, Some(&b.path("x")));
    transfer(&a.store.source(&hash).unwrap(), &p);
    p.finish(None, None).unwrap();
    assert_eq!(fs::read(b.path("x")).unwrap(), data);
}

#[test]
fn wrong_bytes_lists_and_sizes_are_refused_and_leave_nothing() {
    let (a, b) = (Node::new(), Node::new());
    let size = 2 * SEGMENT + 5 * GROUP + 100;
    let data = noise(1, size as usize);
    let hash = a.add(&a.file("f", &data)).root.hash;
    let s = a.store.source(&hash).unwrap();
    let p = b.begin(&hash, Some(&b.path("f")));
    let code = |r: Result<(), FilesError>| r.unwrap_err().code();
    let segs = s.segment_cvs().unwrap();
    assert_eq!(code(p.set_groups(0, &s.group_cvs(0).unwrap())), "file.order");
    assert_eq!(
        p.write(0, 0, &data[..GROUP as usize]).unwrap_err().code(),
        "file.order"
    );
    let mut wrong = segs.clone();
    wrong[1][3] ^= 1;
    for (size, list) in [
        (size, wrong.as_slice()),
        (size, &segs[1..]),
        (size, &[]),
        (size + SEGMENT, &segs),
        (0, &[]),
        (100, &segs),
        (size - SEGMENT, &segs),
    ] {
        assert_eq!(code(p.set_tree(size, list)), "file.corrupt");
    }
    assert_eq!(code(p.set_tree(u64::MAX, &segs)), "file.too_large");
    assert_eq!(p.size(), None);
    p.set_tree(size, &segs).unwrap();
    assert_eq!(
        p.write(0, 0, &data[..GROUP as usize]).unwrap_err().code(),
        "file.order"
    );
    let groups = s.group_cvs(0).unwrap();
    for (n, list) in [
        (1, groups.as_slice()),
        (0, &groups[1..]),
        (0, &[]),
        (3, &groups),
        (u64::MAX, &groups),
    ] {
        assert_eq!(code(p.set_groups(n, list)), "file.corrupt");
    }
    p.set_groups(0, &groups).unwrap();
    let mut bytes = data[..3 * GROUP as usize].to_vec();
    bytes[GROUP as usize + 5] ^= 1;
    for (segment, mask, bytes) in [
        (0, 0b10, &bytes[GROUP as usize..2 * GROUP as usize]),
        (0, 0b1, &bytes[..100]),
        (0, 0b1, &bytes[..]),
        (0, 0b1000, &bytes[..GROUP as usize]),
        (9, 0b1, &bytes[..GROUP as usize]),
        (u64::MAX, 1, &bytes[..GROUP as usize]),
    ] {
        let e = p.write_mask(segment, mask, bytes).unwrap_err();
        assert!(["file.corrupt", "file.order"].contains(&e.code()), "{e}");
    }
    assert_eq!(
        p.write(0, 64, &bytes[..GROUP as usize]).unwrap_err().code(),
        "file.corrupt"
    );
    assert_eq!(p.bytes_here(), 0);
    // The right ones of a mixture are kept.
    assert_eq!(p.write_mask(0, 0b111, &bytes).unwrap(), 0b101);
    assert_eq!(p.missing(0), whole_mask(size, 0) & !0b101);
    assert_eq!(p.bytes_here(), 2 * GROUP);
    assert_eq!(p.finish(None, None).unwrap_err().code(), "file.incomplete");
    assert!(!p.write(0, 0, &bytes[..GROUP as usize]).unwrap(), "twice");
    transfer(&s, &p);
    p.finish(None, None).unwrap();
    assert_eq!(fs::read(b.path("f")).unwrap(), data);
    assert_eq!(
        p.write(0, 0, &bytes[..GROUP as usize]).unwrap_err().code(),
        "file.order"
    );
}

#[test]
fn a_lying_size_is_found_by_the_last_group_and_can_be_put_right() {
    let (a, b) = (Node::new(), Node::new());
    let size = 2 * SEGMENT + 100;
    let data = noise(2, size as usize);
    let hash = a.add(&a.file("f", &data)).root.hash;
    let s = a.store.source(&hash).unwrap();
    let p = b.begin(&hash, Some(&b.path("f")));
    // As many segments, so the list alone does not tell.
    p.set_tree(size + 50, &s.segment_cvs().unwrap()).unwrap();
    p.set_groups(0, &s.group_cvs(0).unwrap()).unwrap();
    let mut bytes = Vec::new();
    s.read(0, 1, &mut bytes).unwrap();
    assert!(p.write(0, 0, &bytes).unwrap());
    p.set_groups(2, &s.group_cvs(2).unwrap()).unwrap();
    bytes.clear();
    s.read(2, 1, &mut bytes).unwrap();
    assert_eq!(p.write(2, 0, &bytes).unwrap_err().code(), "file.corrupt");
    bytes.resize(150, 0);
    assert_eq!(p.write(2, 0, &bytes).unwrap_err().code(), "file.corrupt");
    // Somebody else says another size.
    p.set_tree(size, &s.segment_cvs().unwrap()).unwrap();
    assert_eq!((p.bytes_here(), p.size()), (0, Some(size)));
    transfer(&s, &p);
    // Proven now: nobody can talk us out of it.
    assert_eq!(
        p.set_tree(size + 50, &s.segment_cvs().unwrap())
            .unwrap_err()
            .code(),
        "file.corrupt"
    );
    p.finish(None, None).unwrap();
    assert_eq!(fs::read(b.path("f")).unwrap(), data);
}

#[test]
fn what_came_so_far_is_served_and_goes_on_after_a_new_start() {
    let (a, mut b) = (Node::new(), Node::new());
    let size = 5 * SEGMENT + 3 * GROUP;
    let data = noise(3, size as usize);
    let hash = a.add(&a.file("f", &data)).root.hash;
    let s = a.store.source(&hash).unwrap();
    let dest = b.path("deep/er/f");
    let p = b.begin(&hash, Some(&dest));
    p.set_tree(size, &s.segment_cvs().unwrap()).unwrap();
    let mut bytes = Vec::new();
    for (segment, mask) in [(1, u64::MAX), (3, 0xff00), (5, 0b111)] {
        p.set_groups(segment, &s.group_cvs(segment).unwrap()).unwrap();
        bytes.clear();
        s.read(segment, mask, &mut bytes).unwrap();
        assert_eq!(p.write_mask(segment, mask, &bytes).unwrap(), mask);
    }
    assert_eq!(p.bitmap(), [0b100010]);
    let have = b.store.content(&hash).unwrap();
    assert_eq!(
        (have.size, have.whole, have.segments, have.kind),
        (size, false, vec![0b100010], ContentKind::Partial)
    );
    let part = b.store.source(&hash).unwrap();
    assert!(part.has(1, u64::MAX) && part.has(3, 0x8000) && !part.has(3, 0x10000) && !part.has(0, 1));
    let mut got = Vec::new();
    part.read(3, 0xff00, &mut got).unwrap();
    assert_eq!(
        got,
        &data[(3 * SEGMENT + 8 * GROUP) as usize..(3 * SEGMENT + 16 * GROUP) as usize]
    );
    assert_eq!(part.read(0, 1, &mut got).unwrap_err().code(), "file.not_here");
    assert_eq!(part.group_cvs(3).unwrap(), s.group_cvs(3).unwrap());
    assert_eq!(part.group_cvs(0).unwrap_err().code(), "file.not_here");
    assert_eq!(
        b.store
            .begin(&hash, &b.dest(Some(&dest)), u64::MAX)
            .unwrap_err()
            .code(),
        "file.busy"
    );
    let other = BlobHash::of(b"other");
    assert_eq!(
        b.store
            .begin(&other, &b.dest(Some(&dest)), u64::MAX)
            .unwrap_err()
            .code(),
        "file.busy"
    );
    let here = p.bytes_here();
    assert_eq!(p.segment_cvs().unwrap(), s.segment_cvs().unwrap());
    assert_eq!(p.group_cvs(3).unwrap(), s.group_cvs(3).unwrap());
    // Given up by one, taken up by another at once: whoever still holds the first can do no more.
    p.abandon(true).unwrap();
    let again = b.begin(&hash, Some(&dest));
    assert_eq!(again.bytes_here(), here);
    assert_eq!(
        p.write(1, 0, &data[..GROUP as usize]).unwrap_err().code(),
        "file.order"
    );
    drop((part, p, again));
    b.reopen();
    assert_eq!(b.store.content(&hash), None, "closed, so not served");
    assert_eq!(b.store.partials().len(), 1);
    let p = b.begin(&hash, Some(&dest));
    assert_eq!(
        (p.size(), p.bytes_here(), p.bitmap()),
        (Some(size), here, vec![0b100010])
    );
    assert!(p.has_groups(3) && !p.has_groups(0));
    assert_eq!(p.missing(3), !0xff00);
    transfer(&s, &p);
    p.finish(None, None).unwrap();
    assert_eq!(fs::read(&dest).unwrap(), data);
    assert_eq!(
        fs::read_dir(dest.parent().unwrap()).unwrap().count(),
        1,
        "no part is left"
    );
}

#[test]
fn something_in_the_way_is_not_touched() {
    let (a, b) = (Node::new(), Node::new());
    let data = noise(4, 200_000);
    let hash = a.add(&a.file("f", &data)).root.hash;
    let dest = b.file("f", b"mine");
    assert_eq!(
        b.store
            .begin(&hash, &b.dest(Some(&dest)), u64::MAX)
            .unwrap_err()
            .code(),
        "file.exists"
    );
    // It comes in the way while bytes come.
    let late = b.path("late");
    let p = b.begin(&hash, Some(&late));
    transfer(&a.store.source(&hash).unwrap(), &p);
    fs::write(&late, b"mine").unwrap();
    assert_eq!(p.finish(None, None).unwrap_err().code(), "file.exists");
    assert_eq!(fs::read(&late).unwrap(), b"mine");
    fs::remove_file(&late).unwrap();
    p.finish(None, None).unwrap();
    assert_eq!(fs::read(&late).unwrap(), data);
    // Allowed to.
    let over = Destination {
        overwrite: true,
        ..b.dest(Some(&dest))
    };
    let p = b.store.begin(&hash, &over, u64::MAX).unwrap();
    transfer(&a.store.source(&hash).unwrap(), &p);
    p.finish(None, None).unwrap();
    assert_eq!(fs::read(&dest).unwrap(), data);
    // A folder is never replaced by a file.
    fs::create_dir(b.path("dir")).unwrap();
    let over = Destination {
        overwrite: true,
        ..b.dest(Some(&b.path("dir")))
    };
    assert_eq!(
        b.store.begin(&hash, &over, u64::MAX).unwrap_err().code(),
        "file.exists"
    );
}

#[test]
fn abandoned_for_good_leaves_nothing() {
    let (a, b) = (Node::new(), Node::new());
    let data = noise(6, SEGMENT as usize + 5);
    let hash = a.add(&a.file("f", &data)).root.hash;
    for dest in [None, Some(b.path("x/y"))] {
        let p = b.begin(&hash, dest.as_deref());
        transfer(&a.store.source(&hash).unwrap(), &p);
        p.abandon(false).unwrap();
        assert!(b.store.partials().is_empty());
        drop(p);
        assert!(b.known().is_empty(), "{:?}", b.known());
    }
    assert_eq!(fs::read_dir(b.path("x")).unwrap().count(), 0);
    assert_eq!(b.store.blobs().budget().used(), 0);
}

#[test]
fn unchanged_files_are_not_read_again_and_changed_ones_are_not_served() {
    let a = Node::new();
    let data = noise(7, 300_000);
    let path = a.file("f", &data);
    files_kit::age(&path);
    let first = a.add(&path);
    assert_eq!(a.add(&path).hashed, 0);
    let s = a.store.source(&first.root.hash).unwrap();
    fs::write(&path, noise(8, 300_000)).unwrap();
    let mut out = Vec::new();
    assert_eq!(s.read(0, 1, &mut out).unwrap_err().code(), "file.changed");
    assert_eq!(
        a.store.source(&first.root.hash).unwrap_err().code(),
        "file.not_found"
    );
    assert!(a.store.content(&first.root.hash).is_none());
    assert!(a.store.root(&first.root.hash).unwrap().problem.is_some());
    let second = a.add(&path);
    assert_eq!(
        (second.hashed, second.root.hash),
        (300_000, BlobHash::of(&noise(8, 300_000)))
    );
    // Gone altogether.
    fs::remove_file(&path).unwrap();
    assert_eq!(
        a.store.source(&second.root.hash).unwrap_err().code(),
        "file.changed"
    );
}

#[test]
fn bytes_changed_behind_a_restored_time_are_found_by_whoever_receives_them() {
    let (a, b) = (Node::new(), Node::new());
    let mut data = noise(9, 3 * GROUP as usize);
    let path = a.file("f", &data);
    let hash = a.add(&path).root.hash;
    let before = fs::metadata(&path).unwrap();
    data[70_000] ^= 1;
    fs::write(&path, &data).unwrap();
    files_kit::set_mtime(&path, before.modified().unwrap());
    let s = a.store.source(&hash).unwrap();
    let p = b.begin(&hash, Some(&b.path("f")));
    p.set_tree(s.size(), &s.segment_cvs().unwrap()).unwrap();
    p.set_groups(0, &s.group_cvs(0).unwrap()).unwrap();
    let mut out = Vec::new();
    s.read(0, 0b111, &mut out).unwrap();
    assert_eq!(p.write_mask(0, 0b111, &out).unwrap(), 0b101);
    assert_eq!(
        s.read_range(GROUP, GROUP + 1, true, &mut out).unwrap_err().code(),
        "file.changed"
    );
    assert_eq!(groups_of(s.size(), 0) as u64, segments(s.size()) * 3);
}

#[test]
fn tags_leases_and_what_goes() {
    let a = Node::new();
    let cancel = AtomicBool::new(false);
    let copied = |name: &str, seed, tag| {
        let options = AddOptions {
            copy: true,
            tag,
            ..AddOptions::default()
        };
        a.store
            .add_path(&a.file(name, &noise(seed, 200_000)), &options, &cancel)
            .unwrap()
            .root
            .hash
    };
    let (x, y, z) = (
        copied("x", 1, Some("t")),
        copied("y", 2, None),
        copied("z", 3, Some("t")),
    );
    a.store.keep(&x, "u", None).unwrap();
    a.store
        .keep(&z, "t", Some(hive_protocol::time::Timestamp(1)))
        .unwrap();
    assert!(a.store.drop_tag(&x, "t").unwrap() && !a.store.drop_tag(&x, "t").unwrap());
    let lease = a.store.lease(&y);
    let gone = |dry| {
        let mut all: Vec<_> = a.store.gc(dry).unwrap().roots.iter().map(|r| r.0.hash).collect();
        all.sort();
        all
    };
    assert_eq!(gone(true), [z]);
    assert_eq!(a.store.remove(&y).unwrap_err().code(), "file.in_use");
    // The lease becomes a tag.
    lease.keep("v", None).unwrap();
    assert_eq!(gone(false), [z]);
    assert!(a.store.content(&z).is_none() && a.store.content(&y).is_some());
    assert!(!a.store.blobs().has(&z));
    // Making room for other blobs spares what is kept here.
    a.store.blobs().gc(0).unwrap();
    assert!(a.store.blobs().has(&x) && a.store.blobs().has(&y));
    assert!(a.store.remove(&x).unwrap() && !a.store.remove(&x).unwrap());
    assert_eq!(a.store.keep(&x, "t", None).unwrap_err().code(), "file.not_found");
    assert_eq!(a.store.roots().len(), 1);
    // By reference: forgotten, not deleted.
    let path = a.file("r", b"user's own");
    let r = a.add(&path).root.hash;
    assert!(a.store.gc(false).unwrap().roots.iter().any(|x| x.0.hash == r));
    assert!(a.store.content(&r).is_none() && path.exists());
}

#[test]
fn collecting_while_something_comes() {
    let (a, b) = (Node::new(), Node::new());
    let data = noise(11, 300_000);
    let path = a.file("f/x", &data);
    let (file, folder) = (a.add(&path).root.hash, a.add(&a.path("f")).root.hash);
    let p = b.begin(&file, None);
    let s = a.store.source(&file).unwrap();
    p.set_tree(s.size(), &[]).unwrap();
    let m = b.begin(&folder, None);
    transfer(&a.store.source(&folder).unwrap(), &m);
    let lease = b.store.lease(&folder);
    m.finish(None, None).unwrap();
    let collect = || {
        b.store.gc(false).unwrap();
        b.store.blobs().gc(0).unwrap();
    };
    collect();
    let manifest = b.store.manifest(&folder).unwrap();
    let q = b
        .store
        .begin_folder(&folder, &manifest, &b.dest(Some(&b.path("got"))), u64::MAX)
        .unwrap();
    drop(lease);
    collect();
    assert_eq!(b.store.remove(&folder).unwrap_err().code(), "file.in_use");
    let one = q.begin_entry(0).unwrap();
    transfer(&s, &one);
    transfer(&s, &p);
    collect();
    one.finish(None, None).unwrap();
    collect();
    q.finish().unwrap();
    p.finish(None, None).unwrap();
    b.store.keep(&folder, "t", None).unwrap();
    drop((q, one));
    collect();
    assert_eq!(b.store.manifest(&folder).unwrap().files(), 1);
    assert_eq!(fs::read(b.path("got/x")).unwrap(), data);
    assert!(b.store.content(&file).is_some());
}

#[test]
fn what_was_left_long_ago_goes_and_what_was_left_just_now_stays() {
    let (a, mut b) = (Node::new(), Node::new());
    let hash = a.add(&a.file("f", &noise(12, 300_000))).root.hash;
    let s = a.store.source(&hash).unwrap();
    let p = b.begin(&hash, Some(&b.path("f")));
    p.set_tree(s.size(), &[]).unwrap();
    p.set_groups(0, &s.group_cvs(0).unwrap()).unwrap();
    let mut bytes = Vec::new();
    s.read(0, 1, &mut bytes).unwrap();
    p.write(0, 0, &bytes).unwrap();
    drop(p);
    b.reopen();
    assert_eq!(b.store.gc(false).unwrap().partials.len(), 0);
    let info = b.store.partials().remove(0);
    assert_eq!(
        (info.size, info.open, info.dest.as_deref()),
        (300_000, false, Some(b.path("f").as_path()))
    );
    assert!(info.part.exists());
    // A week without a touch: rows keep when they were begun, so this one is made to look older than it is.
    let map = b
        .known()
        .into_iter()
        .find(|p| p.extension().is_some_and(|e| e == "map"))
        .unwrap();
    let week = std::time::Duration::from_secs(8 * 24 * 3600);
    files_kit::set_mtime(&map, std::time::SystemTime::now() + week);
    assert!(
        b.store.partials()[0].touched.0 > info.touched.0,
        "the later of the two counts"
    );
    assert_eq!(b.store.gc(true).unwrap().partials.len(), 0);
}
