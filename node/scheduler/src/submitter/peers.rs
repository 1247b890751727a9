//! Workers that come, go and come back; authorities likewise.

use super::{Effect, MAX_NODES, NodeFacts, Submitter, Timer, job::LeaseNo, lease::Phase};
use hive_protocol::{
    ids::NodeId,
    time::Millis,
    work::{RESUME_GRACE, WorkMsg},
};

/// How often a connection to a worker with a lease is tried again.
pub(super) const CONNECT_EVERY: Millis = Millis(3000);

impl Submitter {
    /// A message proves a connection, whatever the shell said last.
    pub(super) fn heard_from(&mut self, node: NodeId) {
        self.peers.entry(node).or_default().connected = true;
    }

    pub(super) fn on_node(&mut self, node: NodeId, facts: NodeFacts) {
        if self.nodes.len() >= MAX_NODES && !self.nodes.contains_key(&node) {
            // One that is not there makes room; a mesh this large is otherwise only counted.
            let gone = self.nodes.iter().find(|(_, f)| !f.online).map(|(n, _)| *n);
            match gone {
                Some(gone) => {
                    self.nodes.remove(&gone);
                }
                None => return,
            }
        }
        let price = facts
            .price
            .or_else(|| self.nodes.get(&node).and_then(|f| f.price));
        self.nodes.insert(node, NodeFacts { price, ..facts });
    }

    fn leases_with(&self, node: NodeId) -> Vec<LeaseNo> {
        self.peers
            .get(&node)
            .map(|p| p.leases.iter().copied().collect())
            .unwrap_or_default()
    }

    pub(super) fn on_connected(&mut self, node: NodeId) {
        let now = self.now;
        self.heard_from(node);
        for no in self.leases_with(node) {
            let Some(lease) = self.leases.get_mut(&no) else {
                continue;
            };
            lease.connected = true;
            self.timers.clear(Timer::Connect(no));
            match lease.phase {
                Phase::Holding => {}
                Phase::Requesting => {
                    // The question or its answer may have been lost.
                    self.timers.set(Timer::Answer(no), now);
                }
                Phase::Active | Phase::Closing | Phase::Settling => {
                    if lease.gone {
                        continue;
                    }
                    if lease.phase != Phase::Settling {
                        self.timers.clear(Timer::Grace(no));
                    }
                    lease.link.reconnected(now);
                    let resume: WorkMsg = lease.link.resume();
                    self.send(node, resume);
                    self.dirty_leases.insert(no);
                }
            }
        }
    }

    pub(super) fn on_lost(&mut self, node: NodeId) {
        let now = self.now;
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.connected = false;
        }
        let mut connect = false;
        for no in self.leases_with(node) {
            let Some(lease) = self.leases.get_mut(&no) else {
                continue;
            };
            lease.connected = false;
            if !lease.gone && lease.phase != Phase::Holding {
                connect |= lease.phase != Phase::Settling;
                self.timers.set_earlier(Timer::Grace(no), now + RESUME_GRACE);
                self.timers.set(Timer::Connect(no), now + CONNECT_EVERY);
            }
        }
        if connect {
            self.effects.push_back(Effect::Connect { to: node });
        }
        // Offers of a node that is gone are not worth waiting for.
        for job in self.jobs.values_mut() {
            job.offers.remove(&node);
        }
        self.tidy_peer(node);
    }

    /// Forgets a peer of which nothing has to be remembered.
    pub(super) fn tidy_peer(&mut self, node: NodeId) {
        let now = self.now;
        if self
            .peers
            .get(&node)
            .is_some_and(|p| !p.connected && p.leases.is_empty() && p.pause_until <= now)
        {
            self.peers.remove(&node);
        }
        if self.peers.len() > MAX_NODES {
            self.peers.retain(|_, p| p.connected || !p.leases.is_empty());
        }
    }

    pub(super) fn on_authority(&mut self, up: bool) {
        self.authority_up = up;
        if !up {
            return;
        }
        let waiting: Vec<(LeaseNo, bool)> = self
            .leases
            .values()
            .filter(|l| match l.phase {
                Phase::Holding => !l.hold_asked,
                Phase::Settling => !l.paid && !l.capturing,
                _ => false,
            })
            .map(|l| (l.no, l.phase == Phase::Holding))
            .collect();
        for (no, holding) in waiting {
            if holding {
                self.ask_hold(no);
            } else {
                self.settle(no);
            }
        }
        self.touch_all();
    }
}
