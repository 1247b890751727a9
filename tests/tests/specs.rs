//! Each protocol spec says which source it describes, with that source's hash: when the source changes, the
//! spec has to be read again. Every wire module has a spec, and the pages of stable names are complete.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use hive_tests::sources::{Source, root, rust_files};
use std::{collections::BTreeSet, fs, path::Path};

/// Sources with bytes on a wire or a disk outside `protocol/src`, all of which need a spec, too.
const ELSEWHERE: &[&str] = &[
    "node/executor/src/wire.rs",
    "bootstrap/state/src/entry.rs",
    "bootstrap/authority/src/log/record.rs",
    "bootstrap/authority/src/log/segment.rs",
    "bootstrap/authority/src/log/mark.rs",
];

/// First 16 hexadecimal digits of the BLAKE3 hash of these bytes.
fn short_hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().chars().take(16).collect()
}

/// `source: PATH blake3:HASH` lines of a spec.
fn sources_of(spec: &str) -> Vec<(String, String)> {
    spec.lines()
        .filter_map(|line| line.strip_prefix("source: "))
        .map(|line| {
            let (path, hash) = line.split_once(" blake3:").unwrap_or((line, ""));
            (path.trim().to_owned(), hash.trim().to_owned())
        })
        .collect()
}

/// What is wrong with a spec, given a way to read sources; one line each.
fn stale(name: &str, spec: &str, read: impl Fn(&str) -> Option<Vec<u8>>) -> Vec<String> {
    let sources = sources_of(spec);
    if sources.is_empty() {
        return vec![format!(
            "spec {name} names no source: end it with `source: PATH blake3:HASH`"
        )];
    }
    let mut found = Vec::new();
    for (path, hash) in sources {
        match read(&path) {
            None => found.push(format!("spec {name} is of {path}, which is not there")),
            Some(bytes) if short_hash(&bytes) != hash => found.push(format!(
                "spec {name} is of an older source: read the change in {path}, update the text, then set the hash to {}",
                short_hash(&bytes)
            )),
            Some(_) => {}
        }
    }
    found
}

