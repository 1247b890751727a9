//! Holes, older versions, other boots, damage of what is kept, and files that move under our feet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod files_kit;

use files_kit::{Node, noise, transfer};
use hive_protocol::{
    file::{GROUP, SEGMENT, segments},
    ids::BlobHash,
};
use hive_store::files::{AddOptions, CopyRange};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::{FileExt, MetadataExt},
    sync::atomic::AtomicBool,
};

#[test]
fn holes_stay_holes_and_are_not_asked_for() {
    let (a, b) = (Node::new(), Node::new());
    let path = a.path("sparse");
    let size = 40 * SEGMENT + 777;
    let f = File::create(&path).unwrap();
    f.set_len(size).unwrap();
    f.write_all_at(&noise(1, 100_000), 7 * SEGMENT + 5).unwrap();
    f.write_all_at(b"end", size - 3).unwrap();
    drop(f);
    let hash = a.add(&path).root.hash;
    assert_eq!(hash, BlobHash::of(&fs::read(&path).unwrap()));
    let s = a.store.source(&hash).unwrap();
    let p = b.begin(&hash, Some(&b.path("got")));
    p.set_tree(size, &s.segment_cvs().unwrap()).unwrap();
    let mut asked = 0;
    for n in 0..segments(size) {
        p.set_groups(n, &s.group_cvs(n).unwrap()).unwrap();
        p.fill_zeros(n).unwrap();
        let (mask, mut bytes) = (p.missing(n), Vec::new());
        s.read(n, mask, &mut bytes).unwrap();
        asked += bytes.len() as u64;
        p.write_mask(n, mask, &bytes).unwrap();
    }
    assert!(asked <= 4 * GROUP, "{asked}");
    p.finish(None, None).unwrap();
    assert_eq!(fs::read(b.path("got")).unwrap(), fs::read(&path).unwrap());
    assert!(fs::metadata(b.path("got")).unwrap().blocks() * 512 < 1 << 20);
    // Zeros that do come are not written either.
    let p = b.begin(&hash, Some(&b.path("again")));
    assert_eq!(transfer(&s, &p), size);
    p.finish(None, None).unwrap();
    assert!(fs::metadata(b.path("again")).unwrap().blocks() * 512 < 1 << 20);
}

#[test]
fn what_an_older_version_has_is_taken_from_it() {
    let (a, b) = (Node::new(), Node::new());
    let old = noise(2, (4 * SEGMENT) as usize);
    let old_hash = b.add(&b.file("old", &old)).root.hash;
    // In front something was put in, so that no group is where it was.
    let new = [noise(3, 1000).as_slice(), &old].concat();
    let hash = a.add(&a.file("new", &new)).root.hash;
    let s = a.store.source(&hash).unwrap();
    let p = b.begin(&hash, Some(&b.path("new")));
    p.set_tree(s.size(), &s.segment_cvs().unwrap()).unwrap();
    for n in 0..segments(s.size()) {
        p.set_groups(n, &s.group_cvs(n).unwrap()).unwrap();
    }
    let mut at = 0;
    let mut known = BTreeMap::new();
    for (cv, len) in b.store.chunks(&old_hash).unwrap() {
        known.insert((cv, len), at);
        at += u64::from(len);
    }
    assert_eq!(at, old.len() as u64);
    let (mut to, mut ranges) = (0, Vec::new());
    for (cv, len) in a.store.chunks(&hash).unwrap() {
        assert_eq!(
            BlobHash::of(&new[to as usize..(to + u64::from(len)) as usize]).0,
            cv
        );
        if let Some(from) = known.get(&(cv, len)) {
            ranges.push(CopyRange {
                from: *from,
                to,
                len: len.into(),
            });
        }
        to += u64::from(len);
    }
    let source = b.store.source(&old_hash).unwrap();
    let taken = p.copy_from(&source, &ranges).unwrap();
    assert!(taken >= new.len() as u64 - 6 * GROUP, "{taken} of {}", new.len());
    assert_eq!(p.bytes_here(), taken);
    // A plan that is wrong, or made by a liar, gets nothing in.
    let lie = |from, to, len| p.copy_from(&source, &[CopyRange { from, to, len }]).unwrap();
    for (from, to, len) in [
        (0, 0, u64::MAX),
        (u64::MAX, 0, 10),
        (5, u64::MAX, 5),
        (0, 0, SEGMENT),
        (3, 1, u64::MAX - 2),
    ] {
        assert_eq!(lie(from, to, len), 0);
    }
    assert!(transfer(&s, &p) <= 6 * GROUP);
    p.finish(None, None).unwrap();
    assert_eq!(fs::read(b.path("new")).unwrap(), new);
    // The list is read from where it was kept the second time, and made anew when that is damaged.
    let list = b.store.chunks(&old_hash).unwrap();
    let kept = b
        .known()
        .into_iter()
        .find(|p| p.parent().unwrap().ends_with("chunks"))
        .unwrap();
    let mut bytes = fs::read(&kept).unwrap();
    bytes[40] ^= 1;
    fs::write(&kept, bytes).unwrap();
    assert_eq!(b.store.chunks(&old_hash).unwrap(), list);
}

