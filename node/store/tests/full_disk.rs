//! A disk that is really full: a small tmpfs, which only root may mount.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod files_kit;

use files_kit::{Node, transfer};
use hive_protocol::{
    file::{GROUP, whole_mask},
    ids::BlobHash,
};
use hive_store::{BlobStore, DiskBudget, Journal, KeyKind, Op, Record, SledJournal, keys};
use std::{fs, path::Path, process::Command};

struct Small(tempfile::TempDir);

impl Small {
    fn mount(mib: u32) -> Self {
        let t = tempfile::tempdir().unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=700"), "hive-test"])
            .arg(t.path())
            .status()
            .unwrap();
        assert!(done.success(), "cannot mount a tmpfs");
        Self(t)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut out);
    out
}

#[test]
#[ignore = "needs root: cargo test -p hive-store -- --ignored"]
fn a_full_disk_is_named_and_leaves_nothing_half_done() {
    let disk = Small::mount(8);
    let root = disk.path().join("blobs");
    // A quota far beyond the disk: only the disk refuses.
    let (s, _) = BlobStore::open(&root, DiskBudget::new(1 << 40), false).unwrap();
    let kept = s.add_bytes(&noise(0, 3 << 20)).unwrap();
    let big = noise(1, 10 << 20);
    let nothing_more = || {
        assert_eq!((s.usage().blobs, s.budget().used()), (1, s.usage().charged));
        assert_eq!(fs::read_dir(root.join("tmp")).unwrap().count(), 0);
        assert_eq!(s.verify(&kept.hash).unwrap(), 3 << 20);
    };
    // Size known: refused before a byte is written.
    assert_eq!(s.add_bytes(&big).unwrap_err().code(), "store.disk_full");
    assert_eq!(
        s.decoder(BlobHash([1; 32]), 10 << 20, u64::MAX)
            .unwrap_err()
            .code(),
        "store.disk_full"
    );
    nothing_more();
    // Size unknown: refused while writing.
    assert_eq!(
        s.add_reader(&mut big.as_slice(), u64::MAX).unwrap_err().code(),
        "store.disk_full"
    );
    nothing_more();
    // Somebody else fills the disk while a stream comes in.
    let elsewhere = tempfile::tempdir().unwrap();
    let (peer, _) = BlobStore::open(elsewhere.path(), DiskBudget::new(1 << 40), false).unwrap();
    let data = noise(2, 3 << 20);
    let h = peer.add_bytes(&data).unwrap().hash;
    let mut wire = Vec::new();
    peer.send(&h, &mut wire).unwrap();
    let mut d = s.decoder(h, data.len() as u64, u64::MAX).unwrap();
    d.feed(&wire[..1 << 20]).unwrap();
    let hog = disk.path().join("hog");
    assert!(fs::write(&hog, noise(3, 8 << 20)).is_err());
    assert_eq!(d.feed(&wire[1 << 20..]).unwrap_err().code(), "store.disk_full");
    // The disk is to blame, and stays it.
    assert!(!d.finish().unwrap_err().is_sender_fault());
    nothing_more();
    // Not even a small blob or a key fits now.
    assert!(fs::write(disk.path().join("hog2"), noise(4, 8 << 20)).is_err());
    assert_eq!(
        s.add_bytes(&noise(5, 5000)).unwrap_err().code(),
        "store.disk_full"
    );
    nothing_more();
    let key_dir = disk.path().join("keys");
    let _ = fs::create_dir(&key_dir);
    assert_eq!(
        keys::create(&key_dir, KeyKind::Node).unwrap_err().code(),
        "key.io"
    );
    assert_eq!(fs::read_dir(&key_dir).unwrap().count(), 0);
    // With room again all goes on.
    fs::remove_file(&hog).unwrap();
    fs::remove_file(disk.path().join("hog2")).unwrap();
    assert!(
        s.receive(h, data.len() as u64, u64::MAX, &mut wire.as_slice())
            .unwrap()
            .new
    );
    assert_eq!(s.read(&h, u64::MAX).unwrap(), data);
    keys::create(&key_dir, KeyKind::Node).unwrap();
}

#[test]
#[ignore = "needs root: cargo test -p hive-store -- --ignored"]
fn a_journal_on_a_full_disk_says_so_and_keeps_what_was_acknowledged() {
    let disk = Small::mount(24);
    let path = disk.path().join("journal");
    let put = |n: u64| Op::Put {
        tree: "task",
        key: n.to_be_bytes().to_vec(),
        record: Record {
            schema: 1,
            payload: noise(n, 20_000),
        },
    };
    let (j, _) = SledJournal::open(&path, &["task"]).unwrap();
    let mut acknowledged = 0;
    let error = loop {
        match j.apply(vec![put(acknowledged)]) {
            Ok(()) => acknowledged += 1,
            Err(e) => break e,
        }
        assert!(acknowledged < 1000);
    };
    assert_eq!(error.code(), "store.disk_full", "{error}");
    assert_eq!(
        j.apply_later(vec![put(acknowledged)]).unwrap_err().code(),
        "store.disk_full"
    );
    // Nothing went wrong inside: reading goes on.
    assert_eq!(
        j.get("task", &0u64.to_be_bytes()).unwrap().unwrap().payload,
        noise(0, 20_000)
    );
    drop(j);
    // It opens on the full disk, and where there is room it has all that was acknowledged.
    drop(SledJournal::open(&path, &["task"]).unwrap());
    let roomy = tempfile::tempdir().unwrap();
    let copy = roomy.path().join("journal");
    assert!(
        Command::new("cp")
            .arg("-r")
            .arg(&path)
            .arg(&copy)
            .status()
            .unwrap()
            .success()
    );
    let (j, alarm) = SledJournal::open(&copy, &["task"]).unwrap();
    assert_eq!(alarm, None);
    for n in 0..acknowledged {
        assert_eq!(
            j.get("task", &n.to_be_bytes()).unwrap().unwrap().payload,
            noise(n, 20_000)
        );
    }
}

