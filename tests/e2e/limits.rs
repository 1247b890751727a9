//! Programs that take too much: each limit has its name, and the worker goes on.

use crate::{guests, mesh::Mesh};

/// Runs a guest with these flags: it must fail with this code; then the worker must do honest work.
#[track_caller]
fn fails(text: &str, flags: &[&str], code: &str) {
    let mesh = Mesh::of(1);
    let guest = mesh.module("guest", text);
    let mut submit = vec!["task", "submit", &guest, "--wait"];
    submit.extend_from_slice(flags);
    mesh.client.run(&submit).fails(125, code);
    let noop = mesh.module("noop", guests::NOOP);
    mesh.client.run(&["task", "submit", &noop, "--wait"]).ok();
    let status = mesh.workers[0].status();
    assert_eq!(status["running"], 0);
    mesh.settled();
}

#[test]
fn output_over_the_limit_is_named() {
    fails(&guests::flood(), &["--output-limit", "1M"], "task.output_limit");
}

#[test]
fn an_endless_loop_runs_out_of_fuel() {
    fails(guests::SPIN, &["--fuel", "0.5"], "task.fuel");
}

#[test]
fn an_endless_loop_runs_out_of_time() {
    fails(
        guests::SPIN,
        &["--fuel", "900", "--task-timeout", "1s"],
        "task.timeout",
    );
}

#[test]
fn a_sleeper_runs_out_of_time() {
    fails(
        &guests::say_nap_say("a", 600_000, "b"),
        &["--task-timeout", "1s"],
        "task.timeout",
    );
}

#[test]
fn a_memory_hog_is_named() {
    fails(guests::HOG, &["--mem", "16M"], "task.memory");
}