#[test]
fn after_a_restart_of_the_machine_only_what_was_forced_to_the_disk_is_trusted() {
    let (a, mut b) = (Node::new(), Node::new());
    let data = noise(4, (3 * SEGMENT) as usize);
    let hash = a.add(&a.file("f", &data)).root.hash;
    let s = a.store.source(&hash).unwrap();
    let begin = |b: &Node| b.begin(&hash, Some(&b.path("f")));
    let p = begin(&b);
    p.set_tree(s.size(), &s.segment_cvs().unwrap()).unwrap();
    for n in 0..2 {
        let mut bytes = Vec::new();
        p.set_groups(n, &s.group_cvs(n).unwrap()).unwrap();
        s.read(n, u64::MAX, &mut bytes).unwrap();
        p.write_mask(n, u64::MAX, &bytes).unwrap();
        if n == 0 {
            p.sync().unwrap();
        }
    }
    drop(p);
    let info = b.store.partials().remove(0);
    // What a power cut does to bytes that were not forced: one group of the second segment is lost.
    let part = File::options().write(true).open(&info.part).unwrap();
    part.write_all_at(&[0; 4096], SEGMENT + 9 * GROUP).unwrap();
    let map = b
        .known()
        .into_iter()
        .find(|p| p.extension().is_some_and(|e| e == "map"))
        .unwrap();
    let head = File::options().read(true).write(true).open(&map).unwrap();
    let reboot = || head.write_all_at(b"otherone", 48).unwrap();
    reboot();
    b.reopen();
    let p = begin(&b);
    assert_eq!((p.missing(0), p.missing(1)), (0, 1 << 9));
    drop(p);
    // Without a restart what was verified is not read again.
    b.reopen();
    assert_eq!(begin(&b).missing(1), 1 << 9);
    reboot();
    part.write_all_at(&[0; 4096], SEGMENT + 11 * GROUP).unwrap();
    let p = begin(&b);
    assert_eq!(p.missing(1), 1 << 9 | 1 << 11);
    transfer(&s, &p);
    p.finish(None, None).unwrap();
    assert_eq!(fs::read(b.path("f")).unwrap(), data);
}

#[test]
fn a_part_that_was_taken_away_or_exchanged_is_begun_anew() {
    let (a, mut b) = (Node::new(), Node::new());
    let data = noise(5, (2 * SEGMENT) as usize);
    let hash = a.add(&a.file("f", &data)).root.hash;
    let s = a.store.source(&hash).unwrap();
    for round in 0..3 {
        let dest = b.path(&format!("f{round}"));
        let p = b.begin(&hash, Some(&dest));
        p.set_tree(s.size(), &s.segment_cvs().unwrap()).unwrap();
        p.set_groups(0, &s.group_cvs(0).unwrap()).unwrap();
        let mut bytes = Vec::new();
        s.read(0, u64::MAX, &mut bytes).unwrap();
        p.write_mask(0, u64::MAX, &bytes).unwrap();
        drop(p);
        let part = b.store.partials().remove(0).part;
        match round {
            0 => fs::remove_file(&part).unwrap(),
            1 => {
                fs::rename(&part, b.path("old")).unwrap();
                fs::write(&part, vec![1; s.size() as usize]).unwrap();
            }
            _ => File::options()
                .write(true)
                .open(&part)
                .unwrap()
                .set_len(100)
                .unwrap(),
        }
        b.reopen();
        let p = b.begin(&hash, Some(&dest));
        assert_eq!(p.bytes_here(), 0, "{round}");
        transfer(&s, &p);
        p.finish(None, None).unwrap();
        assert_eq!(fs::read(&dest).unwrap(), data);
    }
}

