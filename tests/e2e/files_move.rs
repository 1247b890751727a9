//! Transfers on their way: killed and resumed, paused, cancelled, limited, seen, cleared around.

use crate::{
    mesh::Mesh,
    node::Node,
    trees::{noise, share, text, transfer, transfer_until},
    wait::SOON,
};
use serde_json::Value;
use std::{fs, time::Instant};

/// Bytes a second that make a transfer of some megabytes take a while.
const SLOW: &str = "4M";
const SIZE: usize = 24 << 20;
const SEGMENT: u64 = 4 << 20;

fn slow_mesh() -> Mesh {
    Mesh::with(1, |node| {
        if node.name == "client" {
            node.with("rate_in", SLOW)
        } else {
            node
        }
    })
}

#[track_caller]
fn begin(node: &Node, ticket: &str, dest: &std::path::Path) -> String {
    let id = node.run(&["pull", ticket, text(dest), "-d"]).ok().text();
    assert!(id.starts_with("x_"), "{id}");
    id.trim().to_owned()
}

fn number(view: &Value, field: &str) -> u64 {
    view[field]
        .as_u64()
        .unwrap_or_else(|| panic!("no {field} in {view}"))
}

#[test]
fn killed_in_the_middle_it_goes_on_without_fetching_again() {
    let mut mesh = slow_mesh();
    let file = mesh.file("big", noise(SIZE, 11));
    let ticket = share(&mesh.workers[0], &file);
    let dest = mesh.path("got");
    let id = begin(&mesh.client, &ticket, &dest);
    let mut most = 0;
    for share in [1_u64, 3] {
        let seen = transfer_until(&mesh.client, &id, "a part is here", |v| {
            number(v, "done") > SIZE as u64 / 6 * share
        });
        most = number(&seen, "done");
        mesh.client.kill();
        assert!(!dest.exists(), "only the whole takes the name");
        mesh.client.start();
    }
    let back = transfer_until(&mesh.client, &id, "it goes on", |v| {
        v["state"] == "running" || v["state"] == "done"
    });
    mesh.client.set("rate_in", "");
    let end = transfer_until(&mesh.client, &id, "done", |v| v["state"] == "done");
    assert!(fs::read(&dest).unwrap() == fs::read(&file).unwrap());
    let (done, fetched) = (number(&end, "done"), number(&end, "fetched"));
    assert_eq!(done, SIZE as u64, "{end}");
    // What was verified before the second death is not fetched after it; what was on its way may be, once.
    assert!(
        fetched <= SIZE as u64 - most + SEGMENT,
        "fetched {fetched} after {most} were here: {end}\n{back}"
    );
}

#[test]
fn paused_resumed_and_cancelled_by_hand() {
    let mesh = slow_mesh();
    let file = mesh.file("big", noise(SIZE, 12));
    let ticket = share(&mesh.workers[0], &file);
    let dest = mesh.path("got");
    let id = begin(&mesh.client, &ticket, &dest);
    transfer_until(&mesh.client, &id, "some is here", |v| number(v, "done") > 0);
    mesh.client.run(&["file", "pause", "all"]).ok();
    let paused = transfer_until(&mesh.client, &id, "paused", |v| v["state"] == "paused");
    // Long-polling a paused transfer answers after the time asked for, and nothing has come meanwhile.
    let path = format!("/v1/transfers/{id}?wait_ms=700");
    let later = mesh.client.get(&path, "transfer").unwrap();
    assert!(
        number(&later, "done") <= number(&paused, "done") + SEGMENT,
        "{paused}\n{later}"
    );
    mesh.client.run(&["file", "resume", &id]).ok();
    transfer_until(&mesh.client, &id, "more is here", |v| {
        number(v, "done") > number(&later, "done")
    });
    // A second pull to the same place says that one is under way.
    let other = mesh.file("other", noise(3 << 20, 13));
    let second = share(&mesh.workers[0], &other);
    let out = mesh.client.run(&["pull", &second, text(&dest)]);
    assert!(
        out.code != 0 && out.talk().contains("file.busy"),
        "{} {}",
        out.code,
        out.talk()
    );
    // Clearing leaves what runs alone.
    mesh.client.run(&["file", "gc"]).ok();
    mesh.client.run(&["file", "cancel", &id]).ok();
    transfer_until(&mesh.client, &id, "cancelled", |v| v["state"] == "cancelled");
    assert!(!dest.exists());
    mesh.client
        .run(&["file", "cancel", &id])
        .fails(1, "transfer.ended");
    mesh.client
        .run(&["file", "pause", "x_nothing"])
        .fails(3, "transfer.not_found");
    // What was fetched is used by the next try.
    let view = mesh.client.json("transfer", &["pull", &ticket, text(&dest)]);
    assert!(
        number(&view, "reused") >= number(&paused, "done") / 2,
        "{view} after {paused}"
    );
    assert!(fs::read(&dest).unwrap() == fs::read(&file).unwrap());
}

