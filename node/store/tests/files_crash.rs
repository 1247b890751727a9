//! What is left of transfers when the process is killed at any instant: this test runs itself as a child and kills it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod files_kit;

use files_kit::{Node, noise, open, transfer};
use hive_protocol::{
    file::{GROUP, SEGMENT, groups_of, segments},
    ids::BlobHash,
};
use hive_store::files::{AddOptions, Destination, FileStore, PART_SUFFIX};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

const CHILD: &str = "HIVE_STORE_FILES_CHILD";
/// How many reports a child may make before it stands still and waits for its end: without it a fast child is done
/// before it is killed.
const REPORTS: &str = "HIVE_STORE_FILES_REPORTS";
/// So many of them are beyond those that are waited for: the kill comes while they are made.
const AHEAD: usize = 4;
const SIZE: u64 = 6 * SEGMENT + 11 * GROUP + 13;

fn is_child() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// Says that something was done, or stands still when enough was.
fn report(what: &str) {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let most = std::env::var(REPORTS).map_or(usize::MAX, |n| n.parse().unwrap());
    println!("done {what}");
    if MADE.fetch_add(1, Ordering::Relaxed) + 1 >= most {
        loop {
            std::thread::park();
        }
    }
}

/// Runs `test` of this file in a process of its own and kills it after `n` reports and a moment; returns all reports.
fn run_and_kill(test: &str, dir: &Path, n: usize, moment: Duration) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, dir)
        .env(REPORTS, (n + AHEAD).to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let mut lines = out
        .lines()
        .map(Result::unwrap)
        .filter_map(|l| l.strip_prefix("done ").map(str::to_owned));
    let mut seen: Vec<_> = lines.by_ref().take(n).collect();
    let until = Instant::now() + moment;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    let _ = child.kill();
    seen.extend(lines);
    let _ = child.wait();
    seen
}

fn add(store: &FileStore, path: &Path) -> BlobHash {
    let added = store.add_path(path, &AddOptions::default(), &AtomicBool::new(false));
    added.unwrap().root.hash
}

fn dest(path: PathBuf) -> Destination {
    Destination {
        path: Some(path),
        ..Destination::default()
    }
}

fn parts(dir: &Path) -> usize {
    let is_part = |p: &fs::DirEntry| p.file_name().to_string_lossy().ends_with(PART_SUFFIX);
    fs::read_dir(dir)
        .unwrap()
        .map(Result::unwrap)
        .filter(is_part)
        .count()
}

#[test]
fn child_that_receives() {
    let Some(dir) = is_child() else { return };
    let (_a, from, _) = open(&dir.join("a"));
    let (_b, to, _) = open(&dir.join("b"));
    let hash = BlobHash::of(&noise(1, SIZE as usize));
    let s = from.source(&hash).unwrap();
    let p = to.begin(&hash, &dest(dir.join("files/got")), u64::MAX).unwrap();
    if p.size().is_none() {
        p.set_tree(s.size(), &s.segment_cvs().unwrap()).unwrap();
    }
    let (mut bytes, mut odd) = (Vec::new(), std::process::id() as u64);
    for segment in 0..segments(SIZE) {
        if !p.has_groups(segment) {
            p.set_groups(segment, &s.group_cvs(segment).unwrap()).unwrap();
        }
        while p.missing(segment) != 0 {
            // One to eight of the missing groups, whichever.
            odd = odd.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mut mask = p.missing(segment);
            while mask.count_ones() > 1 + (odd >> 60) as u32 % 8 {
                mask &= mask.rotate_left((odd >> 32) as u32 % 64) | mask & (mask - 1);
                mask = if odd.is_multiple_of(2) {
                    mask & (mask - 1)
                } else {
                    mask & !(1 << (63 - mask.leading_zeros()))
                };
            }
            bytes.clear();
            s.read(segment, mask, &mut bytes).unwrap();
            assert_eq!(p.write_mask(segment, mask, &bytes).unwrap(), mask);
            report(&format!("{segment} {mask}"));
        }
    }
    p.finish(None, None).unwrap();
    report("end 0");
}

