//! Connections that came in lately: what a test of this node's own address looks for.

use hive_protocol::ids::NodeId;
use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Instant,
};
use tokio::sync::Notify;

/// Arrivals remembered: those of the seconds a test takes.
const MAX_ARRIVALS: usize = 256;

/// A direct connection that came in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// Who.
    pub node: NodeId,
    /// Where it came from.
    pub ip: IpAddr,
    /// Whether nothing had been sent there lately.
    pub stranger: bool,
    /// When.
    pub at: Instant,
}

/// The latest arrivals.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    list: Mutex<VecDeque<Arrival>>,
    news: Notify,
}

impl Arrivals {
    /// A connection has come in.
    pub(crate) fn note(&self, arrival: Arrival) {
        {
            let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
            if list.len() >= MAX_ARRIVALS {
                list.pop_front();
            }
            list.push_back(arrival);
        }
        self.news.notify_waiters();
    }

    fn find(&self, node: NodeId, since: Instant) -> Option<Arrival> {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.iter().find(|a| a.node == node && a.at >= since).copied()
    }

    /// The first connection of this node since then; waits for it until the deadline.
    pub(crate) async fn wait(&self, node: NodeId, since: Instant, deadline: Instant) -> Option<Arrival> {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            // Registered before looking: nothing that comes in between is missed.
            news.as_mut().enable();
            if let Some(found) = self.find(node, since) {
                return Some(found);
            }
            if tokio::time::timeout_at(deadline.into(), news).await.is_err() {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::{sync::Arc, time::Duration};

    fn arrival(n: u8, at: Instant) -> Arrival {
        Arrival {
            node: NodeId([n; 32]),
            ip: [192, 0, 2, n].into(),
            stranger: true,
            at,
        }
    }

    #[tokio::test]
    async fn an_arrival_is_found_now_or_later_and_old_ones_are_not() {
        let arrivals = Arc::new(Arrivals::default());
        let now = Instant::now();
        let later = now + Duration::from_millis(1);
        arrivals.note(arrival(1, now));
        let node = NodeId([1; 32]);
        let deadline = now + Duration::from_secs(10);
        assert!(arrivals.wait(node, now, deadline).await.is_some());
        assert!(arrivals.wait(node, later, now).await.is_none());
        let waiting = tokio::spawn({
            let arrivals = Arc::clone(&arrivals);
            async move { arrivals.wait(node, later, deadline).await }
        });
        tokio::task::yield_now().await;
        arrivals.note(arrival(2, later));
        arrivals.note(arrival(1, later));
        assert_eq!(waiting.await.unwrap().unwrap().at, later);
        for _ in 0..2 * MAX_ARRIVALS {
            arrivals.note(arrival(3, later));
        }
        assert_eq!(arrivals.list.lock().unwrap().len(), MAX_ARRIVALS);
    }
}
