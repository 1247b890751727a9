//! Processes that die or fall silent in the middle: no task is lost, none is counted or paid twice.

use crate::{
    command::LONGEST,
    guests,
    mesh::Mesh,
    node::Node,
    wait::{SOON, until},
};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, thread, time::Duration};

/// Submits a job of sleepers that copy their input, and waits until tasks run on all workers named.
fn sleepers(mesh: &Mesh, tasks: usize, ms: u64) -> String {
    sleepers_at(mesh, tasks, ms, "")
}

/// The same, on workers of this location only.
fn sleepers_at(mesh: &Mesh, tasks: usize, ms: u64, location: &str) -> String {
    let cat = mesh.module(&format!("cat{ms}"), &guests::nap_cat(ms));
    submit(mesh, tasks, &cat, location)
}

/// Submits a job of this module's, with tasks `t0` … that take `input 0` …
fn submit(mesh: &Mesh, tasks: usize, module: &str, location: &str) -> String {
    let tasks: Vec<Value> = (0..tasks)
        .map(|n| json!({"label": format!("t{n}"), "stdin": {"text": format!("input {n}")}}))
        .collect();
    let placement = json!({"min_score": 0, "require_location": location, "prefer_location": ""});
    let request =
        json!({"name": "sleepers", "module": {"path": module}, "tasks": tasks, "placement": placement});
    let job = mesh.client.post("/v1/jobs", &request);
    job["job"]["job"].as_str().expect("an id").to_owned()
}

/// Nodes on which tasks of the job run now.
fn busy(node: &Node, job: &str) -> BTreeSet<String> {
    let tasks = node.tasks(job);
    let running = tasks.iter().filter(|t| t["state"] == "running");
    running
        .filter_map(|t| t["node"].as_str().map(str::to_owned))
        .collect()
}

fn works_on(mesh: &Mesh, job: &str, nodes: usize) {
    until(&format!("tasks run on {nodes} nodes"), SOON, || {
        (busy(&mesh.client, job).len() >= nodes).then_some(())
    });
}

/// Every task has ended once and well, with its own output.
#[track_caller]
fn all_well(mesh: &Mesh, job: &str, tasks: u64) -> Value {
    let ended = mesh.client.job_ended(job, LONGEST);
    assert_eq!(
        (ended["tasks"].as_u64(), ended["succeeded"].as_u64()),
        (Some(tasks), Some(tasks)),
        "{ended}"
    );
    let by_worker: u64 = ended["by_worker"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|w| w[1].as_u64())
        .sum();
    assert_eq!(by_worker, tasks, "each counted once: {ended}");
    let out = mesh.path(&format!("out-{job}"));
    mesh.client
        .run(&["job", "results", job, "-o", out.to_str().unwrap()])
        .ok();
    for n in 0..tasks {
        assert_eq!(
            fs::read_to_string(out.join(format!("t{n}"))).unwrap(),
            format!("input {n}")
        );
    }
    ended
}

#[test]
fn tasks_of_a_killed_worker_run_elsewhere_and_are_paid_once() {
    let mut mesh = Mesh::of(2);
    let job = sleepers(&mesh, 16, 1500);
    works_on(&mesh, &job, 2);
    mesh.workers[0].kill();
    all_well(&mesh, &job, 16);
    mesh.adds_up();
    // Back again, it collects what it had earned, and no more.
    mesh.workers[0].start();
    mesh.client_sees(2);
    mesh.adds_up();
    let cost = mesh.client.job(&job).unwrap()["cost"].as_u64().unwrap();
    let earned = mesh.balance("w1") + mesh.balance("w2");
    assert!(earned <= cost, "paid {earned}, owed {cost}");
}

#[test]
fn a_killed_executor_costs_a_try_and_nothing_else() {
    let mesh = Mesh::of(1);
    let job = sleepers(&mesh, 6, 1500);
    works_on(&mesh, &job, 1);
    let children = until("an executor process", SOON, || {
        let children = mesh.workers[0].children();
        (!children.is_empty()).then_some(children)
    });
    for child in children {
        let _ = kill_process(child, Signal::KILL);
    }
    all_well(&mesh, &job, 6);
    assert!(mesh.workers[0].get("/v1/status", "status").is_some());
    mesh.settled();
}

#[test]
fn held_leases_run_on_and_new_ones_wait_while_the_authority_is_away() {
    let mut mesh = Mesh::of(1);
    // A lease that is held while the authority goes, for a dozen seconds.
    let held = sleepers(&mesh, 12, 2000);
    works_on(&mesh, &held, 1);
    let before = mesh.client.job(&held).unwrap()["succeeded"].as_u64();
    assert!(before < Some(12), "it is still at work");
    mesh.authority.kill();
    until("the client knows", SOON, || {
        (mesh.client.get("/v1/status", "status")?["mesh"]["authority_reachable"] == false).then_some(())
    });
    let away = std::time::Instant::now();
    let waits = sleepers(&mesh, 2, 10);
    mesh.client
        .job_until(&waits, "says that it waits for the authority", SOON, |j| {
            j["waiting"]["code"] == "authority.unreachable"
        });
    mesh.client.job_until(&held, "goes on with its lease", SOON, |j| {
        j["succeeded"].as_u64() > before
    });
    // paced: the authority is away for so long, and nothing new begins
    thread::sleep(Duration::from_secs(10).saturating_sub(away.elapsed()));
    let still = mesh.client.job(&waits).unwrap();
    assert_eq!(
        still["succeeded"], 0,
        "no new lease without an authority: {still}"
    );
    mesh.authority.start();
    all_well(&mesh, &held, 12);
    mesh.client.job_ended(&waits, Duration::from_secs(60));
    mesh.settled();
}

