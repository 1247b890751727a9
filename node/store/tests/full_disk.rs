//! A disk that is really full: a small tmpfs, which only root may mount.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use hive_protocol::ids::BlobHash;
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