#[test]
fn nothing_that_was_verified_is_asked_for_twice() {
    if is_child().is_some() {
        return;
    }
    let t = tempfile::tempdir().unwrap();
    fs::create_dir(t.path().join("files")).unwrap();
    let data = noise(1, SIZE as usize);
    let source = t.path().join("source");
    fs::write(&source, &data).unwrap();
    let hash = {
        let (_d, a, _) = open(&t.path().join("a"));
        add(&a, &source)
    };
    let (mut given, mut rounds) = (BTreeMap::<u64, u64>::new(), 0);
    let total: u32 = (0..segments(SIZE)).map(|s| groups_of(SIZE, s)).sum();
    let done = loop {
        rounds += 1;
        assert!(rounds < 200);
        let seen = run_and_kill(
            "child_that_receives",
            t.path(),
            1 + rounds * 5 % 13,
            Duration::from_micros(rounds as u64 * 37 % 3000),
        );
        for line in &seen {
            let (segment, mask) = line.split_once(' ').unwrap();
            let Ok(segment) = segment.parse::<u64>() else {
                continue;
            };
            let mask: u64 = mask.parse().unwrap();
            let before = given.entry(segment).or_default();
            assert_eq!(
                *before & mask,
                0,
                "asked for again: segment {segment}, {:x}",
                *before & mask
            );
            *before |= mask;
        }
        if seen.iter().any(|l| l.starts_with("end")) {
            break seen;
        }
        // Between two children somebody looks, and counts what a child did not live to report.
        let (_d, b, report) = open(&t.path().join("b"));
        assert_eq!(report.problems, Vec::<String>::new());
        if b.content(&hash).is_some_and(|c| c.whole) {
            break seen;
        }
        if b.partials().is_empty() {
            continue;
        }
        let p = b
            .begin(&hash, &dest(t.path().join("files/got")), u64::MAX)
            .unwrap();
        for (segment, mask) in &mut given {
            assert_eq!(p.missing(*segment) & *mask, 0, "lost");
            *mask = !p.missing(*segment);
        }
        if rounds % 3 == 0 {
            p.sync().unwrap();
        }
    };
    assert!(rounds > 5, "{rounds}");
    let (_d, b, _) = open(&t.path().join("b"));
    assert_eq!(fs::read(t.path().join("files/got")).unwrap(), data);
    assert_eq!(b.verify(&hash, &AtomicBool::new(false)).unwrap(), SIZE);
    assert!(b.partials().is_empty() && parts(&t.path().join("files")) == 0);
    println!("{rounds} rounds, {total} groups, the last {} reports", done.len());
}

#[test]
fn child_that_finishes_one_after_the_other() {
    let Some(dir) = is_child() else { return };
    let (_a, from, _) = open(&dir.join("a"));
    let (_b, to, _) = open(&dir.join("b"));
    let first = fs::read_dir(dir.join("files")).unwrap().count() as u64;
    for n in first.. {
        let data = noise(n, if n.is_multiple_of(2) { 1000 } else { 200_000 });
        let path = dir.join("src");
        fs::write(&path, &data).unwrap();
        let hash = add(&from, &path);
        let to_blob = n % 5 == 4;
        let d = if to_blob {
            Destination::default()
        } else {
            dest(dir.join(format!("files/{n}")))
        };
        let p = to.begin(&hash, &d, u64::MAX).unwrap();
        transfer(&from.source(&hash).unwrap(), &p);
        report(&format!("ready {n}"));
        p.finish(None, None).unwrap();
        report(&format!("end {n}"));
        if to_blob {
            fs::write(dir.join(format!("files/{n}")), &data).unwrap();
        }
    }
}

#[test]
fn an_end_cut_short_is_made_up_for_or_goes_on() {
    if is_child().is_some() {
        return;
    }
    let t = tempfile::tempdir().unwrap();
    fs::create_dir(t.path().join("files")).unwrap();
    let (mut made_up, mut open_ends) = (0, 0);
    for round in 0..25 {
        let moment = Duration::from_micros(round * 97 % 1500);
        let seen = run_and_kill(
            "child_that_finishes_one_after_the_other",
            t.path(),
            1 + round as usize % 4,
            moment,
        );
        let (_d, b, report) = open(&t.path().join("b"));
        assert_eq!(report.problems, Vec::<String>::new());
        for line in &seen {
            let (what, n) = line.split_once(' ').unwrap();
            let n: u64 = n.parse().unwrap();
            let data = noise(n, if n.is_multiple_of(2) { 1000 } else { 200_000 });
            let (hash, path) = (BlobHash::of(&data), t.path().join(format!("files/{n}")));
            let known = b.content(&hash).is_some_and(|c| c.whole);
            if what == "end" {
                assert!(known, "{n}");
                assert_eq!(
                    b.verify(&hash, &AtomicBool::new(false)).unwrap(),
                    data.len() as u64
                );
            } else if !seen.contains(&format!("end {n}")) {
                // Either it has its name and is on record, or it goes on from where it was.
                made_up += usize::from(known);
                assert!(known || b.partials().iter().any(|p| p.hash == hash), "{n}");
                if !known {
                    open_ends += 1;
                    let d = if n % 5 == 4 {
                        Destination::default()
                    } else {
                        dest(path)
                    };
                    let p = b.begin(&hash, &d, u64::MAX).unwrap();
                    assert!(p.is_whole());
                    p.finish(None, None).unwrap();
                    assert!(b.content(&hash).unwrap().whole);
                }
            }
        }
        // Whatever else was begun has a row for its part.
        for p in b.partials() {
            let p = b
                .begin(&p.hash, &p.dest.map_or_else(Destination::default, dest), u64::MAX)
                .unwrap();
            p.abandon(false).unwrap();
        }
        assert_eq!(parts(&t.path().join("files")), 0);
        assert_eq!(
            fs::read_dir(t.path().join("b/files/partials")).unwrap().count(),
            0
        );
        // The child counts files to know where to go on.
        let n = seen
            .iter()
            .filter_map(|l| l.split_once(' ')?.1.parse::<u64>().ok())
            .max();
        for n in 0..=n.unwrap_or_default() {
            let path = t.path().join(format!("files/{n}"));
            if !path.exists() {
                fs::write(path, b"").unwrap();
            }
        }
    }
    println!("{made_up} made up for, {open_ends} went on");
}

