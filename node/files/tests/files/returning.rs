//! Providers that are not there yet, or leave in the middle and come back; and clocks that jump meanwhile.

use crate::{
    node::{TestNode, net, net_at, noise, now, own_port, soon, start, start_on, until_free},
    pulls::share,
};
use hive_files::{Config, Direction, Hint, LimitsConfig, PullRequest, Schedule, Target};
use hive_net::ListenAddrs;
use hive_protocol::time::Timestamp;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

fn limit(rate: u64) -> LimitsConfig {
    LimitsConfig {
        node: Schedule::always(Some(rate)),
        ..LimitsConfig::default()
    }
}

/// A node at this port; the second time it is the same once more, as far as others can tell.
async fn at_port(seed: u8, port: u16, dir: &Path) -> TestNode {
    let net = net_at(seed, ListenAddrs::Loopback(port)).await;
    start_on(net, seed, dir, Config::default(), Arc::new(now))
}

async fn leaves_and_returns(folder: bool, seed: u8) {
    let dir = tempfile::tempdir().unwrap();
    let at = own_port();
    let a = at_port(seed, at, &dir.path().join("a")).await;
    let b = start(seed + 1, &dir.path().join("b")).await;
    let from = a.path("from");
    let size = 20 << 20;
    if folder {
        std::fs::create_dir_all(&from).unwrap();
        for n in 0..320 {
            std::fs::write(from.join(format!("f{n}")), noise(n, size / 320)).unwrap();
        }
    } else {
        std::fs::write(&from, noise(1, size)).unwrap();
    }
    let root = share(&a, &from).await;
    // So slow that it is far from done when it is left, also where that takes a while.
    a.files.limits().set(Direction::Out, limit(2_000_000));
    let mut request = PullRequest::new(root, folder, Target::Path(b.path("got")));
    request.hints = vec![a.hint()];
    request.lookup = false;
    let transfer = b.files.pull(request).await.unwrap();
    let mut seen = transfer.watch();
    drop(soon("a part", seen.wait_for(|v| v.done > 4 << 20)).await.unwrap());
    a.files.close().await;
    a.net.shutdown().await;
    until_free(at).await;
    // Long enough that every try fails.
    let gone = tokio::time::timeout(Duration::from_secs(3), transfer.done()).await;
    assert!(gone.is_err(), "nobody is there: {gone:?}");
    let had = transfer.view().done;
    let again = at_port(seed, at, &dir.path().join("again")).await;
    assert_eq!(share(&again, &from).await, root);
    let done = soon("the rest", transfer.done()).await.unwrap();
    assert!(
        done.fetched <= size as u64 + (4 << 20),
        "{} fetched of {size}, {had} were here when it left",
        done.fetched
    );
    let same = std::process::Command::new("diff")
        .arg("-r")
        .args([&from, &b.path("got")])
        .status()
        .unwrap();
    assert!(same.success());
    assert!(b.evidence.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_restarts_is_gone_on_with() {
    leaves_and_returns(false, 140).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_of_a_folder_that_restarts_is_gone_on_with() {
    leaves_and_returns(true, 144).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_is_not_there_yet_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("file");
    std::fs::write(&from, noise(1, 5 << 20)).unwrap();
    // Where it will be.
    let at = own_port();
    let (early, _events) = net_at(150, ListenAddrs::Loopback(at)).await;
    let hint = Hint {
        node: early.me(),
        addrs: early.listen_addrs(),
        whole: true,
    };
    early.shutdown().await;
    until_free(at).await;
    let b = start(151, &dir.path().join("b")).await;
    let root = hive_protocol::ids::BlobHash(*blake3::hash(&std::fs::read(&from).unwrap()).as_bytes());
    let mut request = PullRequest::new(root, false, Target::Path(b.path("got")));
    request.hints = vec![hint];
    request.lookup = false;
    let transfer = b.files.pull(request).await.unwrap();
    let mut seen = transfer.watch();
    let view = soon("the stall", seen.wait_for(|v| v.stalled.is_some()))
        .await
        .unwrap()
        .clone();
    assert_eq!(view.stalled.unwrap().code, "file.no_provider");
    let a = at_port(150, at, &dir.path().join("a")).await;
    assert_eq!(share(&a, &from).await, root);
    soon("the pull", transfer.done()).await.unwrap();
    assert!(std::fs::read(b.path("got")).unwrap() == std::fs::read(&from).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_in_the_middle_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let skew = Arc::new(AtomicI64::new(0));
    let clock = {
        let skew = Arc::clone(&skew);
        Arc::new(move || {
            let Timestamp(at) = now();
            Timestamp(at.saturating_add_signed(skew.load(Ordering::Relaxed)))
        })
    };
    let config = || Config {
        limits_in: limit(6_000_000),
        limits_out: limit(8_000_000),
    };
    let (at_a, at_b) = (dir.path().join("a"), dir.path().join("b"));
    let a = start_on(
        net(155).await,
        155,
        &at_a,
        config(),
        Arc::clone(&clock) as hive_files::Clock,
    );
    let b = start_on(net(166).await, 166, &at_b, config(), clock);
    let from = a.path("file");
    let size = 24_000_000;
    std::fs::write(&from, noise(1, size)).unwrap();
    let root = share(&a, &from).await;
    let mut request = PullRequest::new(root, false, Target::Path(b.path("got")));
    request.hints = vec![a.hint()];
    request.lookup = false;
    let begun = Instant::now();
    let transfer = b.files.pull(request).await.unwrap();
    let mut seen = transfer.watch();
    const HOUR: i64 = 3_600_000;
    for (n, set) in [(1, -HOUR), (2, HOUR), (3, -20 * 365 * 24 * HOUR), (4, 0)] {
        let part = size as u64 * n / 6;
        drop(soon("a part", seen.wait_for(|v| v.done >= part)).await.unwrap());
        skew.store(set, Ordering::Relaxed);
    }
    soon("the pull", transfer.done()).await.unwrap();
    let took = begun.elapsed();
    assert!(std::fs::read(b.path("got")).unwrap() == noise(1, size));
    // 24 MB at 6 MB a second; each jump ahead may fill the buckets once.
    assert!(
        took >= Duration::from_millis(2500),
        "{took:?}: the limit did not hold"
    );
    // That it does not stand still for as long as the clock was set back is what the deadlines say.
}
