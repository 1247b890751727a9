//! The way of the README, typed by hand: found, invite, join, look, work, pay, stop.

use crate::{
    command::{Going, LONGEST, Out, bare},
    guests,
    mesh::{CPT, Mesh, Slot, home},
    wait::{SOON, until},
};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A home whose daemon was started by `up` or `mesh create` and lives on by itself.
struct Hand(PathBuf);

impl Hand {
    fn run(&self, args: &[&str]) -> Out {
        let mut command = bare();
        command.arg("--data").arg(&self.0).args(args);
        Going::start(command).end(LONGEST)
    }
    fn json(&self, name: &str, args: &[&str]) -> Value {
        let all: Vec<&str> = ["--json"].into_iter().chain(args.iter().copied()).collect();
        self.run(&all).ok().document(name)
    }
    /// What `status` says once nothing is wrong: it ends with 1 while something is, such as an authority not found yet.
    fn status(&self) -> Value {
        until("all is well", SOON, || {
            let status = self.run(&["--json", "status"]);
            (status.code == 0).then(|| status.document("status"))
        })
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.0.join("hivenode.log")).unwrap_or_default();
            eprintln!("--- log of {}\n{log}", self.0.display());
        }
        let mut command = bare();
        command.arg("--data").arg(&self.0).args(["down", "--force"]);
        let _ = command.output();
    }
}

const LOOPBACK: [&str; 4] = [
    "--listen",
    "/ip4/127.0.0.1/udp/0/quic-v1",
    "--listen",
    "/ip4/127.0.0.1/tcp/0",
];

fn with<'a>(head: &[&'a str]) -> Vec<&'a str> {
    head.iter().copied().chain(LOOPBACK).collect()
}

