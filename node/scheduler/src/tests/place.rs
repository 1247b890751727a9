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

/// A job of tasks that need a core and these GPUs.
fn on_gpus(tasks: u32, gpus: u16, memory_mib: u64, name: &str) -> hive_protocol::task::JobSpec {
    let mut spec = TestHive::spec(tasks);
    spec.program.need = Resources {
        gpus,
        gpu_memory_mib: memory_mib,
        gpu_name: name.into(),
        ..Resources::cpu(1000, 512, 10)
    };
    spec
}

/// A machine of eight cores and two GPUs of 24000 MiB.
fn two_gpus(config: &mut worker::Config) {
    let total = &mut config.terms.capabilities.total;
    (total.gpus, total.gpu_memory_mib, total.gpu_name) = (2, 24_000, "RTX 4090".into());
}

#[test]
fn gpus_are_too_few_too_small_or_others() {
    for (gpus, memory_mib, name) in [(3, 0, ""), (1, 24_001, ""), (1, 0, "H100")] {
        let mut hive = TestHive::new();
        hive.worker(8);
        let a = hive.worker_with(8, 50, 1000, two_gpus);
        let job = hive.submit(on_gpus(1, gpus, memory_mib, name));
        let explain = refused_because(&mut hive, job, "place.no_fit");
        let at = explain.funnel.iter().position(|s| s.filter == "gpu").unwrap();
        assert_eq!(explain.funnel[at - 1].left, 2, "{explain:#?}");
        assert_eq!(explain.funnel[at].left, 0, "{explain:#?}");
        assert!(!explain.funnel[at].asks.is_empty(), "{explain:#?}");
        assert!(explain.fix.contains("GPU"), "{}", explain.fix);
        assert_eq!(hive.workers[a].core.counters().offers_made, 0);
    }
}

#[test]
fn only_the_worker_with_the_gpu_gets_the_job_and_no_more_of_it_than_it_has_gpus() {
    let mut hive = TestHive::new();
    let without = hive.worker_with(8, 100, 1, |_| {});
    let a = hive.worker_with(8, 50, 1000, two_gpus);
    for w in &mut hive.workers {
        w.task_ms = 100;
    }
    let job = hive.submit(on_gpus(6, 1, 24_000, "rtx 4090"));
    ends_and_settles(&mut hive, job, MINUTE);
    assert_eq!(hive.workers[without].peak, 0);
    assert_eq!(hive.workers[a].peak, 2);
    assert_eq!(hive.workers[a].core.free().gpus, 2, "all returned");
}

/// Lets the mesh say that this worker has a container runtime.
fn attest_containers(hive: &mut TestHive, n: usize) {
    hive.workers[n].credential.containers = true;
    let credential = Box::new(hive.workers[n].credential.clone());
    hive.tell(n, worker::Input::OwnCredential(credential));
    hive.announce(n);
}

#[test]
fn containers_run_only_where_the_credential_says_so() {
    let mut hive = TestHive::new();
    let a = hive.worker_with(2, 50, 1000, |c| {
        c.terms.capabilities.runtimes.push("container".into());
    });
    let mut spec = TestHive::spec(3);
    spec.program.runtime = RuntimeKind::Container;
    let job = hive.submit(spec);
    let explain = refused_because(&mut hive, job, "place.rule");
    let left = |name: &str| explain.funnel.iter().find(|s| s.filter == name).unwrap();
    assert_eq!((left("runtime").left, left("trust").left), (1, 0), "{explain:#?}");
    assert!(left("trust").example.contains("container"), "{explain:#?}");
    let counters = hive.workers[a].core.counters();
    assert!(counters.demands_heard > 0);
    assert_eq!(counters.offers_made, 0, "the worker too refuses");
    attest_containers(&mut hive, a);
    ends_and_settles(&mut hive, job, MINUTE);
}

#[test]
fn a_native_process_without_containers_needs_a_better_user() {
    let mut hive = TestHive::new();
    hive.worker_with(2, 50, 1000, |c| {
        c.terms.capabilities.runtimes.push("process".into());
    });
    hive.score(50);
    let mut spec = TestHive::spec(3);
    spec.program.runtime = RuntimeKind::Process;
    let job = hive.submit(spec);
    let explain = refused_because(&mut hive, job, "place.rule");
    let trust = explain.funnel.iter().find(|s| s.filter == "trust").unwrap();
    assert!(trust.example.contains("native"), "{trust:?}");
    hive.score(51);
    ends_and_settles(&mut hive, job, MINUTE);
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