fn specs() -> Vec<(String, String)> {
    let folder = root().join("docs/protocol");
    let mut all: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn every_spec_is_of_the_present_source() {
    let read = |path: &str| fs::read(root().join(path)).ok();
    let found: Vec<String> = specs()
        .iter()
        .flat_map(|(name, text)| stale(name, text, read))
        .collect();
    assert!(found.is_empty(), "\n  {}", found.join("\n  "));
}

#[test]
fn every_wire_module_has_a_spec() {
    let described: BTreeSet<String> = specs()
        .iter()
        .flat_map(|(_, text)| sources_of(text))
        .map(|(path, _)| path)
        .collect();
    let mut needed: Vec<String> = rust_files()
        .into_iter()
        .map(|file| file.name)
        .filter(|name| name.starts_with("protocol/src/") && name != "protocol/src/lib.rs")
        .collect();
    needed.extend(ELSEWHERE.iter().map(|s| (*s).to_owned()));
    let missing: Vec<&String> = needed.iter().filter(|name| !described.contains(*name)).collect();
    assert!(missing.is_empty(), "without a spec in docs/protocol: {missing:?}");
    // A message defined somewhere else would have no spec and no golden bytes either.
    for file in rust_files() {
        let defines = file
            .product_lines()
            .any(|(_, line)| line.starts_with("impl Message for "));
        assert!(
            !defines || described.contains(&file.name),
            "{} defines messages without a spec",
            file.name
        );
    }
}

#[test]
fn every_spec_has_its_parts() {
    for (name, text) in specs() {
        for part in ["**Goal", "## Versioning"] {
            assert!(text.contains(part), "{name} has no {part}");
        }
        for file in rust_files()
            .iter()
            .filter(|f| sources_of(&text).iter().any(|(p, _)| *p == f.name))
        {
            let absent: Vec<String> = words_on_the_wire(file)
                .into_iter()
                .filter(|w| !text.contains(&format!("`{w}`")))
                .collect();
            assert!(
                absent.is_empty(),
                "{name} does not speak of {absent:?} in {}",
                file.name
            );
        }
    }
}

/// Variants and fields of the wire modules: what a reader of the bytes has to know.
fn words_on_the_wire(file: &Source) -> Vec<String> {
    if !file.name.starts_with("protocol/src/")
        || ["/codec.rs", "/keys.rs"].iter().any(|f| file.name.ends_with(f))
    {
        return Vec::new();
    }
    file.product_lines()
        .filter_map(|(_, line)| line.strip_prefix("    pub "))
        .filter_map(|line| line.split_once(": "))
        .map(|(field, _)| field.to_owned())
        .filter(|field| field.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .collect()
}

#[test]
fn a_changed_source_makes_a_spec_stale() {
    let spec = format!("# x\n\nsource: a.rs blake3:{}\n", short_hash(b"old"));
    assert_eq!(
        stale("x.md", &spec, |_| Some(b"old".to_vec())),
        Vec::<String>::new()
    );
    let found = stale("x.md", &spec, |_| Some(b"new".to_vec()));
    assert!(
        found[0].contains("is of an older source") && found[0].contains(&short_hash(b"new")),
        "{found:?}"
    );
    assert!(stale("x.md", &spec, |_| None)[0].contains("not there"));
    assert!(stale("x.md", "# x\n", |_| None)[0].contains("names no source"));
}

/// What the first part of a stable name can be. A new family is added here and to the page.
const FAMILIES: &[&str] = &[
    "account",
    "api",
    "authority",
    "blob",
    "cli",
    "client",
    "command",
    "config",
    "credential",
    "daemon",
    "delegation",
    "event",
    "exec",
    "file",
    "heartbeat",
    "help",
    "history",
    "hold",
    "inbox",
    "invite",
    "job",
    "join",
    "journal",
    "key",
    "lease",
    "ledger",
    "log",
    "mailbox",
    "member",
    "mesh",
    "module",
    "net",
    "node",
    "notice",
    "out",
    "output",
    "paths",
    "peer",
    "place",
    "push",
    "receipt",
    "relay",
    "result",
    "store",
    "sync",
    "task",
    "ticket",
    "transfer",
    "trust",
    "wallet",
];

/// Dotted names that are files or words inside a document.
const NO_NAMES: &[&str] = &[
    "account.key",
    "api.sock",
    "config.toml",
    "history.sled",
    "ledger.lock",
    "ledger.mark",
    "log.old",
    "mesh.bin",
    "module.wasm",
    "node.key",
    "out.png",
];

fn names_in(line: &str) -> Vec<String> {
    line.split('"')
        .skip(1)
        .step_by(2)
        .filter(|text| {
            text.split_once('.').is_some_and(|(family, name)| {
                FAMILIES.contains(&family)
                    && name.len() > 1
                    && name
                        .chars()
                        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            })
        })
        .filter(|text| !NO_NAMES.contains(text))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_stable_name_is_on_the_page_and_no_other() {
    let page = fs::read_to_string(root().join("docs/guides/errors.md")).unwrap();
    let mut used: BTreeSet<String> = BTreeSet::new();
    let mut missing = BTreeSet::new();
    for file in rust_files() {
        let ours = ["protocol/src", "bootstrap/", "node/"]
            .iter()
            .any(|p| file.name.starts_with(p));
        if !ours || file.is_test() || file.name.contains("/testing/") || file.name.contains("/examples/") {
            continue;
        }
        for (number, line) in file.product_lines() {
            for name in names_in(line.split("///").next().unwrap_or_default()) {
                if !page.contains(&format!("`{name}`")) {
                    missing.insert(format!("{name} ({}:{number})", file.name));
                }
                used.insert(name);
            }
        }
    }
    assert!(
        missing.is_empty(),
        "not on docs/guides/errors.md:\n  {}",
        Vec::from_iter(missing).join("\n  ")
    );
    let rows = page
        .lines()
        .filter_map(|l| l.strip_prefix("| `")?.split('`').next().map(str::to_owned));
    let gone: Vec<String> = rows
        .filter(|name| name.contains('.') && !used.contains(name))
        .collect();
    assert!(
        gone.is_empty(),
        "on the page, but nothing says it any more: {gone:?}"
    );
}

#[test]
fn links_in_the_documents_lead_somewhere() {
    let mut dead = Vec::new();
    let mut folders = vec![
        root().join("docs"),
        root().join("docs/protocol"),
        root().join("docs/adr"),
        root().join("docs/guides"),
    ];
    folders.push(root());
    for folder in folders {
        for path in fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()) {
            if path.extension().is_none_or(|e| e != "md") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let file = target.split('#').next().unwrap_or_default();
                let outside = target.contains("://") || file.is_empty();
                if !outside && !Path::new(&folder).join(file).exists() {
                    dead.push(format!("{}: {target}", path.display()));
                }
            }
        }
    }
    assert!(dead.is_empty(), "dead links:\n  {}", dead.join("\n  "));
}

/// Numbers of decisions that a text names, as `adr/0002…` or `ADR 2`.
fn decisions(text: &str) -> BTreeSet<u32> {
    let number = |rest: &str| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    ["adr/", "ADR "]
        .iter()
        .flat_map(|mark| text.split(mark).skip(1))
        .filter_map(number)
        .collect()
}

#[test]
fn a_decision_that_is_named_is_there_under_its_number() {
    assert_eq!(
        decisions("docs/adr/0013, [ADR 2](../adr/0002-x.md), adr/x"),
        [2, 13].into()
    );
    let mut known = BTreeSet::new();
    for entry in fs::read_dir(root().join("docs/adr")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let number: u32 = name[..4].parse().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with(&format!("# {number}. ")),
            "{name} has another number"
        );
        assert!(known.insert(number), "two decisions are number {number}");
    }
    let mut texts: Vec<(String, String)> = rust_files().into_iter().map(|f| (f.name, f.text)).collect();
    for folder in [".", "docs", "docs/protocol", "docs/adr", "docs/guides", "netsim"] {
        for path in fs::read_dir(root().join(folder))
            .unwrap()
            .map(|e| e.unwrap().path())
        {
            if path.extension().is_some_and(|e| e == "md" || e == "toml") {
                let text = fs::read_to_string(&path).unwrap();
                texts.push((path.display().to_string(), text));
            }
        }
    }
    for (name, text) in &texts {
        for number in decisions(text) {
            assert!(
                known.contains(&number),
                "{name} names decision {number}, which is not there"
            );
        }
    }
}

