//! What nodes find out behind real NATs, by themselves and in their checks, and what the paths say. Needs root.

use crate::{
    nat_mesh::NatMesh,
    node::Node,
    trees::{noise, share, text},
    wait::{SOON, until_else},
};
use hive_natlab::{NatKind, Plan};
use serde_json::Value;
use std::{fs, time::Duration};

/// A verdict comes within this time: each check takes up to 17 s where a protocol does not pass, and connections have to
/// be lost first.
const CHECKED: Duration = Duration::from_secs(120);

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
    let last = || node.get("/v1/net/check", "check").unwrap_or_default();
    let says = |check: &Value| {
        let row = line(check, name);
        row["verdict"] == verdict && row["detail"].as_str().is_some_and(|d| d.contains(word))
    };
    until_else(
        CHECKED,
        || Some(look()).filter(&says),
        || format!("{name} {verdict} with `{word}` at {}: {:#}", node.name, last()),
    )
}

/// Drops everything of this protocol on its way between this host and others.
fn cut(mesh: &NatMesh, host: &str, protocol: &str) {
    let rules = format!(
        "table inet cut {{
            chain out {{ type filter hook output priority 0; oifname != \"lo\" meta l4proto {protocol} drop; }}
            chain in {{ type filter hook input priority 0; iifname != \"lo\" meta l4proto {protocol} drop; }}
        }}"
    );
    let host = mesh.lab.inside(host).expect("a host");
    host.nft(&rules).expect("a cut");
}

/// Lets everything through again.
fn mend(mesh: &NatMesh, host: &str) {
    let host = mesh.lab.inside(host).expect("a host");
    host.nft("delete table inet cut").expect("the end of a cut");
}

#[test]
#[ignore = "needs root, iproute2 and nftables: cargo test -p hivenode --test e2e -- --ignored"]
fn the_check_knows_the_routers_and_the_paths_name_the_relay() {
    let plan = Plan::pair_text(NatKind::PortRestricted, NatKind::Symmetric);
    let mesh = NatMesh::raise(&plan, |node| node);
    checked(
        &mesh.worker,
        "nat",
        "pass",
        "mapping endpoint-independent, filtering port-dependent",
    );
    // The second relay is found some time after the first: by then all is well.
    let look = || {
        mesh.worker
            .get("/v1/net/check?fresh=true", "check")
            .unwrap_or_default()
    };
    let last = || mesh.worker.get("/v1/net/check", "check");
    let check = until_else(
        CHECKED,
        || Some(look()).filter(|check| check["verdict"] == "pass"),
        || format!("nothing is amiss at the worker: {:#?}", last()),
    );
    assert_eq!(check["reach"]["state"], "private", "{check:#}");
    for name in ["udp", "nat", "relays"] {
        assert_eq!(line(&check, name)["verdict"], "pass", "two relays: {check:#}");
    }
    let kind = "symmetric router (mapping address-dependent, filtering port-dependent)";
    let check = checked(&mesh.client, "nat", "warn", kind);
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
    // What passed once need not pass for ever, and what did not may do so again.
    cut(&mesh, "a", "udp");
    let check = checked(&mesh.worker, "udp", "warn", "blocked");
    assert_eq!(line(&check, "tcp")["verdict"], "pass", "{check:#}");
    mend(&mesh, "a");
    checked(&mesh.worker, "udp", "pass", "passes");
}

#[test]
#[ignore = "needs root, iproute2 and nftables: cargo test -p hivenode --test e2e -- --ignored"]
fn tcp_that_is_blocked_is_said_and_so_is_udp_with_nothing_else() {
    let plan = Plan::pair_text(NatKind::PortRestricted, NatKind::FullCone);
    let mesh = NatMesh::raise(&plan, |node| match node.name.as_str() {
        "client" => node.with("transports", "quic"),
        _ => node,
    });
    checked(
        &mesh.client,
        "nat",
        "pass",
        "mapping endpoint-independent, filtering endpoint-independent",
    );
    checked(&mesh.worker, "tcp", "pass", "passes");
    cut(&mesh, "a", "tcp");
    let check = checked(&mesh.worker, "tcp", "warn", "blocked");
    assert_eq!(line(&check, "udp")["verdict"], "pass", "{check:#}");
    mend(&mesh, "a");
    checked(&mesh.worker, "tcp", "pass", "passes");
    // A node that has nothing but UDP, and has lost it.
    cut(&mesh, "b", "udp");
    let check = checked(&mesh.client, "udp", "fail", "nothing answers over it");
    assert_eq!(
        line(&check, "udp")["fix"],
        "hivenode config set transports both",
        "{check:#}"
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

fn relay(node: &Node) -> Value {
    node.get("/v1/relay", "relay").unwrap_or_default()
}

/// Waits until relaying at this node is in this state.
#[track_caller]
fn relaying(node: &Node, state: &str) -> Value {
    until_else(
        SOON,
        || Some(relay(node)).filter(|r| r["state"] == state),
        || format!("{} is {state}: {:#}", node.name, relay(node)),
    )
}

#[test]
#[ignore = "needs root, iproute2 and nftables: cargo test -p hivenode --test e2e -- --ignored"]
fn a_public_node_finds_out_that_it_can_relay_and_is_found_by_those_behind_routers() {
    let plan = Plan::pair_text(NatKind::PortRestricted, NatKind::Symmetric);
    // Nobody is told to relay: whoever has a relay in this mesh has one that began by itself.
    let mesh = NatMesh::raise(&plan, |node| match node.name.as_str() {
        "authority" => node.with("relay", "off"),
        _ => node.with("relay", "auto"),
    });
    let serving = relaying(&mesh.relay, "serving");
    assert_eq!(serving["mode"], "auto", "{serving:#}");
    for node in [&mesh.worker, &mesh.client] {
        let waiting = relaying(node, "waiting");
        assert_eq!(waiting["mode"], "auto", "{waiting:#}");
    }
    let bytes = noise(1 << 20, 5);
    let dest = mesh.place("got");
    let ticket = share(&mesh.worker, &mesh.file("given", &bytes));
    mesh.client.run(&["pull", &ticket, text(&dest)]).ok();
    assert!(fs::read(&dest).unwrap() == bytes);
    let path = mesh.path(&mesh.client).expect("a path");
    assert_eq!(path["relay_name"], "relay", "{path:#}");
    assert!(relay(&mesh.relay)["circuits_opened"].as_u64() > Some(0));
}

/// Two hosts behind one router of a carrier.
fn one_router(hairpin: &str) -> String {
    format!(
        "net wan 203.0.113.0/24
         host relay wan
         host other wan
         router isp full-cone wan mid 100.64.0.0/24 {hairpin}
         host a mid
         host b mid"
    )
}

#[test]
#[ignore = "needs root, iproute2 and nftables: cargo test -p hivenode --test e2e -- --ignored"]
fn the_check_says_whether_the_router_turns_packets_round() {
    for (option, word, works) in [("hairpin", "works: ", true), ("", "does not work", false)] {
        let mesh = NatMesh::raise(&one_router(option), |node| node);
        let check = checked(&mesh.worker, "hairpin", "pass", word);
        assert_eq!(check["reach"]["hairpin"], works, "{check:#}");
        let mtu = line(&check, "mtu")["detail"].clone();
        let passes = "1500 bytes as the system knows it; large messages pass over TCP";
        assert_eq!(mtu, passes, "{check:#}");
    }
}

/// The line of `a`'s router takes packets of this size and no larger ones; whether the router says so.
fn narrow(mesh: &NatMesh, says_so: bool) {
    let router = mesh.lab.inside("ra").expect("a router");
    router
        .ip(&["link", "set", "outer", "mtu", "1300"])
        .expect("a narrow line");
    if !says_so {
        let rules = "table inet dumb {
            chain out { type filter hook output priority 0; icmp type destination-unreachable drop; }
        }";
        router.nft(rules).expect("a router that says nothing");
    }
}

#[test]
#[ignore = "needs root, iproute2 and nftables: cargo test -p hivenode --test e2e -- --ignored"]
fn a_router_that_loses_large_packets_and_does_not_say_so_is_noticed() {
    for says_so in [false, true] {
        let plan = Plan::pair_text(NatKind::PortRestricted, NatKind::Open);
        let mesh = NatMesh::raise(&plan, |node| node);
        checked(
            &mesh.worker,
            "mtu",
            "pass",
            "1500 bytes as the system knows it; large messages pass over TCP",
        );
        narrow(&mesh, says_so);
        if says_so {
            let check = checked(&mesh.worker, "mtu", "pass", "1300 bytes as the system knows it");
            assert_eq!(check["reach"]["large"], true, "{check:#}");
        } else {
            let check = checked(&mesh.worker, "mtu", "warn", "does not say so");
            assert_eq!(check["reach"]["large"], false, "{check:#}");
            assert!(
                line(&check, "mtu")["fix"]
                    .as_str()
                    .is_some_and(|f| f.contains("MSS"))
            );
        }
    }
}
