//! The walls between crates as rules over a dependency graph.
//!
//! Owns which crate stands on which floor and what may never come in through whose door. Must not know how
//! the graph was read: [`broken`] judges any graph, a made-up one too.

use std::collections::{BTreeMap, BTreeSet};

/// Normal (not dev, not build) dependencies. Our own packages are keys by name, those of others by
/// `name@version`, since two versions of one package have different dependencies.
pub type Graph = BTreeMap<String, BTreeSet<String>>;

/// Every crate of the workspace and its floor. A crate may only use crates of its own floor or lower ones, and
/// the floors within one folder are finer than the folders: protocol 0, bootstrap 1-3, node 4-9.
pub const FLOORS: &[(&str, u8)] = &[
    ("hive-protocol", 0),
    ("hive-ledger", 1),
    ("hive-trust", 1),
    ("hive-mailbox", 1),
    ("hive-state", 2),
    ("hive-authority", 3),
    ("hive-scheduler", 4),
    ("hive-transfer", 4),
    ("hive-reach", 4),
    ("hive-net", 5),
    ("hive-store", 5),
    ("hive-executor", 5),
    ("hive-files", 6),
    ("hive-push", 6),
    ("hive-sync", 6),
    ("hive-runtime", 7),
    ("hive-api", 8),
    ("hivenode", 9),
    ("hive-natlab", 10),
    ("hive-swarmlab", 10),
    ("hive-natmatrix", 10),
    ("netsim", 10),
    ("hive-tests", 10),
];

/// Crates that decide and never act: what they may use is listed, everything else is refused.
pub const PURE: &[&str] = &[
    "hive-protocol",
    "hive-ledger",
    "hive-trust",
    "hive-mailbox",
    "hive-state",
    "hive-scheduler",
    "hive-transfer",
    "hive-reach",
];

/// Everything that may be below a pure crate, and why it does no harm there.
pub const PURE_MAY_USE: &[(&str, &str)] = &[
    ("arrayvec", "blake3: fixed-size storage"),
    (
        "base64ct",
        "encoding of keys, a feature of ed25519 that another crate turns on",
    ),
    ("bincode", "the codec's encoding"),
    ("blake3", "hashes; without its threads and its files"),
    ("block-buffer", "sha2: storage"),
    ("cfg-if", "macro"),
    ("cmov", "constant-time moves"),
    ("const-oid", "names of algorithms"),
    ("constant_time_eq", "blake3: comparison"),
    (
        "cpufeatures",
        "asks the processor, not the system, which instructions it has",
    ),
    ("crc32c", "checksum of tickets and records"),
    ("crypto-common", "traits of hashes"),
    ("ctutils", "constant-time choices"),
    ("curve25519-dalek", "signatures"),
    ("curve25519-dalek-derive", "signatures, at compile time"),
    ("data-encoding", "base 32 of ids"),
    ("der", "encoding of keys, a feature another crate turns on"),
    ("digest", "traits of hashes"),
    ("ed25519", "signatures"),
    ("ed25519-dalek", "signatures; without a random source"),
    ("hybrid-array", "arrays of the hash traits"),
    ("pkcs8", "encoding of keys, a feature another crate turns on"),
    ("proc-macro2", "compile time"),
    ("quote", "compile time"),
    ("rustc_version", "compile time"),
    ("serde", "encoding"),
    ("serde_core", "encoding"),
    ("serde_derive", "compile time"),
    ("sha2", "ed25519's hash"),
    ("signature", "traits of signatures"),
    ("spki", "encoding of keys, a feature another crate turns on"),
    ("subtle", "constant-time comparison"),
    ("syn", "compile time"),
    ("thiserror", "error types"),
    ("thiserror-impl", "compile time"),
    ("typenum", "numbers as types"),
    ("unicode-ident", "compile time"),
    ("zeroize", "wipes keys"),
];

/// Starts of package names that give away a runtime, a network, a disk, a clock or randomness. Pure crates
/// cannot have them anyway; the simulator must not have them either.
pub const WORLD: &[&str] = &[
    "tokio",
    "async-std",
    "smol",
    "mio",
    "futures",
    "libp2p",
    "quinn",
    "rustls",
    "hyper",
    "axum",
    "rand",
    "getrandom",
    "sled",
    "wasmtime",
    "bao-tree",
    "chrono",
    "time",
    "tempfile",
    "rayon",
    "crossbeam",
    "parking_lot",
    "socket2",
    "nix",
    "rustix",
    "libc",
    "hive-net",
    "hive-store",
    "hive-executor",
    "hive-files",
    "hive-push",
    "hive-sync",
    "hive-runtime",
    "hive-api",
    "hive-authority",
    "hivenode",
];

/// What the simulator has of [`WORLD`] nevertheless, and why.
pub const SIMULATOR_MAY_USE: &[(&str, &str)] = &[
    ("rustix", "clap asks the terminal for its width"),
    ("libc", "below rustix"),
];

