//! Who is in the mesh: the authorities' registry, corrected by what is heard by gossip and seen by connections.

use super::Daemon;
use crate::port::{Kind, NodeHandle, NodeRow, Refused};
use hive_protocol::{
    authority::{Heartbeat, NodeView},
    credential::{Credential, Tier},
    gossip::{PRESENCE_LIFE, Presence, PriceNotice},
    ids::{AccountId, NodeId},
    money::Price,
    resources::Role,
    time::Timestamp,
};
use hive_reach::PeerFacts;
use hive_scheduler::submitter::{self, NodeFacts};
use std::collections::BTreeMap;

/// Nodes remembered; the registry's order decides who is left out beyond it.
const MAX_NODES: usize = 10_000;

/// One node as this daemon knows it.
#[derive(Debug, Clone)]
pub struct Known {
    pub view: NodeView,
    pub heard: Timestamp,
    /// Of which moment its last presence is, by its own clock: whoever brings an older one again is not believed. The
    /// registry's word is by another clock and not compared.
    presence: Timestamp,
    /// The same of its price.
    price: Timestamp,
}

/// What a presence has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The node was not known to be online.
    Came,
    /// It is as it was, or says something new of itself.
    Same,
    /// Nothing: as new a presence, or a newer one, is held.
    Old,
}

/// All nodes this daemon knows of.
#[derive(Debug, Default)]
pub struct Directory {
    nodes: BTreeMap<NodeId, Known>,
    /// Peers that are connected before anything else is known of them.
    connected: BTreeMap<NodeId, (String, Vec<String>)>,
}

impl Directory {
    pub fn connected(&mut self, node: NodeId, addr: &str, listen: Vec<String>) {
        self.connected.insert(node, (addr.to_owned(), listen));
    }

    pub fn disconnected(&mut self, node: &NodeId) {
        self.connected.remove(node);
    }

    pub fn learned(&mut self, node: NodeId, addrs: Vec<String>) {
        if let Some(known) = self.nodes.get_mut(&node) {
            known.view.heartbeat.addrs = addrs;
        }
    }

    /// Takes the registry's word; what gossip says later is newer. The registry knows the role a node was admitted
    /// to, the node itself which it has taken besides (an authority that works): both count.
    pub fn registered(&mut self, mut view: NodeView) {
        if self.nodes.len() >= MAX_NODES && !self.nodes.contains_key(&view.node) {
            return;
        }
        let (node, seen) = (view.node, view.last_seen);
        for role in self
            .nodes
            .get(&node)
            .into_iter()
            .flat_map(|k| k.view.roles.clone())
        {
            if !view.roles.contains(&role) {
                view.roles.push(role);
            }
        }
        let known = self.nodes.entry(node).or_insert_with(|| Known {
            view: view.clone(),
            heard: seen,
            presence: Timestamp(0),
            price: Timestamp(0),
        });
        if known.heard <= seen || known.view.last_seen == Timestamp(0) {
            known.heard = seen;
            known.view = view;
        } else {
            let (score, tier, online) = (view.score, view.tier, view.online);
            // A presence carries no price: until one is heard the registry's is the newest.
            let price = if known.price == Timestamp(0) {
                view.heartbeat.price
            } else {
                known.view.heartbeat.price
            };
            known.view = NodeView {
                heartbeat: Heartbeat {
                    price,
                    ..known.view.heartbeat.clone()
                },
                ..view
            };
            (known.view.score, known.view.tier, known.view.online) = (score, tier, online);
        }
    }

    /// Takes a presence unless it is older than the one held.
    pub fn present(&mut self, presence: Presence, credential: &Credential) -> News {
        let node = presence.node;
        let before = self.nodes.get(&node);
        if before.is_none() && self.nodes.len() >= MAX_NODES {
            return News::Same;
        }
        if before.is_some_and(|k| presence.issued <= k.presence) {
            return News::Old;
        }
        let came = !presence.leaving && before.is_none_or(|k| !k.view.online);
        let (price, priced) = before.map_or_else(Default::default, |k| (k.view.heartbeat.price, k.price));
        let view = NodeView {
            node,
            account: credential.account,
            name: credential.name.clone(),
            roles: presence.roles,
            score: credential.score,
            tier: Tier::of(credential.score),
            online: !presence.leaving,
            last_seen: presence.issued,
            heartbeat: Heartbeat {
                capabilities: presence.capabilities,
                free: presence.free,
                running: presence.running,
                price,
                addrs: presence.addrs,
            },
        };
        let known = Known {
            view,
            heard: presence.issued,
            presence: presence.issued,
            price: priced,
        };
        self.nodes.insert(node, known);
        if came { News::Came } else { News::Same }
    }

    /// Takes the price of a node that is known; false when as new a price, or a newer one, is held.
    pub fn priced(&mut self, notice: &PriceNotice) -> bool {
        let Some(known) = self.nodes.get_mut(&notice.node) else {
            return true;
        };
        if notice.issued <= known.price {
            return false;
        }
        known.price = notice.issued;
        known.view.heartbeat.price = notice.price;
        true
    }

