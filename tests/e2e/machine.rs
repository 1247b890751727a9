//! What the machine does to a node: folders in use, ports taken, clocks that are off, full disks.

use crate::{
    guests,
    mesh::{Mesh, Slot, home},
    node::Node,
};
use std::{net::UdpSocket, process::Command};

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
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
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

#[test]
fn a_clock_one_hour_off_is_named_with_both_times() {
    let mesh = Mesh::of(0);
    for offset in ["3600000", "-3600000"] {
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
        // Set right, the same ticket admits.
        late.stop();
        late.set("clock_offset_ms", "0");
        late.start();
        late.run(&["up", ticket["ticket"].as_str().unwrap()]).ok();
        late.stop();
        std::fs::remove_dir_all(&late.dir).unwrap();
    }
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
