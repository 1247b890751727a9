//! Events of the network: who is there, and gossip that must be judged before it is passed on.

use super::Daemon;
use hive_net::{GossipId, Judgement, NetEvent, Topic};
use hive_protocol::{
    codec,
    gossip::{DEMAND_LIFE, Demand, PRESENCE_LIFE, Presence, PriceNotice},
    ids::NodeId,
    member::MAX_ADDRS,
    resources::Role,
    time::{MAX_CLOCK_SKEW, Millis, Timestamp},
};
use hive_reach::PeerFacts;
use hive_scheduler::{
    submitter::{self, NodeFacts},
    worker,
};

/// Events kept while a join is under way: a newcomer meets few nodes before it is one of them.
const MAX_EARLY: usize = 256;

/// Whether a message said to be of `issued` and to live `life` is of now.
fn is_fresh(now: Timestamp, issued: Timestamp, life: Millis) -> bool {
    issued <= now + MAX_CLOCK_SKEW && now < issued + life + MAX_CLOCK_SKEW
}

impl Daemon {
    pub(super) fn net_event(&mut self, event: NetEvent) {
        let Some(mesh) = self.mesh.as_ref() else {
            // A join is under way: whom it has met is told when it has come to its end.
            if self.early.len() < MAX_EARLY && !matches!(event, NetEvent::Gossip { .. }) {
                self.early.push(event);
            }
            return;
        };
        mesh.reach.network(&event);
        match event {
            NetEvent::Connected {
                node, addr, hello, ..
            } => {
                tracing::info!(target: "hive_runtime::net", ?node, addr, "connected");
                if let Some(mesh) = self.mesh.as_mut() {
                    mesh.directory.connected(node, &addr, hello.listen);
                }
                self.desk.peer_up(node);
                self.events
                    .say("peer.connected", node, format!("connected over {addr}"));
            }
            NetEvent::JoinOnly {
                node,
                addr,
                admission,
                ..
            } => {
                tracing::info!(target: "hive_runtime::net", ?node, addr, ?admission, "no member");
            }
            NetEvent::Disconnected { node, member, cause } => {
                if member {
                    self.events.say("peer.disconnected", node, cause.clone());
                    self.desk.peer_down(node);
                }
                if let Some(mesh) = self.mesh.as_mut() {
                    mesh.directory.disconnected(&node);
                }
            }
            NetEvent::Gossip {
                id,
                source,
                topic,
                bytes,
            } => self.gossip(id, source, topic, &bytes),
            NetEvent::Listening { addr } => {
                tracing::info!(target: "hive_runtime::net", addr, "listening");
            }
            NetEvent::NotListening { addr } => {
                tracing::info!(target: "hive_runtime::net", addr, "listening no longer");
            }
            NetEvent::DialFailed { node, reasons } => {
                tracing::debug!(target: "hive_runtime::net", ?node, ?reasons, "dial failed");
            }
            NetEvent::PeerAddrs { node, addrs } => {
                if let Some(mesh) = self.mesh.as_mut() {
                    mesh.directory.learned(node, addrs);
                }
            }
            NetEvent::Path { node, path, addr } => {
                tracing::info!(target: "hive_runtime::net", ?node, ?path, addr, "another way");
                let mut text = path.name().to_owned();
                if let Some(relay) = path.relay() {
                    text = format!("{text} (through {})", self.node_label(&relay));
                } else if let Some(addr) = addr {
                    text = format!("{text} over {addr}");
                }
                self.events.say("peer.path", node, text);
                if path == hive_net::Path::Direct
                    && let Some(mesh) = self.mesh.as_mut()
                {
                    mesh.work.move_over(node);
                }
            }
            // How this node is reached: the core of that has heard it.
            NetEvent::Observed { .. }
            | NetEvent::Reached { .. }
            | NetEvent::Tested { .. }
            | NetEvent::Mapped { .. }
            | NetEvent::Unmapped { .. }
            | NetEvent::MapFailed { .. } => {
                tracing::debug!(target: "hive_runtime::reach", ?event, "about this node's addresses");
            }
        }
    }

