//! A received mirror on a real folder.

use super::stage::*;
use hive_protocol::manifest::Entry;
use hive_sync::{InState, SyncError};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    sync::atomic::Ordering,
};

fn first(r: &Receiver) -> Vec<Entry> {
    vec![
        r.file("a.txt", b"one"),
        folder("d", 0o755),
        r.file("d/b.bin", &vec![5; 200_000]),
        folder("d/empty", 0o700),
        link("d/l", "../a.txt"),
        Entry {
            mode: 0o444,
            ..r.file("ro", b"read-only")
        },
        r.file("ü\u{1F41D}", b"any name"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_comes_with_bits_times_links_and_empty_folders() {
    let r = Receiver::new().await;
    let entries = first(&r);
    r.reach(1, entries.clone()).await;
    assert_eq!(listing(&r.dir), wanted(&entries));
    assert_eq!(r.fetched(), 4);
    assert_eq!(r.shelf.settled.load(Ordering::Relaxed), 1);
    // The same state with a higher number: nothing to do, nothing fetched.
    r.reach(2, entries.clone()).await;
    assert_eq!((listing(&r.dir), r.fetched()), (wanted(&entries), 4));
    // A lower number is out of date.
    let older = Quiet::new();
    let root = r.shelf.state(vec![]);
    r.incoming
        .offer(offer(&r.dir, 1, root, 0), older.clone())
        .unwrap();
    assert_eq!(older.done.load(Ordering::Relaxed), 1);
    assert_eq!(listing(&r.dir), wanted(&entries));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_renames_deletions_and_versions() {
    let r = Receiver::new().await;
    r.reach(1, first(&r)).await;
    let before = r.fetched();
    let entries = vec![
        r.file("a.txt", b"two"),
        folder("moved", 0o711),
        r.file("moved/b.bin", &vec![5; 200_000]),
        r.file("moved/copy", &vec![5; 200_000]),
        link("moved/l", "copy"),
    ];
    r.reach_with(2, entries.clone(), 2).await;
    assert_eq!(listing(&r.dir), wanted(&entries));
    assert_eq!(r.fetched() - before, 1, "only the changed file");
    let kept: Vec<String> = names(&r.dir.join(".hive-versions")).into_iter().collect();
    assert_eq!(kept.len(), 3, "{kept:?}");
    assert!(
        kept[0].starts_with("a.txt~20") && kept[1].starts_with("ro~20"),
        "{kept:?}"
    );
    let old = fs::read_to_string(r.dir.join(".hive-versions").join(&kept[0])).unwrap();
    assert_eq!(old, "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_owner_is_lost() {
    let r = Receiver::new().await;
    r.reach(1, first(&r)).await;
    fs::write(r.dir.join("a.txt"), "my words").unwrap();
    fs::write(r.dir.join("d/mine"), "mine").unwrap();
    fs::remove_file(r.dir.join("ro")).unwrap();
    fs::create_dir(r.dir.join("ro")).unwrap();
    fs::write(r.dir.join("ro/inside"), "deep").unwrap();
    fs::write(r.dir.join("new"), "mine, too").unwrap();
    let entries = vec![
        r.file("a.txt", b"two"),
        r.file("new", b"theirs"),
        r.file("ro", b"read-only"),
    ];
    let view = r.reach(2, entries.clone()).await;
    let mut now = names(&r.dir);
    assert_eq!(view.conflicts.len(), 3, "{view:?}");
    for conflict in &view.conflicts {
        assert!(now.remove(conflict), "{conflict}");
        assert!(conflict.contains(".conflict-20"), "{conflict}");
    }
    let inside = |p: &&String| p.ends_with("/inside");
    let deep = now.iter().find(inside).unwrap().clone();
    assert_eq!(r.read(&deep), "deep");
    now.remove(&deep);
    assert_eq!(
        now.into_iter().collect::<Vec<_>>(),
        ["a.txt", "d", "d/mine", "new", "ro"]
    );
    let kept: Vec<String> = view
        .conflicts
        .iter()
        .filter(|c| !c.starts_with("ro"))
        .map(|c| r.read(c))
        .collect();
    assert_eq!(kept, ["mine, too", "my words"]);
    assert_eq!(
        (r.read("a.txt"), r.read("new"), r.read("d/mine")),
        ("two".into(), "theirs".into(), "mine".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_swapped_in_leads_nowhere() {
    let r = Receiver::new().await;
    let outside = r.temp.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("b.bin"), "precious").unwrap();
    r.reach(1, first(&r)).await;
    // While contents come, a folder is swapped for a link that leads out.
    let (dir, out) = (r.dir.clone(), outside.clone());
    let mut swapped = false;
    *r.shelf.before_each.lock().unwrap() = Some(Box::new(move |_| {
        if !std::mem::replace(&mut swapped, true) {
            fs::rename(dir.join("d"), dir.join("d-was")).unwrap();
            symlink(&out, dir.join("d")).unwrap();
        }
    }));
    let mut entries = first(&r);
    entries[2] = r.file("d/b.bin", &vec![6; 200_000]);
    entries.push(r.file("d/fresh", b"fresh"));
    let view = r.reach(2, entries.clone()).await;
    assert_eq!(names(&outside).into_iter().collect::<Vec<_>>(), ["b.bin"]);
    assert_eq!(fs::read_to_string(outside.join("b.bin")).unwrap(), "precious");
    let mut now = listing(&r.dir);
    // The link is somebody's and kept; so is the folder that was moved away.
    assert!(
        view.conflicts
            .iter()
            .any(|c| c.starts_with("d.conflict-") && now.remove(c).is_some()),
        "{view:?}"
    );
    now.retain(|p, _| !p.starts_with("d-was"));
    assert_eq!(now, wanted(&entries));
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_while_it_works_are_kept() {
    let r = Receiver::new().await;
    let n = 40;
    let state = |tag: &str| {
        (0..n)
            .map(|i| r.file(&format!("f{i:02}"), format!("{tag} {i}").as_bytes()))
            .collect::<Vec<_>>()
    };
    r.reach(1, state("old")).await;
    // Each file is edited after the folder was looked at and before its new content is put in place.
    let dir = r.dir.clone();
    let mut i = 0;
    *r.shelf.before_each.lock().unwrap() = Some(Box::new(move |_| {
        if i < n {
            fs::write(dir.join(format!("f{i:02}")), format!("edit {i}")).unwrap();
            i += 1;
        }
    }));
    let entries = state("new");
    let view = r.reach(2, entries.clone()).await;
    let mut now = listing(&r.dir);
    let kept: Vec<String> = now.keys().filter(|p| p.contains(".conflict-")).cloned().collect();
    let mut edits: Vec<String> = kept.iter().map(|p| r.read(p)).collect();
    edits.sort();
    let mut expected: Vec<String> = (0..n).map(|i| format!("edit {i}")).collect();
    expected.sort();
    assert_eq!(edits, expected, "{view:?}");
    kept.iter().for_each(|p| drop(now.remove(p)));
    assert_eq!(now, wanted(&entries));
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_folders_are_opened_and_closed_again() {
    let r = Receiver::new().await;
    let state = |text: &[u8], name: &str| {
        vec![
            folder("ro", 0o555),
            folder("ro/sub", 0o500),
            r.file(&format!("ro/sub/{name}"), text),
        ]
    };
    let one = state(b"one", "f");
    r.reach(1, one.clone()).await;
    assert_eq!(listing(&r.dir), wanted(&one));
    let two = state(b"two", "g");
    r.reach(2, two.clone()).await;
    assert_eq!(listing(&r.dir), wanted(&two));
    r.reach(3, vec![]).await;
    assert!(names(&r.dir).is_empty());
    let bits = fs::metadata(&r.dir).unwrap().permissions().mode();
    assert_ne!(bits & 0o200, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_gone_on_from() {
    let r = Receiver::new().await;
    *r.shelf.full_after.lock().unwrap() = Some(2);
    let entries: Vec<Entry> = (0..5)
        .map(|i| r.file(&format!("f{i}"), format!("{i}").as_bytes()))
        .collect();
    let root = r.shelf.state(entries.clone());
    let news = Quiet::new();
    r.incoming.offer(offer(&r.dir, 1, root, 0), news.clone()).unwrap();
    let view = r.wait(|v| v.state == InState::Blocked).await;
    assert!(view.detail.starts_with("store.disk_full"), "{view:?}");
    assert!(news.failed.lock().unwrap().iter().all(|(_, again)| *again));
    *r.shelf.full_after.lock().unwrap() = None;
    r.incoming.kick(None);
    r.wait(|v| v.state == InState::Whole).await;
    assert_eq!(listing(&r.dir), wanted(&entries));
    assert_eq!(r.fetched(), 5, "what had come was not fetched again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_is_waited_for_and_the_rest_is_put_in_place() {
    let r = Receiver::new().await;
    let mut entries = vec![r.file("here", b"here")];
    let absent = r.file("absent", b"absent");
    r.shelf.bytes.lock().unwrap().remove(&hash(b"absent"));
    entries.push(absent);
    let root = r.shelf.state(entries.clone());
    r.incoming.offer(offer(&r.dir, 1, root, 0), Quiet::new()).unwrap();
    let view = r
        .wait(|v| v.state == InState::Waiting && !v.detail.is_empty())
        .await;
    assert!(view.detail.contains("file.no_provider"), "{view:?}");
    assert_eq!(r.read("here"), "here");
    r.shelf.put(b"absent");
    r.incoming.kick(Some(&OTHER));
    r.wait(|v| v.state == InState::Whole).await;
    assert_eq!((listing(&r.dir), r.fetched()), (wanted(&entries), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_state_ends_a_long_one() {
    let r = Receiver::new().await;
    let first = vec![r.file("slow", b"slow"), r.file("x", b"x")];
    let (root_two, gate) = (
        r.shelf.state(vec![r.file("quick", b"quick")]),
        std::sync::mpsc::channel::<()>(),
    );
    let incoming = r.incoming.clone();
    let dir = r.dir.clone();
    let (open, opened) = gate;
    // The first content takes until the newer state has been offered for a while.
    *r.shelf.before_each.lock().unwrap() = Some(Box::new(move |file| {
        if file.size == 4 {
            incoming.offer(offer(&dir, 2, root_two, 0), Quiet::new()).unwrap();
            let _ = opened.recv_timeout(std::time::Duration::from_secs(4));
        }
    }));
    let root = r.shelf.state(first);
    let news = Quiet::new();
    r.incoming.offer(offer(&r.dir, 1, root, 0), news.clone()).unwrap();
    r.wait(|v| v.seq == 2 && v.state == InState::Whole).await;
    drop(open);
    assert_eq!(names(&r.dir).into_iter().collect::<Vec<_>>(), ["quick"]);
    assert_eq!(
        news.done.load(Ordering::Relaxed),
        1,
        "the older one is done with the newer"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_mirrors_do_not_share_a_folder() {
    let r = Receiver::new().await;
    r.reach(1, first(&r)).await;
    let root = r.shelf.state(vec![]);
    for dir in [r.dir.clone(), r.dir.join("d"), r.temp.path().to_path_buf()] {
        let mut second = offer(&dir, 1, root, 0);
        second.sync = hive_protocol::ids::SyncId([2; 16]);
        let refused = r.incoming.offer(second, Quiet::new());
        assert!(matches!(refused, Err(SyncError::FolderTaken { .. })), "{dir:?}");
    }
    // Also not one of another daemon.
    let other = open(&r.temp.path().join("journal2"), &r.shelf).await;
    let mut second = offer(&r.dir, 1, root, 0);
    second.sync = hive_protocol::ids::SyncId([2; 16]);
    other.offer(second, Quiet::new()).unwrap();
    let view = wait_view(&other, |v| v.state == InState::Blocked).await;
    assert!(view.detail.starts_with("sync.folder_taken"), "{view:?}");
    assert_eq!(listing(&r.dir), wanted(&first(&r)));
    // Given up, it is free.
    r.incoming
        .remove(&OTHER, &hive_protocol::ids::SyncId([1; 16]))
        .await
        .unwrap();
    other.kick(None);
    wait_view(&other, |v| v.state == InState::Whole).await;
    assert_eq!(
        listing(&r.dir),
        wanted(&first(&r)),
        "what is there is nobody's mirror and stays"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vanished_folder_is_not_filled_again_unasked() {
    let r = Receiver::new().await;
    r.reach(1, first(&r)).await;
    fs::rename(&r.dir, r.temp.path().join("elsewhere")).unwrap();
    let root = r.shelf.state(vec![r.file("x", b"x")]);
    r.incoming.offer(offer(&r.dir, 2, root, 0), Quiet::new()).unwrap();
    let view = r.wait(|v| v.state == InState::Blocked).await;
    assert!(
        view.detail.starts_with("sync.source_gone") && !r.dir.exists(),
        "{view:?}"
    );
    // An empty folder in its place is the place of a disk that is not there.
    fs::create_dir(&r.dir).unwrap();
    let news = Quiet::new();
    r.incoming.offer(offer(&r.dir, 2, root, 0), news.clone()).unwrap();
    news.wait_failed(1).await;
    assert!(names(&r.dir).is_empty());
    r.incoming
        .rescan(&OTHER, &hive_protocol::ids::SyncId([1; 16]))
        .unwrap();
    r.wait(|v| v.state == InState::Whole).await;
    assert_eq!(r.read("x"), "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_after_a_restart() {
    let mut r = Receiver::new().await;
    let entries = first(&r);
    r.reach(1, entries.clone()).await;
    r.shelf.shut.store(true, Ordering::Relaxed);
    let root = r.shelf.state(vec![r.file("a.txt", b"later")]);
    r.incoming.offer(offer(&r.dir, 2, root, 0), Quiet::new()).unwrap();
    r.wait(|v| v.state == InState::Waiting && !v.detail.is_empty())
        .await;
    r.incoming.close().await;
    r.shelf.shut.store(false, Ordering::Relaxed);
    let journal = r.temp.path().join("journal");
    let closed = std::mem::replace(&mut r.incoming, open(&r.temp.path().join("j3"), &r.shelf).await);
    drop(closed);
    // The journal's lock goes with the last of the old one's threads.
    let again = retry_open(&journal, &r.shelf).await;
    wait_view(&again, |v| v.state == InState::Whole && v.seq == 2).await;
    assert_eq!(names(&r.dir).into_iter().collect::<Vec<_>>(), ["a.txt"]);
}

async fn retry_open(journal: &std::path::Path, shelf: &std::sync::Arc<Shelf>) -> hive_sync::Incoming {
    open(journal, shelf).await
}
