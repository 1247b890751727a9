//! The blob store from outside: ways in and out, quota, pins, collection, damage.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use hive_protocol::{ids::BlobHash, time::Timestamp};
use hive_store::{BlobStore, DiskBudget, Import, blobs};
use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

const MIB: u64 = 1 << 20;
const SIZES: [usize; 16] = [
    0, 1, 1023, 1024, 1025, 4096, 65_535, 65_536, 65_537, 131_072, 131_073, 196_608, 200_000, 655_361,
    1_048_577, 5_242_880,
];

/// Bytes that differ everywhere, from a seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut out);
    out
}

fn open(dir: &Path, quota: u64) -> BlobStore {
    BlobStore::open(dir, DiskBudget::new(quota), false).unwrap().0
}

fn file_of(dir: &Path, h: &BlobHash) -> PathBuf {
    dir.join(&h.hex()[..2]).join(h.hex())
}

fn spoil(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Nothing left over in `tmp/`.
fn assert_tidy(dir: &Path) {
    let left: Vec<_> = fs::read_dir(dir.join("tmp"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn every_size_goes_in_and_comes_out_by_every_way() {
    let t = tempfile::tempdir().unwrap();
    let s = open(&t.path().join("s"), 1 << 30);
    for (i, len) in SIZES.into_iter().enumerate() {
        let data = noise(i as u64, len);
        let source = t.path().join(format!("file{i}"));
        fs::write(&source, &data).unwrap();
        let want = BlobHash::of(&data);
        for way in 0..5 {
            let a = match way {
                0 => s.add_bytes(&data),
                1 => s.add_reader(&mut data.as_slice(), len as u64),
                2 => s.add_path(&source, Import::Copy, len as u64),
                3 => s.add_path(&source, Import::Reflink, len as u64),
                _ => s.add_path(&source, Import::HardLink, len as u64),
            }
            .unwrap();
            assert_eq!(
                (a.hash, a.size, a.new),
                (want, len as u64, true),
                "way {way}, {len} bytes"
            );
            assert!(!s.add_bytes(&data).unwrap().new);
            assert_eq!((s.has(&want), s.size(&want)), (true, Some(len as u64)));
            assert_eq!(s.read(&want, len as u64).unwrap(), data);
            assert_eq!(s.verify(&want).unwrap(), len as u64);
            assert_eq!(
                fs::metadata(file_of(&t.path().join("s"), &want)).unwrap().mode() & 0o777,
                0o444
            );
            assert_eq!(s.usage().charged, blobs::charge(len as u64));
            assert_eq!(s.usage().budget_used, blobs::charge(len as u64));
            assert!(s.remove(&want).unwrap());
            assert_eq!(
                (s.usage().charged, s.usage().budget_used, s.has(&want)),
                (0, 0, false)
            );
        }
        assert_eq!(BlobStore::hash_path(&source).unwrap(), (want, len as u64));
    }
    assert_tidy(&t.path().join("s"));
}

#[test]
fn a_writer_takes_pieces_of_any_size() {
    let t = tempfile::tempdir().unwrap();
    let s = open(t.path(), 1 << 30);
    let data = noise(9, 700_001);
    for piece in [1000, 65_535, 65_536, 65_537, 131_072, 300_000, 700_001] {
        let mut w = s.writer(MIB, 0);
        for p in data.chunks(piece) {
            w.write(p).unwrap();
        }
        assert_eq!(w.len(), 700_001);
        assert_eq!(w.finish().unwrap().hash, BlobHash::of(&data), "{piece}");
        s.remove(&BlobHash::of(&data)).unwrap();
    }
    let mut w = s.writer(100_000, 0);
    w.write(&data[..90_000]).unwrap();
    assert_eq!(w.write(&data[..10_001]).unwrap_err().code(), "blob.too_large");
    drop(w);
    assert_eq!(s.budget().used(), 0);
    assert_tidy(t.path());
}

#[test]
fn a_store_is_the_same_after_reopening() {
    let t = tempfile::tempdir().unwrap();
    let s = open(t.path(), 1 << 30);
    let hashes: Vec<_> = SIZES
        .iter()
        .enumerate()
        .map(|(i, l)| s.add_bytes(&noise(i as u64, *l)).unwrap().hash)
        .collect();
    let (usage, list) = (s.usage(), s.list(None, 100));
    drop(s);
    fs::write(t.path().join("tmp/7.part"), "half a blob").unwrap();
    fs::write(t.path().join("ab/notes.txt"), "not a blob").unwrap();
    fs::write(
        file_of(t.path(), &BlobHash([7; 32])).with_extension("obao"),
        [0; 64],
    )
    .unwrap();
    let (s, report) = BlobStore::open(t.path(), DiskBudget::new(1 << 30), true).unwrap();
    assert_eq!(
        (
            report.blobs,
            report.swept,
            report.strange,
            report.mended,
            report.dropped
        ),
        (16, 2, 1, 0, 0)
    );
    assert_eq!((s.usage(), s.list(None, 100)), (usage, list));
    for (i, h) in hashes.iter().enumerate() {
        let mut bytes = Vec::new();
        s.open_blob(h).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, noise(i as u64, SIZES[i]));
    }
    let first = s.list(None, 5);
    assert_eq!(s.list(Some(first[4].0), 100).len(), 11);
}

#[test]
fn the_quota_is_exact_and_checked_before_writing() {
    let t = tempfile::tempdir().unwrap();
    let s = open(t.path(), blobs::charge(MIB) + 4096);
    assert_eq!(s.add_bytes(&noise(1, 2 << 20)).unwrap_err().code(), "store.quota");
    assert_eq!(
        s.decoder(BlobHash([1; 32]), 2 * MIB, u64::MAX)
            .unwrap_err()
            .code(),
        "store.quota"
    );
    // Of unknown length: stopped on the way.
    let e = s.add_reader(&mut io::repeat(7), u64::MAX).unwrap_err();
    assert_eq!(e.code(), "store.quota");
    let source = t.path().join("big");
    fs::write(&source, noise(1, 2 << 20)).unwrap();
    for how in [Import::Copy, Import::Reflink, Import::HardLink] {
        assert_eq!(
            s.add_path(&source, how, u64::MAX).unwrap_err().code(),
            "store.quota"
        );
    }
    assert_eq!((s.budget().used(), s.usage().blobs), (0, 0));
    assert_tidy(t.path());
    let big = s.add_bytes(&noise(2, 1 << 20)).unwrap();
    let small = s.add_bytes(b"x").unwrap();
    assert_eq!(s.budget().free(), 0);
    assert_eq!(s.add_bytes(b"y").unwrap_err().code(), "store.quota");
    assert!(!s.add_bytes(b"x").unwrap().new);
    s.remove(&small.hash).unwrap();
    assert!(s.add_bytes(b"y").unwrap().new);
    assert!(s.has(&big.hash));
}

#[test]
fn a_flood_of_tiny_blobs_runs_into_the_quota() {
    let t = tempfile::tempdir().unwrap();
    let s = open(t.path(), 64 * 4096);
    let stored = (0..1000u32)
        .filter(|n| s.add_bytes(&n.to_le_bytes()).is_ok())
        .count();
    assert_eq!(stored, 64);
}

#[test]
fn collection_takes_the_coldest_and_heeds_pins() {
    let t = tempfile::tempdir().unwrap();
    let s = open(t.path(), 1 << 30);
    let h: Vec<_> = (0..10)
        .map(|i| s.add_bytes(&noise(i, 100_000)).unwrap().hash)
        .collect();
    let each = blobs::charge(100_000);
    s.open_blob(&h[0]).unwrap();
    s.pin(h[1], "job j_1", None).unwrap();
    s.pin(h[2], "lease", Some(Timestamp(1))).unwrap();
    s.pin(h[3], "lease", Some(Timestamp(u64::MAX))).unwrap();
    assert_eq!(s.remove(&h[1]).unwrap_err().code(), "blob.pinned");
    let r = s.gc(5 * each).unwrap();
    assert_eq!((r.removed, r.freed, r.charged), (5, 5 * each, 5 * each));
    let left: Vec<_> = (0..10).filter(|i| s.has(&h[*i])).collect();
    assert_eq!(left, [0, 1, 3, 8, 9]);
    assert_eq!(s.gc(0).unwrap().removed, 3);
    assert_eq!(s.unpin_all("lease"), 1);
    assert!(s.unpin(&h[1], "job j_1"));
    assert_eq!(s.gc(0).unwrap().removed, 2);
    assert_eq!((s.usage().blobs, s.budget().used()), (0, 0));
    assert_tidy(t.path());
}

#[test]
fn room_is_made_for_what_is_to_come() {
    let t = tempfile::tempdir().unwrap();
    let each = blobs::charge(100_000);
    let s = open(t.path(), 10 * each);
    for i in 0..10 {
        s.add_bytes(&noise(i, 100_000)).unwrap();
    }
    assert_eq!(s.make_room(3 * each).unwrap().removed, 3);
    assert_eq!(s.make_room(3 * each).unwrap().removed, 0);
    assert_eq!(s.budget().free(), 3 * each);
}

#[test]
fn last_uses_survive_a_restart() {
    let t = tempfile::tempdir().unwrap();
    let s = open(t.path(), 1 << 30);
    let (a, b) = (s.add_bytes(b"a").unwrap().hash, s.add_bytes(b"b").unwrap().hash);
    drop(s);
    let old = fs::FileTimes::new().set_accessed(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000));
    for h in [&a, &b] {
        fs::File::open(file_of(t.path(), h))
            .unwrap()
            .set_times(old)
            .unwrap();
    }
    let s = open(t.path(), 1 << 30);
    s.open_blob(&a).unwrap();
    drop(s);
    let s = open(t.path(), 1 << 30);
    s.gc(4096).unwrap();
    assert_eq!((s.has(&a), s.has(&b)), (true, false));
}

#[test]
fn damage_on_the_disk_is_named_and_the_blob_dropped() {
    let t = tempfile::tempdir().unwrap();
    let s = open(t.path(), 1 << 30);
    for len in [1, 65_536, 65_537, 1_000_000] {
        for how in 0..5 {
            let data = noise(len as u64, len);
            let h = s.add_bytes(&data).unwrap().hash;
            let path = file_of(t.path(), &h);
            match how {
                0 => spoil(&path, |b| b[len / 2] ^= 1),
                1 => spoil(&path, |b| b.truncate(len - 1)),
                2 => spoil(&path, |b| b.push(0)),
                3 => spoil(&path, |b| b.fill(0)),
                _ => fs::remove_file(&path).unwrap(),
            }
            // A surplus byte does not hurt the reader of a verified stream; everything else must be noticed.
            let code = match (len + how) % 3 {
                0 if how != 2 => s.send(&h, &mut io::sink()).unwrap_err().code(),
                1 => s.read(&h, u64::MAX).unwrap_err().code(),
                _ => s.verify(&h).unwrap_err().code(),
            };
            assert_eq!(code, "blob.damaged", "{len} bytes, {how}");
            assert!(!s.has(&h));
            assert_eq!(s.read(&h, u64::MAX).unwrap_err().code(), "blob.not_found");
            assert_eq!(s.budget().used(), 0);
        }
    }
}

#[test]
fn a_spoilt_or_missing_outboard_is_made_anew() {
    let t = tempfile::tempdir().unwrap();
    let s = open(t.path(), 1 << 30);
    let data = noise(3, 1_000_000);
    let h = s.add_bytes(&data).unwrap().hash;
    let outboard = file_of(t.path(), &h).with_extension("obao");
    let good = fs::read(&outboard).unwrap();
    for how in 0..4 {
        match how {
            0 => spoil(&outboard, |b| b[100] ^= 1),
            1 => spoil(&outboard, |b| b.truncate(64)),
            2 => spoil(&outboard, Vec::clear),
            _ => fs::remove_file(&outboard).unwrap(),
        }
        let mut out = Vec::new();
        s.send(&h, &mut out).unwrap();
        assert_eq!(fs::read(&outboard).unwrap(), good, "{how}");
        assert_eq!(out.len() as u64, blobs::encoded_len(1_000_000));
    }
    spoil(&outboard, |b| b.truncate(64));
    drop(s);
    let (s, report) = BlobStore::open(t.path(), DiskBudget::new(1 << 30), false).unwrap();
    assert_eq!((report.mended, report.dropped), (1, 0));
    drop(s);
    spoil(&outboard, |b| b.truncate(64));
    spoil(&file_of(t.path(), &h), |b| b[5] ^= 1);
    let (s, report) = BlobStore::open(t.path(), DiskBudget::new(1 << 30), false).unwrap();
    assert_eq!((report.mended, report.dropped, s.has(&h)), (0, 1, false));
}

#[test]
fn after_a_reboot_a_blob_is_verified_before_its_first_use() {
    let t = tempfile::tempdir().unwrap();
    let s = open(t.path(), 1 << 30);
    let (good, bad) = (
        s.add_bytes(&noise(1, 70_000)).unwrap().hash,
        s.add_bytes(&noise(2, 70_000)).unwrap().hash,
    );
    let empty = s.add_bytes(b"was not empty").unwrap().hash;
    drop(s);
    spoil(&file_of(t.path(), &bad), |b| b[69_999] ^= 1);
    spoil(&file_of(t.path(), &empty), Vec::clear);
    let (s, report) = BlobStore::open(t.path(), DiskBudget::new(1 << 30), true).unwrap();
    assert_eq!((report.blobs, report.dropped), (3, 1));
    assert!(s.open_blob(&good).is_ok());
    assert!(s.has(&bad));
    assert_eq!(
        s.link_into(&bad, t.path(), "input").unwrap_err().code(),
        "blob.damaged"
    );
    assert!(!t.path().join("input").exists());
}

#[test]
fn links_share_the_bytes_and_names_are_plain() {
    let t = tempfile::tempdir().unwrap();
    let s = open(&t.path().join("s"), 1 << 30);
    let task = t.path().join("task");
    fs::create_dir(&task).unwrap();
    let data = noise(5, 100_000);
    let h = s.add_bytes(&data).unwrap().hash;
    let linked = s.link_into(&h, &task, "model.bin").unwrap();
    assert_eq!(fs::metadata(&linked).unwrap().nlink(), 2);
    assert_eq!(fs::read(&linked).unwrap(), data);
    assert_eq!(
        s.link_into(&h, &task, "model.bin").unwrap_err().code(),
        "blob.exists"
    );
    assert_eq!(
        s.copy_into(&h, &task, "model.bin").unwrap_err().code(),
        "blob.exists"
    );
    let copied = s.copy_into(&h, &task, "copy.bin").unwrap();
    let meta = fs::metadata(&copied).unwrap();
    assert_eq!(
        (meta.nlink(), meta.mode() & 0o222, fs::read(&copied).unwrap()),
        (1, 0, data)
    );
    for bad in ["", ".", "..", "a/b", "/etc/x", "../x", "a\0b", &"x".repeat(256)] {
        assert_eq!(
            s.link_into(&h, &task, bad).unwrap_err().code(),
            "blob.bad_name",
            "{bad:?}"
        );
    }
    assert_eq!(
        s.link_into(&BlobHash([9; 32]), &task, "y").unwrap_err().code(),
        "blob.not_found"
    );
    // The link outlives the blob.
    s.remove(&h).unwrap();
    assert_eq!(fs::metadata(&linked).unwrap().nlink(), 1);
}

#[test]
fn a_link_to_another_file_system_becomes_a_copy() {
    let t = tempfile::tempdir().unwrap();
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    if fs::metadata(t.path()).unwrap().dev() == fs::metadata(other.path()).unwrap().dev() {
        return;
    }
    let s = open(t.path(), 1 << 30);
    let data = noise(5, 200_000);
    let h = s.add_bytes(&data).unwrap().hash;
    let p = s.link_into(&h, other.path(), "in").unwrap();
    assert_eq!(
        (fs::read(&p).unwrap(), fs::metadata(&p).unwrap().nlink()),
        (data.clone(), 1)
    );
    // And the other way round: an import by link falls back too.
    s.remove(&h).unwrap();
    assert!(s.add_path(&p, Import::HardLink, MIB).unwrap().new);
    assert_eq!(s.read(&h, MIB).unwrap(), data);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    let t = tempfile::tempdir().unwrap();
    let s = open(&t.path().join("s"), 1 << 40);
    let source = t.path().join("growing");
    fs::write(&source, noise(1, 8 << 20)).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut f = fs::OpenOptions::new().append(true).open(&source).unwrap();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                f.write_all(b"more").unwrap();
                std::thread::yield_now();
            }
        });
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let refused = loop {
            match s.add_path(&source, Import::Copy, u64::MAX) {
                Err(e) => break Some(e.code()),
                Ok(a) if s.remove(&a.hash).is_ok_and(|gone| gone) && std::time::Instant::now() < deadline => {
                }
                Ok(_) => break None,
            }
        };
        // Before anything is asserted: the other thread ends only by this.
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(refused, Some("blob.changed"));
    });
    assert_eq!((s.usage().blobs, s.budget().used()), (0, 0));
    assert_tidy(&t.path().join("s"));
}

