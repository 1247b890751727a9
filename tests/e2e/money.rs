//! Credits: sent, told of, too few.

use crate::{
    guests,
    mesh::{CPT, GRANT, Mesh},
};

#[test]
fn sent_credits_arrive_and_both_histories_tell_of_them() {
    let mesh = Mesh::of(0);
    mesh.client
        .run(&["wallet", "send", "authority", "250", "--yes", "--memo", "rent"])
        .ok();
    let free = |node: &crate::node::Node| node.wallet()["available"].as_u64().unwrap();
    assert_eq!(free(&mesh.client), (GRANT - 250) * CPT);
    assert_eq!(free(&mesh.authority), (1_000_000 - GRANT + 250) * CPT);
    let change = i64::try_from(250 * CPT).unwrap();
    for (node, delta) in [(&mesh.client, -change), (&mesh.authority, change)] {
        let history = node.json("history", &["wallet", "history"]);
        let line = history.as_array().unwrap().iter().find(|l| l["delta"] == delta);
        let line = line.unwrap_or_else(|| panic!("{history}"));
        assert_eq!(line["note"], "rent");
        assert_eq!(line["available"].as_u64(), Some(free(node)));
    }
    // More than there is: named, and nothing moves.
    mesh.client
        .run(&["wallet", "send", "authority", "5000", "--yes"])
        .fails(8, "wallet.insufficient");
    mesh.client
        .run(&["wallet", "send", "nobody", "1", "--yes"])
        .ends(3);
    assert_eq!(free(&mesh.client), (GRANT - 250) * CPT);
    mesh.adds_up();
}

#[test]
fn trust_show_tells_score_and_tier() {
    let mesh = Mesh::of(1);
    let founder = mesh.client.json("trust", &["trust", "show", "authority"]);
    assert_eq!(
        (&founder["score"], &founder["tier"]),
        (&100.into(), &"high".into())
    );
    let worker = mesh.client.json("trust", &["trust", "show", "w1"]);
    assert_eq!(
        (&worker["score"], &worker["tier"]),
        (&50.into(), &"normal".into())
    );
    mesh.client.run(&["trust", "show", "nobody"]).ends(3);
}

#[test]
fn a_balance_too_small_is_named_and_nothing_is_taken() {
    let mesh = Mesh::with(1, |node| {
        if node.name == "w1" {
            node.with("price", "1000")
        } else {
            node
        }
    });
    // At 1000 CPT a Gfuel the usual 100 Gfuel of a task cannot be held out of 1000 CPT.
    let noop = mesh.module("noop", guests::NOOP);
    let submit = ["task", "submit", &noop, "--wait", "--patience", "2s"];
    mesh.client.run(&submit).fails(8, "wallet.insufficient");
    assert_eq!(mesh.settled(), 0);
    // A job's own budget is named apart. One task may use up more than is left, at its worker's risk; the next
    // finds nothing.
    let spin = mesh.module("spin", guests::SPIN);
    for n in 0..3 {
        mesh.file(&format!("in/{n}"), "");
    }
    let (input, out) = (mesh.path("in"), mesh.path("out"));
    let mut map = vec![
        "job",
        "map",
        &spin,
        input.to_str().unwrap(),
        "-o",
        out.to_str().unwrap(),
    ];
    map.extend([
        "--cpus",
        "2",
        "--fuel",
        "0.1",
        "--budget",
        "10",
        "--patience",
        "2s",
    ]);
    mesh.client.run(&map).fails(8, "job.budget");
    assert_eq!(mesh.settled(), 10 * CPT, "no more than the budget");
    // With few enough instructions it runs.
    mesh.client
        .run(&["task", "submit", &noop, "--wait", "--fuel", "0.01"])
        .ok();
    mesh.settled();
}
