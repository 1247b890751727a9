//! What the machine does to a node: folders in use, ports taken, clocks that are off, full disks.

use crate::{
    guests,
    mesh::{Mesh, Slot, free_port, home},
    node::Node,
    wait::{SOON, until},
};
use std::{
    net::UdpSocket,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

#[test]
fn two_daemons_on_one_folder_are_refused_and_the_first_goes_on() {
    let _slot = Slot::take();
    let home = home();
    let mut first = Node::new(home.path(), "n");
    first.start();
    let mut second = Node::new(home.path(), "n");
    second.begin();
    let error = second.served().expect_err("the folder is in use");
    assert_eq!(error["code"], "store.locked", "{error}");
    assert!(
        first.get("/v1/status", "status").is_some(),
        "the first one still answers at its socket"
    );
    // By hand: `serve` says it too.
    first.run(&["serve"]).fails(1, "store.locked");
    assert!(first.get("/v1/status", "status").is_some());
    // Killed without a word, it leaves no lock behind.
    first.kill();
    first.start();
    first.stop();
}

#[test]
fn a_port_already_taken_is_named() {
    let mut mesh = Mesh::of(1);
    let port = free_port();
    let taken = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    let listen = format!("/ip4/127.0.0.1/udp/{port}/quic-v1");
    // When founding and when joining.
    for args in [
        vec!["mesh", "create", "two"],
        vec!["up", &mesh.ticket("worker", 0)],
    ] {
        let mut late = Node::new(&mesh.path(".."), "late").with("listen", &listen);
        late.start();
        let said = late.run(&args).fails(1, "net.port_taken");
        assert!(said.talk().contains(&port.to_string()), "{}", said.talk());
        late.stop();
        std::fs::remove_dir_all(&late.dir).unwrap();
    }
    // And when a member comes back.
    let worker = &mut mesh.workers[0];
    worker.stop();
    worker.set("listen", &listen);
    worker.begin();
    let error = worker.served().expect_err("the port is taken");
    assert_eq!(error["code"], "net.port_taken", "{error}");
    assert!(
        error["message"].as_str().unwrap().contains(&port.to_string()),
        "{error}"
    );
    drop(taken);
    worker.start();
    mesh.client_sees(1);
}

/// An hour off, either way, in milliseconds.
const HOUR_OFF: [&str; 2] = ["3600000", "-3600000"];
/// How far a time that is named may be from the one it should be: what a starved machine is late by.
const NEARLY: u64 = 60;
/// Seconds of a day.
const DAY: u64 = 86_400;

/// The moments of day named in a text, such as `2026-11-21T04:13:03Z`, in seconds, in their order.
fn times_of(text: &str) -> Vec<u64> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == ':'));
    let time = |word: &str| {
        let (_, time) = word.trim_end_matches(':').strip_suffix('Z')?.split_once('T')?;
        let parts: Option<Vec<u64>> = time.split(':').map(|n| n.parse().ok()).collect();
        parts
            .filter(|p| p.len() == 3)
            .map(|p| p[0] * 3600 + p[1] * 60 + p[2])
    };
    words.filter_map(time).collect()
}

/// Both times must be in the text: first the one that is off, then the right one.
#[track_caller]
fn has_both_times(text: &str, offset: &str) {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let off = unix.saturating_add_signed(offset.parse::<i64>().unwrap() / 1000);
    let times = times_of(text);
    assert!(times.len() >= 2, "two times in {text:?}");
    for (named, right) in times.into_iter().zip([off, unix]) {
        let apart = (named + DAY - right % DAY) % DAY;
        assert!(
            apart.min(DAY - apart) <= NEARLY,
            "{named} is not {right} in {text:?}"
        );
    }
}

#[test]
fn a_clock_one_hour_off_is_named_with_both_times() {
    let mesh = Mesh::of(0);
    for offset in HOUR_OFF {
        let mut late = Node::new(&mesh.path(".."), "late").with("clock_offset_ms", offset);
        late.start();
        let role = "worker";
        let ticket = mesh
            .authority
            .json("invite", &["invite", "--role", role, "--ttl", "5h"]);
        let said = late
            .run(&["up", ticket["ticket"].as_str().unwrap()])
            .fails(4, "join.clock_skew");
        assert!(said.talk().contains("clock"), "{}", said.talk());
        has_both_times(&said.talk(), offset);
        // Set right, the same ticket admits.
        late.stop();
        late.set("clock_offset_ms", "0");
        late.start();
        late.run(&["up", ticket["ticket"].as_str().unwrap()]).ok();
        late.stop();
        std::fs::remove_dir_all(&late.dir).unwrap();
    }
}

