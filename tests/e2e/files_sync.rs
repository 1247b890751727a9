//! Mirrors: watched changes, renames, deletions, conflicts, versions, restarts.

use crate::{
    mesh::Mesh,
    trees::{appears, folder, noise, same, text},
    wait::{SOON, until},
};
use std::{fs, path::PathBuf};

fn open_mesh(workers: usize) -> Mesh {
    Mesh::with(workers, |node| node.with("push_accept", "all"))
}

/// Where a worker has the client's mirror.
fn mirror_at(mesh: &Mesh, worker: usize, name: &str) -> PathBuf {
    mesh.workers[worker].dir.join("inbox").join("client").join(name)
}

#[track_caller]
fn gone(path: PathBuf) {
    until(&format!("{} is gone", path.display()), SOON, || {
        fs::symlink_metadata(&path).is_err().then_some(())
    });
}

#[test]
fn a_watched_folder_is_followed_and_nothing_is_lost() {
    let mut mesh = open_mesh(2);
    let dir = mesh.path("site");
    folder(&dir);
    let out = mesh
        .client
        .run(&["--json", "sync", text(&dir), "--to", "w1", "w2", "--watch"])
        .ok();
    let id = out.document("sync")["sync"].as_str().unwrap().to_owned();
    let (one, two) = (mirror_at(&mesh, 0, "site"), mirror_at(&mesh, 1, "site"));
    same(&dir, &one);
    same(&dir, &two);
    // Made, changed, renamed, removed.
    fs::write(dir.join("new"), "new").unwrap();
    fs::write(dir.join("run.sh"), "#!/bin/sh\necho\n").unwrap();
    fs::rename(dir.join("deep/er/large"), dir.join("moved")).unwrap();
    fs::remove_file(dir.join("link")).unwrap();
    fs::remove_dir(dir.join("empty")).unwrap();
    same(&dir, &one);
    same(&dir, &two);
    // A change at the receiver is kept beside what the sender says.
    fs::write(one.join("new"), "mine").unwrap();
    fs::write(dir.join("new"), "theirs").unwrap();
    until("both are there", SOON * 2, || {
        let mut names: Vec<String> = fs::read_dir(&one)
            .ok()?
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        names.retain(|n| n.starts_with("new"));
        let conflict = names.iter().find(|n| n.contains("conflict"))?;
        let both =
            fs::read(one.join("new")).ok()? == b"theirs" && fs::read(one.join(conflict)).ok()? == b"mine";
        both.then_some(())
    });
    until("the other receiver has the sender's", SOON * 2, || {
        (fs::read(two.join("new")).ok()? == b"theirs").then_some(())
    });
    // It goes on after a restart of either side.
    mesh.client.stop();
    fs::write(dir.join("while-away"), "x").unwrap();
    mesh.client.start();
    appears(two.join("while-away"));
    mesh.workers[1].kill();
    fs::write(dir.join("while-w2-away"), "x").unwrap();
    appears(one.join("while-w2-away"));
    mesh.workers[1].start();
    appears(two.join("while-w2-away"));
    // Ended: what is there stays, changes are sent no more.
    let shown = mesh.client.json("syncs", &["sync", "ls"]);
    assert_eq!(shown[0]["sync"], id.as_str(), "{shown}");
    let seen = mesh.workers[0].json("syncs", &["sync", "ls"]);
    assert_eq!(seen[0]["direction"], "in", "{seen}");
    mesh.client.run(&["sync", "rm", &id]).ok();
    assert_eq!(
        mesh.client
            .json("syncs", &["sync", "ls"])
            .as_array()
            .unwrap()
            .len(),
        0
    );
    assert!(one.join("moved").exists());
}