    #[must_use]
    pub fn price(&self, node: &NodeId) -> Option<Price> {
        self.nodes.get(node).map(|k| k.view.heartbeat.price)
    }

    #[must_use]
    pub fn addrs(&self, node: &NodeId) -> Vec<String> {
        self.nodes
            .get(node)
            .map(|k| k.view.heartbeat.addrs.clone())
            .unwrap_or_default()
    }

    #[must_use]
    pub fn name(&self, node: &NodeId) -> Option<&str> {
        self.nodes.get(node).map(|k| k.view.name.as_str())
    }

    /// Whether it is here: connected, or heard of within the life of a presence.
    #[must_use]
    pub fn is_online(&self, known: &Known, now: Timestamp) -> bool {
        known.view.online
            && (self.connected.contains_key(&known.view.node) || now < known.heard + PRESENCE_LIFE)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Known> {
        self.nodes.values()
    }

    #[must_use]
    pub fn get(&self, node: &NodeId) -> Option<&Known> {
        self.nodes.get(node)
    }
}

impl Daemon {
    /// The registry's list has come.
    pub(super) fn registry_heard(&mut self, nodes: Vec<NodeView>) {
        let now = self.clock.now();
        let mut gone = Vec::new();
        let Some(mesh) = self.mesh.as_mut() else { return };
        for mut view in nodes {
            let node = view.node;
            if node == mesh.standing.node() && !view.roles.contains(&mesh.membership.role) {
                // Our own presence does not come back to us.
                view.roles.push(mesh.membership.role);
            }
            let was = mesh
                .directory
                .get(&node)
                .map(|k| mesh.directory.is_online(k, now));
            mesh.directory.registered(view);
            let Some(known) = mesh.directory.get(&node) else {
                continue;
            };
            self.desk.known(&known.view);
            let online = mesh.directory.is_online(known, now);
            let v = &known.view;
            mesh.reach.heard(PeerFacts {
                node,
                account: v.account,
                score: v.score,
                relays: v.roles.contains(&Role::Relay),
                addrs: v.heartbeat.addrs.clone(),
                leaving: !online,
            });
            if was == Some(true) && !online {
                gone.push(node);
            }
            if known.view.roles.contains(&Role::Worker)
                || known.view.heartbeat.capabilities.total.cpu_milli > 0
            {
                let v = &known.view;
                // What the registry says is an authority's word, carried on an authenticated stream: as good as a
                // credential for explaining and choosing; leases need the credential itself.
                let credential = Credential {
                    network: mesh.standing.network(),
                    node,
                    account: v.account,
                    name: v.name.clone(),
                    score: v.score,
                    containers: v.heartbeat.capabilities.containers,
                    roles: v.roles.clone(),
                    issued: v.last_seen,
                    expires: now + PRESENCE_LIFE,
                };
                let facts = Box::new(NodeFacts::of_heartbeat(credential, &v.heartbeat, online));
                mesh.submitter
                    .handle(now, submitter::Input::NodeSeen { node, facts });
            }
        }
        for node in gone {
            let name = self.node_label(&node);
            self.events
                .say("node.offline", node, format!("{name} is offline"));
        }
    }

    /// A node's name, or the beginning of its id.
    pub(super) fn node_label(&self, node: &NodeId) -> String {
        let name = self.mesh.as_ref().and_then(|m| m.directory.name(node));
        name.map_or_else(|| node.short(), str::to_owned)
    }

    /// All nodes for people; the ways to them come from the network.
    pub(super) fn node_rows(&self) -> Result<Vec<NodeRow>, Refused> {
        let mesh = self.mesh.as_ref().ok_or_else(unjoined)?;
        let now = self.clock.now();
        let me = mesh.standing.node();
        let row = |known: &Known| {
            let v = &known.view;
            let is_me = v.node == me;
            let online = is_me || mesh.directory.is_online(known, now);
            NodeRow {
                node: v.node.to_string(),
                account: v.account.to_string(),
                name: v.name.clone(),
                roles: v.roles.iter().map(|r| r.name().to_owned()).collect(),
                state: if online { "online" } else { "offline" }.to_owned(),
                path: if is_me { "self" } else { "none" }.to_owned(),
                addr: String::new(),
                rtt_us: None,
                score: v.score,
                tier: v.tier.name().to_owned(),
                capabilities: v.heartbeat.capabilities.clone(),
                free: v.heartbeat.free.clone(),
                running: v.heartbeat.running,
                price: v.heartbeat.price.per_gfuel.0,
                last_seen: known.heard.0,
                addrs: v.heartbeat.addrs.clone(),
            }
        };
        Ok(mesh.directory.iter().map(row).collect())
    }

