//! What a command has done is seen by the next one, however quick that is: nothing here waits between two calls.

use crate::{
    http,
    mesh::{CPT, Slot, free_port, home},
    node::Node,
};
use serde_json::{Value, json};

/// The answer's part of this name, the first time it is asked for.
#[track_caller]
fn now(node: &Node, path: &str, name: &str) -> Value {
    let answer = http::ask(&node.socket(), "GET", path, None).expect("an answer");
    assert_eq!(answer.status, 200, "{} {path}: {}", node.name, answer.json());
    answer.json()[name].clone()
}

/// Names of those a node says to be online.
#[track_caller]
fn online(node: &Node) -> Vec<String> {
    let nodes = now(node, "/v1/nodes", "nodes");
    let here = nodes
        .as_array()
        .into_iter()
        .flatten()
        .filter(|n| n["state"] == "online");
    let mut names: Vec<String> = here
        .filter_map(|n| n["name"].as_str().map(str::to_owned))
        .collect();
    names.sort();
    names
}

#[track_caller]
fn admit(by: &Node, node: &Node, role: &str) {
    let ask = json!({"role": role, "uses": 1, "ttl_ms": 3_600_000, "grant": 10 * CPT});
    let ticket = by.post("/v1/invites", &ask)["invite"]["ticket"].clone();
    node.post("/v1/join", &json!({ "ticket": ticket }));
}

/// Receivers of a text sent to these.
#[track_caller]
fn sent(node: &Node, to: &[&str]) -> usize {
    let sent = node.post("/v1/notices", &json!({"to": to, "text": "hello"}));
    sent["notice"]["recipients"].as_array().expect("receivers").len()
}

#[test]
fn who_founds_joins_or_returns_finds_everybody_and_is_found() {
    let _slot = Slot::take();
    let home = home();
    let port = free_port();
    let listen = format!("/ip4/127.0.0.1/udp/{port}/quic-v1,/ip4/127.0.0.1/tcp/{port}");
    let mut authority = Node::new(home.path(), "authority").with("listen", &listen);
    let mut worker = Node::new(home.path(), "w1").with("price", "0.003");
    let mut client = Node::new(home.path(), "client");
    for node in [&mut authority, &mut worker, &mut client] {
        node.start();
    }
    let mesh = json!({"name": "lab", "mint": 1000 * CPT, "default_score": 50, "worker": false});
    authority.post("/v1/mesh", &mesh);
    assert_eq!(online(&authority), ["authority"]);
    // Who has joined is known where it has not been heard of yet, with all that it says of itself.
    admit(&authority, &worker, "worker");
    let shown = now(&authority, "/v1/nodes/w1", "node");
    assert_eq!(
        (&shown["state"], &shown["price"]),
        (&"online".into(), &3000.into()),
        "{shown}"
    );
    // And itself knows everybody, and reaches the authority.
    assert_eq!(online(&worker), ["authority", "w1"]);
    assert_eq!(
        now(&worker, "/v1/status", "status")["mesh"]["authority_reachable"],
        true
    );
    assert_eq!(now(&worker, "/v1/wallet", "wallet")["available"], 10 * CPT);
    admit(&authority, &client, "client");
    client.post("/v1/wallet/send", &json!({"to": "w1", "amount": CPT}));
    assert_eq!(now(&client, "/v1/wallet", "wallet")["available"], 9 * CPT);
    assert_eq!(now(&worker, "/v1/wallet", "wallet")["available"], 11 * CPT);
    assert_eq!(now(&worker, "/v1/trust/client", "trust")["score"], 50);
    // Nobody that there is is left out, also by those who have not heard of it yet.
    assert_eq!(sent(&worker, &["client"]), 1);
    assert_eq!(sent(&client, &["all"]), 2);
    // A member that returns.
    client.stop();
    client.start();
    assert_eq!(online(&client), ["authority", "client", "w1"]);
    client.stop();
    client.start();
    assert_eq!(now(&client, "/v1/wallet", "wallet")["available"], 9 * CPT);
    client.stop();
    client.start();
    client.post("/v1/wallet/send", &json!({"to": "w1", "amount": CPT}));
    client.stop();
    client.start();
    assert_eq!(sent(&client, &["role=worker"]), 1);
    client.stop();
    client.start();
    now(&client, "/v1/net/paths/authority", "paths");
}
