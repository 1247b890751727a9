//! Jobs that no worker can take: named, explained, given up in time.

use crate::{
    guests,
    mesh::Mesh,
    wait::{SOON, until},
};
use serde_json::Value;

fn steps(explain: &Value) -> Vec<(String, u64)> {
    let steps = explain["steps"].as_array().cloned().unwrap_or_default();
    steps
        .iter()
        .map(|s| {
            (
                s["rule"].as_str().unwrap_or_default().to_owned(),
                s["left"].as_u64().unwrap_or(u64::MAX),
            )
        })
        .collect()
}

#[test]
fn no_worker_at_all_is_named_and_the_job_starts_once_one_comes() {
    let mesh = Mesh::of(0);
    let noop = mesh.module("noop", guests::NOOP);
    mesh.client
        .run(&["task", "submit", &noop, "--wait", "--patience", "1s"])
        .fails(7, "place.no_worker");
    // What was given up does not start by surprise.
    let jobs = mesh.client.json("jobs", &["job", "ls"]);
    assert_eq!(jobs[0]["state"], "stopped", "{jobs}");
    // What nobody waits for goes on waiting.
    let id = mesh.client.run(&["task", "submit", &noop]).ok().text();
    let id = id.trim();
    until("the job says why it waits", SOON, || {
        let jobs = mesh.client.get("/v1/jobs", "jobs")?;
        (jobs[0]["waiting"]["code"] == "place.no_worker").then_some(())
    });
    let mut late = crate::node::Node::new(&mesh.path(".."), "late");
    late.start();
    mesh.admit(&late, "worker", 0);
    mesh.client.run(&["task", "wait", id]).ok();
    late.stop();
}

#[test]
fn no_worker_that_fits_is_explained_rule_by_rule() {
    let mesh = Mesh::of(1);
    let noop = mesh.module("noop", guests::NOOP);
    let cases: [(&[&str], &str); 5] = [
        (&["--cpus", "64"], "cpu"),
        (&["--mem", "64G"], "memory"),
        (&["--trust", "high"], "trust"),
        (&["--location", "moon"], "location"),
        (&["--max-price", "0.000001"], "price"),
    ];
    for (flags, rule) in cases {
        let mut submit = vec!["task", "submit", &noop];
        submit.extend_from_slice(flags);
        let id = mesh.client.run(&submit).ok().text();
        let explain = mesh.client.json("explain", &["task", "explain", id.trim()]);
        let steps = steps(&explain);
        assert_eq!(steps.first().map(|s| s.0.as_str()), Some("known"), "{explain}");
        let fell: Vec<&str> = steps.iter().filter(|s| s.1 == 0).map(|s| s.0.as_str()).collect();
        assert_eq!(fell.first(), Some(&rule), "{flags:?} fall at {rule}: {explain}");
        assert!(!explain["fixes"].as_array().unwrap().is_empty(), "{explain}");
        mesh.client.run(&["task", "stop", id.trim()]).ok();
    }
    let mut submit = vec!["task", "submit", &noop, "--wait", "--patience", "1s"];
    submit.extend_from_slice(&["--cpus", "64"]);
    let said = mesh.client.run(&submit).fails(7, "place.no_fit");
    assert!(
        said.talk().contains("known") && said.talk().contains("try"),
        "{}",
        said.talk()
    );
    // For people as well.
    let id = mesh
        .client
        .run(&["task", "submit", &noop, "--cpus", "64"])
        .ok()
        .text();
    let shown = mesh.client.run(&["task", "explain", id.trim()]).ok().text();
    assert!(
        shown.contains("known") && shown.contains("cpu") && shown.contains("try"),
        "{shown}"
    );
    assert_eq!(mesh.settled(), 0);
}
