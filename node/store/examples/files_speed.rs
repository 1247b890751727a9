//! Prints how fast files are added, served and received on this disk:
//! `cargo run --release -p hive-store --example files_speed [FOLDER] [MIB] [SPARSE_GIB]`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use hive_protocol::{
    file::{SEGMENT, segments},
    manifest::EntryKind,
};
use hive_store::{
    BlobStore, DataDir, DiskBudget,
    files::{AddOptions, Destination, FileStore, Partial, Source},
};
use std::{
    fs,
    hint::black_box,
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

const FILES: usize = 10_000;

fn open(path: &Path) -> (DataDir, FileStore) {
    let dir = DataDir::open(path).unwrap();
    let (blobs, _) = BlobStore::open_in(&dir, DiskBudget::new(1 << 40)).unwrap();
    let (store, _) = FileStore::open(&dir, blobs).unwrap();
    (dir, store)
}

/// A moment, by the clock and by what this thread has used of a processor.
#[derive(Clone, Copy)]
struct Moment(Instant, Duration);

impl Moment {
    fn now() -> Self {
        let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let ns = text
            .split(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or_default();
        Self(Instant::now(), Duration::from_nanos(ns))
    }

    /// Adds what has passed since to a sum.
    fn add_to(self, sum: &mut (Duration, Duration)) {
        let now = Self::now();
        sum.0 += now.0 - self.0;
        sum.1 += now.1.saturating_sub(self.1);
    }
}

fn print_sum(what: &str, mib: u64, sum: (Duration, Duration)) {
    let (clock, cpu) = (sum.0.as_secs_f64(), sum.1.as_secs_f64());
    println!(
        "{what:<44} {:>8.0} MiB/s  by processor time {:>6.0} MiB/s",
        mib as f64 / clock,
        mib as f64 / cpu
    );
}

fn rate(what: &str, mib: u64, started: Instant) {
    let s = started.elapsed().as_secs_f64();
    println!("{what:<44} {:>8.0} MiB/s  {:>7.1} ms", mib as f64 / s, s * 1000.0);
}

fn took(what: &str, started: Instant) {
    println!("{what:<44} {:>8.1} ms", started.elapsed().as_secs_f64() * 1000.0);
}

fn peak_mib() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with("VmHWM"));
    let kib = line
        .and_then(|l| l.split_whitespace().nth(1))
        .and_then(|n| n.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}

fn add(store: &FileStore, path: &Path) -> hive_store::files::AddedPath {
    store
        .add_path(path, &AddOptions::default(), &AtomicBool::new(false))
        .unwrap()
}

fn dest(path: PathBuf) -> Destination {
    Destination {
        path: Some(path),
        ..Destination::default()
    }
}

/// Verifies and writes segments that are in memory already; only that is timed.
fn receive(source: &Source, to: &Partial, what: &str) {
    let n = segments(source.size());
    let tree = source.segment_cvs().unwrap();
    let groups: Vec<_> = (0..n).map(|s| source.group_cvs(s).unwrap()).collect();
    // A few segments over and over would be wrong bytes: read in between, and leave the clock out of it.
    let mut spent = (Duration::ZERO, Duration::ZERO);
    let mut bytes = Vec::with_capacity(SEGMENT as usize);
    to.set_tree(source.size(), &tree).unwrap();
    for s in 0..n {
        bytes.clear();
        let mask = to.missing(s);
        source.read(s, mask, &mut bytes).unwrap();
        let now = Moment::now();
        to.set_groups(s, groups.get(s as usize).unwrap()).unwrap();
        assert_eq!(to.write_mask(s, mask, &bytes).unwrap(), mask);
        now.add_to(&mut spent);
    }
    let now = Moment::now();
    to.finish(None, None).unwrap();
    now.add_to(&mut spent);
    print_sum(what, source.size() >> 20, spent);
}

fn one_large(t: &Path, a: &FileStore, b: &FileStore, mib: u64) {
    let source = t.join("source");
    let mut f = fs::File::create(&source).unwrap();
    let mut piece = vec![0; 1 << 20];
    let mut noise = blake3::Hasher::new().finalize_xof();
    for _ in 0..mib {
        noise.fill(&mut piece);
        f.write_all(&piece).unwrap();
    }
    drop(f);
    let now = Instant::now();
    let added = add(a, &source);
    rate("add one file", mib, now);
    let now = Instant::now();
    let s = a.source(&added.root.hash).unwrap();
    let mut bytes = Vec::with_capacity(SEGMENT as usize);
    for n in 0..segments(s.size()) {
        bytes.clear();
        black_box(s.group_cvs(n).unwrap());
        s.read(n, hive_protocol::file::whole_mask(s.size(), n), &mut bytes)
            .unwrap();
        black_box(&bytes);
    }
    rate("serve it (read and values)", mib, now);
    // What the disk (or the memory under it) takes without us. First and second time differ where memory is given to the
    // machine when it is first touched.
    for what in [
        "plain writes to a new file, first",
        "plain writes to a new file, again",
    ] {
        let plain = fs::File::create(t.join("plain")).unwrap();
        let (mut spent, mut at) = ((Duration::ZERO, Duration::ZERO), 0);
        for n in 0..segments(s.size()) {
            bytes.clear();
            s.read(n, hive_protocol::file::whole_mask(s.size(), n), &mut bytes)
                .unwrap();
            let now = Moment::now();
            std::os::unix::fs::FileExt::write_all_at(&plain, &bytes, at).unwrap();
            now.add_to(&mut spent);
            at += bytes.len() as u64;
        }
        print_sum(what, mib, spent);
        fs::remove_file(t.join("plain")).unwrap();
    }
    let p = b
        .begin(&added.root.hash, &dest(t.join("b/large")), u64::MAX)
        .unwrap();
    receive(&s, &p, "receive it (verify, write, finish), 1 thread");
    let now = Instant::now();
    b.verify(&added.root.hash, &AtomicBool::new(false)).unwrap();
    rate("verify it", mib, now);
    let now = Instant::now();
    let chunks = a.chunks(&added.root.hash).unwrap();
    rate(&format!("cut it into {} chunks", chunks.len()), mib, now);
    let p = b
        .begin(&added.root.hash, &dest(t.join("b/again")), u64::MAX)
        .unwrap();
    p.set_tree(s.size(), &s.segment_cvs().unwrap()).unwrap();
    for n in 0..segments(s.size()) {
        p.set_groups(n, &s.group_cvs(n).unwrap()).unwrap();
    }
    let old = b.source(&added.root.hash).unwrap();
    let now = Instant::now();
    let all = hive_store::files::CopyRange {
        from: 0,
        to: 0,
        len: s.size(),
    };
    assert_eq!(p.copy_from(&old, &[all]).unwrap(), s.size());
    rate("copy it from an older version", mib, now);
    let now = Instant::now();
    p.sync().unwrap();
    rate("force that to the disk", mib, now);
    p.abandon(false).unwrap();
    fs::remove_file(t.join("b/large")).unwrap();
    fs::remove_file(&source).unwrap();
}

fn many_small(t: &Path, a: &FileStore, b: &FileStore) {
    let folder = t.join("many");
    for d in 0..100 {
        fs::create_dir_all(folder.join(format!("d{d:02}"))).unwrap();
    }
    let mut data = vec![0; 16 << 10];
    for n in 0..FILES {
        blake3::Hasher::new()
            .update(&n.to_le_bytes())
            .finalize_xof()
            .fill(&mut data);
        fs::write(folder.join(format!("d{:02}/f{n:05}", n % 100)), &data).unwrap();
    }
    let now = Instant::now();
    let added = add(a, &folder);
    took("add 10,000 files of 16 KiB", now);
    let now = Instant::now();
    assert_eq!(add(a, &folder).root, added.root);
    took("add them again, unchanged", now);
    let manifest = a.manifest(&added.root.hash).unwrap();
    let files: Vec<_> = (0u32..)
        .zip(&manifest.entries)
        .filter_map(|(n, e)| match e.kind {
            EntryKind::File { hash, .. } => Some((n, hash)),
            _ => None,
        })
        .collect();
    let now = Instant::now();
    for (_, h) in &files {
        black_box(a.content(h).unwrap());
    }
    took("look each of them up", now);
    let (mut bytes, mut sizes) = (Vec::new(), Vec::new());
    let mut packs = Vec::new();
    let now = Instant::now();
    for batch in files.chunks(512) {
        let hashes: Vec<_> = batch.iter().map(|f| f.1).collect();
        bytes.clear();
        sizes.clear();
        a.small(&hashes, &mut bytes, &mut sizes, 16 << 20).unwrap();
        packs.push((bytes.clone(), sizes.clone()));
    }
    took("serve them in packs of 512", now);
    let blob = b.blobs().add_bytes(&manifest.encode().unwrap()).unwrap();
    assert_eq!(blob.hash, added.root.hash);
    let now = Instant::now();
    let p = b
        .begin_folder(&added.root.hash, &manifest, &dest(t.join("b/many")), u64::MAX)
        .unwrap();
    took("begin the folder", now);
    let now = Instant::now();
    assert_eq!(p.wanted(None, usize::MAX).len(), files.len());
    took("list what is wanted", now);
    let now = Instant::now();
    for (batch, (bytes, sizes)) in files.chunks(512).zip(&packs) {
        let mut at = 0;
        let entries: Vec<(u32, &[u8])> = batch
            .iter()
            .zip(sizes)
            .map(|((n, _), size)| {
                let piece = bytes.get(at..at + *size as usize).unwrap();
                at += *size as usize;
                (*n, piece)
            })
            .collect();
        assert!(p.write_small(&entries).unwrap().is_empty());
    }
    took("receive them, 1 thread", now);
    let now = Instant::now();
    p.finish().unwrap();
    took("finish the folder", now);
}

fn sparse(t: &Path, a: &FileStore, b: &FileStore, gib: u64) {
    let path = t.join("sparse");
    let f = fs::File::create(&path).unwrap();
    f.set_len(gib << 30).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&f, b"in the middle", gib << 29).unwrap();
    let now = Instant::now();
    let added = add(a, &path);
    rate(&format!("add a sparse file of {gib} GiB"), gib << 10, now);
    let s = a.source(&added.root.hash).unwrap();
    let p = b
        .begin(&added.root.hash, &dest(t.join("b/sparse")), u64::MAX)
        .unwrap();
    p.set_tree(s.size(), &s.segment_cvs().unwrap()).unwrap();
    let mut bytes = Vec::new();
    let (now, mut asked) = (Instant::now(), 0);
    for n in 0..segments(s.size()) {
        p.set_groups(n, &s.group_cvs(n).unwrap()).unwrap();
        p.fill_zeros(n).unwrap();
        let mask = p.missing(n);
        if mask != 0 {
            bytes.clear();
            s.read(n, mask, &mut bytes).unwrap();
            asked += bytes.len();
            p.write_mask(n, mask, &bytes).unwrap();
        }
    }
    p.finish(None, None).unwrap();
    rate("receive it, 1 thread", gib << 10, now);
    let blocks = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(t.join("b/sparse")).unwrap());
    println!("asked for {asked} bytes, took {} KiB of the disk", blocks / 2);
}

fn main() {
    let mut args = std::env::args().skip(1);
    let base = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let mib: u64 = args.next().and_then(|a| a.parse().ok()).unwrap_or(1024);
    let gib: u64 = args.next().and_then(|a| a.parse().ok()).unwrap_or(20);
    let t = tempfile::tempdir_in(base).unwrap();
    let (_da, a) = open(&t.path().join("da"));
    let (_db, b) = open(&t.path().join("db"));
    one_large(t.path(), &a, &b, mib);
    println!("peak memory {} MiB", peak_mib());
    if gib > 0 {
        sparse(t.path(), &a, &b, gib);
        println!("peak memory {} MiB", peak_mib());
    }
    many_small(t.path(), &a, &b);
    println!("peak memory {} MiB", peak_mib());
}
