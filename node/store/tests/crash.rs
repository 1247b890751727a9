//! What is left when the process is killed at any instant: this test runs itself as a child and kills it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use hive_protocol::ids::BlobHash;
use hive_store::{BlobStore, DataDir, DiskBudget, Journal, Op, Record, SledJournal};
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

const CHILD: &str = "HIVE_STORE_CRASH_CHILD";
const SIZES: [usize; 6] = [10, 5000, 65_536, 65_537, 300_000, 2_000_000];

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut out);
    out
}

/// Runs `test` of this file in a process of its own, with `dir` to work in.
fn spawn(test: &str, dir: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

/// Reads `n` reports of the child, kills it at once, and returns them with those it still got out.
fn kill_after(n: usize, child: &mut Child, out: BufReader<ChildStdout>) -> Vec<String> {
    let mut lines = out.lines().map(Result::unwrap).filter(|l| l.starts_with("done "));
    let mut seen: Vec<_> = lines.by_ref().take(n).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    seen.extend(lines);
    assert!(seen.len() >= n, "the child ended by itself after {}", seen.len());
    seen
}

#[test]
fn child_that_writes_blobs() {
    let Some(dir) = std::env::var_os(CHILD).map(PathBuf::from) else {
        return;
    };
    let data = DataDir::open(&dir).unwrap();
    let (store, _) = BlobStore::open_in(&data, DiskBudget::new(1 << 40)).unwrap();
    let other = tempfile::tempdir().unwrap();
    let (peer, _) = BlobStore::open(other.path(), DiskBudget::new(1 << 40), false).unwrap();
    let start = store.usage().blobs as u64 * 1_000_003;
    for n in start.. {
        let bytes = noise(n, SIZES[n as usize % SIZES.len()]);
        let hash = BlobHash::of(&bytes);
        match n % 3 {
            0 => drop(store.add_bytes(&bytes).unwrap()),
            1 => drop(store.add_reader(&mut bytes.as_slice(), 1 << 30).unwrap()),
            _ => {
                peer.add_bytes(&bytes).unwrap();
                let mut wire = Vec::new();
                peer.send(&hash, &mut wire).unwrap();
                store
                    .receive(hash, bytes.len() as u64, 1 << 30, &mut wire.as_slice())
                    .unwrap();
                peer.remove(&hash).unwrap();
            }
        }
        println!("done + {}", hash.hex());
        if n % 5 == 4 {
            println!("done - {}", hash.hex());
            store.remove(&hash).unwrap();
        }
    }
}

#[test]
fn a_killed_store_has_every_finished_blob_and_no_wrong_one() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let t = tempfile::tempdir().unwrap();
    let dir = t.path().join("data");
    let (mut present, mut swept) = (BTreeSet::new(), 0);
    for round in 0..12 {
        let (mut child, out) = spawn("child_that_writes_blobs", &dir);
        for line in kill_after(1 + round * 7 % 31, &mut child, out) {
            let (what, hex) = line.strip_prefix("done ").unwrap().split_once(' ').unwrap();
            if what == "+" {
                present.insert(hex.to_owned())
            } else {
                present.remove(hex)
            };
        }
        // The lock died with its holder.
        let data = DataDir::open(&dir).unwrap();
        let (store, report) = BlobStore::open_in(&data, DiskBudget::new(1 << 40)).unwrap();
        swept += report.swept;
        assert_eq!((report.mended, report.dropped, report.strange), (0, 0, 0));
        let listed = store.list(None, 100_000);
        for (hash, size) in &listed {
            assert_eq!(store.verify(hash).unwrap(), *size);
        }
        let there: BTreeSet<_> = listed.iter().map(|(h, _)| h.hex()).collect();
        assert!(present.is_subset(&there), "{:?}", present.difference(&there));
        // More only by what was finished and not yet reported, or reported as going and not yet gone.
        present = there;
        assert_eq!(fs::read_dir(data.blobs().join("tmp")).unwrap().count(), 0);
        assert_eq!(store.usage().charged, store.budget().used());
    }
    println!("{} blobs, {swept} unfinished files swept", present.len());
}

#[test]
fn child_that_writes_records() {
    let Some(dir) = std::env::var_os(CHILD).map(PathBuf::from) else {
        return;
    };
    let (journal, alarm) = SledJournal::open(&dir, &["job", "task"]).unwrap();
    assert_eq!(alarm, None);
    let record = |payload: &[u8]| Record {
        schema: 1,
        payload: payload.to_vec(),
    };
    let last = journal
        .get("job", b"n")
        .unwrap()
        .map_or(0, |r| u64::from_le_bytes(r.payload.try_into().unwrap()));
    for n in last + 1.. {
        journal
            .apply(vec![
                Op::Put {
                    tree: "job",
                    key: b"n".to_vec(),
                    record: record(&n.to_le_bytes()),
                },
                Op::Put {
                    tree: "task",
                    key: n.to_be_bytes().to_vec(),
                    record: record(&noise(n, 500)),
                },
            ])
            .unwrap();
        println!("done {n}");
    }
}

#[test]
fn a_killed_journal_has_every_acknowledged_batch_whole() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let t = tempfile::tempdir().unwrap();
    let dir = t.path().join("journal");
    for round in 0..15 {
        let (mut child, out) = spawn("child_that_writes_records", &dir);
        let seen = kill_after(1 + round * 37 % 400, &mut child, out);
        let acknowledged: u64 = seen
            .last()
            .unwrap()
            .strip_prefix("done ")
            .unwrap()
            .parse()
            .unwrap();
        let (journal, alarm) = SledJournal::open(&dir, &["job", "task"]).unwrap();
        assert_eq!(alarm, None);
        let n = journal.get("job", b"n").unwrap().unwrap();
        let n = u64::from_le_bytes(n.payload.try_into().unwrap());
        assert!(n >= acknowledged, "{n} of {acknowledged}");
        for i in 1..=n {
            assert_eq!(
                journal.get("task", &i.to_be_bytes()).unwrap().unwrap().payload,
                noise(i, 500),
                "{i} of {n}"
            );
        }
        assert_eq!(journal.len(), n + 1);
    }
}

#[test]
fn child_that_holds_the_folder() {
    let Some(dir) = std::env::var_os(CHILD).map(PathBuf::from) else {
        return;
    };
    let _held = DataDir::open(&dir).unwrap();
    println!("done");
    println!("done {}", std::process::id());
    loop {
        std::thread::park();
    }
}

#[test]
fn two_processes_on_one_folder_and_the_second_learns_the_first() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let t = tempfile::tempdir().unwrap();
    let (mut child, out) = spawn("child_that_holds_the_folder", t.path());
    let mut lines = out.lines().map(Result::unwrap);
    let line = lines.find(|l| l.starts_with("done ")).unwrap();
    let error = DataDir::open(t.path()).unwrap_err();
    assert_eq!(error.code(), "store.locked");
    assert!(
        error.to_string().contains(line.strip_prefix("done ").unwrap()),
        "{error}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    DataDir::open(t.path()).unwrap();
}