    /// The account behind a text: an account id, a node id or a node's name.
    pub(super) fn account_of(&self, text: &str) -> Result<AccountId, Refused> {
        if let Ok(account) = text.parse::<AccountId>() {
            return Ok(account);
        }
        let rows = self.node_rows()?;
        let row = find_node(&rows, text)?;
        row.account
            .parse()
            .map_err(|_| NodeHandle::not_found("account", text))
    }
}

/// Finds one node by id, by an unambiguous beginning of it, or by name.
pub(super) fn find_node<'a>(rows: &'a [NodeRow], text: &str) -> Result<&'a NodeRow, Refused> {
    if let Some(row) = rows.iter().find(|r| r.name == text || r.node == text) {
        return Ok(row);
    }
    let mut found = rows
        .iter()
        .filter(|r| text.len() >= 5 && text.starts_with(NodeId::PREFIX) && r.node.starts_with(text));
    match (found.next(), found.next()) {
        (Some(row), None) => Ok(row),
        (None, _) => Err(NodeHandle::not_found("node", text)),
        _ => Err(Refused::new(
            Kind::Invalid,
            "node.ambiguous",
            format!("several nodes begin with `{text}`"),
        )),
    }
}

/// The refusal of everything that needs a mesh.
pub(crate) fn unjoined() -> Refused {
    Refused::new(
        Kind::Conflict,
        "member.unjoined",
        "this node belongs to no mesh yet",
    )
    .hint("hivenode up TICKET, or hivenode mesh create NAME")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hive_protocol::{
        ids::NetworkId,
        keys::{SecretKey, Signed},
        resources::{Capabilities, Resources},
    };

    const NODE: NodeId = NodeId([2; 32]);

    fn credential() -> Credential {
        Credential {
            network: NetworkId([1; 32]),
            node: NODE,
            account: AccountId([3; 32]),
            name: "heron".into(),
            score: 60,
            containers: false,
            roles: vec![Role::Worker],
            issued: Timestamp(0),
            expires: Timestamp(1_000_000),
        }
    }

    fn presence(issued: u64, running: u32, leaving: bool) -> Presence {
        Presence {
            node: NODE,
            credential: Signed::sign(&SecretKey::from_seed(&[9; 32]), &credential()).unwrap(),
            roles: vec![Role::Worker],
            capabilities: Capabilities::default(),
            free: Resources::default(),
            running,
            addrs: vec![],
            leaving,
            issued: Timestamp(issued),
        }
    }

    fn price(issued: u64, amount: u64) -> PriceNotice {
        PriceNotice {
            node: NODE,
            price: Price {
                per_gfuel: hive_protocol::money::MicroCpt(amount),
            },
            issued: Timestamp(issued),
        }
    }

    fn hear(directory: &mut Directory, presence: Presence) -> News {
        directory.present(presence, &credential())
    }

    fn running(directory: &Directory) -> u32 {
        directory.get(&NODE).unwrap().view.heartbeat.running
    }

    #[test]
    fn an_older_presence_replaces_no_newer_one() {
        let mut directory = Directory::default();
        assert_eq!(hear(&mut directory, presence(50_000, 1, false)), News::Came);
        assert_eq!(hear(&mut directory, presence(60_000, 2, false)), News::Same);
        assert_eq!(hear(&mut directory, presence(50_000, 1, false)), News::Old);
        assert_eq!(
            hear(&mut directory, presence(60_000, 9, false)),
            News::Old,
            "again"
        );
        assert_eq!(running(&directory), 2);
        assert_eq!(hear(&mut directory, presence(60_001, 3, false)), News::Same);
        assert_eq!(running(&directory), 3);
    }

    #[test]
    fn who_has_left_is_not_brought_back_by_what_it_said_before() {
        let mut directory = Directory::default();
        hear(&mut directory, presence(50_000, 0, false));
        assert_eq!(hear(&mut directory, presence(51_000, 0, true)), News::Same);
        assert_eq!(hear(&mut directory, presence(50_000, 0, false)), News::Old);
        assert!(!directory.get(&NODE).unwrap().view.online);
        assert_eq!(hear(&mut directory, presence(52_000, 0, false)), News::Came);
    }

    #[test]
    fn a_node_whose_clock_is_behind_the_authoritys_is_heard() {
        let mut directory = Directory::default();
        hear(&mut directory, presence(50_000, 1, false));
        let mut view = directory.get(&NODE).unwrap().view.clone();
        view.last_seen = Timestamp(90_000);
        directory.registered(view);
        assert_eq!(hear(&mut directory, presence(51_000, 2, false)), News::Same);
        assert_eq!(running(&directory), 2);
        assert_eq!(hear(&mut directory, presence(50_500, 1, false)), News::Old);
    }

    #[test]
    fn an_older_price_replaces_no_newer_one_and_presence_leaves_it_alone() {
        let mut directory = Directory::default();
        assert!(directory.priced(&price(10_000, 7)), "of a node nobody knows yet");
        assert_eq!(directory.price(&NODE), None);
        hear(&mut directory, presence(50_000, 0, false));
        assert!(directory.priced(&price(50_000, 7)) && directory.priced(&price(60_000, 8)));
        assert!(!directory.priced(&price(50_000, 7)) && !directory.priced(&price(60_000, 7)));
        hear(&mut directory, presence(70_000, 0, false));
        assert!(!directory.priced(&price(55_000, 7)));
        assert_eq!(directory.price(&NODE), Some(price(60_000, 8).price));
    }
}