#[test]
fn only_regular_files_are_added() {
    let t = tempfile::tempdir().unwrap();
    let s = open(&t.path().join("s"), 1 << 30);
    let fifo = t.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    for p in [t.path(), &fifo, Path::new("/dev/zero")] {
        assert_eq!(
            s.add_path(p, Import::Copy, MIB).unwrap_err().code(),
            "blob.not_a_file",
            "{}",
            p.display()
        );
    }
    assert_eq!(
        s.add_path(&t.path().join("none"), Import::Copy, MIB)
            .unwrap_err()
            .code(),
        "store.io"
    );
    fs::write(t.path().join("big"), noise(1, 5000)).unwrap();
    assert_eq!(
        s.add_path(&t.path().join("big"), Import::Copy, 4999)
            .unwrap_err()
            .code(),
        "blob.too_large"
    );
    // A symbolic link means the file behind it, also when hard links are asked for.
    fs::write(t.path().join("big"), noise(1, 100_000)).unwrap();
    std::os::unix::fs::symlink(t.path().join("big"), t.path().join("sym")).unwrap();
    let a = s.add_path(&t.path().join("sym"), Import::HardLink, MIB).unwrap();
    assert_eq!(s.read(&a.hash, MIB).unwrap(), noise(1, 100_000));
}

#[test]
fn many_threads_adding_and_removing_the_same_blobs_keep_the_books_right() {
    let t = tempfile::tempdir().unwrap();
    let s = open(t.path(), 1 << 30);
    std::thread::scope(|scope| {
        for worker in 0..4u64 {
            let s = s.clone();
            scope.spawn(move || {
                for round in 0..150u64 {
                    let n = (round * 7 + worker) % 5;
                    let data = noise(n, 1000 + n as usize * 30_000);
                    match (round + worker) % 3 {
                        0 => drop(s.remove(&BlobHash::of(&data)).unwrap()),
                        _ => assert_eq!(s.add_bytes(&data).unwrap().hash, BlobHash::of(&data)),
                    }
                }
            });
        }
    });
    let u = s.usage();
    assert_eq!(u.charged, u.budget_used);
    let listed = s.list(None, 100);
    for (h, _) in &listed {
        s.verify(h).unwrap();
    }
    drop(s);
    assert_tidy(t.path());
    assert_eq!(open(t.path(), 1 << 30).list(None, 100), listed);
}