/// A family of packages and the only crates of ours that may name it.
pub const DOORS: &[(&str, &[&str])] = &[
    // The laboratory of many nodes has libp2p as it comes for a peer to be measured beside.
    ("libp2p", &["hive-net", "hive-swarmlab"]),
    ("quinn", &["hive-net"]),
    ("wasmtime", &["hive-executor"]),
    ("cranelift", &["hive-executor"]),
    ("landlock", &["hive-executor"]),
    ("seccompiler", &["hive-executor"]),
    ("sled", &["hive-authority", "hive-store"]),
    ("bao-tree", &["hive-store"]),
    ("bincode", &["hive-protocol"]),
    ("ed25519-dalek", &["hive-protocol"]),
    ("axum", &["hive-api"]),
    ("clap", &["hivenode", "hive-swarmlab", "netsim"]),
];

/// Pairs of our crates that must not meet directly, and why.
pub const APART: &[(&str, &str, &str)] = &[
    (
        "hive-api",
        "hive-net",
        "the API speaks to the daemon's port, not to its parts",
    ),
    (
        "hive-api",
        "hive-store",
        "the API speaks to the daemon's port, not to its parts",
    ),
    (
        "hive-api",
        "hive-executor",
        "the API speaks to the daemon's port, not to its parts",
    ),
    (
        "hive-api",
        "hive-authority",
        "the API speaks to the daemon's port, not to its parts",
    ),
    (
        "hive-net",
        "hive-store",
        "bytes and peers are joined by the runtime",
    ),
    (
        "hive-net",
        "hive-executor",
        "peers and guests are joined by the runtime",
    ),
    (
        "hive-store",
        "hive-executor",
        "files and guests are joined by the runtime",
    ),
    (
        "hive-store",
        "hive-net",
        "bytes and peers are joined by the runtime",
    ),
    (
        "hive-executor",
        "hive-store",
        "files and guests are joined by the runtime",
    ),
    (
        "hive-executor",
        "hive-net",
        "peers and guests are joined by the runtime",
    ),
    (
        "hive-scheduler",
        "hive-ledger",
        "the scheduler trusts signed words, not balances",
    ),
];

/// The name in a key of the graph.
fn name_of(key: &str) -> &str {
    key.split('@').next().unwrap_or(key)
}

/// Everything below a package, itself excluded.
#[must_use]
pub fn below(graph: &Graph, package: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut open = vec![package];
    while let Some(at) = open.pop() {
        for dependency in graph.get(at).into_iter().flatten() {
            if seen.insert(dependency.clone()) {
                open.push(dependency);
            }
        }
    }
    seen
}

/// One line for every wall of the house that this graph breaks; `members` are the workspace's own packages.
#[must_use]
pub fn broken(graph: &Graph, members: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    let floor = |name: &str| FLOORS.iter().find(|(n, _)| *n == name).map(|(_, f)| *f);
    for member in members {
        if floor(member).is_none() {
            found.push(format!(
                "{member} has no floor: give it one in tests/src/graph.rs"
            ));
        }
    }
    for (name, _) in FLOORS {
        if !members.contains(*name) {
            found.push(format!("{name} has a floor but is no package of the workspace"));
        }
    }
    floors(graph, members, &mut found);
    pure(graph, &mut found);
    doors(graph, members, &mut found);
    for (from, to, why) in APART {
        if graph.get(*from).is_some_and(|d| d.contains(*to)) {
            found.push(format!("{from} depends on {to}: {why}"));
        }
    }
    found
}

fn floors(graph: &Graph, members: &BTreeSet<String>, found: &mut Vec<String>) {
    let floor = |name: &str| FLOORS.iter().find(|(n, _)| *n == name).map(|(_, f)| *f);
    for member in members {
        for below in graph
            .get(member)
            .into_iter()
            .flatten()
            .filter(|d| members.contains(*d))
        {
            if let (Some(here), Some(there)) = (floor(member), floor(below))
                && there > here
            {
                found.push(format!(
                    "{member} (floor {here}) depends on {below} (floor {there}): a crate depends only on crates under it"
                ));
            }
        }
    }
}

fn pure(graph: &Graph, found: &mut Vec<String>) {
    let listed = |key: &str| PURE.contains(&key) || PURE_MAY_USE.iter().any(|(n, _)| *n == name_of(key));
    for package in PURE {
        for bad in below(graph, package).iter().filter(|d| !listed(d)) {
            found.push(format!(
                "{package} is pure, and {bad} is below it: not in PURE_MAY_USE of tests/src/graph.rs"
            ));
        }
    }
    let world = |name: &str| {
        WORLD.iter().any(|w| name.starts_with(w))
            && !SIMULATOR_MAY_USE.iter().any(|(n, _)| *n == name_of(name))
    };
    for bad in below(graph, "netsim").iter().filter(|d| world(d)) {
        found.push(format!("netsim is deterministic, and {bad} is below it"));
    }
}

fn doors(graph: &Graph, members: &BTreeSet<String>, found: &mut Vec<String>) {
    for member in members {
        for dependency in graph.get(member).into_iter().flatten() {
            for (family, allowed) in DOORS {
                let name = name_of(dependency);
                let of_family = name == *family
                    || name
                        .strip_prefix(family)
                        .is_some_and(|rest| rest.starts_with('-'));
                if of_family && !allowed.contains(&member.as_str()) {
                    found.push(format!(
                        "{member} depends on {dependency}: only {} may",
                        allowed.join(", ")
                    ));
                }
            }
        }
    }
}
