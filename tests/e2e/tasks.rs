//! Single tasks: output, exit codes, logs, results, stop, retry, explain.

use crate::{
    guests,
    mesh::Mesh,
    wait::{SOON, until},
};
use std::fs;

#[test]
fn a_task_ends_the_command_with_its_own_code_and_streams() {
    let mesh = Mesh::of(1);
    let seven = mesh.module("seven", &guests::say("partial", 7));
    let out = mesh.client.run(&["task", "submit", &seven, "--wait"]).ends(7);
    assert_eq!(out.text(), "partial");
    let echo = mesh.module("echo", &guests::echo_args());
    let out = mesh
        .client
        .run(&["task", "submit", &echo, "--wait", "--", "one", "--two", "a b", ""])
        .ok();
    assert_eq!(out.text(), "one\n--two\na b\n\n");
    let input = mesh.file("some.txt", "from a file");
    let input = input.to_str().unwrap();
    let cat = mesh.module("cat", &guests::nap_cat(1));
    let out = mesh
        .client
        .run(&["task", "submit", &cat, "--stdin", input, "--wait"])
        .ok();
    assert_eq!(out.text(), "from a file");
    // {in} is the file below /in.
    let out = mesh
        .client
        .run(&["task", "submit", &echo, "--in", input, "--wait", "--", "{in}"])
        .ok();
    assert_eq!(out.text(), "/in/some.txt\n");
    // Without --wait: an id, then wait for it.
    let id = mesh.client.run(&["task", "submit", &seven]).ok().text();
    mesh.client.run(&["task", "wait", id.trim()]).ends(7);
    let shown = mesh.client.json("task", &["task", "show", id.trim()]);
    assert_eq!(
        (&shown["state"], &shown["exit_code"]),
        (&"failed".into(), &7.into())
    );
    mesh.settled();
}

#[test]
fn logs_follow_a_running_task_and_stay_afterwards() {
    let mesh = Mesh::of(1);
    let slow = mesh.module("slow", &guests::say_nap_say("first", 500, "second"));
    let id = mesh.client.run(&["task", "submit", &slow]).ok().text();
    let id = id.trim();
    let going = mesh.client.spawn(&["task", "logs", "-f", id]);
    assert_eq!(going.line(SOON), "first");
    assert_eq!(going.line(SOON), "second");
    assert_eq!(going.end(SOON).ok().text(), "first\nsecond\n");
    mesh.client.run(&["task", "wait", id]).ok();
    assert_eq!(
        mesh.client.run(&["task", "logs", id]).ok().text(),
        "first\nsecond\n"
    );
}

#[test]
fn results_land_in_the_folder_named() {
    let mesh = Mesh::of(1);
    let two = mesh.module("two", &guests::two_files());
    let id = mesh
        .client
        .run(&["task", "submit", &two, "--", "{out}"])
        .ok()
        .text();
    mesh.client.run(&["task", "wait", id.trim()]).ok();
    let out = mesh.path("results");
    mesh.client
        .run(&["task", "results", id.trim(), "-o", out.to_str().unwrap()])
        .ok();
    assert_eq!(fs::read_to_string(out.join("a")).unwrap(), "first");
    assert_eq!(fs::read_to_string(out.join("b")).unwrap(), "second");
    // A job's too, and later than it ended.
    mesh.file("in/x", "x");
    let cat = mesh.module("cat", &guests::nap_cat(1));
    let (input, first, again) = (mesh.path("in"), mesh.path("first"), mesh.path("again"));
    let report = mesh.client.json(
        "map",
        &[
            "job",
            "map",
            &cat,
            input.to_str().unwrap(),
            "-o",
            first.to_str().unwrap(),
        ],
    );
    let job = report["job"].as_str().unwrap();
    mesh.client
        .run(&["job", "results", job, "-o", again.to_str().unwrap()])
        .ok();
    assert_eq!(fs::read_to_string(again.join("x")).unwrap(), "x");
    mesh.client.run(&["job", "rm", job]).ok();
    mesh.client.run(&["job", "show", job]).ends(3);
}

