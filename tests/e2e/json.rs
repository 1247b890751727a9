//! The contract with programs: versioned documents, errors as documents, events, audit lines, metrics.

use crate::{
    guests, http,
    mesh::Mesh,
    wait::{SOON, until},
};
use serde_json::Value;
use std::time::Duration;

#[test]
fn every_listing_is_one_versioned_document() {
    let mesh = Mesh::of(1);
    let noop = mesh.module("noop", guests::NOOP);
    let task = mesh.client.json("task", &["task", "submit", &noop]);
    let (task, job) = (task["task"].as_str().unwrap(), task["job"].as_str().unwrap());
    mesh.client.run(&["task", "wait", task]).ok();
    mesh.client.status();
    for (name, args) in [
        ("mesh", &["mesh", "show"][..]),
        ("nodes", &["node", "ls"]),
        ("node", &["node", "show", "w1"]),
        ("jobs", &["job", "ls"]),
        ("job", &["job", "show", job]),
        ("explain", &["job", "explain", job]),
        ("tasks", &["task", "ls"]),
        ("task", &["task", "show", task]),
        ("explain", &["task", "explain", task]),
        ("wallet", &["wallet", "balance"]),
        ("history", &["wallet", "history"]),
        ("trust", &["trust", "show"]),
    ] {
        mesh.client.json(name, args);
    }
}

#[test]
fn errors_are_documents_on_standard_error_and_nothing_else() {
    let mesh = Mesh::of(0);
    let text = mesh.file("text", "no module");
    let text = text.to_str().unwrap();
    let (missing, noop) = (mesh.path("none.wasm"), mesh.module("noop", guests::NOOP));
    for (exit, code, args) in [
        (3, "job.not_found", &["job", "show", "j_nothing"][..]),
        (3, "node.not_found", &["node", "show", "nobody"]),
        (2, "module.not_wasm", &["task", "submit", text]),
        (
            3,
            "module.missing",
            &["task", "submit", missing.to_str().unwrap()],
        ),
        (2, "wallet.unconfirmed", &["wallet", "send", "authority", "1"]),
        (2, "ticket.not_a_ticket", &["up", "not-a-ticket"]),
        (3, "job.missing_input", &["job", "map", &noop, "/no/such/file"]),
    ] {
        let all: Vec<&str> = ["--json"].iter().chain(args).copied().collect();
        let error = mesh.client.run(&all).ends(exit).error();
        assert_eq!(
            (error["code"].as_str(), error["exit"].as_i64()),
            (Some(code), Some(exit.into())),
            "{args:?}"
        );
        assert!(
            error["message"].as_str().is_some_and(|m| !m.is_empty()),
            "{error}"
        );
    }
    // A wrong command line too.
    mesh.client.run(&["--json", "job", "frobnicate"]).ends(2);
}

#[test]
fn events_tell_of_a_job_while_it_happens() {
    let mesh = Mesh::of(1);
    let watching = mesh.client.spawn(&["--json", "events", "-f"]);
    // Events of the past are not kept: submit until the watcher is there.
    let noop = mesh.module("noop", guests::NOOP);
    let metrics = || http::ask(&mesh.client.socket(), "GET", "/v1/status", None);
    until("the daemon answers", SOON, metrics);
    let mut kinds = Vec::new();
    let mut tries = 0;
    while !kinds.iter().any(|k| k == "job.ended") {
        // What happened before the watcher was there it does not hear of.
        let Some(line) = watching.line_if_any(Duration::from_millis(200)) else {
            tries += 1;
            assert!(tries < 40, "no event of any job: {kinds:?}");
            mesh.client.run(&["task", "submit", &noop, "--wait"]).ok();
            continue;
        };
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["v"], 1);
        let event = &line["event"];
        assert!(
            event["seq"].as_u64().is_some() && event["time"].as_u64().is_some(),
            "{line}"
        );
        kinds.push(event["kind"].as_str().unwrap().to_owned());
    }
    watching.interrupt();
    watching.end(SOON).ends(130);
}

#[test]
fn calls_that_change_something_leave_an_audit_line_without_secrets() {
    let mesh = Mesh::of(0);
    let invite = mesh.authority.json("invite", &["invite", "--role", "client"]);
    mesh.client
        .run(&[
            "wallet",
            "send",
            "authority",
            "1",
            "--yes",
            "--memo",
            "very private words",
        ])
        .ok();
    let audit = |log: String, route: &str| {
        log.lines()
            .any(|l| l.contains("hive::audit") && l.contains(route))
    };
    until("the authority's line", SOON, || {
        audit(mesh.authority.log(), "/v1/invites").then_some(())
    });
    until("the client's line", SOON, || {
        audit(mesh.client.log(), "/v1/wallet/send").then_some(())
    });
    let uid = format!("uid:{}", rustix::process::getuid().as_raw());
    assert!(mesh.client.log().contains(&uid), "who did it");
    assert!(!mesh.client.log().contains("very private words"));
    assert!(!mesh.authority.log().contains(invite["ticket"].as_str().unwrap()));
    // A refused call as well.
    mesh.client
        .run(&["wallet", "send", "nobody-at-all", "1", "--yes"])
        .ends(3);
    let refused =
        |l: &str| l.contains("hive::audit") && l.contains("/v1/wallet/send") && l.contains("status=404");
    until("the refused call's line", SOON, || {
        mesh.client.log().lines().any(refused).then_some(())
    });
}

#[test]
fn metrics_are_prometheus_text() {
    let mesh = Mesh::of(0);
    let answer = http::ask(&mesh.authority.socket(), "GET", "/metrics", None).unwrap();
    assert_eq!(answer.status, 200);
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.contains("# TYPE ") && text.contains("hive"), "{text}");
    let samples = text.lines().filter(|l| !l.starts_with('#') && !l.is_empty());
    for sample in samples {
        let value = sample.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "{sample}");
    }
}
