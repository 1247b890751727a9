//! The look at everything now and then: what has expired, what fell out of the queues, whether the books agree.

use super::{MAX_BYTES, MAX_OPEN, MAX_OPEN_DELIVERIES, OVERDUE_LOOKS, Outbox, Standing, row::Sent};
use hive_protocol::{
    ids::{NodeId, NoticeId},
    notice::MAX_NOTICES_IN_FLIGHT,
    time::Timestamp,
};

impl Outbox {
    pub(super) fn look(&mut self, now: Timestamp) {
        let mut over: Vec<(NoticeId, Vec<NodeId>)> = Vec::new();
        let mut live = Vec::new();
        for (id, sent) in &mut self.sent {
            if sent.live(now) {
                sent.overdue = 0;
                if !sent.ended() || sent.to.values().any(|d| !d.kept_at.is_empty()) {
                    live.push(*id);
                }
                continue;
            }
            sent.overdue = sent.overdue.saturating_add(1);
            if sent.overdue >= OVERDUE_LOOKS && !sent.ended() {
                let nodes = sent.to.iter().filter(|(_, d)| !d.standing.ended());
                over.push((*id, nodes.map(|(n, _)| *n).collect()));
            }
        }
        for id in live {
            self.queue(now, id);
        }
        for (id, nodes) in over {
            let cancelled = self.sent.get(&id).is_some_and(|s| s.cancelled);
            for node in nodes {
                let standing = if cancelled {
                    Standing::Cancelled
                } else {
                    Standing::Expired
                };
                self.stand(now, id, node, standing);
            }
            for peer in self.peers.values_mut() {
                peer.due.retain(|d| d.2 != id);
            }
        }
        self.peers.retain(|_, p| !p.idle() || p.failures > 0);
        let stale: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(_, p)| p.idle() && p.retry_at + self.config.retry.1 < now)
            .map(|(n, _)| *n)
            .collect();
        for node in stale {
            self.peers.remove(&node);
        }
        self.trim();
    }

    /// Whether the books agree with each other.
    ///
    /// # Errors
    /// What does not.
    pub fn check_invariants(&self) -> Result<(), String> {
        let open: usize = self.sent.values().map(Sent::open).sum();
        if open != self.open_deliveries || open > MAX_OPEN_DELIVERIES {
            return Err(format!("{open} open deliveries, noted {}", self.open_deliveries));
        }
        let bytes: usize = self.sent.values().map(|s| s.signed.bytes().len()).sum();
        if bytes != self.bytes || bytes > 2 * MAX_BYTES {
            return Err(format!("{bytes} bytes, noted {}", self.bytes));
        }
        if self.sent.values().filter(|s| !s.ended()).count() > MAX_OPEN {
            return Err("too many open notices".into());
        }
        for (node, peer) in &self.peers {
            if peer.flying.len() > MAX_NOTICES_IN_FLIGHT {
                return Err(format!("{} words in the air to {node:?}", peer.flying.len()));
            }
            for due in peer.due.iter().chain(peer.flying.values().map(|(d, _)| d)) {
                if !self.sent.contains_key(&due.2) {
                    return Err(format!("a word about {:?}, which is not there", due.2));
                }
            }
            if peer.flying.values().any(|(d, _)| peer.due.contains(d)) {
                return Err(format!("a word to {node:?} is in the air and due"));
            }
        }
        Ok(())
    }
}
