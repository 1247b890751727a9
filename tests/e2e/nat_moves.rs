//! The ground moves under running work: routers that reboot, hosts that change networks. Transfer, log stream and
//! lease go on. Needs root.

use crate::{
    command::Going,
    guests,
    nat_mesh::NatMesh,
    node::Node,
    trees::{noise, share, text, transfer, transfer_until},
    wait::{SOON, until},
};
use hive_natlab::{NatKind, Plan};
use serde_json::Value;
use std::{fs, path::PathBuf, time::Duration};

/// Lines of the task whose log is followed, one each [`PACE`] milliseconds: it outlives what is done to the network.
const LINES: u32 = 120;
const PACE: u64 = 250;
/// A transfer that takes longer than anything that is done to the network, until it is let go.
const SIZE: usize = 40 << 20;
const RATE: &str = "512K";
/// For a task of half a minute on a loaded machine.
const LONG: Duration = Duration::from_secs(120);

/// A task with its log followed, and a transfer.
struct Work {
    task: String,
    log: Going,
    transfer: String,
    bytes: Vec<u8>,
    dest: PathBuf,
}

impl Work {
    /// Starts it all and waits until it is on its way.
    #[track_caller]
    fn begin(mesh: &NatMesh) -> Self {
        let module = mesh.module("count", &guests::count(LINES, PACE));
        let task = mesh.client.run(&["task", "submit", &module]).ok().text();
        let task = task.trim().to_owned();
        let log = mesh.client.spawn(&["task", "logs", "-f", &task]);
        assert_eq!(log.line(SOON), "000");
        rate(mesh, RATE);
        let bytes = noise(SIZE, 51);
        let file = mesh.file("big", &bytes);
        let dest = mesh.place("got");
        let pull = ["pull", &share(&mesh.worker, &file), text(&dest), "-d"];
        let transfer = mesh.client.run(&pull).ok().text().trim().to_owned();
        transfer_until(&mesh.client, &transfer, "some is here", |v| {
            v["done"].as_u64() > Some(0)
        });
        Self {
            task,
            log,
            transfer,
            bytes,
            dest,
        }
    }

    fn done(&self, node: &Node) -> u64 {
        transfer(node, &self.transfer)
            .and_then(|v| v["done"].as_u64())
            .unwrap_or(0)
    }

    /// Waits until more of the transfer has come than there is now.
    #[track_caller]
    fn goes_on(&self, node: &Node) {
        let now = self.done(node);
        until("the transfer goes on", SOON, || {
            (self.done(node) > now).then_some(())
        });
    }

    /// All of it ends well, the task in its first and only run.
    #[track_caller]
    fn ends_well(self, mesh: &NatMesh) {
        rate(mesh, "off");
        let out = self.log.end(LONG).ok();
        let lines: String = (0..LINES).map(|n| format!("{n:03}\n")).collect();
        assert_eq!(out.text(), lines, "the log as it was written: {}", out.talk());
        mesh.client.run(&["task", "wait", &self.task]).ok();
        let task = mesh.client.json("task", &["task", "show", &self.task]);
        assert_eq!(task["attempt"], 1, "the lease was kept: {task}");
        transfer_until(&mesh.client, &self.transfer, "done", |v| v["state"] == "done");
        assert!(fs::read(&self.dest).unwrap() == self.bytes);
    }
}

/// As fast as the client goes from now on, `off` for as fast as it can. By its settings, so that it can be changed.
#[track_caller]
fn rate(mesh: &NatMesh, rate: &str) {
    mesh.client.run(&["config", "set", "rate_in", rate]).ok();
}

#[test]
#[ignore = "needs root, iproute2 and nftables: cargo test -p hivenode --test e2e -- --ignored"]
fn routers_that_reboot_cost_neither_transfer_nor_log_nor_lease() {
    let plan = Plan::pair_text(NatKind::PortRestricted, NatKind::PortRestricted);
    let mesh = NatMesh::raise(&plan, |node| node);
    let work = Work::begin(&mesh);
    mesh.path_is("direct");
    for router in ["ra", "rb"] {
        mesh.lab.stop_router(router).unwrap();
        // paced: a router is off for a while
        std::thread::sleep(Duration::from_secs(2));
        mesh.lab.start_router(router).unwrap();
        work.goes_on(&mesh.client);
    }
    mesh.path_is("direct");
    work.ends_well(&mesh);
}

#[test]
#[ignore = "needs root, iproute2 and nftables: cargo test -p hivenode --test e2e -- --ignored"]
fn a_host_that_changes_networks_goes_on_with_its_work() {
    let plan = format!(
        "{}router cell symmetric wan mobile 10.64.0.0/24\n",
        Plan::pair_text(NatKind::AddressRestricted, NatKind::PortRestricted)
    );
    let mut mesh = NatMesh::raise(&plan, |node| node);
    let work = Work::begin(&mesh);
    mesh.path_is("direct");
    // From Wi-Fi to mobile: another cable, another router, another address, another kind of NAT.
    mesh.lab.move_host("b", "mobile", 7).unwrap();
    work.goes_on(&mesh.client);
    mesh.path_is("direct");
    work.ends_well(&mesh);
}

#[test]
#[ignore = "needs root, iproute2 and nftables: cargo test -p hivenode --test e2e -- --ignored"]
fn a_direct_path_that_is_lost_falls_back_to_a_relay_and_comes_back() {
    let plan = Plan::pair_text(NatKind::PortRestricted, NatKind::PortRestricted);
    let mesh = NatMesh::raise(&plan, |node| node);
    let work = Work::begin(&mesh);
    mesh.path_is("direct");
    // Nothing passes between the two any more; with everybody else it does.
    let (a, b) = ("203.0.113.3", "203.0.113.4");
    for (router, peer) in [("ra", b), ("rb", a)] {
        let cut = format!(
            "table ip cut {{
                chain c {{
                    type filter hook prerouting priority -400
                    iifname \"outer\" ip saddr {peer} drop
                }}
            }}"
        );
        mesh.lab.inside(router).unwrap().nft(&cut).unwrap();
    }
    work.goes_on(&mesh.client);
    let path = until("a path over a relay", SOON, || {
        mesh.path(&mesh.client)
            .filter(|p: &Value| p["state"] == "relay" || p["state"] == "punching")
    });
    assert!(path["relay"].is_string(), "{path:#}");
    for router in ["ra", "rb"] {
        mesh.lab
            .inside(router)
            .unwrap()
            .nft("delete table ip cut")
            .unwrap();
    }
    work.goes_on(&mesh.client);
    until("direct again", LONG, || {
        mesh.path(&mesh.client).filter(|p| p["state"] == "direct")
    });
    work.ends_well(&mesh);
}
