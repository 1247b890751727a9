//! The journal from outside: atomic batches, scans, and that nothing is lost without a word.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use hive_store::{Journal, JournalAlarm, Op, Record, SledJournal};
use std::{
    fs,
    path::{Path, PathBuf},
};

const TREES: &[&str] = &["job", "task"];

fn open(p: &Path) -> (SledJournal, Option<JournalAlarm>) {
    SledJournal::open(p, TREES).unwrap()
}

fn put(tree: &'static str, key: &[u8], payload: &[u8]) -> Op {
    Op::Put {
        tree,
        key: key.to_vec(),
        record: Record {
            schema: 1,
            payload: payload.to_vec(),
        },
    }
}

fn filled(p: &Path) {
    let (j, alarm) = open(p);
    assert_eq!(alarm, None);
    for i in 0..300u32 {
        let payload = [i as u8; 300];
        j.apply_later(vec![
            put("task", &i.to_be_bytes(), &payload),
            put("job", b"progress", &i.to_le_bytes()),
        ])
        .unwrap();
    }
    j.flush().unwrap();
}

#[test]
fn records_are_written_replaced_removed_and_found_again() {
    let t = tempfile::tempdir().unwrap();
    let p = t.path().join("j");
    let (j, alarm) = open(&p);
    assert!(alarm.is_none() && j.is_empty());
    j.apply(vec![
        put("job", b"a", b"1"),
        put("task", b"a", b"2"),
        put("task", b"b", b"3"),
    ])
    .unwrap();
    j.apply(vec![
        put("task", b"a", b"4"),
        Op::Delete {
            tree: "task",
            key: b"b".to_vec(),
        },
        Op::Delete {
            tree: "task",
            key: b"never there".to_vec(),
        },
        put("task", b"c", b"5"),
        put("task", b"c", b"6"),
    ])
    .unwrap();
    let check = |j: &SledJournal| {
        let payload = |tree, key| j.get(tree, key).unwrap().map(|r| r.payload);
        assert_eq!(payload("job", b"a"), Some(b"1".to_vec()));
        assert_eq!(payload("task", b"a"), Some(b"4".to_vec()));
        assert_eq!(payload("task", b"b"), None);
        assert_eq!(payload("task", b"c"), Some(b"6".to_vec()));
        assert_eq!(j.len(), 3);
    };
    check(&j);
    drop(j);
    let (j, alarm) = open(&p);
    assert_eq!(alarm, None);
    check(&j);
}

#[test]
fn scans_stay_in_their_prefix_and_go_on_where_they_stopped() {
    let t = tempfile::tempdir().unwrap();
    let (j, _) = open(&t.path().join("j"));
    let mut ops = vec![
        put("job", b"x/1", b""),
        put("task", b"w", b""),
        put("task", b"y", b""),
    ];
    ops.extend((0..50u8).map(|i| put("task", &[b'x', b'/', i], &[i])));
    j.apply(ops).unwrap();
    let (mut after, mut seen, mut pages) = (None, Vec::new(), 0);
    loop {
        let page = j.scan("task", b"x/", after.as_deref(), 7).unwrap();
        assert!(page.records.len() <= 7 && page.damaged.is_empty());
        seen.extend(page.records.into_iter().map(|(_, r)| r.payload[0]));
        pages += 1;
        match page.next {
            Some(n) => after = Some(n),
            None => break,
        }
    }
    assert_eq!((seen, pages), ((0..50).collect(), 8));
    assert_eq!(j.scan("task", b"x/", Some(b"a"), 100).unwrap().records.len(), 50);
    assert_eq!(j.scan("task", b"", None, 100).unwrap().records.len(), 52);
    assert_eq!(j.scan("job", b"", None, 100).unwrap().records.len(), 1);
    assert_eq!(
        j.scan("task", b"zz", None, 100).unwrap(),
        hive_store::ScanPage::default()
    );
}

#[test]
fn what_is_beyond_the_bounds_changes_nothing() {
    let t = tempfile::tempdir().unwrap();
    let (j, _) = open(&t.path().join("j"));
    let code = |ops| j.apply(ops).unwrap_err().code();
    assert_eq!(
        code(vec![put("job", b"ok", b""), put("jobs", b"a", b"")]),
        "journal.no_tree"
    );
    assert_eq!(
        code(vec![put("job", b"ok", b""), put("job", b"", b"")]),
        "journal.too_large"
    );
    assert_eq!(
        code(vec![put("job", b"ok", b""), put("job", &[0; 257], b"")]),
        "journal.too_large"
    );
    assert_eq!(
        code(vec![put("job", b"ok", b""), put("job", b"a", &[0; 32_769])]),
        "journal.too_large"
    );
    assert_eq!(
        code((0..1025).map(|_| put("job", b"ok", b"")).collect()),
        "journal.too_large"
    );
    assert_eq!(j.get("nope", b"a").unwrap_err().code(), "journal.no_tree");
    assert_eq!((j.len(), j.get("job", b"ok").unwrap()), (0, None));
    let many = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    assert_eq!(
        SledJournal::open(&t.path().join("k"), &many).unwrap_err().code(),
        "journal.too_large"
    );
}

