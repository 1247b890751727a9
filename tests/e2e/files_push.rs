//! Pushing: to those who are there, to those who come later, with the sender gone; the inbox and its questions.

use crate::{
    mesh::Mesh,
    node::Node,
    trees::{appears, folder, noise, same, text},
    wait::{SOON, until},
};
use serde_json::Value;
use std::fs;

fn open_mesh(workers: usize) -> Mesh {
    Mesh::with(workers, |node| node.with("push_accept", "all"))
}

/// Where a node puts what the client pushes.
fn inbox_of(node: &Node) -> std::path::PathBuf {
    node.dir.join("inbox").join("client")
}

/// Where it stands at a node; empty while this node does not know it by its name (again).
fn state_at(view: &Value, name: &str) -> String {
    let rows = view["recipients"].as_array().cloned().unwrap_or_default();
    let row = rows.iter().find(|r| r["name"] == name);
    row.and_then(|r| Some(r["state"].as_str()?.to_owned()))
        .unwrap_or_default()
}

#[track_caller]
fn push_until(node: &Node, id: &str, name: &str, state: &str) {
    let path = format!("/v1/notices/{id}");
    until(&format!("{name} is {state}"), SOON * 2, || {
        let view = node.get(&path, "notice")?;
        (state_at(&view, name) == state).then_some(())
    });
}

#[test]
fn three_nodes_get_it_the_absent_one_when_it_returns() {
    let mut mesh = open_mesh(3);
    let tree = mesh.path("model");
    folder(&tree);
    mesh.workers[2].stop();
    let out = mesh
        .client
        .run(&["--json", "push", text(&tree), "--to", "role=worker"])
        .ok();
    let view = out.document("notice");
    let id = view["notice"].as_str().unwrap().to_owned();
    assert_eq!(view["recipients"].as_array().unwrap().len(), 3, "{view}");
    for (n, name) in [(0, "w1"), (1, "w2")] {
        assert_eq!(state_at(&view, name), "done", "{view}");
        same(&tree, &inbox_of(&mesh.workers[n]).join("model"));
    }
    assert!(
        ["queued", "mailbox"].contains(&state_at(&view, "w3").as_str()),
        "{view}"
    );
    mesh.workers[2].start();
    same(&tree, &inbox_of(&mesh.workers[2]).join("model"));
    push_until(&mesh.client, &id, "w3", "done");
    let view = mesh.client.json("notice", &["push", "show", &id]);
    assert_eq!(view["ended"], true, "{view}");
    // Once is enough.
    assert!(!inbox_of(&mesh.workers[2]).join("model (2)").exists());
}

#[test]
fn with_the_sender_gone_the_mailbox_and_another_holder_do() {
    let mut mesh = open_mesh(2);
    let file = mesh.file("data.bin", noise(6 << 20, 9));
    mesh.workers[1].stop();
    let out = mesh
        .client
        .run(&["--json", "push", text(&file), "--to", "w1", "w2"])
        .ok();
    let id = out.document("notice")["notice"].as_str().unwrap().to_owned();
    push_until(&mesh.client, &id, "w1", "done");
    push_until(&mesh.client, &id, "w2", "mailbox");
    mesh.client.kill();
    mesh.workers[1].start();
    let there = appears(inbox_of(&mesh.workers[1]).join("data.bin"));
    assert!(fs::read(there).unwrap() == fs::read(&file).unwrap());
    // The sender hears of it when it is back.
    mesh.client.start();
    push_until(&mesh.client, &id, "w2", "done");
}

