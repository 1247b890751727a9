//! Deadlines: the gate, strangers, duplicate connections, more connections than comfortable.

use super::{Node, room::Kept};
use crate::counters::count;
use std::{collections::BTreeSet, time::Instant};

impl Node {
    pub(super) fn on_tick(&mut self) {
        let now = Instant::now();
        self.waiting.sweep();
        self.queries.retain(|_, query| !query.given_up());
        self.sweep_records(now);
        self.refresh_routes(now);
        for peer in self.table.overdue(now) {
            self.gate_overdue(peer);
        }
        for (peer, connection) in self.table.duplicates(now) {
            count(&self.shared.tally.connections_duplicate);
            tracing::debug!(%peer, %connection, "closing a duplicate connection");
            self.swarm.close_connection(connection);
        }
        self.mend_greetings(now);
        self.push_addrs();
        self.be_seen(now);
        self.route_late(now);
        let neighbours: BTreeSet<_> = {
            let gossip = self.swarm.behaviour_mut().gossip.inner();
            gossip.all_mesh_peers().copied().collect()
        };
        self.sweep_bulk(now);
        let mut idle = self.table.idle_strangers(now);
        let busy = self.shared.bulk.kept();
        let kept = Kept {
            neighbours: &neighbours,
            busy: &busy,
            guard: &self.guard,
        };
        idle.extend(self.table.surplus(now, self.comfortable, &kept));
        for peer in idle {
            count(&self.shared.tally.connections_idle_closed);
            // An error means that it is gone already.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }
}