#[test]
fn a_failed_task_runs_again_on_retry() {
    let mesh = Mesh::of(1);
    let seven = mesh.module("seven", &guests::say("x", 7));
    let id = mesh.client.run(&["task", "submit", &seven]).ok().text();
    let id = id.trim();
    mesh.client.run(&["task", "wait", id]).ends(7);
    let before = mesh.client.json("task", &["task", "show", id])["attempt"].as_u64();
    mesh.client.run(&["task", "retry", id]).ok();
    mesh.client.run(&["task", "wait", id]).ends(7);
    let after = mesh.client.json("task", &["task", "show", id])["attempt"].as_u64();
    assert!(after > before, "{before:?} {after:?}");
    // A job of it as well.
    let job = mesh.client.json("jobs", &["job", "ls"])[0]["job"].clone();
    mesh.client.run(&["job", "retry", job.as_str().unwrap()]).ok();
    mesh.client.run(&["job", "wait", job.as_str().unwrap()]).ends(1);
    mesh.settled();
}

#[test]
fn a_running_task_and_a_running_job_can_be_stopped() {
    let mesh = Mesh::of(1);
    let forever = mesh.module("forever", &guests::say_nap_say("on", 600_000, "never"));
    let id = mesh.client.run(&["task", "submit", &forever]).ok().text();
    let id = id.trim();
    assert_eq!(mesh.client.spawn(&["task", "logs", "-f", id]).line(SOON), "on");
    let state = mesh.client.json("task", &["task", "show", id])["state"].clone();
    assert_eq!(state, "running", "the line came while the task ran");
    mesh.client.run(&["task", "stop", id]).ok();
    mesh.client.run(&["task", "wait", id]).ends(125);
    assert_eq!(
        mesh.client.json("task", &["task", "show", id])["state"],
        "stopped"
    );

    let id = mesh.client.run(&["task", "submit", &forever]).ok().text();
    assert_eq!(
        mesh.client.spawn(&["task", "logs", "-f", id.trim()]).line(SOON),
        "on"
    );
    let job = mesh.client.json("task", &["task", "show", id.trim()])["job"].clone();
    mesh.client.run(&["job", "stop", job.as_str().unwrap()]).ok();
    let ended = mesh.client.job_ended(job.as_str().unwrap(), SOON);
    assert_eq!(
        (&ended["state"], &ended["stopped"]),
        (&"stopped".into(), &1.into())
    );
    // The worker is free again.
    let noop = mesh.module("noop", guests::NOOP);
    mesh.client.run(&["task", "submit", &noop, "--wait"]).ok();
    mesh.settled();
}

#[test]
fn what_one_job_does_not_use_of_a_worker_another_has() {
    let mesh = Mesh::of(1);
    // Two tasks take both cores of the only worker; one of them ends, the other goes on for longer than the test.
    mesh.file("in/short", "x");
    mesh.file("in/long", "x".repeat(100));
    let guest = mesh.module("by-length", &guests::nap_by_length(50, 1, 600_000));
    let (input, out) = (mesh.path("in"), mesh.path("out"));
    let mut map = vec!["job", "map", &guest, input.to_str().unwrap()];
    map.extend(["-o", out.to_str().unwrap()]);
    let _going = mesh.client.spawn(&map);
    let long = until("the job is there", SOON, || {
        let jobs = mesh.client.get("/v1/jobs", "jobs")?;
        jobs[0]["job"].as_str().map(str::to_owned)
    });
    let long = long.as_str();
    mesh.client
        .job_until(long, "one of its tasks runs, the other is done", SOON, |j| {
            (&j["running"], &j["succeeded"]) == (&1.into(), &1.into())
        });
    // Whoever comes gets the other core, one after the other.
    let noop = mesh.module("noop", guests::NOOP);
    for _ in 0..3 {
        mesh.client.run(&["task", "submit", &noop, "--wait"]).ok();
    }
    let job = mesh.client.job(long).unwrap();
    assert_eq!(
        (&job["running"], &job["succeeded"]),
        (&1.into(), &1.into()),
        "it goes on, and was not begun again: {job}"
    );
    let attempts: Vec<_> = mesh
        .client
        .tasks(long)
        .iter()
        .map(|t| t["attempt"].clone())
        .collect();
    assert_eq!(attempts, [1, 1]);
    mesh.client.run(&["job", "stop", long]).ok();
    mesh.settled();
}
