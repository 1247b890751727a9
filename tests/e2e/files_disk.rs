//! Disks that are full in the middle of a transfer: small file systems in memory, which only root may mount.

use crate::{
    mesh::Mesh,
    node::Node,
    trees::{noise, share, snapshot, text, transfer_until},
    wait::{SOON, until},
};
use serde_json::Value;
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// Bytes a second at which a transfer is still under way whenever it is looked at, some seconds late too.
const SLOW: &str = "1M";
const SIZE: usize = 24 << 20;

/// A small file system of its own.
struct Small(TempDir);

impl Small {
    fn mount(mib: u32) -> Self {
        let dir = crate::mesh::home();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=700"), "hive-test"])
            .arg(dir.path())
            .status()
            .unwrap();
        assert!(done.success(), "cannot mount a tmpfs");
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Takes all room there is.
    fn fill(&self) {
        let mut hog = fs::File::create(self.path("hog")).unwrap();
        let (large, small) = (vec![1; 1 << 20], [1; 4096]);
        while hog.write_all(&large).is_ok() {}
        while hog.write_all(&small).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.path("hog")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// As fast as the client goes from now on, `off` for as fast as it can. By its settings, so that it can be changed.
#[track_caller]
fn rate(mesh: &Mesh, rate: &str) {
    mesh.client.run(&["config", "set", "rate_in", rate]).ok();
}

fn number(view: &Value, field: &str) -> u64 {
    view[field]
        .as_u64()
        .unwrap_or_else(|| panic!("no {field} in {view}"))
}

#[track_caller]
fn begin(node: &Node, ticket: &str, dest: &Path) -> String {
    let id = node.run(&["pull", ticket, text(dest), "-d"]).ok().text();
    id.trim().to_owned()
}

fn full(view: &Value) -> bool {
    view["stalled"]["code"] == "store.disk_full"
}

#[test]
#[ignore = "needs root, mounts a tmpfs: cargo test -p hivenode --test e2e -- --ignored"]
fn a_destination_that_fills_up_is_waited_for_and_nothing_is_fetched_twice() {
    let disk = Small::mount(64);
    let mut mesh = Mesh::of(1);
    rate(&mesh, SLOW);
    let file = mesh.file("big", noise(SIZE, 41));
    let ticket = share(&mesh.workers[0], &file);
    // Known to be too large: refused before a byte is written.
    let huge = mesh.file("huge", noise(80 << 20, 42));
    let ticket_huge = share(&mesh.workers[0], &huge);
    let out = mesh.client.run(&["pull", &ticket_huge, text(&disk.path("huge"))]);
    assert!(out.talk().contains("error[store.disk_full]"), "{}", out.talk());
    assert!(!disk.path("huge").exists());
    // Somebody else takes the room in the middle.
    let dest = disk.path("got");
    let id = begin(&mesh.client, &ticket, &dest);
    transfer_until(&mesh.client, &id, "a part is here", |v| {
        number(v, "done") > SIZE as u64 / 6
    });
    disk.fill();
    let waits = transfer_until(&mesh.client, &id, "it waits for room", full);
    assert_eq!(waits["state"], "running", "{waits}");
    let had = number(&waits, "done");
    // It goes on by itself when there is room.
    disk.free();
    transfer_until(&mesh.client, &id, "more is here", |v| {
        number(v, "done") > had + (1 << 20)
    });
    // Full again, and killed on top of it: a transfer that has no room at its start says so and can be resumed.
    disk.fill();
    let waits = transfer_until(&mesh.client, &id, "it waits again", full);
    let had = number(&waits, "done");
    mesh.client.kill();
    mesh.client.start();
    let failed = transfer_until(&mesh.client, &id, "no room to go on", |v| v["state"] == "failed");
    assert_eq!(failed["error"]["code"], "store.disk_full", "{failed}");
    assert!(!dest.exists());
    disk.free();
    rate(&mesh, "off");
    mesh.client.run(&["file", "resume", &id]).ok();
    let end = transfer_until(&mesh.client, &id, "done", |v| v["state"] == "done");
    assert!(fs::read(&dest).unwrap() == fs::read(&file).unwrap());
    let fetched = number(&end, "fetched");
    assert!(
        fetched <= SIZE as u64 - had + (1 << 20),
        "{fetched} fetched after {had} were here: {end}"
    );
    // Small files wait in the same way.
    let tree = mesh.path("tree");
    fs::create_dir_all(&tree).unwrap();
    for n in 0..250 {
        fs::write(tree.join(format!("f{n}")), noise(60_000, n)).unwrap();
    }
    let ticket = share(&mesh.workers[0], &tree);
    let dest = disk.path("got-tree");
    rate(&mesh, SLOW);
    let id = begin(&mesh.client, &ticket, &dest);
    transfer_until(&mesh.client, &id, "some are here", |v| {
        number(v, "done") > 2 << 20
    });
    disk.fill();
    let waits = transfer_until(&mesh.client, &id, "they wait", full);
    assert!(number(&waits, "files_done") < 250, "{waits}");
    disk.free();
    rate(&mesh, "off");
    let end = transfer_until(&mesh.client, &id, "done", |v| v["state"] == "done");
    assert_eq!(snapshot(&dest), snapshot(&tree));
    assert!(number(&end, "fetched") < 250 * 60_000 + (4 << 20), "{end}");
}

#[test]
#[ignore = "needs root, mounts a tmpfs: cargo test -p hivenode --test e2e -- --ignored"]
fn a_data_folder_that_fills_up_loses_nothing() {
    let disk = Small::mount(96);
    let mut mesh = Mesh::with(1, |mut node| {
        if node.name == "client" {
            node.dir = disk.path("client");
        }
        node
    });
    rate(&mesh, SLOW);
    let file = mesh.file("big", noise(SIZE, 51));
    let ticket = share(&mesh.workers[0], &file);
    // The bytes go elsewhere; what is known about them goes to the full disk.
    let dest = mesh.path("got");
    let id = begin(&mesh.client, &ticket, &dest);
    transfer_until(&mesh.client, &id, "a part is here", |v| {
        number(v, "done") > SIZE as u64 / 6
    });
    disk.fill();
    // It goes on as far as it can, and says why when it cannot; nothing is damaged.
    let later = transfer_until(&mesh.client, &id, "it waits, or ends as it must", |v| {
        full(v) || v["state"] == "failed" || v["state"] == "done"
    });
    if later["state"] == "failed" {
        assert_eq!(later["error"]["code"], "store.disk_full", "{later}");
    }
    disk.free();
    rate(&mesh, "off");
    if later["state"] == "failed" {
        mesh.client.run(&["file", "resume", &id]).ok();
    }
    transfer_until(&mesh.client, &id, "done", |v| v["state"] == "done");
    assert!(fs::read(&dest).unwrap() == fs::read(&file).unwrap());
    // Into the store itself: read from another node in part, with no room for it.
    disk.fill();
    let other = mesh.file("other", noise(SIZE, 52));
    let other_ticket = share(&mesh.workers[0], &other);
    let out = mesh.client.run(&["file", "cat", &other_ticket]);
    assert_ne!(out.code, 0, "{} bytes on a full disk", out.stdout.len());
    assert!(out.talk().contains("store.disk_full"), "{}", out.talk());
    disk.free();
    assert!(mesh.client.run(&["file", "cat", &other_ticket]).ok().stdout == fs::read(&other).unwrap());
    // The daemon has lived through it, and starts again with what it has.
    mesh.client.kill();
    mesh.client.start();
    let rows = until("what is kept", SOON, || mesh.client.get("/v1/files", "files"));
    let hash = rows[0]["hash"].as_str().unwrap().to_owned();
    assert_eq!(
        mesh.client.json("verify", &["file", "verify", &hash])["good"],
        true
    );
}
