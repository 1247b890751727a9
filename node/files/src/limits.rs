//! How fast: the two rate cores (bytes in, bytes out) behind their locks, and waiting for a turn.

use hive_protocol::{
    ids::NodeId,
    time::{Millis, Timestamp},
};
use hive_transfer::limits::{self, Verdict};
pub use hive_transfer::limits::{Class, LimitsConfig, Schedule};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// To this node.
    In,
    /// From this node.
    Out,
}

/// The clock of this crate's user.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

struct Way {
    core: Mutex<limits::Limits>,
    /// Whether nothing is limited: then nobody takes the lock.
    free: AtomicBool,
}

impl Way {
    fn new(config: LimitsConfig) -> Self {
        Self {
            free: AtomicBool::new(is_free(&config)),
            core: Mutex::new(limits::Limits::new(config)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, limits::Limits> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The limits in force. Clones share them.
#[derive(Clone)]
pub struct Limits {
    ways: Arc<[Way; 2]>,
    clock: Clock,
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Limits")
    }
}

impl Limits {
    /// These limits.
    #[must_use]
    pub fn new(inbound: LimitsConfig, outbound: LimitsConfig, clock: Clock) -> Self {
        Self {
            ways: Arc::new([Way::new(inbound), Way::new(outbound)]),
            clock,
        }
    }

    fn way(&self, direction: Direction) -> &Way {
        let [inbound, outbound] = &*self.ways;
        match direction {
            Direction::In => inbound,
            Direction::Out => outbound,
        }
    }

    /// Changes the limits of one direction; what waits goes on under the new ones within a second.
    pub fn set(&self, direction: Direction, config: LimitsConfig) {
        let way = self.way(direction);
        way.free.store(is_free(&config), Ordering::Release);
        way.lock().set((self.clock)(), config);
    }

    /// The limit of the node in force now, in bytes a second.
    #[must_use]
    pub fn rate(&self, direction: Direction) -> Option<u64> {
        self.way(direction).lock().rate((self.clock)())
    }

    /// The limit that holds this peer's bytes back now, in bytes a second.
    #[must_use]
    pub fn reason(&self, direction: Direction, class: Class, node: NodeId) -> Option<u64> {
        let way = self.way(direction);
        if way.free.load(Ordering::Acquire) {
            return None;
        }
        way.lock().limit((self.clock)(), class, node)
    }

    /// Waits until some of these bytes may move and says how many, at least one. `alive` is counted up while it
    /// waits, so that who watches the stream knows that it is our own doing.
    pub async fn take(
        &self,
        direction: Direction,
        class: Class,
        node: NodeId,
        bytes: usize,
        alive: &AtomicU64,
    ) -> usize {
        let way = self.way(direction);
        while !way.free.load(Ordering::Acquire) {
            let now = (self.clock)();
            let verdict = way.lock().ask(now, class, node, bytes as u64);
            match verdict {
                Verdict::Grant(n) => return usize::try_from(n).unwrap_or(bytes).clamp(1, bytes.max(1)),
                Verdict::Wait(Millis(ms)) => {
                    alive.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(ms.clamp(1, 1000))).await;
                }
            }
        }
        bytes
    }
}

fn is_free(config: &LimitsConfig) -> bool {
    let free = |s: &Schedule| s.base.is_none() && s.hours.iter().all(|(_, rate)| rate.is_none());
    free(&config.node)
        && config.classes.iter().all(free)
        && free(&config.peer)
        && config.peers.values().all(free)
}
