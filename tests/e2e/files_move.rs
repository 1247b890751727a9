//! Transfers on their way: killed and resumed, paused, cancelled, limited, seen, cleared around.

use crate::{
    mesh::Mesh,
    node::Node,
    trees::{folder, noise, share, snapshot, text, transfer, transfer_until},
    wait::{SOON, until},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, time::Instant};

/// Bytes a second that make a transfer of some megabytes take a while.
const SLOW: &str = "4M";
/// That make one take longer than any test looks at it: most of a minute for [`SIZE`].
const CRAWL: &str = "512K";
const CRAWL_BYTES: u64 = 512 << 10;
const SIZE: usize = 24 << 20;
const SEGMENT: u64 = 4 << 20;

/// As fast as the client goes from now on, `off` or nothing for as fast as it can. By its settings, so that it can be changed.
#[track_caller]
fn rate(mesh: &Mesh, rate: &str) {
    mesh.client.run(&["config", "set", "rate_in", rate]).ok();
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
    let mut mesh = Mesh::of(1);
    let file = mesh.file("big", noise(SIZE, 11));
    let ticket = share(&mesh.workers[0], &file);
    let dest = mesh.path("got");
    // Both times most of it is still to come: a look that comes some seconds late finds it under way.
    rate(&mesh, "1M");
    let id = begin(&mesh.client, &ticket, &dest);
    let mut most = 0;
    for segments in [1, 2] {
        let seen = transfer_until(&mesh.client, &id, "a part is here", |v| {
            number(v, "done") > SEGMENT * segments
        });
        most = number(&seen, "done");
        mesh.client.kill();
        assert!(!dest.exists(), "only the whole takes the name");
        mesh.client.start();
    }
    let back = transfer_until(&mesh.client, &id, "it goes on", |v| {
        v["state"] == "running" || v["state"] == "done"
    });
    rate(&mesh, "off");
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
    let mesh = Mesh::of(1);
    // All of it would take most of a minute: it is still under way whenever it is looked at.
    rate(&mesh, CRAWL);
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
    rate(&mesh, "off");
    let view = mesh.client.json("transfer", &["pull", &ticket, text(&dest)]);
    assert!(
        number(&view, "reused") >= number(&paused, "done") / 2,
        "{view} after {paused}"
    );
    assert!(fs::read(&dest).unwrap() == fs::read(&file).unwrap());
}

