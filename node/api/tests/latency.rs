//! What the API adds to a call. Prints the figure; fails only when something is badly wrong (Nagle, a connection a call).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use fake::*;
use hive_api::{client::Client, limits::Bounds};
use std::time::{Duration, Instant};

const CALLS: usize = 2000;

/// What the middle call took, and what the fastest tenth took at most: the machine may be busy with other things most
/// of the time, but what is wrong here makes every call slow.
async fn times<F: Future<Output = ()>>(call: impl Fn() -> F) -> (Duration, Duration) {
    let mut took = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let started = Instant::now();
        call().await;
        took.push(started.elapsed());
    }
    took.sort();
    (took[CALLS / 2], took[CALLS / 10])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_alive_call_adds_little() {
    let (handle, _fake) = fake();
    let (port, _) = times(|| async { drop(handle.status().await.unwrap()) }).await;
    let d = Daemon::with(Bounds::default(), true).await;
    let (unix, fast_unix) = times(|| async { drop(d.client.status().await.unwrap()) }).await;
    let client = Client::tcp(d.addr(), TOKEN);
    let (tcp, fast_tcp) = times(|| async { drop(client.status().await.unwrap()) }).await;
    println!("GET /v1/status, median of {CALLS}: port {port:?}, unix {unix:?}, tcp {tcp:?}");
    let metrics = d.client.metrics().await.unwrap();
    assert!(
        metrics.contains("hivenode_api_connections 2"),
        "connections are kept: {metrics}"
    );
    assert!(fast_unix < Duration::from_millis(20), "{fast_unix:?}");
    assert!(fast_tcp < Duration::from_millis(20), "{fast_tcp:?}");
}