    fn gossip(&mut self, id: GossipId, source: NodeId, topic: Topic, bytes: &[u8]) {
        let judgement = match topic {
            Topic::Demand => self.demand_heard(source, bytes),
            Topic::Presence => self.presence_heard(source, bytes),
            Topic::Price => self.price_heard(source, bytes),
        };
        if judgement != Judgement::Accept {
            self.metrics.gossip_refused.inc();
        }
        let Some(mesh) = self.mesh.as_ref() else { return };
        let net = mesh.net.clone();
        tokio::spawn(async move { net.validated(id, judgement).await });
    }

    fn demand_heard(&mut self, source: NodeId, bytes: &[u8]) -> Judgement {
        let now = self.clock.now();
        let Ok(demand) = codec::open::<Demand>(bytes) else {
            return Judgement::Reject;
        };
        let Some(mesh) = self.mesh.as_mut() else {
            return Judgement::Ignore;
        };
        if demand.submitter != source || demand.addrs.len() > MAX_ADDRS {
            return Judgement::Reject;
        }
        if !is_fresh(now, demand.issued, DEMAND_LIFE) {
            return Judgement::Ignore;
        }
        let Ok(credential) = mesh.standing.check(&demand.credential, source) else {
            return Judgement::Reject;
        };
        if let Some(worker) = mesh.worker.as_mut() {
            let input = worker::Input::DemandHeard {
                demand: Box::new(demand),
                credential: Box::new(credential),
            };
            worker.handle(now, input);
        }
        Judgement::Accept
    }

    fn presence_heard(&mut self, source: NodeId, bytes: &[u8]) -> Judgement {
        let now = self.clock.now();
        let Ok(presence) = codec::open::<Presence>(bytes) else {
            return Judgement::Reject;
        };
        let Some(mesh) = self.mesh.as_mut() else {
            return Judgement::Ignore;
        };
        if presence.node != source
            || presence.addrs.len() > MAX_ADDRS
            || presence.capabilities.runtimes.len() > 8
        {
            return Judgement::Reject;
        }
        if !is_fresh(now, presence.issued, PRESENCE_LIFE) {
            return Judgement::Ignore;
        }
        let Ok(credential) = mesh.standing.check(&presence.credential, source) else {
            return Judgement::Reject;
        };
        let facts = NodeFacts {
            credential,
            capabilities: presence.capabilities.clone(),
            free: presence.free.clone(),
            price: mesh.directory.price(&source),
            leaving: presence.leaving,
            online: true,
        };
        mesh.reach.heard(PeerFacts {
            node: source,
            account: facts.credential.account,
            score: facts.credential.score,
            relays: presence.roles.contains(&Role::Relay),
            addrs: presence.addrs.clone(),
            leaving: presence.leaving,
        });
        let fresh = mesh.directory.present(presence, &facts.credential);
        if let Some(known) = mesh.directory.get(&source) {
            self.desk.known(&known.view);
        }
        mesh.submitter.handle(
            now,
            submitter::Input::NodeSeen {
                node: source,
                facts: Box::new(facts),
            },
        );
        if fresh {
            let name = self.node_label(&source);
            self.events
                .say("node.online", source, format!("{name} is online"));
        }
        Judgement::Accept
    }

    fn price_heard(&mut self, source: NodeId, bytes: &[u8]) -> Judgement {
        let now = self.clock.now();
        let Ok(notice) = codec::open::<PriceNotice>(bytes) else {
            return Judgement::Reject;
        };
        let Some(mesh) = self.mesh.as_mut() else {
            return Judgement::Ignore;
        };
        if notice.node != source {
            return Judgement::Reject;
        }
        if !is_fresh(now, notice.issued, PRESENCE_LIFE) {
            return Judgement::Ignore;
        }
        mesh.directory.priced(source, notice.price);
        mesh.submitter.handle(
            now,
            submitter::Input::PriceSeen {
                node: source,
                price: notice.price,
            },
        );
        Judgement::Accept
    }
}
