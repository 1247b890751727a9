//! What the checks and the paths say behind real NATs. Needs root.

use crate::{
    nat_mesh::NatMesh,
    node::Node,
    wait::{SOON, until_else},
};
use hive_natlab::{NatKind, Plan};
use serde_json::Value;

/// The line of a name.
fn line(check: &Value, name: &str) -> Value {
    let rows = check["checks"].as_array().cloned().unwrap_or_default();
    let row = rows.into_iter().find(|r| r["name"] == name);
    row.unwrap_or_default()
}

/// Checks until the line of this name says this.
#[track_caller]
fn checked(node: &Node, name: &str, verdict: &str, word: &str) -> Value {
    let look = || node.get("/v1/net/check?fresh=true", "check").unwrap_or_default();
    let says = |check: &Value| {
        let row = line(check, name);
        row["verdict"] == verdict && row["detail"].as_str().is_some_and(|d| d.contains(word))
    };
    until_else(
        SOON,
        || Some(look()).filter(&says),
        || format!("{name} {verdict} with `{word}` at {}: {:#}", node.name, look()),
    )
}

#[test]
#[ignore = "needs root, iproute2 and nftables: cargo test -p hivenode --test e2e -- --ignored"]
fn the_check_knows_the_routers_and_the_paths_name_the_relay() {
    let plan = Plan::pair_text(NatKind::PortRestricted, NatKind::Symmetric);
    let mesh = NatMesh::raise(&plan, |node| node);
    let check = checked(&mesh.worker, "nat", "pass", "mapping endpoint-independent");
    assert_eq!(check["reach"]["state"], "private", "{check:#}");
    assert_eq!(line(&check, "udp")["verdict"], "pass", "{check:#}");
    assert_eq!(line(&check, "relays")["verdict"], "pass", "two relays: {check:#}");
    let check = checked(&mesh.client, "nat", "warn", "symmetric");
    let fix = line(&check, "nat")["fix"].clone();
    assert!(fix.as_str().is_some_and(|f| f.contains("announce")), "{fix}");
    // A warning, and nothing worse: by the exit code, too.
    mesh.client.run(&["net", "check", "--last"]).ends(1);
    mesh.worker.run(&["net", "check", "--last"]).ends(0);

    let traced = mesh.client.json("paths", &["net", "trace", "worker"]);
    let attempts = traced["attempts"].as_array().unwrap();
    let some = |transport: &str, outcome: &str| {
        attempts
            .iter()
            .any(|a| a["transport"] == transport && a["outcome"] == outcome)
    };
    assert!(some("relay", "connected"), "{traced:#}");
    assert!(
        !some("quic", "connected") && !some("tcp", "connected"),
        "{traced:#}"
    );
    let status = mesh.client.run(&["status"]).text();
    let row = status
        .lines()
        .find(|l| l.contains("  worker  "))
        .unwrap_or_default();
    assert!(
        ["relay authority", "relay relay", "punching (relay"]
            .iter()
            .any(|w| row.contains(w)),
        "{status}"
    );
}

#[test]
#[ignore = "needs root, iproute2 and nftables: cargo test -p hivenode --test e2e -- --ignored"]
fn blocked_udp_is_said_and_everything_goes_over_tcp() {
    let plan = Plan::pair_text(NatKind::UdpBlocked, NatKind::Open);
    let mesh = NatMesh::raise(&plan, |node| node);
    let check = checked(&mesh.worker, "udp", "warn", "blocked");
    assert!(line(&check, "udp")["fix"].is_string(), "{check:#}");
    let peers = mesh.worker.json("peers", &["net", "peers"]);
    for peer in peers.as_array().unwrap() {
        assert_ne!(peer["transport"], "quic", "{peer}");
    }
    checked(&mesh.client, "nat", "pass", "reachable from everywhere");
}
