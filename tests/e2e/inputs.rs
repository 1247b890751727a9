//! Inputs that are not there.

use crate::{guests, mesh::Mesh};
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