#[test]
fn a_second_opener_is_refused_and_moves_nothing() {
    let t = tempfile::tempdir().unwrap();
    let p = t.path().join("j");
    let (j, _) = open(&p);
    j.apply(vec![put("job", b"a", b"1")]).unwrap();
    assert_eq!(SledJournal::open(&p, TREES).unwrap_err().code(), "journal.locked");
    assert_eq!(fs::read_dir(t.path()).unwrap().count(), 1);
    assert_eq!(j.get("job", b"a").unwrap().unwrap().payload, b"1");
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for e in fs::read_dir(dir).unwrap() {
        let p = e.unwrap().path();
        if p.is_dir() {
            all.extend(files(&p))
        } else {
            all.push(p)
        }
    }
    all
}

/// Opens a journal after damage: either all is there, or the caller is told; never less without a word.
fn opened(p: &Path, what: &str) -> &'static str {
    let (j, alarm) = open(p);
    let Some(alarm) = alarm else {
        for i in 0..300u32 {
            match j.get("task", &i.to_be_bytes()) {
                Ok(r) => assert_eq!(r.unwrap().payload, [i as u8; 300], "{what}"),
                Err(e) => assert_eq!(e.code(), "journal.damaged_record", "{what}"),
            }
        }
        assert_eq!(j.len(), 301);
        return "whole";
    };
    assert!(!alarm.to_string().is_empty());
    let before = j.len();
    match &alarm {
        JournalAlarm::MovedAside { moved_to, why } => {
            assert!(moved_to.is_dir() && !why.is_empty() && before == 0)
        }
        // A beginning of what was written, in whole batches.
        JournalAlarm::RolledBack { .. } => {
            let tasks = j.scan("task", b"", None, 1024).unwrap();
            assert_eq!(tasks.damaged.len(), 0, "{what}");
            for (i, (_, r)) in (0..).zip(&tasks.records) {
                assert_eq!(r.payload, [i as u8; 300], "{what}");
            }
            let progress = j.get("job", b"progress").unwrap();
            let last = tasks
                .records
                .len()
                .checked_sub(1)
                .map(|l| (l as u32).to_le_bytes().to_vec());
            assert_eq!(progress.map(|r| r.payload), last, "{what}");
        }
    }
    // It works and is sound at the next start.
    j.apply(vec![put("job", b"new", b"1")]).unwrap();
    drop(j);
    let (j, again) = open(p);
    assert_eq!((again, j.len()), (None, before + 1), "{what}");
    alarm.code()
}

#[test]
fn rubbish_in_place_of_any_file_is_moved_aside_with_an_alarm() {
    let t = tempfile::tempdir().unwrap();
    filled(&t.path().join("model"));
    let names: Vec<_> = files(&t.path().join("model"))
        .into_iter()
        .map(|p| p.strip_prefix(t.path().join("model")).unwrap().to_path_buf())
        .collect();
    assert!(names.len() >= 3, "{names:?}");
    for (n, name) in names.iter().enumerate() {
        for how in 0..4 {
            let p = t.path().join(format!("j{n}-{how}"));
            filled(&p);
            let file = p.join(name);
            let len = fs::metadata(&file).unwrap().len() as usize;
            let mut noise = vec![0; len];
            blake3::Hasher::new().finalize_xof().fill(&mut noise);
            match how {
                0 => fs::write(&file, noise).unwrap(),
                1 => fs::write(&file, vec![0; len]).unwrap(),
                2 => fs::write(&file, b"").unwrap(),
                _ => fs::remove_file(&file).unwrap(),
            }
            let told = opened(&p, &format!("{} {how}", name.display()));
            if name.ends_with("db") {
                assert_eq!(told, "journal.moved_aside", "{how}");
            } else if name.ends_with("mark") {
                assert_eq!(told, "journal.rolled_back", "{how}");
            }
        }
    }
}

#[test]
fn flipped_bytes_anywhere_are_never_passed_over() {
    let t = tempfile::tempdir().unwrap();
    let model = t.path().join("model");
    filled(&model);
    let db = fs::read(model.join("sled/db")).unwrap();
    let mut told = std::collections::BTreeMap::new();
    let mut seed = 12345u64;
    for round in 0..40 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let p = t.path().join(format!("j{round}"));
        filled(&p);
        let mut db = fs::read(p.join("sled/db")).unwrap_or_else(|_| db.clone());
        let at = (seed >> 20) as usize % db.len();
        for b in db.iter_mut().skip(at).take(64) {
            *b ^= 0x55;
        }
        fs::write(p.join("sled/db"), db).unwrap();
        *told.entry(opened(&p, &format!("64 bytes at {at}"))).or_insert(0) += 1;
        fs::remove_dir_all(&p).unwrap();
    }
    println!("{told:?}");
    assert!(
        told.keys().any(|k| *k != "whole"),
        "no damage was noticed at all: {told:?}"
    );
}
