//! Relaying, forced by forbidding direct connections; over loopback.

use crate::{
    guests,
    mesh::{Mesh, Slot},
    net_paths::{metrics, path_is},
    node::Node,
    wait::{SOON, until, until_else},
};
use serde_json::Value;

/// A mesh whose worker and client reach each other through the authority only.
fn relayed() -> Mesh {
    Mesh::with(1, |node| match node.name.as_str() {
        "authority" => node.with("relay", "on"),
        _ => node.with("direct", "off").with("relay", "off"),
    })
}

fn relay(node: &Node) -> Value {
    node.get("/v1/relay", "relay").unwrap_or_default()
}

#[track_caller]
fn relay_until(node: &Node, what: &str, test: impl Fn(&Value) -> bool) -> Value {
    until_else(
        SOON,
        || Some(relay(node)).filter(&test),
        || format!("{what}: {}", relay(node)),
    )
}

#[test]
fn a_task_runs_over_a_relay_that_is_named_everywhere() {
    let mesh = relayed();
    let serving = relay_until(&mesh.authority, "two reservations", |r| r["reservations"] == 2);
    assert_eq!(
        (&serving["state"], &serving["mode"]),
        (&"serving".into(), &"on".into()),
        "{serving}"
    );
    let noop = mesh.module("noop", guests::NOOP);
    mesh.client.run(&["task", "submit", &noop, "--wait"]).ok();
    let path = path_is(&mesh.client, "w1", "relay");
    assert_eq!(
        (&path["relay_name"], &path["transport"]),
        (&"authority".into(), &"relay".into()),
        "{path}"
    );
    let nodes = mesh.client.json("nodes", &["node", "ls"]);
    let row = nodes
        .as_array()
        .unwrap()
        .iter()
        .find(|n| n["name"] == "w1")
        .unwrap();
    assert_eq!(row["path"], "relay authority", "{row}");
    let status = mesh.client.run(&["status"]).text();
    assert!(
        status.contains("relay authority") && status.contains("relays authority"),
        "{status}"
    );
    // Of several circuits one may be about to close: the one that is used is meant.
    let used = |c: &Value| c["from_name"].is_string() && c["bytes"].as_u64() > Some(0);
    relay_until(&mesh.authority, "bytes carried", |r| {
        let open = r["open"].as_array().is_some_and(|o| o.iter().any(used));
        r["circuits_opened"].as_u64() > Some(0) && r["bytes"].as_u64() > Some(1000) && open
    });
    let text = metrics(&mesh.authority);
    for line in ["hivenode_relay_reservations 2", "hivenode_relay_bytes_total "] {
        assert!(text.lines().any(|l| l.starts_with(line)), "{line}\n{text}");
    }
    let text = metrics(&mesh.client);
    let line = "hivenode_peers{path=\"relay\",transport=\"relay\"} 1";
    assert!(text.lines().any(|l| l == line), "{text}");
    mesh.settled();
}

#[test]
fn files_come_over_a_relay_and_say_so() {
    let mut mesh = relayed();
    relay_until(&mesh.authority, "two reservations", |r| r["reservations"] == 2);
    let bytes: Vec<u8> = (0..6_u32 << 20)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8)
        .collect();
    let file = mesh.file("data", &bytes);
    let worker = &mesh.workers[0];
    let shared = worker.json("file", &["file", "share", file.to_str().unwrap()]);
    // Slow enough to be looked at on its way.
    mesh.authority
        .run(&["relay", "limits", "circuit_rate=256K", "--once"])
        .ok();
    let dest = mesh.path("here");
    let pull = [
        "pull",
        shared["ticket"].as_str().unwrap(),
        dest.to_str().unwrap(),
        "-d",
    ];
    mesh.client.run(&pull).ok();
    until_else(
        SOON,
        || {
            let text = mesh.client.run(&["file", "status"]).text();
            (text.contains("relay authority") && text.contains("w1")).then_some(())
        },
        || mesh.client.run(&["file", "status"]).text(),
    );
    mesh.authority
        .run(&["relay", "limits", "circuit_rate=off", "--once"])
        .ok();
    until_else(
        SOON,
        || {
            let all = mesh.client.get("/v1/transfers", "transfers")?;
            (all[0]["state"] == "done").then_some(())
        },
        || format!("{:?}", mesh.client.get("/v1/transfers", "transfers")),
    );
    let got = std::fs::read(dest.join("data"))
        .or_else(|_| std::fs::read(&dest))
        .unwrap();
    assert!(got == bytes, "{} bytes came", got.len());
    // A restart gives nobody a second day's bytes: what was relayed today is counted on.
    let today = || std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() / (24 * 3600);
    let day = today();
    let before = relay(&mesh.authority)["bytes_today"].as_u64().unwrap();
    mesh.authority.stop();
    mesh.authority.start();
    // Unless the day has ended meanwhile.
    relay_until(&mesh.authority, "it serves again, and counts on", |r| {
        r["state"] == "serving" && (r["bytes_today"].as_u64() >= Some(before) || today() > day)
    });
    assert!(before >= bytes.len() as u64 || today() > day, "{before}");
}

