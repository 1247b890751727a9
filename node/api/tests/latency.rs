//! What the API adds to a call. Prints the figure; fails only when something is badly wrong (Nagle, a connection a call).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use fake::*;
use hive_api::{client::Client, limits::Bounds};
use std::time::{Duration, Instant};

const CALLS: usize = 2000;

async fn median<F: Future<Output = ()>>(call: impl Fn() -> F) -> Duration {
    let mut took = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let started = Instant::now();
        call().await;
        took.push(started.elapsed());
    }
    took.sort();
    took[CALLS / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_alive_call_adds_little() {
    let (handle, _fake) = fake();
    let port = median(|| async { drop(handle.status().await.unwrap()) }).await;
    let d = Daemon::with(Bounds::default(), true).await;
    let unix = median(|| async { drop(d.client.status().await.unwrap()) }).await;
    let client = Client::tcp(d.addr(), TOKEN);
    let tcp = median(|| async { drop(client.status().await.unwrap()) }).await;
    println!("GET /v1/status, median of {CALLS}: port {port:?}, unix {unix:?}, tcp {tcp:?}");
    let metrics = d.client.metrics().await.unwrap();
    assert!(
        metrics.contains("hivenode_api_connections 2"),
        "connections are kept: {metrics}"
    );
    assert!(unix < Duration::from_millis(20), "{unix:?}");
    assert!(tcp < Duration::from_millis(20), "{tcp:?}");
}