#[test]
#[ignore = "needs root: cargo test -p hive-store -- --ignored"]
fn a_transfer_to_a_full_disk_is_refused_or_stops_and_goes_on() {
    let disk = Small::mount(24);
    let (a, mut b) = (Node::new(), Node::new());
    let add = |seed, mib: usize| {
        a.add(&a.file(&format!("f{seed}"), &noise(seed, mib << 20)))
            .root
            .hash
    };
    let (six, nine, huge) = (add(1, 6), add(2, 12), add(3, 30));
    let source = |h| a.store.source(h).unwrap();
    let tree = |p: &hive_store::files::Partial, h| {
        let s = source(h);
        p.set_tree(s.size(), &s.segment_cvs().unwrap())
    };
    // Known to be too large: nothing is written.
    let p = b.begin(&huge, Some(&disk.path().join("huge")));
    assert_eq!(tree(&p, &huge).unwrap_err().code(), "store.disk_full");
    p.abandon(false).unwrap();
    drop(p);
    // Room promised to one is not promised to another.
    let p = b.begin(&six, Some(&disk.path().join("six")));
    tree(&p, &six).unwrap();
    let q = b.begin(&nine, Some(&disk.path().join("nine")));
    assert_eq!(tree(&q, &nine).unwrap_err().code(), "store.disk_full");
    // Somebody else fills the disk in the middle.
    let s = source(&six);
    let (mut bytes, all) = (Vec::new(), whole_mask(s.size(), 0));
    p.set_groups(0, &s.group_cvs(0).unwrap()).unwrap();
    s.read(0, 0xff, &mut bytes).unwrap();
    p.write_mask(0, 0xff, &bytes).unwrap();
    let hog = disk.path().join("hog");
    assert!(fs::write(&hog, noise(9, 30 << 20)).is_err());
    bytes.clear();
    s.read(0, all & !0xff, &mut bytes).unwrap();
    assert_eq!(
        p.write_mask(0, all & !0xff, &bytes).unwrap_err().code(),
        "store.disk_full"
    );
    assert_eq!(p.bytes_here(), 8 * GROUP);
    // Interrupted on top of it; nothing that was here is lost, and with room it goes on.
    drop((p, q));
    b.reopen();
    let again = b
        .store
        .begin(&six, &b.dest(Some(&disk.path().join("six"))), u64::MAX);
    assert_eq!(again.unwrap_err().code(), "store.disk_full");
    fs::remove_file(&hog).unwrap();
    let p = b.begin(&six, Some(&disk.path().join("six")));
    assert_eq!(p.bytes_here(), 8 * GROUP);
    transfer(&s, &p);
    p.finish(None, None).unwrap();
    drop(p);
    assert_eq!(fs::read(disk.path().join("six")).unwrap(), noise(1, 6 << 20));
    // Small files of a folder.
    for n in 0..40 {
        a.file(&format!("many/{n}"), &noise(100 + n, 60_000));
    }
    let many = a.add(&a.path("many")).root.hash;
    let manifest = a.store.manifest(&many).unwrap();
    let hog_all = || assert!(fs::write(&hog, noise(9, 30 << 20)).is_err());
    let dest = b.dest(Some(&disk.path().join("many")));
    let p = b.store.begin_folder(&many, &manifest, &dest, u64::MAX).unwrap();
    hog_all();
    let wanted = p.wanted(None, 100);
    let files: Vec<Vec<u8>> = wanted
        .iter()
        .map(|(_, h, _)| {
            let mut out = Vec::new();
            source(h).read(0, 1, &mut out).unwrap();
            out
        })
        .collect();
    let batch: Vec<(u32, &[u8])> = wanted
        .iter()
        .zip(&files)
        .map(|(w, f)| (w.0, f.as_slice()))
        .collect();
    assert_eq!(p.write_small(&batch).unwrap_err().code(), "store.disk_full");
    fs::remove_file(&hog).unwrap();
    let left = p.wanted(None, 100);
    let rest: Vec<_> = batch
        .iter()
        .filter(|b| left.iter().any(|l| l.0 == b.0))
        .copied()
        .collect();
    assert!(p.write_small(&rest).unwrap().is_empty());
    p.finish().unwrap();
    assert_eq!(fs::read(disk.path().join("many/7")).unwrap(), noise(107, 60_000));
    // A disk that may not be written to.
    let done = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(disk.path())
        .status();
    assert!(done.unwrap().success());
    let e = b
        .store
        .begin(&nine, &b.dest(Some(&disk.path().join("nine2"))), u64::MAX)
        .unwrap_err();
    assert_eq!(e.code(), "file.denied", "{e}");
    assert!(e.to_string().contains("read-only"), "{e}");
}