#[test]
fn a_relay_is_limited_drained_and_taken_up_again() {
    let mesh = relayed();
    let relay_node = &mesh.authority;
    relay_until(relay_node, "two reservations", |r| r["reservations"] == 2);
    // Limits: shown, changed now and for later, refused by name.
    let table = relay_node.run(&["relay", "limits"]).ok().text();
    assert!(table.contains("total_rate") && table.contains("off"), "{table}");
    let changed = relay_node.json("relay", &["relay", "limits", "total_rate=20M", "circuits=50"]);
    assert_eq!(
        (&changed["limits"]["total_rate"], &changed["limits"]["circuits"]),
        (&(20 << 20).into(), &50.into())
    );
    let kept = relay_node.run(&["config", "get", "relay_total_rate"]).ok().text();
    assert_eq!(kept.trim(), "20M");
    relay_node
        .run(&["relay", "limits", "total_rate=5M", "--once"])
        .ok();
    assert_eq!(relay(relay_node)["limits"]["total_rate"], 5 << 20);
    let kept = relay_node.run(&["config", "get", "relay_total_rate"]).ok().text();
    assert_eq!(kept.trim(), "20M");
    relay_node
        .run(&["relay", "limits", "speed=1"])
        .fails(2, "relay.unknown_limit");
    relay_node
        .run(&["relay", "limits", "circuits=0"])
        .fails(2, "relay.bad_limit");
    // A connection over it outlives the draining; nothing new is taken. The relay has the worker's reservation before
    // the others hear of the way through it.
    until("the client knows the worker's way", SOON, || {
        let worker = mesh.client.get("/v1/nodes/w1", "node")?;
        let through = |a: &Value| a.as_str().is_some_and(|a| a.contains("/p2p-circuit"));
        worker["addrs"].as_array()?.iter().any(through).then_some(())
    });
    mesh.client.json("paths", &["net", "trace", "w1"]);
    path_is(&mesh.client, "w1", "relay");
    let draining = relay_node.json("relay", &["relay", "drain"]);
    assert_eq!(draining["state"], "draining", "{draining}");
    let noop = mesh.module("noop", guests::NOOP);
    mesh.client.run(&["task", "submit", &noop, "--wait"]).ok();
    let served = relay_node.json("relay", &["relay", "resume"]);
    assert_eq!(served["state"], "serving", "{served}");
    relay_until(relay_node, "reservations come back", |r| r["reservations"] == 2);
    // Relaying by itself has bounds where its owner has set none; relaying on purpose has only those that are set.
    let auto = relay_node.json("relay", &["relay", "auto"]);
    let limit = |view: &Value, name: &str| view["limits"][name].as_u64().unwrap();
    assert!(
        limit(&auto, "total_day") > 0 && limit(&auto, "peer_day") > 0,
        "{auto}"
    );
    assert_eq!(
        (limit(&auto, "total_rate"), limit(&auto, "circuits")),
        (5 << 20, 50)
    );
    assert_eq!(
        auto["set"],
        serde_json::json!(["circuits", "total_rate"]),
        "{auto}"
    );
    let asked = relay_node.json("relay", &["relay", "on"]);
    assert_eq!(
        (limit(&asked, "total_day"), limit(&asked, "total_rate")),
        (0, 5 << 20)
    );
    // Off and on again without a restart.
    let off = relay_node.json("relay", &["relay", "off"]);
    assert_eq!(
        (&off["mode"], &off["state"]),
        (&"off".into(), &"off".into()),
        "{off}"
    );
    relay_node.json("relay", &["relay", "on"]);
    relay_until(relay_node, "it serves again", |r| {
        r["state"] == "serving" && r["reservations"] == 2
    });
}

#[test]
fn a_relay_of_its_own_joins_with_a_ticket_for_relays() {
    let mesh = Mesh::of(0);
    let mut relay_node = Node::new(&mesh.path(".."), "fra");
    relay_node.start();
    let worker = mesh.ticket("worker", 0);
    relay_node
        .run(&["up", "--role", "relay", &worker])
        .fails(2, "ticket.other_role");
    let ticket = mesh.authority.json("invite", &["invite", "--role", "relay"]);
    relay_node
        .run(&["up", "--role", "relay", ticket["ticket"].as_str().unwrap()])
        .ok();
    let status = relay_node.status();
    assert!(
        status["roles"].as_array().unwrap().contains(&"relay".into()),
        "{status}"
    );
    relay_until(&relay_node, "it serves", |r| r["state"] == "serving");
    // Others hear of it.
    let known = |node: &Node| {
        let check = node.get("/v1/net/check", "check").unwrap_or_default();
        let reach = &check["reach"];
        [&reach["known_relays"], &reach["relays"]]
            .iter()
            .filter_map(|r| r.as_array())
            .flatten()
            .any(|r| r["name"] == "fra")
    };
    until_else(
        SOON,
        || known(&mesh.client).then_some(()),
        || format!("{:?}", mesh.client.get("/v1/net/check", "check")),
    );
    let nodes = mesh.client.json("nodes", &["node", "ls"]);
    let row = nodes
        .as_array()
        .unwrap()
        .iter()
        .find(|n| n["name"] == "fra")
        .unwrap();
    assert!(
        row["roles"].as_array().unwrap().contains(&"relay".into()),
        "{row}"
    );
    // Going down, it drains first: its last word to others is that it leaves.
    relay_node.run(&["down", "--drain", "5s"]).ok();
}

#[test]
fn a_member_of_another_role_relays_when_it_is_told_to() {
    let _slot = Slot::take();
    let home = crate::mesh::home();
    let node = Node::new(home.path(), "n");
    // Without a ticket `--role relay` is a setting like others.
    let up = node.run(&["up", "--role", "relay"]);
    let again = node.run(&["up", "--role", "relay"]);
    let down = node.run(&["down"]);
    up.ok();
    again.ok();
    down.ok();
    let kept = node.run(&["config", "get", "relay"]).ok().text();
    assert_eq!(kept.trim(), "on");
}
