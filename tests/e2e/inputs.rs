//! Inputs that are not there, and inputs that are there already.

use crate::{
    guests,
    mesh::Mesh,
    net_paths::metrics,
    node::Node,
    trees::{noise, text},
    wait::{SOON, until},
};
use std::fs;

#[test]
fn a_missing_input_is_named_and_nothing_is_submitted() {
    let mesh = Mesh::of(0);
    let noop = mesh.module("noop", guests::NOOP);
    let (there, missing) = (mesh.file("there", "x"), mesh.path("missing one"));
    let (there, missing) = (there.to_str().unwrap(), missing.to_str().unwrap());
    let out = mesh.path("out");
    let map = ["job", "map", &noop, there, missing, "-o", out.to_str().unwrap()];
    let said = mesh.client.run(&map).fails(3, "job.missing_input");
    assert!(said.talk().contains("missing one"), "{}", said.talk());
    mesh.client
        .run(&["task", "submit", &noop, "--in", missing])
        .fails(3, "job.missing_input");
    mesh.client
        .run(&["task", "submit", &noop, "--stdin", missing])
        .fails(3, "job.missing_input");
    mesh.client
        .run(&["task", "submit", missing])
        .fails(3, "module.missing");
    let jobs = mesh.client.json("jobs", &["job", "ls"]);
    assert_eq!(jobs, serde_json::json!([]));
}

#[test]
fn an_empty_folder_is_named() {
    let mesh = Mesh::of(0);
    let noop = mesh.module("noop", guests::NOOP);
    let (empty, out) = (mesh.path("empty"), mesh.path("out"));
    fs::create_dir_all(empty.join("as/empty")).unwrap();
    let map = [
        "job",
        "map",
        &noop,
        empty.to_str().unwrap(),
        "-o",
        out.to_str().unwrap(),
    ];
    let said = mesh.client.run(&map).fails(2, "job.no_input");
    assert!(said.talk().contains("empty"), "{}", said.talk());
    assert_eq!(mesh.client.json("jobs", &["job", "ls"]), serde_json::json!([]));
}

#[test]
fn an_output_folder_that_cannot_be_is_named_before_anything_runs() {
    let mesh = Mesh::of(0);
    let noop = mesh.module("noop", guests::NOOP);
    let file = mesh.file("file", "x");
    let file = file.to_str().unwrap();
    mesh.client
        .run(&["job", "map", &noop, file, "-o", file])
        .fails(2, "out.folder");
    assert_eq!(mesh.client.json("jobs", &["job", "ls"]), serde_json::json!([]));
}

/// Bytes of content that a node has sent, by leases or by the file layer.
fn sent(node: &Node) -> u64 {
    let metrics = metrics(node);
    let counts = |line: &&str| {
        line.starts_with("hivenode_blob_sent_bytes ")
            || (line.starts_with("hivenode_blob_bytes_total{") && line.contains("dir=\"out\""))
    };
    let lines: Vec<&str> = metrics.lines().filter(counts).collect();
    assert_eq!(lines.len(), 2, "{metrics}");
    let number = |line: &&str| line.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok());
    lines.iter().map(|l| number(l).expect("a number")).sum()
}

#[test]
fn what_a_worker_has_is_not_sent_to_it_again() {
    let mesh = Mesh::of(1);
    let letters =
        |len: usize, seed: u64| -> Vec<u8> { noise(len, seed).into_iter().map(|b| b'a' + b % 26).collect() };
    // Larger than what travels inside messages.
    let module = guests::nap_cat(0);
    let padding = String::from_utf8(letters(16 << 10, 31)).unwrap();
    let body = module.strip_suffix(')').expect("a module");
    let module = mesh.module("cat", &format!("{body} (data (i32.const 65536) \"{padding}\"))"));
    let (small, large) = (letters(100 << 10, 32), letters(2 << 20, 33));
    let (file, stdin) = (mesh.file("small", &small), mesh.file("large", &large));
    let run = || {
        let submit = [
            "task",
            "submit",
            &module,
            "--stdin",
            text(&stdin),
            "--in",
            text(&file),
        ];
        let out = mesh.client.run(&[&submit[..], &["--wait"]].concat()).ok();
        assert!(out.text().as_bytes() == large, "what came in comes out");
    };
    let content = (padding.len() + small.len() + large.len()) as u64;
    run();
    // The last piece may be counted a moment after it was taken.
    let first = until("all of it was counted", SOON, || {
        Some(sent(&mesh.client)).filter(|first| *first >= content)
    });
    run();
    let second = sent(&mesh.client);
    assert!(
        second - first < padding.len() as u64,
        "{} of {content} were sent again",
        second - first
    );
    let jobs = mesh.client.json("jobs", &["job", "ls"]);
    assert_eq!(jobs.as_array().map(Vec::len), Some(2), "{jobs}");
    mesh.settled();
}