#[test]
fn a_members_clock_one_hour_off_is_named_and_once_right_its_tasks_run() {
    let mut mesh = Mesh::of(1);
    let noop = mesh.module("noop", guests::NOOP);
    for offset in HOUR_OFF {
        for node in mesh.workers.iter_mut().chain([&mut mesh.client]) {
            node.stop();
            node.set("clock_offset_ms", offset);
            node.start();
        }
        for node in [&mesh.workers[0], &mesh.client] {
            let problem = until(
                &format!("{}'s clock is its first problem", node.name),
                SOON,
                || {
                    let first = node.get("/v1/status", "status")?["problems"][0].clone();
                    (first["code"] == "member.clock_skew").then_some(first)
                },
            );
            has_both_times(problem["message"].as_str().unwrap(), offset);
            assert!(
                problem["hint"].as_str().unwrap().contains("set the clock"),
                "{problem}"
            );
        }
        let submit = ["task", "submit", &noop, "--wait", "--patience", "3s"];
        let said = mesh.client.spawn(&submit).end(SOON).fails(4, "member.clock_skew");
        has_both_times(&said.talk(), offset);
        for node in mesh.workers.iter_mut().chain([&mut mesh.client]) {
            node.stop();
            node.set("clock_offset_ms", "0");
            node.start();
        }
        mesh.client_sees(1);
        // A word of an authority renewed by its new clock, say, comes a moment after the first answer.
        until("nothing is wrong any more", SOON, || {
            let status = mesh.client.get("/v1/status", "status")?;
            (status["problems"] == serde_json::json!([])).then_some(())
        });
        mesh.client.run(&["task", "submit", &noop, "--wait"]).ok();
    }
    mesh.settled();
}

/// A job whose inputs do not fit on the worker.
fn too_much(mesh: &Mesh, code: &str) {
    let cat = mesh.module("cat", &guests::nap_cat(1));
    let big: Vec<u8> = (0..8_u32 << 20)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let big = mesh.file("big", big);
    let submit = [
        "--json",
        "task",
        "submit",
        &cat,
        "--stdin",
        big.to_str().unwrap(),
        "--retries",
        "1",
        "--wait",
    ];
    let out = mesh.client.run(&submit);
    assert!(
        out.code == 124 || out.code == 125,
        "{} {} {}",
        out.code,
        out.text(),
        out.talk()
    );
    let task = out.document("task");
    let said = task["failure"].to_string();
    assert!(said.contains(code), "{code} is not in {task}");
    // The worker is alive, says what is wrong, and small work still runs.
    let worker = &mesh.workers[0];
    assert!(worker.get("/v1/status", "status").is_some());
    let noop = mesh.module("noop", guests::NOOP);
    mesh.client.run(&["task", "submit", &noop, "--wait"]).ok();
    mesh.settled();
}

#[test]
fn a_worker_over_its_quota_fails_the_task_by_name_and_goes_on() {
    let mesh = Mesh::with(1, |node| {
        if node.name == "w1" {
            node.with("store_quota", "2M")
        } else {
            node
        }
    });
    too_much(&mesh, "store.quota");
}

/// A size-limited file system, unmounted at the end.
struct Tmpfs(std::path::PathBuf);

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
#[ignore = "needs root: cargo test -p hivenode --test e2e -- --ignored"]
fn a_worker_on_a_full_disk_fails_the_task_by_name_and_goes_on() {
    let home = home();
    let place = home.path().join("small");
    std::fs::create_dir(&place).unwrap();
    let mount = ["-t", "tmpfs", "-o", "size=6m", "tmpfs"];
    let status = Command::new("mount").args(mount).arg(&place).status().unwrap();
    assert!(status.success(), "mount needs root");
    let disk = Tmpfs(place);
    let mut mesh = Mesh::of(0);
    let mut worker = Node::new(&mesh.path(".."), "w1");
    worker.dir = disk.0.join("w1");
    worker.start();
    mesh.admit(&worker, "worker", 0);
    mesh.workers.push(worker);
    mesh.client_sees(1);
    too_much(&mesh, "store.disk_full");
}
