//! Signs of life: heartbeats and presence, price notices, renewal of the credential, the registry's list.

use crate::{
    authority_link::AuthorityLink,
    daemon::Vital,
    inbox::Inbox,
    membership::Standing,
    port::{Kind, Refused},
    reach::Told,
};
use hive_net::{NetHandle, Topic};
use hive_protocol::{
    authority::{Answer, Ask, HEARTBEAT_EVERY, Heartbeat, MAX_PAGE, NodeView},
    codec,
    credential::CREDENTIAL_LIFE,
    gossip::{Presence, PriceNotice},
    member::MAX_ADDRS,
    money::Price,
    resources::{Capabilities, Role},
    time::{Millis, Timestamp},
};
use std::time::Duration;
use tokio::{
    sync::{mpsc, watch},
    time::MissedTickBehavior,
};

/// Changes of what is free are told at most this often.
const AT_MOST_EVERY: Duration = Duration::from_millis(500);
/// Pages of the registry read at once: with [`MAX_PAGE`] the 10,000 nodes a daemon remembers.
const MAX_PAGES: usize = 50;

/// What the task needs.
pub struct Beat {
    /// The network.
    pub net: NetHandle,
    /// Who we are.
    pub standing: Standing,
    /// The authorities.
    pub authority: AuthorityLink,
    /// What this node offers.
    pub capabilities: Capabilities,
    /// What it asks.
    pub price: Price,
    /// Its role.
    pub role: Role,
    /// How it is, from the loop.
    pub vital: watch::Receiver<Vital>,
    /// Where it is reached, and whether it relays.
    pub told: watch::Receiver<Told>,
    /// To the loop.
    pub post: mpsc::Sender<Inbox>,
    /// Becomes true when an authority has heard of this node and said who else is there.
    pub introduced: watch::Sender<bool>,
    /// When the last presence was issued.
    pub said: Timestamp,
}

/// Beats until the loop is gone.
pub async fn run(mut beat: Beat) {
    let mut tick = tokio::time::interval(Duration::from_millis(HEARTBEAT_EVERY.0));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut up = beat.authority.up();
    let mut first = true;
    loop {
        let full = tokio::select! {
            _ = tick.tick() => true,
            changed = beat.vital.changed() => {
                if changed.is_err() {
                    return;
                }
                false
            }
            changed = beat.told.changed() => {
                if changed.is_err() {
                    return;
                }
                false
            }
            () = came_up(&mut up) => true,
        };
        beat.presence().await;
        if full || first {
            first = false;
            beat.price().await;
            // Until one answers there is nothing to ask: when it does, all this is done again.
            if beat.authority.is_up() {
                beat.renew().await;
                beat.heartbeat().await;
                beat.registry().await;
            }
            if beat.post.is_closed() {
                return;
            }
        } else {
            if beat.authority.is_up() {
                beat.heartbeat().await;
            }
            tokio::time::sleep(AT_MOST_EVERY).await;
        }
    }
}

/// Resolves when an authority begins to answer.
async fn came_up(up: &mut Option<watch::Receiver<bool>>) {
    match up {
        Some(receiver) => loop {
            if receiver.changed().await.is_err() {
                return std::future::pending().await;
            }
            if *receiver.borrow_and_update() {
                return;
            }
        },
        None => std::future::pending().await,
    }
}

impl Beat {
    fn addrs(&self) -> Vec<String> {
        let told = self.told.borrow();
        told.addrs.iter().take(MAX_ADDRS).cloned().collect()
    }

    fn roles(&self) -> Vec<Role> {
        let mut roles = vec![self.role];
        if self.authority.up().is_none() {
            roles.insert(0, Role::Authority);
        }
        if self.told.borrow().relaying && !roles.contains(&Role::Relay) {
            roles.push(Role::Relay);
        }
        roles
    }

    async fn presence(&mut self) {
        let vital = self.vital.borrow_and_update().clone();
        self.told.borrow_and_update();
        let Some((credential, _)) = self.standing.credential() else {
            return;
        };
        // Each is newer than the one before, also within a millisecond: what is not newer is not heard.
        self.said = self.standing.now().max(self.said + Millis(1));
        let presence = Presence {
            node: self.standing.node(),
            credential,
            roles: self.roles(),
            capabilities: self.capabilities.clone(),
            free: vital.free,
            running: vital.running,
            addrs: self.addrs(),
            leaving: vital.leaving,
            issued: self.said,
        };
        self.publish(Topic::Presence, codec::seal(&presence)).await;
    }

    async fn price(&self) {
        if self.role != Role::Worker || self.standing.credential().is_none() {
            return;
        }
        let notice = PriceNotice {
            node: self.standing.node(),
            price: self.price,
            issued: self.standing.now(),
        };
        self.publish(Topic::Price, codec::seal(&notice)).await;
    }

    async fn publish(&self, topic: Topic, sealed: Result<Vec<u8>, codec::CodecError>) {
        match sealed {
            Ok(bytes) => {
                if let Err(e) = self.net.publish(topic, bytes).await {
                    tracing::debug!(target: "hive_runtime::gossip", code = e.code(), "not published: {e}");
                }
            }
            Err(e) => tracing::error!(target: "hive_runtime::gossip", "cannot encode: {e}"),
        }
    }

    async fn renew(&self) {
        let half = Millis(CREDENTIAL_LIFE.0 / 2);
        let due = self
            .standing
            .last_credential()
            .is_none_or(|c| self.standing.now() + half >= c.expires);
        if !due {
            return;
        }
        match self.authority.ask(Ask::Renew).await {
            Ok(Answer::Credential(signed)) => {
                let _ = self.post.send(Inbox::Credential(Box::new(signed))).await;
            }
            Ok(_) => {}
            Err(refusal) if refusal.code == "authority.unreachable" || refusal.code == "authority.busy" => {}
            Err(refusal) => {
                let refused = Refused::new(
                    Kind::Denied,
                    &format!("member.{}", refusal.code.replace("member.", "")),
                    refusal.detail,
                );
                let _ = self.post.send(Inbox::CredentialRefused(refused)).await;
            }
        }
    }

    async fn heartbeat(&self) {
        let vital = self.vital.borrow().clone();
        let heartbeat = Heartbeat {
            capabilities: self.capabilities.clone(),
            free: vital.free,
            running: vital.running,
            price: self.price,
            addrs: self.addrs(),
        };
        if let Err(refusal) = self.authority.ask(Ask::Heartbeat(heartbeat)).await {
            tracing::debug!(target: "hive_runtime", code = refusal.code, "heartbeat: {}", refusal.detail);
        }
    }

    async fn registry(&self) {
        let Some(nodes) = registered(&self.authority).await else {
            return;
        };
        // The loop is gone, then: nobody needs to know.
        let _ = self.post.send(Inbox::Registry(nodes)).await;
        self.introduced.send_replace(true);
    }
}

/// All nodes of the registry, as far as this daemon remembers so many; `None` when no authority says.
pub async fn registered(authority: &AuthorityLink) -> Option<Vec<NodeView>> {
    let mut nodes: Vec<NodeView> = Vec::new();
    let mut after = None;
    for _ in 0..MAX_PAGES {
        let Ok(Answer::Nodes(page)) = authority.ask(Ask::Nodes { after }).await else {
            return None;
        };
        let full = page.len() >= MAX_PAGE;
        after = page.last().map(|n| n.node);
        nodes.extend(page.into_iter().take(MAX_PAGE));
        if !full {
            break;
        }
    }
    Some(nodes)
}