#[test]
fn an_authority_that_freezes_for_ten_seconds_is_waited_for() {
    let mesh = Mesh::of(1);
    let held = sleepers(&mesh, 8, 500);
    works_on(&mesh, &held, 1);
    mesh.authority.signal(Signal::STOP);
    let waits = sleepers(&mesh, 2, 10);
    // paced: it is frozen for so long
    thread::sleep(Duration::from_secs(10));
    mesh.authority.signal(Signal::CONT);
    all_well(&mesh, &held, 8);
    let ended = mesh.client.job_ended(&waits, Duration::from_secs(60));
    assert_eq!(ended["succeeded"], 2, "{ended}");
    mesh.settled();
}

#[test]
fn a_daemon_killed_in_mid_job_resumes_it_and_counts_nothing_twice() {
    let mut mesh = Mesh::of(2);
    let job = sleepers(&mesh, 24, 500);
    mesh.client
        .job_until(&job, "some have ended, some have not", SOON, |j| {
            j["succeeded"].as_u64() > Some(3)
        });
    mesh.client.kill();
    mesh.client.start();
    let back = mesh.client.job(&job).expect("the job is in the journal");
    assert_eq!(back["tasks"], 24, "{back}");
    all_well(&mesh, &job, 24);
    mesh.settled();
}

/// How many tasks of a job are in this state.
fn count(mesh: &Mesh, job: &str, state: &str) -> usize {
    let tasks = mesh.client.tasks(job);
    tasks.iter().filter(|t| t["state"] == state).count()
}

/// How long, in milliseconds, the tasks take that must still run when they are looked at.
const STILL_AT_WORK: u64 = 20_000;

#[test]
fn a_killed_daemon_resumes_every_job_wherever_it_stood() {
    // A worker for each job that must not wait for another one's: a job holds all places of a worker it was lent, also
    // those it has nothing for.
    let mut mesh = Mesh::with(3, |node| match &*node.name {
        "w1" => node.with("location", "earth"),
        "w2" => node.with("location", "mars"),
        "w3" => node.with("location", "moon"),
        _ => node,
    });
    mesh.workers[2].stop();
    mesh.client_sees(2);
    // Done, and nobody has fetched its results.
    let done = sleepers(&mesh, 3, 10);
    mesh.client.job_ended(&done, SOON);
    // Queued: who could run it is away.
    let queued = sleepers_at(&mesh, 4, 20, "moon");
    // Of those most are done, and the last two take long: their inputs have a digit more.
    let naps = guests::nap_by_length(7, 400, STILL_AT_WORK);
    let half = submit(&mesh, 12, &mesh.module("naps", &naps), "earth");
    mesh.client
        .job_until(&half, "most of its tasks are done", SOON, |j| {
            j["succeeded"].as_u64() >= Some(8)
        });
    // Running, none of its tasks done.
    let running = sleepers_at(&mesh, 2, STILL_AT_WORK, "mars");
    until("both long tasks run", SOON, || {
        (count(&mesh, &running, "running") == 2).then_some(())
    });
    let before = mesh.client.job(&half).unwrap();
    assert_eq!(before["ended"], 0, "{before}");
    assert_eq!(count(&mesh, &running, "running"), 2, "they still run");
    assert_eq!(count(&mesh, &queued, "queued"), 4, "they are still queued");
    mesh.client.kill();
    mesh.client.start();
    let jobs = mesh.client.get("/v1/jobs", "jobs").unwrap();
    assert_eq!(jobs.as_array().unwrap().len(), 4, "{jobs}");
    let after = mesh.client.job(&half).unwrap();
    assert!(
        after["succeeded"].as_u64() >= before["succeeded"].as_u64(),
        "what was done is done: {before} {after}"
    );
    for (job, tasks) in [(&done, 3), (&half, 12), (&running, 2)] {
        all_well(&mesh, job, tasks);
    }
    assert_eq!(count(&mesh, &queued, "queued"), 4, "nobody is there yet");
    mesh.workers[2].start();
    all_well(&mesh, &queued, 4);
    mesh.settled();
}

#[test]
fn a_daemon_killed_while_it_is_told_its_job_knows_what_it_was_told() {
    let mut mesh = Mesh::of(1);
    for n in 0..300 {
        mesh.file(&format!("in/{n:03}"), format!("file {n}"));
    }
    let cat = mesh.module("cat", &guests::nap_cat(20));
    let (input, out) = (mesh.path("in"), mesh.path("out"));
    let map = [
        "job",
        "map",
        &cat,
        input.to_str().unwrap(),
        "-o",
        out.to_str().unwrap(),
    ];
    let going = mesh.client.spawn(&map);
    until("tasks have ended", SOON, || {
        (mesh.client.get("/v1/jobs", "jobs")?[0]["succeeded"].as_u64() > Some(10)).then_some(())
    });
    mesh.client.kill();
    mesh.client.start();
    // The command that waits for it notices nothing but a pause.
    going.end(LONGEST).ok();
    for n in 0..300 {
        assert_eq!(
            fs::read_to_string(out.join(format!("{n:03}"))).unwrap(),
            format!("file {n}")
        );
    }
    mesh.settled();
}

#[test]
fn a_worker_that_freezes_is_replaced() {
    let mesh = Mesh::of(2);
    let job = sleepers(&mesh, 12, 1000);
    works_on(&mesh, &job, 2);
    mesh.workers[0].signal(Signal::STOP);
    all_well(&mesh, &job, 12);
    mesh.workers[0].signal(Signal::CONT);
    mesh.client_sees(2);
    mesh.adds_up();
}
