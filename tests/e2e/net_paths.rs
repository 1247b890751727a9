//! The ways to peers and how this node is reached, as the command line and the API show them; over loopback.

use crate::{
    mesh::Mesh,
    node::Node,
    wait::{SOON, until, until_else},
};
use serde_json::Value;

fn peers(node: &Node) -> Vec<Value> {
    let view = node.get("/v1/net/peers", "peers");
    view.and_then(|p| p.as_array().cloned()).unwrap_or_default()
}

/// Waits for the way to a named node to be in this state.
#[track_caller]
pub fn path_is(node: &Node, name: &str, state: &str) -> Value {
    let named = |p: &&Value| p["name"] == name;
    until_else(
        SOON,
        || {
            let all = peers(node);
            let path = all.iter().find(named)?;
            (path["state"] == state).then(|| path.clone())
        },
        || format!("{state} from {} to {name}: {:?}", node.name, peers(node)),
    )
}

#[test]
fn the_way_to_every_peer_is_shown_everywhere() {
    let mesh = Mesh::of(1);
    let client = &mesh.client;
    // Nobody has had to talk to the worker yet: a trace connects.
    let traced = client.json("paths", &["net", "trace", "w1"]);
    assert!(
        traced["attempts"]
            .as_array()
            .is_some_and(|a| a.iter().any(|a| a["outcome"] == "connected")),
        "{traced}"
    );
    assert!(!traced["addrs"].as_array().unwrap().is_empty(), "{traced}");
    client.json("paths", &["net", "paths", "authority"]);
    let path = path_is(client, "authority", "direct");
    assert!(
        path["member"] == true && path["since"].as_u64() > Some(0),
        "{path}"
    );
    assert!(
        ["quic", "tcp"].contains(&path["transport"].as_str().unwrap()),
        "{path}"
    );

    let status = client.status();
    let named = |p: &&Value| p["name"] == "authority";
    let row = status["peers"]
        .as_array()
        .unwrap()
        .iter()
        .find(named)
        .unwrap()
        .clone();
    assert_eq!(
        (&row["path"], &row["state"]),
        (&"direct".into(), &"direct".into()),
        "{row}"
    );
    assert!(status["reach"]["state"].is_string(), "{status}");
    let nodes = client.json("nodes", &["node", "ls"]);
    let row = nodes.as_array().unwrap().iter().find(named).unwrap().clone();
    assert_eq!(row["path"], "direct", "{row}");
    assert!(
        row["addr"].as_str().unwrap().starts_with("/ip4/127.0.0.1/"),
        "{row}"
    );

    for (args, words) in [
        (vec!["net", "peers"], vec!["PATH", "authority", "direct"]),
        (
            vec!["net", "paths", "authority"],
            vec!["path     direct", "OUTCOME", "connected"],
        ),
        (vec!["status"], vec!["network", "PATH", "direct"]),
        (
            vec!["node", "ls"],
            vec!["PATH", "direct", "RTT", "ADDRESS", "/ip4/127.0.0.1/"],
        ),
    ] {
        let text = client.run(&args).text();
        for word in words {
            assert!(text.contains(word), "{word} is not in {args:?}:\n{text}");
        }
    }
    let metrics = metrics(client);
    let direct = |l: &&str| l.starts_with("hivenode_peers{path=\"direct\"") && !l.ends_with(" 0");
    assert!(metrics.lines().any(|l| direct(&l)), "{metrics}");
    assert!(
        metrics.contains("hivenode_net_connections_opened_total"),
        "{metrics}"
    );
}

/// The text of /metrics.
#[track_caller]
pub fn metrics(node: &Node) -> String {
    let answer = crate::http::ask(&node.socket(), "GET", "/metrics", None).expect("an answer");
    String::from_utf8(answer.body).expect("text")
}

