//! The relay's book as others may see it.

use super::{
    book::{Book, Circuit, left},
    limits::{CircuitView, RelayLoad, RelayPeer},
};
use hive_protocol::ids::NodeId;
use std::{collections::BTreeMap, time::Duration};

/// Nodes shown by [`Book::peers`].
const MAX_SHOWN: usize = 4096;

impl Book {
    pub(super) fn load(&mut self, now: Duration) -> RelayLoad {
        self.tidy(now);
        let limits = &self.limits;
        RelayLoad {
            draining: self.draining,
            reservations: self.reservations.len(),
            reservations_left: limits.reservations.saturating_sub(self.reservations.len()),
            circuits: self.circuits.len(),
            circuits_left: limits.circuits.saturating_sub(self.circuits.len()),
            bytes_left_today: (limits.total_day > 0).then(|| left(limits.total_day, self.today)),
            bytes_today: self.today,
            rate: self.speed.rate(now),
        }
    }

    /// The nodes with a reservation, a circuit or bytes today; the busiest first.
    pub(super) fn peers(&mut self, now: Duration) -> Vec<RelayPeer> {
        self.tidy(now);
        let mut shown: BTreeMap<NodeId, RelayPeer> = self
            .users
            .peers()
            .filter(|(_, used)| used.circuits() > 0 || used.today > 0)
            .map(|(node, used)| {
                let peer = RelayPeer {
                    node: *node,
                    reserved_for: None,
                    circuits: used.circuits(),
                    bytes_today: used.today,
                };
                (*node, peer)
            })
            .collect();
        for (node, (ends, _)) in &self.reservations {
            let peer = shown.entry(*node).or_insert(RelayPeer {
                node: *node,
                reserved_for: None,
                circuits: 0,
                bytes_today: 0,
            });
            peer.reserved_for = Some(ends.saturating_sub(now));
        }
        let mut list: Vec<RelayPeer> = shown.into_values().collect();
        list.sort_by_key(|peer| std::cmp::Reverse((peer.bytes_today, peer.circuits)));
        list.truncate(MAX_SHOWN);
        list
    }

    pub(super) fn circuits(&self, now: Duration) -> Vec<CircuitView> {
        let view = |c: &Circuit| CircuitView {
            from: c.from.0,
            to: c.to.0,
            forth: c.passed[0],
            back: c.passed[1],
            age: now.saturating_sub(c.since),
            tcp: c.tcp,
        };
        self.circuits.values().map(view).collect()
    }
}
