//! What an honest member notices: round trips on a stream, joining, and what the process holds.

use crate::mesh::{TestNode, soon};
use hive_net::{Inbound, NetStream, ProtocolPolicy};
use hive_protocol::ids::NodeId;
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// Tests that look at memory or at time are alone; the others run beside each other.
static ROOM: RwLock<()> = RwLock::const_new(());

/// Waits until no other test runs, and keeps them away.
pub async fn alone() -> RwLockWriteGuard<'static, ()> {
    ROOM.write().await
}

/// Runs beside others.
pub async fn beside_others() -> RwLockReadGuard<'static, ()> {
    ROOM.read().await
}

pub const ECHO: &str = "/test/echo/1";

/// Answers every byte.
pub fn echoing(node: &TestNode) {
    let mut inbound: Inbound = node.net.serve(ECHO, ProtocolPolicy::default()).unwrap();
    tokio::spawn(async move {
        while let Some((_, mut stream)) = inbound.accept().await {
            tokio::spawn(async move {
                let mut byte = [0; 1];
                while stream.read_exact(&mut byte).await.is_ok() {
                    if stream.write_all(&byte).await.is_err() || stream.flush().await.is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// A stream whose round trips can be measured.
pub struct Pulse {
    stream: NetStream,
}

impl Pulse {
    pub async fn to(from: &TestNode, node: NodeId) -> Self {
        let stream = soon("the stream", from.net.open(node, ECHO)).await.unwrap();
        Self { stream }
    }

    /// The time 99 of 100 round trips take at most.
    pub async fn p99(&mut self, trips: usize) -> Duration {
        let mut times = Vec::new();
        for _ in 0..trips {
            let began = Instant::now();
            let mut byte = [1; 1];
            soon("a round trip", async {
                self.stream.write_all(&byte).await.unwrap();
                self.stream.flush().await.unwrap();
                self.stream.read_exact(&mut byte).await.unwrap();
            })
            .await;
            times.push(began.elapsed());
        }
        times.sort();
        times[(times.len() - 1) * 99 / 100]
    }
}

/// Resident memory of this process in KiB.
pub fn rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