#[test]
fn who_is_not_there_or_is_oneself_is_named() {
    let mut mesh = Mesh::of(1);
    mesh.client
        .run(&["net", "paths", "nobody"])
        .fails(3, "node.not_found");
    mesh.client
        .run(&["net", "trace", "nobody"])
        .fails(3, "node.not_found");
    mesh.client
        .run(&["net", "paths", "client"])
        .fails(2, "net.own_node");
    // A node that has gone without a word: each address is tried, and each says why it does not answer.
    mesh.workers[0].kill();
    let client = &mesh.client;
    until("the worker's end is noticed", SOON, || {
        let now = peers(client);
        let path = now.iter().find(|p| p["name"] == "w1");
        path.is_none_or(|p| p["state"] != "direct").then_some(())
    });
    let out = client.run(&["--json", "net", "trace", "w1"]);
    let traced = out.document("paths");
    let failed: Vec<&Value> = traced["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|a| a["outcome"] == "failed")
        .collect();
    assert!(!failed.is_empty(), "{traced}");
    assert!(failed.iter().all(|a| a["detail"] != ""), "{traced}");
    // A node of no mesh has no ways.
    let mut alone = Node::new(&mesh.path(".."), "alone");
    alone.start();
    alone.run(&["net", "peers"]).fails(1, "member.unjoined");
    alone.run(&["net", "check"]).fails(1, "member.unjoined");
    alone.run(&["relay", "status"]).fails(1, "member.unjoined");
}

#[test]
fn the_network_is_checked_line_by_line() {
    let mesh = Mesh::of(0);
    let out = mesh.client.run(&["--json", "net", "check"]);
    let check = out.document("check");
    let verdict = check["verdict"].as_str().unwrap();
    let want = ["pass", "warn", "fail"]
        .iter()
        .position(|v| *v == verdict)
        .unwrap();
    assert_eq!(usize::try_from(out.code).unwrap(), want, "{check}");
    let rows = check["checks"].as_array().unwrap();
    let of = |name: &str| {
        rows.iter()
            .find(|r| r["name"] == name)
            .unwrap_or_else(|| panic!("{name}: {check}"))
    };
    for name in [
        "udp",
        "tcp",
        "nat",
        "addresses",
        "port mapping",
        "hairpin",
        "ipv6",
        "relays",
        "clock",
        "mtu",
    ] {
        assert!(
            of(name)["detail"].as_str().is_some_and(|d| !d.is_empty()),
            "{check}"
        );
    }
    assert_eq!(of("peers")["verdict"], "pass", "{check}");
    for row in rows.iter().filter(|r| r["verdict"] != "pass") {
        assert!(row["fix"].is_string(), "no word on what to do: {row}");
    }
    // The doctor says the same and more, with the worst of it all as its end.
    let doctor = mesh.client.run(&["--json", "doctor"]);
    assert!((0..=2).contains(&doctor.code), "{}", doctor.talk());
    let names: Vec<String> = doctor
        .document("checks")
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|r| r["name"].as_str().map(str::to_owned))
        .collect();
    for name in ["config", "disk", "daemon", "authority", "nat", "relays"] {
        assert!(names.iter().any(|n| n == name), "{name}: {names:?}");
    }
    let text = mesh.client.run(&["net", "check", "--last", "-v"]).text();
    for word in ["CHECK", "published", "listens"] {
        assert!(text.contains(word), "{word}:\n{text}");
    }
}

#[test]
fn only_the_transport_allowed_is_used() {
    for (allowed, other) in [("quic", "/tcp/"), ("tcp", "/udp/")] {
        let mesh = Mesh::with(0, |node| {
            if node.name == "client" {
                node.with("transports", allowed)
            } else {
                node
            }
        });
        let path = path_is(&mesh.client, "authority", "direct");
        assert_eq!(path["transport"], allowed, "{path}");
        let status = mesh.client.status();
        let listen: Vec<&str> = status["listen"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert!(
            !listen.is_empty() && listen.iter().all(|a| !a.contains(other)),
            "{listen:?}"
        );
    }
}

#[test]
fn settings_of_the_network_are_checked() {
    let home = crate::mesh::home();
    let node = Node::new(home.path(), "n");
    for (key, value) in [
        ("transports", "udp"),
        ("direct", "perhaps"),
        ("relay", "yes"),
        ("announce", "203.0.113.7:4001"),
        ("relay_total_rate", "fast"),
        ("relay_circuits", "0"),
    ] {
        node.run(&["config", "set", key, value])
            .fails(2, "config.bad_value");
    }
    node.run(&["config", "set", "announce", "/ip4/203.0.113.7/udp/4001/quic-v1"])
        .ok();
    node.run(&["config", "set", "relay_total_rate", "10M"]).ok();
    node.run(&["config", "set", "listen", "none"]).ok();
    node.run(&["relay", "status"]).fails(5, "daemon.not_running");
}