#[test]
fn damaged_lists_are_made_anew() {
    let a = Node::new();
    let data = noise(6, (2 * SEGMENT + 5) as usize);
    let path = a.file("d/f", &data);
    let hash = a.add(&path).root.hash;
    let expected = |s: &hive_store::files::Source| (s.segment_cvs().unwrap(), s.group_cvs(1).unwrap());
    let right = expected(&a.store.source(&hash).unwrap());
    let kept = a.temp.path().join("data/files/cvs").join(hash.hex());
    for at in [64, 64 + 3 * 32 + 64 * 32 + 7] {
        let mut bytes = fs::read(&kept).unwrap();
        bytes[at] ^= 1;
        fs::write(&kept, bytes).unwrap();
        assert!(expected(&a.store.source(&hash).unwrap()) == right, "{at}");
    }
    for len in [0, 10, 64, 100, 200] {
        File::options()
            .write(true)
            .open(&kept)
            .unwrap()
            .set_len(len)
            .unwrap();
        assert!(expected(&a.store.source(&hash).unwrap()) == right, "{len}");
    }
    fs::remove_file(&kept).unwrap();
    assert!(expected(&a.store.source(&hash).unwrap()) == right);
    // A pack of a folder.
    let b = Node::new();
    b.file("d/f", &data);
    b.add(&b.path("d"));
    let pack = b
        .known()
        .into_iter()
        .find(|p| p.extension().is_some_and(|e| e == "cvs"))
        .unwrap();
    fs::write(&pack, b"rubbish").unwrap();
    assert!(expected(&b.store.source(&hash).unwrap()) == right);
}

#[test]
fn a_table_that_is_gone_is_named_and_the_rest_opens() {
    let mut a = Node::new();
    a.file("d/f", &noise(7, 100));
    let other = a.add(&a.file("o", b"other")).root.hash;
    let folder = a.add(&a.path("d")).root.hash;
    let table = a
        .known()
        .into_iter()
        .find(|p| p.extension().is_some_and(|e| e == "dir"))
        .unwrap();
    fs::write(
        &table,
        b"HIVEDIR1 rubbish that is long enough to look like a head of a table, perhaps",
    )
    .unwrap();
    a.reopen();
    assert_eq!(a.report.problems.len(), 1, "{:?}", a.report.problems);
    assert!(a.store.content(&other).is_some());
    assert_eq!(a.add(&a.path("d")).root.hash, folder);
}

#[test]
fn a_file_written_to_while_it_is_added_is_refused() {
    let a = Node::new();
    let cancel = AtomicBool::new(false);
    for (name, in_folder) in [("f", false), ("d/f", true)] {
        let path = a.file(name, &noise(8, (3 * SEGMENT) as usize));
        let what = if in_folder { a.path("d") } else { path.clone() };
        for shrink in [false, true] {
            let touch = |_| {
                let f = File::options().write(true).open(&path).unwrap();
                if shrink {
                    f.set_len(SEGMENT / 2).unwrap();
                } else {
                    f.write_all_at(b"x", 3 * SEGMENT + 10).unwrap();
                }
            };
            let options = AddOptions {
                progress: Some(&touch),
                ..AddOptions::default()
            };
            let e = a.store.add_path(&what, &options, &cancel).unwrap_err();
            assert_eq!(e.code(), "file.unsteady", "{e}");
        }
    }
    assert!(
        a.store.roots().is_empty() && a.known().is_empty(),
        "{:?}",
        a.known()
    );
    // While it is read by somebody: the next read says so.
    let path = a.file("g", &noise(9, (2 * SEGMENT) as usize));
    let hash = a.add(&path).root.hash;
    let s = a.store.source(&hash).unwrap();
    let mut out = Vec::new();
    s.read(0, 1, &mut out).unwrap();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(100)
        .unwrap();
    assert_eq!(s.read(1, 1, &mut out).unwrap_err().code(), "file.changed");
}

#[test]
fn what_is_finished_is_written_to_by_nobody_who_is_late() {
    // Several bring the same bytes, as at the end of a transfer; the first to be done finishes it, and what is finished
    // is its owner's: a late write would show by its time of change.
    const MANY: usize = 6;
    let (a, b) = (Node::new(), Node::new());
    let hash = a.add(&a.file("source", &noise(11, SEGMENT as usize))).root.hash;
    let s = a.store.source(&hash).unwrap();
    for round in 0..30 {
        let path = b.path(&format!("got-{round}"));
        let p = b.begin(&hash, Some(&path));
        p.set_tree(SEGMENT, &s.segment_cvs().unwrap()).unwrap();
        p.set_groups(0, &s.group_cvs(0).unwrap()).unwrap();
        let (mask, mut bytes) = (p.missing(0), Vec::new());
        s.read(0, mask, &mut bytes).unwrap();
        let barrier = std::sync::Barrier::new(MANY);
        std::thread::scope(|scope| {
            for _ in 0..MANY {
                scope.spawn(|| {
                    barrier.wait();
                    // Who is late is told that it is over, the bringing and the finishing alike.
                    let _ = p.write_mask(0, mask, &bytes);
                    let _ = p.finish(None, Some(1_000_000_000));
                });
            }
        });
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.mtime(), meta.len()), (1, SEGMENT), "round {round}");
        assert!(p.write_mask(0, mask, &bytes).is_err());
        fs::remove_file(&path).unwrap();
    }
}
