//! Modules that cannot run.

use crate::{guests, mesh::Mesh};
use std::time::{Duration, Instant};

#[test]
fn what_is_no_wasm_is_named_before_it_travels() {
    let mesh = Mesh::of(0);
    let text = mesh.file("script", "#!/bin/sh\n");
    mesh.client
        .run(&["task", "submit", text.to_str().unwrap(), "--wait"])
        .fails(2, "module.not_wasm");
    let empty = mesh.file("empty", "");
    mesh.client
        .run(&["job", "map", empty.to_str().unwrap(), empty.to_str().unwrap()])
        .fails(2, "module.not_wasm");
}

#[test]
fn a_module_that_only_looks_like_one_fails_with_a_name() {
    let mesh = Mesh::of(1);
    let broken = mesh.file("broken.wasm", b"\0asm\x01\0\0\0\xffgarbage");
    mesh.client
        .run(&["task", "submit", broken.to_str().unwrap(), "--wait"])
        .fails(125, "module.invalid");
    let library = mesh.module("library", "(module (func (export \"main\")))");
    mesh.client
        .run(&["task", "submit", &library, "--wait"])
        .fails(125, "module.no_start");
    // The worker is none the worse.
    let noop = mesh.module("noop", guests::NOOP);
    mesh.client.run(&["task", "submit", &noop, "--wait"]).ok();
    mesh.settled();
}

#[test]
fn unknown_imports_are_named() {
    let mesh = Mesh::of(1);
    let strange = mesh.module("strange", guests::STRANGE);
    let said = mesh
        .client
        .run(&["task", "submit", &strange, "--wait"])
        .fails(125, "module.unknown_imports");
    assert!(said.talk().contains("env.gpu_launch"), "{}", said.talk());
    assert!(!said.talk().contains("sched_yield"), "{}", said.talk());
    assert_eq!(mesh.settled(), 0, "nothing ran, nothing is paid");
}

#[test]
fn a_compile_bomb_is_named_and_the_worker_goes_on() {
    let mesh = Mesh::of(1);
    let bomb = mesh.module("bomb", &guests::bomb(4, 60_000));
    let began = Instant::now();
    let error = mesh
        .client
        .run(&["--json", "task", "submit", &bomb, "--wait"])
        .ends(125)
        .document("task");
    let code = error["failure"]["code"].as_str().unwrap_or_default().to_owned();
    assert!(
        ["module.compile_timeout", "module.compile_memory"].contains(&code.as_str()),
        "{error}"
    );
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    let noop = mesh.module("noop", guests::NOOP);
    mesh.client.run(&["task", "submit", &noop, "--wait"]).ok();
    mesh.settled();
}
