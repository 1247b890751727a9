//! Work between two symmetric NATs: nothing but a relay can carry it. Needs root.

use crate::{
    guests,
    nat_mesh::NatMesh,
    trees::{noise, share, text},
};
use hive_natlab::{NatKind, Plan};
use std::fs;

#[test]
#[ignore = "needs root, iproute2 and nftables: cargo test -p hivenode --test e2e -- --ignored"]
fn a_task_from_behind_a_symmetric_nat_runs_on_a_worker_behind_another_and_its_files_arrive() {
    let plan = Plan::pair_text(NatKind::Symmetric, NatKind::Symmetric);
    let mesh = NatMesh::raise(&plan, |node| node);
    // Too large to travel with the messages: input and output are blobs, fetched over the relay.
    let bytes = noise(3 << 20, 41);
    let input = mesh.file("input", &bytes);
    let cat = mesh.module("cat", &guests::nap_cat(10));
    let out = mesh
        .client
        .run(&["task", "submit", &cat, "--stdin", text(&input), "--wait"])
        .ok();
    assert!(
        out.stdout == bytes,
        "{} bytes of {}",
        out.stdout.len(),
        bytes.len()
    );
    let path = mesh.path(&mesh.client).unwrap();
    assert!(
        path["state"] == "relay" || path["state"] == "punching",
        "there is no other way: {path:#}"
    );
    assert!(
        ["authority", "relay"].contains(&path["relay_name"].as_str().unwrap()),
        "{path:#}"
    );
    // Files, both ways.
    for (from, to) in [(&mesh.worker, &mesh.client), (&mesh.client, &mesh.worker)] {
        let bytes = noise(5 << 20, from.name.len() as u64);
        let file = mesh.file(&format!("from-{}", from.name), &bytes);
        let dest = mesh.place(&format!("at-{}", to.name));
        to.run(&["pull", &share(from, &file), text(&dest)]).ok();
        assert!(fs::read(&dest).unwrap() == bytes, "{} → {}", from.name, to.name);
    }
}
