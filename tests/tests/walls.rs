//! The walls between crates stand: reads `cargo metadata` and fails on any dependency that crosses one, and
//! on any call to the world in the source of a crate that only decides.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use cargo_metadata::{CargoOpt, DependencyKind, MetadataCommand};
use hive_tests::{
    graph::{self, Graph, broken},
    sources,
};
use std::collections::{BTreeMap, BTreeSet};

/// Reads the graph without touching the network. Features are those of the whole workspace, for this machine.
fn read() -> (Graph, BTreeSet<String>, BTreeMap<String, String>) {
    let metadata = MetadataCommand::new()
        .manifest_path(sources::root().join("Cargo.toml"))
        .features(CargoOpt::AllFeatures)
        .other_options([
            "--offline".to_owned(),
            "--filter-platform=x86_64-unknown-linux-gnu".to_owned(),
        ])
        .exec()
        .expect("cargo metadata");
    let members: BTreeSet<_> = metadata.workspace_members.iter().cloned().collect();
    let names: BTreeMap<_, _> = metadata
        .packages
        .iter()
        .map(|p| {
            let name = if members.contains(&p.id) {
                p.name.to_string()
            } else {
                format!("{}@{}", p.name, p.version)
            };
            (p.id.clone(), name)
        })
        .collect();
    let mut graph = Graph::new();
    for node in metadata.resolve.expect("a resolved graph").nodes {
        let mine = graph.entry(names[&node.id].clone()).or_default();
        for dependency in node.deps {
            if dependency
                .dep_kinds
                .iter()
                .any(|k| k.kind == DependencyKind::Normal)
            {
                mine.insert(names[&dependency.pkg].clone());
            }
        }
    }
    let members: BTreeSet<String> = members.iter().map(|id| names[id].clone()).collect();
    let folders = metadata
        .packages
        .iter()
        .filter(|p| members.contains(p.name.as_str()))
        .map(|p| (p.name.to_string(), p.manifest_path.parent().unwrap().to_string()))
        .collect();
    (graph, members, folders)
}

#[test]
fn no_dependency_crosses_a_wall() {
    let (graph, members, _) = read();
    let found = broken(&graph, &members);
    assert!(found.is_empty(), "broken walls:\n  {}", found.join("\n  "));
}

#[test]
fn folders_say_the_floor() {
    let (_, _, folders) = read();
    for (name, folder) in folders {
        let inside = std::path::Path::new(&folder)
            .strip_prefix(sources::root())
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let floor = graph::FLOORS
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, f)| *f)
            .unwrap();
        let expected = match floor {
            0 => "protocol",
            1..=3 => "bootstrap/",
            4..=9 => "node/",
            _ => "",
        };
        assert!(
            inside.starts_with(expected),
            "{name} is on floor {floor} and lies in {inside}"
        );
    }
}

/// A small house in order, to be broken by the test below.
fn sound() -> (Graph, BTreeSet<String>) {
    let mut graph: Graph = graph::FLOORS
        .iter()
        .map(|(n, _)| ((*n).to_owned(), BTreeSet::new()))
        .collect();
    for (from, to) in [
        ("hive-protocol", "serde@1.0.0"),
        ("hive-state", "hive-ledger"),
        ("hive-authority", "hive-state"),
        ("hive-authority", "sled@0.34.7"),
        ("hive-net", "libp2p@1.0.0"),
        ("hive-runtime", "hive-net"),
        ("hive-api", "hive-runtime"),
        ("hivenode", "hive-api"),
        ("libp2p@1.0.0", "tokio@1.0.0"),
        ("netsim", "hive-scheduler"),
    ] {
        graph.entry(from.to_owned()).or_default().insert(to.to_owned());
    }
    let members = graph::FLOORS.iter().map(|(n, _)| (*n).to_owned()).collect();
    (graph, members)
}

#[test]
fn the_checker_catches_every_kind_of_breach() {
    let (graph, members) = sound();
    assert_eq!(broken(&graph, &members), Vec::<String>::new());
    for (from, to, names) in [
        ("hive-protocol", "tokio@1.0.0", "hive-protocol is pure"),
        ("serde@1.0.0", "getrandom@0.4.0", "hive-ledger is pure"),
        ("hive-scheduler", "rand_core@0.10.0", "hive-scheduler is pure"),
        ("hive-ledger", "hive-state", "only on crates under it"),
        ("hive-authority", "hive-net", "only on crates under it"),
        ("hive-protocol", "hive-trust", "only on crates under it"),
        (
            "hive-runtime",
            "libp2p-kad@0.1.0",
            "only hive-net, hive-swarmlab may",
        ),
        ("hive-store", "wasmtime-wasi@48.0.0", "only hive-executor may"),
        (
            "hive-runtime",
            "sled@0.34.7",
            "only hive-authority, hive-store may",
        ),
        ("hive-api", "hive-store", "not to its parts"),
        ("netsim", "tokio-util@0.7.0", "netsim is deterministic"),
    ] {
        let mut bad = graph.clone();
        // `hive-ledger` reaches serde through the protocol crate, as it does in the real graph.
        bad.entry("hive-ledger".to_owned())
            .or_default()
            .insert("hive-protocol".to_owned());
        bad.entry(from.to_owned()).or_default().insert(to.to_owned());
        let found = broken(&bad, &members);
        assert!(
            found.iter().any(|f| f.contains(names)),
            "{from} → {to} was not caught: {found:?}"
        );
    }
    let mut stranger = members.clone();
    stranger.insert("hive-new".to_owned());
    assert!(
        broken(&graph, &stranger)
            .iter()
            .any(|f| f.contains("hive-new has no floor"))
    );
}

/// What a crate that only decides must not even name in its source.
const WORLD_CALLS: &[&str] = &[
    "Instant::now",
    "SystemTime",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "thread::",
    "std::env::",
    "std::io::",
    "HashMap",
    "HashSet",
    "RandomState",
];

#[test]
fn pure_sources_name_nothing_of_the_world() {
    let (_, _, folders) = read();
    let mut found = Vec::new();
    for package in graph::PURE {
        let src = std::path::Path::new(&folders[*package]).join("src");
        for file in sources::rust_files_in(&src) {
            if file.is_test() {
                continue;
            }
            for (number, line) in file.product_lines() {
                let code = line.split("//").next().unwrap_or_default();
                for call in WORLD_CALLS.iter().filter(|c| code.contains(**c)) {
                    found.push(format!("{}:{number} names {call}", file.name));
                }
            }
        }
    }
    assert!(
        found.is_empty(),
        "a pure crate reaches for the world:\n  {}",
        found.join("\n  ")
    );
}
