//! Submitters that come and go, draining, and the end of a hold.

use super::{Timer, Worker, lease::Phase};
use hive_protocol::{
    ids::{LeaseId, NodeId},
    work::{RESUME_GRACE, WorkMsg},
};

impl Worker {
    /// A message proves a connection, whatever the shell said last.
    pub(super) fn heard_from(&mut self, node: NodeId) {
        self.peers.entry(node).or_default().connected = true;
    }

    pub(super) fn on_connected(&mut self, node: NodeId) {
        let now = self.now;
        let peer = self.peers.entry(node).or_default();
        peer.connected = true;
        let leases: Vec<LeaseId> = peer.leases.iter().copied().collect();
        for id in leases {
            let Some(lease) = self.leases.get_mut(&id) else {
                continue;
            };
            if lease.gone {
                // Given up while it was away: it must not wait for what nobody does.
                self.send(node, WorkMsg::Unknown { lease: id });
                continue;
            }
            lease.link.reconnected(now);
            let resume = lease.link.resume();
            if lease.phase != Phase::Settling {
                self.timers.clear(Timer::Grace(id));
            }
            self.send(node, resume);
            self.link_timer(id);
            self.dirty.insert(id);
        }
    }

    pub(super) fn on_lost(&mut self, node: NodeId) {
        let until = self.now + RESUME_GRACE;
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        peer.connected = false;
        if peer.leases.is_empty() {
            self.peers.remove(&node);
            return;
        }
        for id in &peer.leases {
            self.timers.set_earlier(Timer::Grace(*id), until);
        }
    }

    pub(super) fn on_grace(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        if lease.phase == Phase::Settling {
            lease.gone = true;
            self.settle(id);
            self.dirty.insert(id);
        } else {
            self.lost(id, "the submitter was away for too long");
        }
    }

    /// Nobody is there to report to: stop, and collect what was countersigned.
    pub(super) fn lost(&mut self, id: LeaseId, why: &str) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        lease.gone = true;
        if lease.phase != Phase::Settling {
            lease.recall_queue(why);
            lease.running.clear();
            lease.results.clear();
            lease.started.clear();
            self.over(id, "lease.lost", why);
        }
        self.timers.clear(Timer::Grace(id));
        self.settle(id);
        self.dirty.insert(id);
    }

    /// Gives the submitter of an ended lease some time (again) for the last countersignature.
    pub(super) fn close_grace(&mut self, id: LeaseId) {
        if self
            .leases
            .get(&id)
            .is_some_and(|l| l.phase == Phase::Settling && !l.gone)
        {
            self.timers
                .set(Timer::Grace(id), self.now + self.config.close_grace);
        }
    }

    pub(super) fn on_expiry(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get(&id) else {
            return;
        };
        if lease.is_open() {
            // Half of the margin is for what runs, half for the capture.
            let half = hive_protocol::time::Millis(self.config.expiry_margin.0 / 2);
            self.timers.set(Timer::Expiry(id), lease.grant.expires - half);
            self.end(id, "lease.hold_expired", "the hold is about to expire", false);
        } else {
            self.end(id, "lease.hold_expired", "the hold is about to expire", true);
        }
    }

    pub(super) fn on_drain(&mut self, on: bool) {
        self.draining = on;
        if !on {
            self.timers.clear(Timer::Drain);
            return;
        }
        let open: Vec<LeaseId> = self
            .leases
            .values()
            .filter(|l| l.phase != Phase::Settling)
            .map(|l| l.id)
            .collect();
        for id in open {
            self.end(id, "lease.drained", "this worker is leaving", false);
        }
        self.timers.set(Timer::Drain, self.now + self.config.drain_grace);
    }

    pub(super) fn on_drain_over(&mut self) {
        let ids: Vec<LeaseId> = self.leases.keys().copied().collect();
        for id in ids {
            self.cancel_running(id, true);
        }
    }
}