#[test]
fn old_versions_are_kept_on_request_and_once_is_once() {
    let mesh = open_mesh(1);
    let dir = mesh.path("docs");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("a"), "first").unwrap();
    fs::write(dir.join("b"), noise(200_000, 8)).unwrap();
    let to = ["sync", text(&dir), "--to", "w1", "--versions", "3"];
    mesh.client.run(&to).ok();
    let there = mirror_at(&mesh, 0, "docs");
    same(&dir, &there);
    fs::write(dir.join("a"), "second").unwrap();
    fs::remove_file(dir.join("b")).unwrap();
    mesh.client.run(&to).ok();
    until("the second state", SOON, || {
        (fs::read(there.join("a")).ok()? == b"second").then_some(())
    });
    gone(there.join("b"));
    let kept = there.join(".hive-versions");
    let mut names = Vec::new();
    let mut open = vec![kept.clone()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(&at).unwrap().flatten() {
            if entry.path().is_dir() {
                open.push(entry.path());
            }
            names.push(entry.path().to_string_lossy().into_owned());
        }
    }
    assert!(
        names.iter().any(|n| fs::read(n).is_ok_and(|b| b == b"first")),
        "the first version is kept: {names:?}"
    );
    mesh.client
        .run(&["sync", "/no/such", "--to", "w1"])
        .fails(3, "file.missing");
    mesh.client.run(&["sync", text(&dir)]).fails(2, "push.nobody");
}

#[test]
fn the_same_command_again_changes_how_it_is_done_and_empties_when_told() {
    let mesh = open_mesh(1);
    let dir = mesh.path("pages");
    fs::create_dir_all(dir.join("all/below")).unwrap();
    fs::write(dir.join("all/a"), "first").unwrap();
    fs::write(dir.join("all/below/b"), "b").unwrap();
    let once = ["sync", text(&dir), "--to", "w1"];
    mesh.client.run(&once).ok();
    let there = mirror_at(&mesh, 0, "pages");
    same(&dir, &there);
    let shown = mesh.client.json("syncs", &["sync", "ls"]);
    assert_eq!(
        (&shown[0]["watch"], &shown[0]["versions"]),
        (&false.into(), &0.into())
    );
    let id = shown[0]["sync"].clone();
    // From now on watched, with versions.
    let watched = ["sync", text(&dir), "--to", "w1", "--watch", "--versions", "2"];
    mesh.client.run(&watched).ok();
    let shown = mesh.client.json("syncs", &["sync", "ls"]);
    assert_eq!(shown.as_array().unwrap().len(), 1, "{shown}");
    assert_eq!(shown[0]["sync"], id, "it is the same mirror");
    assert_eq!(
        (&shown[0]["watch"], &shown[0]["versions"]),
        (&true.into(), &2.into())
    );
    fs::write(dir.join("all/a"), "second").unwrap();
    same(&dir, &there);
    appears(there.join(".hive-versions"));
    // Emptied, in one move, so that no half of it is ever seen: nothing happens to the receiver until it is said to be
    // meant.
    fs::rename(dir.join("all"), mesh.path("gone")).unwrap();
    until("it is blocked", SOON, || {
        let shown = mesh.client.get("/v1/syncs", "syncs")?;
        let why = shown[0]["detail"].as_str()?.contains("sync.source_emptied");
        (shown[0]["state"] == "blocked" && why).then_some(())
    });
    mesh.client.run(&watched).fails(1, "sync.blocked");
    assert!(there.join("all/a").exists());
    let mut meant = watched.to_vec();
    meant.push("--allow-empty");
    mesh.client.run(&meant).ok();
    gone(there.join("all"));
    // Once is once: what comes back and goes again is asked about again.
    fs::write(dir.join("c"), "c").unwrap();
    appears(there.join("c"));
    fs::remove_file(dir.join("c")).unwrap();
    until("it is blocked again", SOON, || {
        let shown = mesh.client.get("/v1/syncs", "syncs")?;
        (shown[0]["state"] == "blocked").then_some(())
    });
    assert!(there.join("c").exists());
}
