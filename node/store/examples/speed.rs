//! Prints how fast the blob store and the journal are on this disk:
//! `cargo run --release -p hive-store --example speed [FOLDER] [MIB]`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use hive_protocol::ids::BlobHash;
use hive_store::{BlobStore, DiskBudget, Import, Journal, Op, Record, SledJournal};
use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    time::Instant,
};

fn mib_per_s(what: &str, mib: u64, started: Instant) {
    println!(
        "{what:<34} {:>8.0} MiB/s",
        mib as f64 / started.elapsed().as_secs_f64()
    );
}

fn per_s(what: &str, n: u64, started: Instant) {
    println!(
        "{what:<34} {:>8.0} /s",
        n as f64 / started.elapsed().as_secs_f64()
    );
}

fn main() {
    let mut args = std::env::args().skip(1);
    let base = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let mib: u64 = args.next().and_then(|a| a.parse().ok()).unwrap_or(1024);
    let t = tempfile::tempdir_in(base).unwrap();
    let store = |name: &str| {
        BlobStore::open(t.path().join(name), DiskBudget::new(1 << 40), false)
            .unwrap()
            .0
    };
    let (a, b) = (store("a"), store("b"));

    let source = t.path().join("source");
    let mut f = fs::File::create(&source).unwrap();
    let mut piece = vec![0; 1 << 20];
    let mut noise = blake3::Hasher::new().finalize_xof();
    for _ in 0..mib {
        noise.fill(&mut piece);
        f.write_all(&piece).unwrap();
    }
    drop(f);

    let now = Instant::now();
    let blob = a.add_path(&source, Import::Copy, u64::MAX).unwrap();
    mib_per_s("add (copy)", mib, now);
    a.remove(&blob.hash).unwrap();
    let now = Instant::now();
    a.add_path(&source, Import::HardLink, u64::MAX).unwrap();
    mib_per_s("add (hard link)", mib, now);
    let now = Instant::now();
    a.verify(&blob.hash).unwrap();
    mib_per_s("verify", mib, now);
    let now = Instant::now();
    a.send(&blob.hash, &mut io::sink()).unwrap();
    mib_per_s("encode to nowhere", mib, now);

    let wire = t.path().join("wire");
    a.send(&blob.hash, &mut fs::File::create(&wire).unwrap()).unwrap();
    let now = Instant::now();
    b.receive(
        blob.hash,
        blob.size,
        u64::MAX,
        &mut fs::File::open(&wire).unwrap(),
    )
    .unwrap();
    mib_per_s("decode from a file", mib, now);
    b.remove(&blob.hash).unwrap();
    fs::remove_file(&wire).unwrap();

    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        use tokio_util::compat::TokioAsyncReadCompatExt;
        let (left, right) = tokio::io::duplex(1 << 20);
        let (mut left, mut right) = (left.compat(), right.compat());
        let now = Instant::now();
        let (sent, got) = tokio::join!(
            a.send_async(&blob.hash, &mut left),
            b.receive_async(blob.hash, blob.size, u64::MAX, &mut right)
        );
        sent.unwrap();
        got.unwrap();
        mib_per_s("async encode + decode, both ends", mib, now);
    });

    // All additions first: ext4 is slow to make files for half a minute after many were removed.
    let sets = [100, 4096, 65_536].map(|size| {
        let many = (0..10_000u64).map(|i| {
            let mut v = vec![size as u8; size];
            v.iter_mut().zip(i.to_le_bytes()).for_each(|(v, i)| *v = i);
            (BlobHash::of(&v), v)
        });
        (size, many.collect::<Vec<_>>())
    });
    for (size, blobs) in &sets {
        let now = Instant::now();
        for (h, m) in blobs {
            b.add_expected(h, m).unwrap();
        }
        per_s(&format!("add blobs of {size} bytes"), blobs.len() as u64, now);
    }
    for (size, blobs) in &sets {
        let now = Instant::now();
        for (h, _) in blobs {
            b.read(h, 65_536).unwrap();
        }
        per_s(&format!("read blobs of {size} bytes"), blobs.len() as u64, now);
    }
    for (size, blobs) in &sets {
        let now = Instant::now();
        for (h, _) in blobs {
            b.remove(h).unwrap();
        }
        per_s(&format!("remove blobs of {size} bytes"), blobs.len() as u64, now);
    }

    let journal = SledJournal::open(&t.path().join("journal"), &["task"]).unwrap().0;
    let op = |i: u64| Op::Put {
        tree: "task",
        key: i.to_be_bytes().to_vec(),
        record: Record {
            schema: 1,
            payload: vec![7; 200],
        },
    };
    let now = Instant::now();
    (0..2000).for_each(|i| journal.apply(vec![op(i)]).unwrap());
    per_s("journal: single records, handed over", 2000, now);
    let now = Instant::now();
    (0..200).for_each(|i| {
        journal
            .apply((0..100).map(|j| op(i * 100 + j)).collect())
            .unwrap()
    });
    per_s("journal: records in batches of 100", 20_000, now);
    let now = Instant::now();
    (0..20_000).for_each(|i| journal.apply_later(vec![op(i)]).unwrap());
    per_s("journal: single records, later", 20_000, now);
    println!(
        "journal: {} records on {} KiB",
        journal.len(),
        journal.disk_bytes().unwrap() / 1024
    );
}