#[test]
fn limits_hold_and_interrupting_a_pull_leaves_it_running() {
    let mesh = slow_mesh();
    let file = mesh.file("big", noise(12 << 20, 14));
    let ticket = share(&mesh.workers[0], &file);
    let dest = mesh.path("got");
    let began = Instant::now();
    let going = mesh.client.spawn(&["pull", &ticket, text(&dest)]);
    let id = crate::wait::until("it is seen", SOON, || {
        let all = mesh.client.get("/v1/transfers", "transfers")?;
        Some(all[0]["transfer"].as_str()?.to_owned())
    });
    transfer_until(&mesh.client, &id, "some is here", |v| number(v, "done") > 0);
    going.interrupt();
    let out = going.end(SOON).ends(130);
    assert!(
        out.talk().contains("file status") && out.talk().contains("file cancel") && out.talk().contains(&id),
        "{}",
        out.talk()
    );
    let status = mesh.client.run(&["file", "status"]).ok().text();
    assert!(status.contains("big"), "{status}");
    transfer_until(&mesh.client, &id, "done", |v| v["state"] == "done");
    // 12 MiB at 4 MiB a second; a second's worth may come at once.
    assert!(began.elapsed().as_millis() >= 1800, "{:?}", began.elapsed());
    let shown = transfer(&mesh.client, "last").unwrap();
    assert_eq!(shown["peers"][0]["name"], "w1", "{shown}");
    assert!(
        ["direct", "mesh"].contains(&shown["peers"][0]["path"].as_str().unwrap()),
        "{shown}"
    );
    let text = crate::http::ask(&mesh.client.socket(), "GET", "/metrics", None).unwrap();
    let text = String::from_utf8(text.body).unwrap();
    let counted = |l: &&str| l.starts_with("hivenode_blob_bytes_total{") && l.contains("dir=\"in\"");
    assert!(text.lines().any(|l| counted(&l)), "{text}");
}

#[test]
fn an_older_version_spares_what_has_not_changed() {
    let mesh = Mesh::of(1);
    let mut bytes = noise(16 << 20, 15);
    let old = mesh.file("old", &bytes);
    let keep = mesh.path("kept-old");
    let first = share(&mesh.workers[0], &old);
    mesh.client.run(&["pull", &first, text(&keep)]).ok();
    bytes[5 << 20] ^= 1;
    let new = mesh.file("new", &bytes);
    let second = share(&mesh.workers[0], &new);
    let dest = mesh.path("got-new");
    let args = ["pull", &second, text(&dest), "--like", text(&keep)];
    let view = mesh.client.json("transfer", &args);
    assert!(fs::read(&dest).unwrap() == bytes);
    assert!(number(&view, "fetched") <= 1 << 20, "{view}");
    assert!(number(&view, "reused") >= 15 << 20, "{view}");
}