#[test]
fn limits_hold_and_interrupting_a_pull_leaves_it_running() {
    let mesh = Mesh::of(1);
    rate(&mesh, CRAWL);
    let file = mesh.file("big", noise(SIZE, 14));
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
    // A second's worth may come at once, and what was asked for last comes whole.
    let here = number(&transfer(&mesh.client, &id).unwrap(), "done");
    let most = (began.elapsed().as_secs() + 2) * CRAWL_BYTES + SEGMENT;
    assert!(here <= most, "{here} bytes in {:?}", began.elapsed());
    rate(&mesh, "off");
    transfer_until(&mesh.client, &id, "done", |v| v["state"] == "done");
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

/// Content that nothing keeps any more: pushed to somebody who does not take it, for a second. Its id.
#[track_caller]
fn litter(mesh: &Mesh, from: &Node, to: &str, seed: u64) -> String {
    until("they know of each other", SOON, || {
        let nodes = from.get("/v1/nodes", "nodes")?;
        nodes.as_array()?.iter().any(|n| n["name"] == to).then_some(())
    });
    let path = mesh.file(&format!("litter-{}", from.name), noise(700_000, seed));
    let args = ["push", text(&path), "--to", to, "--copy", "--ttl", "1s", "-d"];
    let sent = from.json("notice", &args);
    let hash = sent["hash"].as_str().unwrap().to_owned();
    until("it is kept by nothing", SOON, || {
        let found = from.json("gc", &["file", "gc", "--dry-run"]);
        let items = found["items"].as_array()?.clone();
        items.iter().any(|i| i["hash"] == hash.as_str()).then_some(())
    });
    hash
}

/// Clears; what was freed. By the API: often while a transfer lasts.
#[track_caller]
fn clear(node: &Node) -> BTreeSet<String> {
    let freed = node.post("/v1/files/gc", &json!({}))["gc"].clone();
    let items = freed["items"].as_array().cloned().unwrap_or_default();
    let hash = |i: &Value| i["hash"].as_str().map(str::to_owned);
    items.iter().filter_map(hash).collect()
}

/// Times both sides are cleared at least while transfers last.
const ROUNDS: u32 = 6;

#[test]
fn clearing_on_both_sides_takes_nothing_of_what_is_on_its_way() {
    let mesh = Mesh::of(1);
    let (w1, client) = (&mesh.workers[0], &mesh.client);
    let tree = mesh.path("tree");
    folder(&tree);
    fs::write(tree.join("larger"), noise(9 << 20, 31)).unwrap();
    let file = mesh.file("big", noise(12 << 20, 32));
    let litter = BTreeSet::from([litter(&mesh, w1, "client", 33), litter(&mesh, client, "w1", 34)]);
    let mut begun = Vec::new();
    // They crawl until there was clearing enough.
    rate(&mesh, CRAWL);
    for (path, name) in [(&tree, "got-tree"), (&file, "got-big")] {
        // From the store's own copy: nothing of the user's stands behind it.
        let ticket = w1.run(&["file", "share", text(path), "--copy"]).ok().text();
        let dest = mesh.path(name);
        begun.push((begin(client, ticket.trim(), &dest), path, dest));
    }
    let (mut rounds, mut freed) = (0, BTreeSet::new());
    let began = Instant::now();
    let over = |id: &str| transfer(client, id).is_some_and(|v| v["ended"] != 0);
    while begun.iter().any(|(id, ..)| !over(id)) {
        for node in [w1, client] {
            freed.extend(clear(node));
        }
        rounds += 1;
        if rounds == ROUNDS {
            rate(&mesh, SLOW);
        }
        assert!(began.elapsed() < SOON * 4, "they do not end");
    }
    assert!(rounds >= ROUNDS, "{rounds} rounds of clearing are no test");
    assert_eq!(freed, litter, "only what nothing keeps is freed");
    for (id, path, dest) in &begun {
        let end = transfer(client, id).unwrap();
        assert_eq!(end["state"], "done", "{end}");
        if path.is_dir() {
            assert_eq!(snapshot(dest), snapshot(path));
        } else {
            assert!(fs::read(dest).unwrap() == fs::read(path).unwrap());
        }
        let hash = end["hash"].as_str().unwrap();
        for node in [w1, client] {
            assert!(clear(node).is_empty());
            assert_eq!(node.json("verify", &["file", "verify", hash])["good"], true);
        }
    }
}

#[test]
fn settings_hold_at_once_and_a_provider_that_was_killed_is_gone_on_with() {
    // No setting by the environment, which would win over the file.
    let mut mesh = Mesh::of(1);
    rate(&mesh, CRAWL);
    let file = mesh.file("big", noise(SIZE, 61));
    let ticket = share(&mesh.workers[0], &file);
    let dest = mesh.path("got");
    let id = begin(&mesh.client, &ticket, &dest);
    transfer_until(&mesh.client, &id, "some is here", |v| number(v, "done") > 1 << 20);
    // Its provider dies and comes back somewhere else.
    mesh.workers[0].kill();
    std::thread::sleep(std::time::Duration::from_secs(2)); // paced: long enough to be missed
    let back = transfer(&mesh.client, &id).unwrap();
    assert_eq!(back["ended"], 0, "the limit held: {back}");
    mesh.workers[0].start();
    transfer_until(&mesh.client, &id, "it goes on", |v| {
        number(v, "done") > number(&back, "done")
    });
    // Without a limit the rest comes at once.
    rate(&mesh, "");
    let end = transfer_until(&mesh.client, &id, "done", |v| v["state"] == "done");
    assert!(fs::read(&dest).unwrap() == fs::read(&file).unwrap());
    assert!(number(&end, "fetched") <= SIZE as u64 + 2 * SEGMENT, "{end}");
    // Whose pushes are taken, too.
    let own = mesh.file("pushed", "hello");
    mesh.workers[0].run(&["config", "set", "push_accept", "all"]).ok();
    mesh.client.run(&["push", text(&own), "--to", "w1"]).ok();
    let inbox = mesh.workers[0].get("/v1/inbox", "inbox").unwrap();
    assert_eq!(inbox[0]["state"], "done", "it is taken unasked: {inbox}");
}
