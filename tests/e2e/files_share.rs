//! Sharing and pulling: files, folders, ranges, wrong tickets, destinations that will not do.

use crate::{
    mesh::{Mesh, Slot, home},
    node::Node,
    trees::{folder, noise, share, snapshot, text},
};
use hive_protocol::{
    ids::{BlobHash, NetworkId},
    share::FileTicket,
};
use std::{fs, os::unix::fs::PermissionsExt};

#[test]
fn a_file_and_a_folder_are_shared_and_pulled_as_they_are() {
    let mesh = Mesh::of(2);
    let (w1, w2) = (&mesh.workers[0], &mesh.workers[1]);
    let file = mesh.file("from/data.bin", noise((9 << 20) + 12345, 1));
    let ticket = share(w1, &file);
    let dest = mesh.path("to/data.bin");
    fs::create_dir_all(dest.parent().unwrap()).unwrap();
    let out = w2.run(&["pull", &ticket, text(&dest)]).ok();
    assert_eq!(out.text().trim(), text(&dest));
    assert_eq!(fs::read(&dest).unwrap(), fs::read(&file).unwrap());
    // The same again is done at once; something else in its place is not overwritten unasked.
    w2.run(&["pull", &ticket, text(&dest)]).ok();
    fs::write(&dest, "mine").unwrap();
    w2.run(&["pull", &ticket, text(&dest)]).fails(1, "file.exists");
    assert_eq!(fs::read(&dest).unwrap(), b"mine");
    let view = w2.json("transfer", &["pull", &ticket, text(&dest), "--overwrite"]);
    assert_eq!(view["state"], "done", "{view}");
    assert_eq!(fs::read(&dest).unwrap(), fs::read(&file).unwrap());
    // A folder; into a folder that is there it comes under its own name.
    let source = mesh.path("tree");
    folder(&source);
    let ticket = share(w1, &source);
    let into = mesh.path("into");
    fs::create_dir_all(&into).unwrap();
    let view = mesh.client.json("transfer", &["pull", &ticket, text(&into)]);
    assert_eq!(view["done"], view["total"], "{view}");
    assert!(
        view["peers"].as_array().is_some_and(|p| p[0]["name"] == "w1"),
        "{view}"
    );
    assert_eq!(snapshot(&into.join("tree")), snapshot(&source));
    // What was pulled is kept, seen and sound.
    let rows = mesh.client.json("files", &["file", "ls"]);
    assert_eq!(rows[0]["name"], "tree", "{rows}");
    let hash = rows[0]["hash"].as_str().unwrap();
    assert_eq!(
        mesh.client.json("verify", &["file", "verify", hash])["good"],
        true
    );
    let shown = mesh.client.json("file", &["file", "show", hash]);
    assert_eq!(shown["files"], 44, "{shown}");
    assert!(
        shown["listing"]
            .as_array()
            .unwrap()
            .iter()
            .any(|e| e["path"] == "link"),
        "{shown}"
    );
}

#[test]
fn ranges_and_whole_files_go_to_standard_output() {
    let mesh = Mesh::of(1);
    let bytes = noise(6 << 20, 5);
    let file = mesh.file("cat.bin", &bytes);
    let ticket = share(&mesh.workers[0], &file);
    for (range, expected) in [
        ("0-10", &bytes[..10]),
        ("70000-4200000", &bytes[70_000..4_200_000]),
        ("6291400-", &bytes[6_291_400..]),
        ("6291400-99999999", &bytes[6_291_400..]),
        ("5-5", &[]),
    ] {
        let out = mesh.client.run(&["file", "cat", &ticket, "--range", range]).ok();
        assert!(out.stdout == expected, "{range}: {} bytes", out.stdout.len());
    }
    assert!(mesh.client.run(&["file", "cat", &ticket]).ok().stdout == bytes);
    mesh.client
        .run(&["file", "cat", &ticket, "--range", "99999999-"])
        .fails(2, "file.range");
    mesh.client
        .run(&["file", "cat", &ticket, "--range", "9-3"])
        .fails(2, "file.range");
    // Asked at its owner it is read from where it lies.
    let local = mesh.workers[0]
        .run(&["file", "cat", "cat.bin", "--range", "100-200"])
        .ok();
    assert!(local.stdout == bytes[100..200]);
}

#[test]
fn wrong_tickets_and_absent_content_are_named() {
    let mut mesh = Mesh::of(1);
    let file = mesh.file("x", "hello");
    let ticket = share(&mesh.workers[0], &file);
    let mut damaged = ticket.clone().into_bytes();
    let at = damaged.len() / 2;
    damaged[at] = if damaged[at] == b'a' { b'b' } else { b'a' };
    let damaged = String::from_utf8(damaged).unwrap();
    let good: FileTicket = ticket.parse().unwrap();
    let other = FileTicket::new(
        NetworkId([9; 32]),
        good.root,
        false,
        5,
        "x".into(),
        good.hints.clone(),
    );
    let nothing = FileTicket::new(good.network, BlobHash([3; 32]), false, 5, "x".into(), good.hints);
    let join = mesh.ticket("client", 0);
    for (what, exit, code) in [
        (damaged.as_str(), 2, "file.ticket_damaged"),
        (&ticket[..ticket.len() - 9], 2, "file.ticket_damaged"),
        (&join, 2, "file.no_ticket"),
        ("nonsense", 2, "file.no_ticket"),
        (&other.to_string(), 4, "file.wrong_mesh"),
        (&nothing.to_string(), 5, "file.no_provider"),
    ] {
        let dest = mesh.path("never");
        mesh.client
            .run(&["pull", what, text(&dest), "--patience", "1s"])
            .fails(exit, code);
        assert!(!dest.exists(), "{code}");
    }
    // Nothing is left beside the destination either.
    let left: Vec<_> = fs::read_dir(mesh.path(".")).unwrap().flatten().collect();
    assert!(
        left.iter()
            .all(|e| !e.file_name().to_string_lossy().contains("part")),
        "{left:?}"
    );
    // A daemon that is not there says how to start it.
    mesh.client.stop();
    let out = mesh.client.run(&["pull", &ticket]).fails(5, "daemon.not_running");
    assert!(out.talk().contains("hivenode up"), "{}", out.talk());
}

