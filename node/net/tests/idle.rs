//! What an idle node costs, measured in a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "net/mesh.rs"]
#[allow(dead_code)]
mod mesh;

/// Most memory a process with two connected nodes may hold: the target is 40 MB for one with everything else.
const MAX_KB: u64 = 40_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_idle_nodes_are_small() {
    let mut a = mesh::member(1).await;
    let b = mesh::member(2).await;
    let one = rss();
    b.dial(&a).await;
    a.wait_connected(b.id()).await;
    let two = rss();
    println!("resident: {one} kB listening, {two} kB connected (two nodes in this process)");
    assert!(two <= MAX_KB, "{two} kB");
}

fn rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