#[test]
fn files_of_others_wait_for_a_word_and_texts_do_not() {
    let mesh = Mesh::of(1);
    let w1 = &mesh.workers[0];
    let file = mesh.file("ask.bin", noise(300_000, 4));
    let sent = mesh
        .client
        .run(&["-q", "push", text(&file), "--to", "w1", "-d"])
        .ok()
        .text();
    let sent = sent.trim();
    let asking = until("w1 is asked", SOON, || {
        let inbox = w1.get("/v1/inbox", "inbox")?;
        let row = inbox.as_array()?.first()?.clone();
        assert_ne!(row["from_name"], "", "somebody has sent it: {row}");
        // The sender's name comes with the list of members.
        (row["state"] == "asking" && row["from_name"] == "client").then_some(row)
    });
    assert_eq!(asking["name"], "ask.bin", "{asking}");
    assert!(!inbox_of(w1).exists(), "nothing is taken unasked");
    // Into a folder of one's choice, under a name with a number when it is taken.
    let into = mesh.path("mine");
    fs::create_dir_all(&into).unwrap();
    fs::write(into.join("ask.bin"), "old").unwrap();
    let id = asking["notice"].as_str().unwrap();
    assert_eq!(id, sent);
    w1.run(&["inbox", "accept", id, text(&into)]).ok();
    let there = appears(into.join("ask (2).bin"));
    assert!(fs::read(there).unwrap() == fs::read(&file).unwrap());
    assert_eq!(fs::read(into.join("ask.bin")).unwrap(), b"old");
    push_until(&mesh.client, id, "w1", "done");
    // Declined: the sender hears why, and ends with 1.
    let no = mesh
        .client
        .spawn(&["push", text(&file), "--to", "w1", "--name", "no.bin", "--wait"]);
    let asked = until("w1 is asked again", SOON, || {
        let inbox = w1.get("/v1/inbox", "inbox")?;
        let row = inbox.as_array()?.iter().find(|r| r["name"] == "no.bin")?.clone();
        (row["state"] == "asking").then_some(row)
    });
    w1.run(&[
        "inbox",
        "decline",
        asked["notice"].as_str().unwrap(),
        "--reason",
        "no room for it",
    ])
    .ok();
    let out = no.end(SOON).fails(1, "push.refused");
    assert!(out.talk().contains("no room for it"), "{}", out.talk());
    // A text and an event need no word.
    mesh.client
        .run(&["push", "--text", "hello there", "--to", "all"])
        .ok();
    mesh.client
        .run(&["push", "--event", "build.done=42", "--to", "w1"])
        .ok();
    until("both are in the inbox", SOON, || {
        let inbox = w1.get("/v1/inbox", "inbox")?;
        let rows = inbox.as_array()?;
        let text = rows
            .iter()
            .any(|r| r["kind"] == "text" && r["name"] == "hello there");
        let event = rows.iter().any(|r| r["kind"] == "event" && r["data"] == "42");
        (text && event).then_some(())
    });
    let shown = w1.run(&["inbox", "ls"]).ok().text();
    assert!(shown.contains("hello there"), "{shown}");
}

#[test]
fn wrong_pushes_are_named_before_anything_moves() {
    let mesh = Mesh::of(1);
    let file = mesh.file("x", "hello");
    let file = text(&file);
    let long = "x".repeat(5000);
    for (args, exit, code) in [
        (&["push", file][..], 2, "push.nobody"),
        (&["push", "--to", "w1"], 2, "push.nothing"),
        (&["push", file, "--to", "nobody"], 3, "node.not_found"),
        (&["push", file, "--to", "client"], 3, "push.nobody"),
        (&["push", file, "--to", "role=king"], 2, "push.bad_selector"),
        (&["push", file, "--to", "w1", "--name", "a/b"], 2, "push.request"),
        (&["push", "/no/such", "--to", "w1"], 3, "file.missing"),
        (&["push", "--text", &long, "--to", "w1"], 2, "push.request"),
        (&["push", "show", "u_nothing"], 3, "notice.not_found"),
        (&["inbox", "accept", "u_nothing"], 3, "inbox.not_found"),
    ] {
        mesh.client.run(args).fails(exit, code);
    }
    // Nobody's pushes are taken: the sender is told.
    let mut closed = Node::new(&mesh.path(".."), "closed").with("push_accept", "none");
    closed.start();
    mesh.admit(&closed, "worker", 0);
    until("the client knows it", SOON, || {
        let nodes = mesh.client.get("/v1/nodes", "nodes")?;
        nodes
            .as_array()?
            .iter()
            .any(|n| n["name"] == "closed")
            .then_some(())
    });
    mesh.client
        .run(&["push", file, "--to", "closed", "--wait"])
        .fails(1, "push.refused");
    // Too large for the receiver, and taken by the other: partial.
    closed.stop();
    closed.set("push_accept", "all");
    closed.set("push_max_size", "1K");
    closed.start();
    let large = mesh.file("large", noise(50_000, 2));
    mesh.workers[0].run(&["inbox", "ls"]).ok();
    let going = mesh
        .client
        .spawn(&["push", text(&large), "--to", "closed", "w1", "--wait"]);
    let asked = until("w1 is asked", SOON, || {
        let inbox = mesh.workers[0].get("/v1/inbox", "inbox")?;
        let row = inbox.as_array()?.iter().find(|r| r["name"] == "large")?.clone();
        Some(row["notice"].as_str()?.to_owned())
    });
    mesh.workers[0].run(&["inbox", "accept", &asked]).ok();
    let out = going.end(SOON * 2).ends(9);
    assert!(out.talk().contains("closed"), "{}", out.talk());
    closed.stop();
}
