//! Events of the network: who is there, and gossip that must be judged before it is passed on.

use super::{Daemon, heard, nodes::News};
use hive_net::{GossipId, Judgement, NetEvent, Topic};
use hive_protocol::{ids::NodeId, resources::Role};
use hive_reach::PeerFacts;
use hive_scheduler::{
    submitter::{self, NodeFacts},
    worker,
};

/// Events kept while a join is under way: a newcomer meets few nodes before it is one of them.
const MAX_EARLY: usize = 256;

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
            NetEvent::Carried { .. }
            | NetEvent::Observed { .. }
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
        let heard = match topic {
            Topic::Demand => self.demand_heard(source, bytes),
            Topic::Presence => self.presence_heard(source, bytes),
            Topic::Price => self.price_heard(source, bytes),
        };
        let judgement = heard.err().unwrap_or(Judgement::Accept);
        if judgement != Judgement::Accept {
            self.metrics.gossip_refused.inc();
        }
        let Some(mesh) = self.mesh.as_ref() else { return };
        let net = mesh.net.clone();
        tokio::spawn(async move { net.validated(id, judgement).await });
    }

    fn demand_heard(&mut self, source: NodeId, bytes: &[u8]) -> Result<(), Judgement> {
        let now = self.clock.now();
        let mesh = self.mesh.as_mut().ok_or(Judgement::Ignore)?;
        let (demand, credential) = heard::demand(&mesh.standing, now, source, bytes)?;
        if let Some(worker) = mesh.worker.as_mut() {
            let input = worker::Input::DemandHeard {
                demand: Box::new(demand),
                credential: Box::new(credential),
            };
            worker.handle(now, input);
        }
        Ok(())
    }

    fn presence_heard(&mut self, source: NodeId, bytes: &[u8]) -> Result<(), Judgement> {
        let now = self.clock.now();
        let mesh = self.mesh.as_mut().ok_or(Judgement::Ignore)?;
        let (presence, credential) = heard::presence(&mesh.standing, now, source, bytes)?;
        let peer = PeerFacts {
            node: source,
            account: credential.account,
            score: credential.score,
            relays: presence.roles.contains(&Role::Relay),
            addrs: presence.addrs.clone(),
            leaving: presence.leaving,
        };
        let facts = NodeFacts {
            capabilities: presence.capabilities.clone(),
            free: presence.free.clone(),
            price: mesh.directory.price(&source),
            leaving: presence.leaving,
            online: true,
            credential,
        };
        let news = mesh.directory.present(presence, &facts.credential);
        if news == News::Old {
            return Err(Judgement::Ignore);
        }
        mesh.reach.heard(peer);
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
        if news == News::Came {
            let name = self.node_label(&source);
            self.events
                .say("node.online", source, format!("{name} is online"));
        }
        Ok(())
    }

    fn price_heard(&mut self, source: NodeId, bytes: &[u8]) -> Result<(), Judgement> {
        let now = self.clock.now();
        let notice = heard::price(now, source, bytes)?;
        let mesh = self.mesh.as_mut().ok_or(Judgement::Ignore)?;
        if !mesh.directory.priced(&notice) {
            return Err(Judgement::Ignore);
        }
        mesh.submitter.handle(
            now,
            submitter::Input::PriceSeen {
                node: source,
                price: notice.price,
            },
        );
        Ok(())
    }
}