/// Files and bounds that a text names between back-ticks and that are not in the sources.
fn unknown_names(text: &str, files: &[Source]) -> Vec<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| {
            let file = name.ends_with(".rs") && name.chars().all(plain);
            let bound = name.starts_with("MAX_") && name.chars().all(plain);
            (file
                && !files
                    .iter()
                    .any(|f| f.name == *name || f.name.ends_with(&format!("/{name}"))))
                || (bound && !files.iter().any(|f| f.text.contains(&format!("const {name}: "))))
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_house_is_described_as_it_stands() {
    let files = rust_files();
    for name in [
        "docs/ARCHITECTURE.md",
        "docs/protocol/executor-pipe.md",
        "docs/adr/0002-bincode-1.3.3.md",
    ] {
        let text = fs::read_to_string(root().join(name)).unwrap();
        assert_eq!(
            unknown_names(&text, &files),
            Vec::<String>::new(),
            "{name} names what is not there"
        );
    }
    let crates = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    for (name, _) in hive_tests::graph::FLOORS {
        assert!(
            crates.contains(&format!("**{name}.**")) || *name == "hive-tests",
            "no paragraph on {name}"
        );
    }
    let invented = "`no/such/file.rs` `MAX_NOTHING` `src/{a,b}.rs`";
    assert_eq!(
        unknown_names(invented, &files),
        ["no/such/file.rs", "MAX_NOTHING"]
    );
}