#[test]
fn child_that_receives_a_folder() {
    let Some(dir) = is_child() else { return };
    let (_a, from, _) = open(&dir.join("a"));
    let (_b, to, _) = open(&dir.join("b"));
    let root = from.roots()[0].root.hash;
    if !to.blobs().has(&root) {
        let m = to.begin(&root, &Destination::default(), u64::MAX).unwrap();
        transfer(&from.source(&root).unwrap(), &m);
        m.finish(None, None).unwrap();
    }
    let manifest = to.manifest(&root).unwrap();
    let p = to
        .begin_folder(&root, &manifest, &dest(dir.join("files/got")), u64::MAX)
        .unwrap();
    loop {
        let page = p.wanted(None, 7);
        if page.is_empty() {
            break;
        }
        let (mut small, mut bytes, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
        for (n, hash, size) in page {
            if size > GROUP {
                let one = p.begin_entry(n).unwrap();
                report(&format!("asked {n} {}", size - one.bytes_here()));
                transfer(&from.source(&hash).unwrap(), &one);
                one.finish(None, None).unwrap();
            } else {
                from.small(&[hash], &mut bytes, &mut sizes, u64::MAX).unwrap();
                small.push((n, size as usize));
            }
        }
        let mut at = 0;
        let batch: Vec<(u32, &[u8])> = small
            .iter()
            .map(|(n, size)| {
                at += size;
                (*n, &bytes[at - size..at])
            })
            .collect();
        assert!(p.write_small(&batch).unwrap().is_empty());
        for (n, _) in &small {
            report(&format!("small {n} 0"));
        }
    }
    report("whole 0 0");
    p.finish().unwrap();
    report("end 0 0");
}

#[test]
fn a_folder_goes_on_after_every_kill() {
    if is_child().is_some() {
        return;
    }
    let n = Node::new();
    for i in 0..300u64 {
        n.file(&format!("src/d{}/f{i}", i % 9), &noise(i, 100 + i as usize));
    }
    for i in 0..4 {
        n.file(
            &format!("src/large{i}"),
            &noise(1000 + i, (SEGMENT + i * GROUP) as usize),
        );
    }
    let t = tempfile::tempdir().unwrap();
    fs::create_dir(t.path().join("files")).unwrap();
    let root = {
        let (_d, a, _) = open(&t.path().join("a"));
        add(&a, &n.path("src"))
    };
    let (mut small, mut rounds) = (BTreeSet::new(), 0);
    loop {
        rounds += 1;
        assert!(rounds < 300);
        let moment = Duration::from_micros(rounds as u64 * 61 % 2000);
        let seen = run_and_kill(
            "child_that_receives_a_folder",
            t.path(),
            3 + rounds * 7 % 29,
            moment,
        );
        for line in &seen {
            let mut words = line.split(' ');
            let (what, n) = (words.next().unwrap(), words.next().unwrap());
            if what == "small" {
                assert!(small.insert(n.to_owned()), "{n} was asked for twice");
            }
        }
        if seen.iter().any(|l| l.starts_with("end")) {
            break;
        }
        let (_d, b, report) = open(&t.path().join("b"));
        assert_eq!(report.problems, Vec::<String>::new());
        if b.root(&root).is_some_and(|r| r.path.is_some()) {
            break;
        }
        assert!(
            !t.path().join("files/got").exists(),
            "it has its name but is not on record"
        );
    }
    let (_d, b, _) = open(&t.path().join("b"));
    for i in 0..300u64 {
        let path = t.path().join(format!("files/got/d{}/f{i}", i % 9));
        assert_eq!(fs::read(path).unwrap(), noise(i, 100 + i as usize));
    }
    assert!(b.verify(&root, &AtomicBool::new(false)).unwrap() > 4 * SEGMENT);
    println!("{rounds} rounds");
}
