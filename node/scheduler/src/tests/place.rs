//! Who may, who first, and why nobody.

use super::*;
use crate::testing::TestHive;
use hive_protocol::{
    resources::Resources,
    task::{Placement, RuntimeKind},
};

fn refused_because(hive: &mut TestHive, job: JobId, code: &str) -> crate::submitter::Explain {
    hive.run(5_000);
    let explain = hive.submitter.explain(job, TaskIndex(0)).unwrap();
    assert_eq!(explain.code, code, "{explain:#?}");
    match state(hive, job) {
        JobState::Waiting { code: c, detail } => {
            assert_eq!(c, code);
            assert_eq!(detail, explain.fix);
        }
        other => panic!("{other:?}"),
    }
    explain
}

#[test]
fn no_worker_at_all() {
    let mut hive = TestHive::new();
    let job = hive.submit(TestHive::spec(1));
    let explain = refused_because(&mut hive, job, "place.no_worker");
    assert!(explain.fix.contains("hivenode invite"), "{}", explain.fix);
    assert_eq!(explain.funnel[0].left, 0);
}

#[test]
fn no_worker_fits() {
    let mut hive = TestHive::new();
    hive.worker(2);
    hive.worker(4);
    let mut spec = TestHive::spec(1);
    spec.program.need = Resources::cpu(8000, 100, 0);
    let job = hive.submit(spec);
    let explain = refused_because(&mut hive, job, "place.no_fit");
    let cpu = explain.funnel.iter().find(|s| s.filter == "cpu").unwrap();
    assert_eq!(cpu.left, 0);
    assert!(cpu.example.contains("milli-cores"), "{cpu:?}");
    let worker = explain.funnel.iter().find(|s| s.filter == "worker").unwrap();
    assert_eq!(worker.left, 2);
    // A worker that is large enough ends the wait.
    hive.worker(8);
    ends_and_settles(&mut hive, job, MINUTE);
}

#[test]
fn low_workers_take_only_high_users_tasks() {
    let mut hive = TestHive::new();
    hive.worker_with(2, 49, 1000, |_| {});
    hive.score(99);
    let job = hive.submit(TestHive::spec(3));
    let explain = refused_because(&mut hive, job, "place.rule");
    let trust = explain.funnel.iter().find(|s| s.filter == "trust").unwrap();
    assert!(trust.example.contains("49"), "{trust:?}");
    hive.score(100);
    ends_and_settles(&mut hive, job, MINUTE);
}

#[test]
fn the_worker_too_refuses_what_the_rules_forbid() {
    let mut hive = TestHive::new();
    let a = hive.worker_with(2, 49, 1000, |_| {});
    hive.score(99);
    hive.submit(TestHive::spec(3));
    hive.run(10_000);
    let c = hive.workers[a].core.counters();
    assert!(c.demands_heard > 2);
    assert_eq!(c.offers_made, 0);
}

#[test]
fn location_and_price_are_filters() {
    let mut hive = TestHive::new();
    hive.worker_with(2, 50, 1000, |c| c.terms.capabilities.location = "eu-fra".into());
    let mut spec = TestHive::spec(1);
    spec.placement = Placement {
        require_location: "us-nyc".into(),
        ..Placement::default()
    };
    let job = hive.submit(spec);
    refused_because(&mut hive, job, "place.location");
    let mut spec = TestHive::spec(1);
    spec.max_price = hive_protocol::money::MicroCpt(999);
    let job = hive.submit(spec);
    let explain = refused_because(&mut hive, job, "place.price");
    assert!(explain.fix.contains("0.001 CPT"), "{}", explain.fix);
}

#[test]
fn another_engine_is_needed() {
    let mut hive = TestHive::new();
    hive.worker(2);
    let mut spec = TestHive::spec(1);
    spec.program.runtime = RuntimeKind::Container;
    let job = hive.submit(spec);
    refused_because(&mut hive, job, "place.no_fit");
}

/// The workers that got a lease, in the order asked.
fn asked(hive: &TestHive) -> Vec<usize> {
    hive.effects
        .iter()
        .filter_map(|e| match e {
            Effect::RequestHold { payee, .. } => hive.workers.iter().position(|w| w.account == *payee),
            _ => None,
        })
        .collect()
}

#[test]
fn ranking_is_trust_then_load_then_place_then_price() {
    let mut hive = TestHive::new();
    let cheap = hive.worker_with(1, 60, 500, |_| {});
    let low = hive.worker_with(1, 10, 1, |_| {});
    let high = hive.worker_with(1, 100, 2000, |_| {});
    let busy = hive.worker_with(1, 60, 400, |_| {});
    let near = hive.worker_with(1, 60, 900, |c| c.terms.capabilities.location = "eu".into());
    hive.tell(busy, worker::Input::Load { milli: 700 });
    let mut spec = TestHive::spec(5);
    spec.placement.prefer_location = "eu".into();
    let job = hive.submit(spec);
    ends_and_settles(&mut hive, job, MINUTE);
    assert_eq!(asked(&hive)[..5], [high, near, cheap, busy, low]);
}

#[test]
fn a_node_is_never_oversubscribed_by_several_jobs() {
    let mut hive = TestHive::new();
    let a = hive.worker(4);
    let b = hive.worker(3);
    for w in &mut hive.workers {
        w.task_ms = 50;
    }
    let jobs: Vec<JobId> = (0..6).map(|_| hive.submit(TestHive::spec(60))).collect();
    for job in &jobs {
        // TestHive checks after every step that what runs fits the machine.
        ends(&mut hive, *job, 10 * MINUTE);
    }
    assert_eq!(hive.workers[a].peak, 4);
    assert_eq!(hive.workers[b].peak, 3);
    for job in jobs {
        ends_and_settles(&mut hive, job, MINUTE);
    }
    assert_eq!(hive.workers[a].core.free().cpu_milli, 4000, "all returned");
    assert_eq!(hive.workers[b].core.free().memory_mib, 3072);
}

#[test]
fn all_workers_share_a_job_whatever_their_size() {
    let mut hive = TestHive::new();
    for cores in [1, 2, 4, 8] {
        hive.worker(cores);
    }
    for w in &mut hive.workers {
        w.task_ms = 1000;
    }
    let job = hive.submit(TestHive::spec(60));
    let start = hive.now;
    ends(&mut hive, job, 10 * MINUTE);
    let took = hive.now.since(start).0;
    // 60 tasks of a second on 15 slots are four rounds.
    assert!(took < 5_300, "{took} ms");
}
