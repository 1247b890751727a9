//! A whole mesh in one process, for profiling: one authority that works, one more worker, one client.
//!
//! `cargo run --release -p hive-runtime --example inprocess_mesh -- [TASKS] [MODULE.wasm]`
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use hive_protocol::{money::MicroCpt, resources::Role};
use hive_runtime::{
    Config,
    port::{InviteRequest, JobRequest, MeshRequest, NodeHandle, Source, TaskRequest},
};
use std::time::Instant;

fn config(dir: &std::path::Path, name: &str) -> Config {
    Config {
        data_dir: dir.join(name),
        name: name.into(),
        listen: vec!["loopback".into()],
        ..Config::default()
    }
}

async fn invite(from: &NodeHandle, role: Role, grant: MicroCpt) -> String {
    from.invite(InviteRequest {
        role,
        score: None,
        grant,
        uses: 1,
        ttl_ms: 3_600_000,
    })
    .await
    .unwrap()
    .ticket
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("__executor") {
        hive_executor::child_main();
    }
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    tokio::runtime::Runtime::new().unwrap().block_on(run());
}

async fn run() {
    let tasks: usize = std::env::args().nth(1).map_or(100, |a| a.parse().unwrap());
    let module = std::env::args()
        .nth(2)
        .unwrap_or_else(|| "docs/examples/noop/noop.wasm".into());
    let module = std::fs::canonicalize(module).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let (a, _ra) = hive_runtime::start(config(dir.path(), "a")).await.unwrap();
    let mesh = MeshRequest {
        name: "lab".into(),
        mint: MicroCpt::cpt(1000),
        default_score: 50,
        worker: false,
    };
    println!(
        "{:?} {:?}",
        start.elapsed(),
        a.mesh_create(mesh).await.unwrap().name
    );
    let mut nodes = Vec::new();
    for (name, role, grant) in [
        ("w1", Role::Worker, 0),
        ("w2", Role::Worker, 0),
        ("c", Role::Client, 100),
    ] {
        let ticket = invite(&a, role, MicroCpt::cpt(grant)).await;
        let (n, r) = hive_runtime::start(config(dir.path(), name)).await.unwrap();
        let joined = n.join(ticket).await.unwrap();
        println!(
            "{:?} {} joined, score {}",
            start.elapsed(),
            joined.name,
            joined.score
        );
        nodes.push((n, r));
    }
    let c = nodes[2].0.clone();
    for round in 0..3 {
        let begin = Instant::now();
        let request = JobRequest {
            name: "noop".into(),
            module: Source::Path(module.clone()),
            tasks: vec![TaskRequest::default(); tasks],
            need: None,
            limits: None,
            placement: Default::default(),
            max_price: None,
            budget: None,
            retries: None,
            open: false,
        };
        let job = c.job_submit(Box::new(request)).await.unwrap();
        let submitted = begin.elapsed();
        let done = c.job_wait(job.job.clone()).await.unwrap();
        let gone = begin.elapsed();
        println!(
            "round {round}: submit {submitted:?}, {} ok {} failed in {gone:?}: {:.0}/s; {:?}",
            done.succeeded,
            done.failed,
            f64::from(done.tasks) / gone.as_secs_f64(),
            done.by_worker.iter().map(|b| (b.1, b.2)).collect::<Vec<_>>()
        );
    }
    let request = JobRequest {
        name: "open".into(),
        module: Source::Path(module.clone()),
        tasks: vec![],
        need: None,
        limits: None,
        placement: Default::default(),
        max_price: None,
        budget: None,
        retries: None,
        open: true,
    };
    let job = c.job_submit(Box::new(request)).await.unwrap().job;
    let mut times = Vec::new();
    for _ in 0..300 {
        let begin = Instant::now();
        let ids = c
            .job_add(job.clone(), vec![TaskRequest::default()])
            .await
            .unwrap();
        let t = c.task_wait(ids[0].clone()).await.unwrap();
        assert!(t.row.exit_code == Some(0), "{t:?}");
        times.push(begin.elapsed());
    }
    println!("first {:?}", times[0]);
    times.sort();
    println!("one task p50 {:?} p99 {:?}", times[150], times[297]);
    c.job_close(job).await.unwrap();
    println!("{:?}", c.wallet(None).await.unwrap());
    for (n, _) in &nodes {
        n.stop(0).await.unwrap();
    }
    a.stop(0).await.unwrap();
}