#[test]
fn what_is_no_longer_shared_is_not_given() {
    let mesh = Mesh::of(1);
    let w1 = &mesh.workers[0];
    let file = mesh.file("x", noise(100_000, 3));
    let ticket = share(w1, &file);
    w1.run(&["file", "unshare", "x"]).ok();
    let dest = mesh.path("y");
    mesh.client
        .run(&["pull", &ticket, text(&dest), "--patience", "1s"])
        .fails(5, "file.no_provider");
    // Kept without being shared it never was given.
    let only = w1
        .run(&["file", "add", text(&mesh.file("z", "private"))])
        .ok()
        .text();
    mesh.client
        .run(&[
            "pull",
            only.trim(),
            "--from",
            "w1",
            text(&dest),
            "--patience",
            "1s",
        ])
        .fails(5, "file.no_provider");
    assert!(!dest.exists());
}

#[test]
fn destinations_that_will_not_do_are_named() {
    let mesh = Mesh::of(1);
    let source = mesh.path("tree");
    folder(&source);
    let ticket = share(&mesh.workers[0], &source);
    // A file in the way of a folder.
    let in_the_way = mesh.file("in-the-way", "mine");
    mesh.client
        .run(&["pull", &ticket, text(&in_the_way)])
        .fails(1, "file.exists");
    assert_eq!(fs::read(&in_the_way).unwrap(), b"mine");
    // A parent that is a file.
    let below = in_the_way.join("below");
    let out = mesh.client.run(&["pull", &ticket, text(&below)]);
    assert!(matches!(out.code, 1 | 2), "{} {}", out.code, out.talk());
    assert!(out.talk().contains("in-the-way"), "{}", out.talk());
    // A folder that may not be written to; root may write everywhere, so it is asked of others only.
    if !rustix::process::getuid().is_root() {
        let closed = mesh.path("closed");
        fs::create_dir_all(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
        let out = mesh
            .client
            .run(&["pull", &ticket, text(&closed)])
            .fails(4, "file.denied");
        assert!(out.talk().contains("closed"), "{}", out.talk());
    }
    // Proc takes no files, whoever asks.
    let out = mesh.client.run(&["pull", &ticket, "/proc/hivenode-test"]);
    assert!(
        out.code != 0 && out.talk().contains("/proc"),
        "{} {}",
        out.code,
        out.talk()
    );
}

#[test]
fn what_cannot_travel_is_refused_by_name_or_left_out() {
    let mesh = Mesh::of(0);
    let tree = mesh.path("odd");
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("good"), "x").unwrap();
    std::os::unix::fs::symlink("../../outside", tree.join("away")).unwrap();
    let out = mesh.client.run(&["file", "add", text(&tree)]);
    assert_eq!(out.code, 2, "{}", out.talk());
    assert!(out.talk().contains("away"), "{}", out.talk());
    let view = mesh
        .client
        .json("file", &["file", "add", text(&tree), "--skip-unsafe"]);
    assert_eq!(view["files"], 1, "{view}");
    assert!(view["skipped"].to_string().contains("away"), "{view}");
    mesh.client
        .run(&["file", "add", text(&mesh.path("nothing"))])
        .fails(3, "file.missing");
    mesh.client
        .run(&["file", "show", "nothing"])
        .fails(3, "file.not_found");
}

#[test]
fn a_node_without_a_mesh_keeps_files_but_shares_none() {
    let _slot = Slot::take();
    let home = home();
    let mut node = Node::new(home.path(), "n");
    node.start();
    let file = home.path().join("x");
    fs::write(&file, "hello").unwrap();
    let hash = node.run(&["file", "add", text(&file)]).ok().text();
    assert!(hash.starts_with("b_"), "{hash}");
    assert_eq!(node.json("files", &["file", "ls"])[0]["hash"], hash.trim());
    node.run(&["file", "share", text(&file)])
        .fails(1, "member.unjoined");
    node.run(&["pull", hash.trim()]).fails(1, "member.unjoined");
    // Kept over a restart; removed, and cleared away.
    node.stop();
    node.start();
    assert_eq!(node.json("files", &["file", "ls"])[0]["hash"], hash.trim());
    node.run(&["file", "rm", "x"]).ok();
    assert_eq!(node.json("files", &["file", "ls"]).as_array().unwrap().len(), 0);
    assert!(file.exists(), "the user's own file stays");
    let copied = node.json("file", &["file", "add", text(&file), "--copy"]);
    assert!(copied["path"].is_null(), "{copied}");
    node.run(&["file", "rm", "x"]).ok();
    let dry = node.json("gc", &["file", "gc", "--dry-run"]);
    assert_eq!(dry["dry_run"], true, "{dry}");
    node.json("gc", &["file", "gc"]);
    node.stop();
}