fn module(home: &Path, text: &str) -> String {
    let path = home.join("m.wasm");
    std::fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn from_mesh_create_to_a_paid_result_by_hand() {
    let _slot = Slot::take();
    let home = home();
    let (here, there) = (Hand(home.path().join("here")), Hand(home.path().join("there")));
    // A mesh, its first authority, no work here: the other one shall do it.
    let made = here
        .run(&with(&[
            "mesh",
            "create",
            "lab",
            "--no-worker",
            "--mint",
            "500",
            "--name",
            "anna",
        ]))
        .ok();
    assert!(made.talk().contains("lab"), "{}", made.talk());
    let line = here
        .run(&["invite", "--role", "worker", "--score", "60", "--grant", "100"])
        .ok()
        .text();
    let ticket = line
        .trim()
        .strip_prefix("hivenode up ")
        .expect("a line to paste")
        .to_owned();
    let up = there
        .run(&with(&[
            "up", &ticket, "--cpus", "2", "--mem", "2G", "--name", "bert", "--price", "0.002",
        ]))
        .ok();
    for said in ["joined", "lab", "benchmark", "Stop:"] {
        assert!(up.talk().contains(said), "{said} is not in {}", up.talk());
    }
    // The same again is no mistake.
    there.run(&["up", &ticket]).ok();

    // Both tell the truth about both.
    let (a, b) = (here.status(), there.status());
    assert_eq!(b["name"], "bert");
    assert!(
        a["roles"].as_array().unwrap().contains(&"authority".into()),
        "{a}"
    );
    assert_eq!(b["roles"], serde_json::json!(["worker"]));
    assert_eq!(
        (&a["mesh"]["name"], &b["mesh"]["name"]),
        (&"lab".into(), &"lab".into())
    );
    assert_eq!(a["mesh"]["id"], b["mesh"]["id"]);
    assert_eq!((a["score"].as_u64(), b["score"].as_u64()), (Some(100), Some(60)));
    assert_eq!(b["capabilities"]["total"]["cpu_milli"], 2000, "{b}");
    for hand in [&here, &there] {
        until("both see both online", SOON, || {
            let nodes = hand.json("nodes", &["node", "ls"]);
            let nodes = nodes.as_array()?;
            (nodes.len() == 2 && nodes.iter().all(|n| n["state"] == "online")).then_some(())
        });
        let bert = hand.json("node", &["node", "show", "bert"]);
        assert_eq!(
            (&bert["node"], &bert["score"], &bert["price"]),
            (&b["node"], &60.into(), &2000.into())
        );
        assert_eq!(bert["capabilities"]["total"]["cpu_milli"], 2000);
        let anna = hand.json("node", &["node", "show", a["node"].as_str().unwrap()]);
        assert_eq!((&anna["name"], &anna["score"]), (&a["name"], &100.into()));
        assert_eq!(anna["capabilities"]["total"]["cpu_milli"], 0);
    }
    here.run(&["node", "show", "nobody"]).ends(3);
    assert!(here.run(&["node", "ls"]).ok().text().contains("bert"));
    assert!(here.run(&["status"]).text().contains("lab"));

    // Work and pay.
    let guest = module(home.path(), &guests::say("hello from there", 0));
    let done = here.run(&["task", "submit", &guest, "--wait"]).ok();
    assert_eq!(done.text(), "hello from there");
    let tasks = here.json("tasks", &["task", "ls"]);
    assert_eq!(tasks[0]["node"], b["node"], "the worker did it: {tasks}");
    let earned = until("the worker is paid", SOON, || {
        let wallet = there.json("wallet", &["wallet", "balance"]);
        wallet["available"].as_u64().filter(|n| *n > 100 * CPT)
    }) - 100 * CPT;
    let wallet = until("nothing is held", SOON, || {
        let wallet = here.json("wallet", &["wallet", "balance"]);
        (wallet["held"] == 0).then_some(wallet)
    });
    assert_eq!(wallet["available"].as_u64(), Some(400 * CPT - earned));
    assert_eq!(wallet["ledger"], serde_json::json!([500 * CPT, 500 * CPT, 0]));
    assert!(here.run(&["wallet", "balance"]).ok().text().contains("adds up"));

    // Stop, both; twice is fine; a command then names what is missing.
    there.run(&["down"]).ok();
    there.run(&["down"]).ok();
    there.run(&["status"]).fails(5, "daemon.not_running");
    // What was joined is remembered.
    there.run(&["up"]).ok();
    assert_eq!(there.status()["mesh"]["name"], "lab");
    there.run(&["down"]).ok();
    here.run(&["down"]).ok();
}

#[test]
fn one_node_alone_is_authority_worker_and_client() {
    let _slot = Slot::take();
    let home = home();
    let alone = Hand(home.path().join("n"));
    alone
        .run(&with(&["mesh", "create", "solo", "--cpus", "2", "--mem", "2G"]))
        .ok();
    let guest = module(home.path(), &guests::say("by myself", 0));
    assert_eq!(
        alone.run(&["task", "submit", &guest, "--wait"]).ok().text(),
        "by myself"
    );
    for name in ["a", "b", "c"] {
        std::fs::create_dir_all(home.path().join("in")).unwrap();
        std::fs::write(home.path().join("in").join(name), name).unwrap();
    }
    let (input, out) = (home.path().join("in"), home.path().join("out"));
    let cat = module(home.path(), &guests::nap_cat(1));
    alone
        .run(&[
            "job",
            "map",
            &cat,
            input.to_str().unwrap(),
            "-o",
            out.to_str().unwrap(),
        ])
        .ok();
    for name in ["a", "b", "c"] {
        assert_eq!(std::fs::read_to_string(out.join(name)).unwrap(), name);
    }
    let wallet = until("nothing is held", SOON, || {
        let wallet = alone.json("wallet", &["wallet", "balance"]);
        (wallet["held"] == 0).then_some(wallet)
    });
    // Paid to itself: nothing is lost on the way.
    assert_eq!(wallet["available"].as_u64(), Some(1_000_000 * CPT));
}

/// Jobs of which one must have been shared.
const TIMES: u32 = 3;

#[test]
fn two_workers_share_the_work_and_the_pay() {
    let mesh = Mesh::of(2);
    for n in 0..16 {
        mesh.file(&format!("in/{n:02}"), format!("file {n}"));
    }
    let cat = mesh.module("cat", &guests::nap_cat(1000));
    let input = mesh.path("in");
    // One alone, with its two cores, needs eight seconds: the other has so long to begin. Where that is not enough to
    // compile the module, it has been compiled by the next time.
    let both = (1..=TIMES).any(|time| {
        let out = mesh.path(&format!("out{time}"));
        let (input, out) = (input.to_str().unwrap(), out.to_str().unwrap());
        let report = mesh.client.json("map", &["job", "map", &cat, input, "-o", out]);
        assert_eq!(report["succeeded"], 16);
        let job = mesh.client.job(report["job"].as_str().unwrap()).unwrap();
        let by_worker = job["by_worker"].as_array().unwrap();
        let tasks: u64 = by_worker.iter().filter_map(|w| w[1].as_u64()).sum();
        assert_eq!(tasks, 16);
        by_worker.len() == 2
    });
    assert!(both, "both worked, in one of {TIMES} jobs");
    let spent = mesh.settled();
    assert!(spent > 0);
    for (worker, share) in mesh.workers.iter().zip(0..) {
        assert!(mesh.balance(&worker.name) > 0, "worker {share} has got its share");
    }
}
