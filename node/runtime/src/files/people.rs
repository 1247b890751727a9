//! Who is in the mesh, for the files' desk: a copy of what the loop's directory knows, kept up by the loop.

use crate::port::{Kind, NodeHandle, Refused};
use hive_protocol::{
    authority::NodeView,
    credential::Tier,
    ids::{AccountId, NodeId},
    resources::Role,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

/// Nodes remembered; those of the loop's directory.
const MAX_PEOPLE: usize = 10_000;
/// Shortest beginning of an id that is taken for one.
const MIN_PREFIX: usize = 5;

/// What is known of a node.
#[derive(Debug, Clone)]
struct Person {
    account: AccountId,
    name: String,
    roles: Vec<Role>,
    tier: Tier,
    addrs: Vec<String>,
}

/// Everybody. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct People(Arc<RwLock<BTreeMap<NodeId, Person>>>);

impl People {
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<NodeId, Person>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what is known of a node now.
    pub fn put(&self, view: &NodeView) {
        let mut people = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if people.len() >= MAX_PEOPLE && !people.contains_key(&view.node) {
            return;
        }
        people.insert(
            view.node,
            Person {
                account: view.account,
                name: view.name.clone(),
                roles: view.roles.clone(),
                tier: view.tier,
                addrs: view.heartbeat.addrs.clone(),
            },
        );
    }

    /// A node's name; empty when it is not known.
    pub fn name(&self, node: &NodeId) -> String {
        self.read().get(node).map(|p| p.name.clone()).unwrap_or_default()
    }

    /// A node's name or, where it has none, the beginning of its id.
    pub fn label(&self, node: &NodeId) -> String {
        let name = self.name(node);
        if name.is_empty() { node.short() } else { name }
    }

    /// Where a node was last heard to listen.
    pub fn addrs(&self, node: &NodeId) -> Vec<String> {
        self.read().get(node).map(|p| p.addrs.clone()).unwrap_or_default()
    }

    /// The tier of a node's account.
    pub fn tier(&self, node: &NodeId) -> Option<Tier> {
        self.read().get(node).map(|p| p.tier)
    }

    /// Nodes of this account.
    pub fn of_account(&self, account: AccountId) -> BTreeSet<NodeId> {
        let people = self.read();
        let own = people.iter().filter(|(_, p)| p.account == account);
        own.map(|(node, _)| *node).collect()
    }

    /// One node, by name, id or an unambiguous beginning of its id.
    ///
    /// # Errors
    /// `node.not_found`, `node.ambiguous`.
    pub fn find(&self, text: &str) -> Result<NodeId, Refused> {
        let people = self.read();
        let named: Vec<NodeId> = people
            .iter()
            .filter(|(_, p)| p.name == text)
            .map(|(n, _)| *n)
            .collect();
        match named.as_slice() {
            [one] => return Ok(*one),
            [] => {}
            _ => return Err(ambiguous(text, "are called")),
        }
        if let Ok(node) = text.parse::<NodeId>() {
            return Ok(node);
        }
        let fits = |n: &&NodeId| {
            text.len() >= MIN_PREFIX && text.starts_with(NodeId::PREFIX) && n.to_string().starts_with(text)
        };
        let mut found = people.keys().filter(fits);
        match (found.next(), found.next()) {
            (Some(node), None) => Ok(*node),
            (None, _) => Err(NodeHandle::not_found("node", text)),
            _ => Err(ambiguous(text, "begin with")),
        }
    }

    /// All nodes that these selectors mean, `me` left out.
    ///
    /// # Errors
    /// `node.not_found`, `node.ambiguous`, `push.bad_selector`, `push.nobody`.
    pub fn select(&self, selectors: &[String], me: NodeId) -> Result<BTreeSet<NodeId>, Refused> {
        let mut chosen = BTreeSet::new();
        for selector in selectors.iter().map(|s| s.trim()).filter(|s| !s.is_empty()) {
            if selector == "all" {
                chosen.extend(self.read().keys().copied());
            } else if let Some((key, value)) = selector.split_once('=') {
                chosen.extend(self.by_rule(key, value)?);
            } else {
                chosen.insert(self.find(selector)?);
            }
        }
        chosen.remove(&me);
        if chosen.is_empty() {
            return Err(Refused::new(
                Kind::NotFound,
                "push.nobody",
                "this selects no other node of the mesh",
            )
            .hint("hivenode node ls"));
        }
        Ok(chosen)
    }

    fn by_rule(&self, key: &str, value: &str) -> Result<Vec<NodeId>, Refused> {
        let bad = |why: String| Refused::new(Kind::Invalid, "push.bad_selector", why);
        if key != "role" {
            let key: String = key.chars().take(40).collect();
            return Err(bad(format!(
                "`{key}=`: nodes are selected by name, id, `all` or `role=worker`"
            )));
        }
        let role: Role = value
            .parse()
            .map_err(|_| bad("a role is `authority`, `worker`, `client` or `relay`".to_owned()))?;
        let people = self.read();
        let with = people.iter().filter(|(_, p)| p.roles.contains(&role));
        Ok(with.map(|(node, _)| *node).collect())
    }
}

fn ambiguous(text: &str, how: &str) -> Refused {
    Refused::new(
        Kind::Invalid,
        "node.ambiguous",
        format!("several nodes {how} `{text}`"),
    )
    .hint("hivenode node ls")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hive_protocol::{
        authority::Heartbeat,
        money::Price,
        resources::{Capabilities, Resources},
        time::Timestamp,
    };

    fn person(n: u8, account: u8, name: &str, role: Role) -> NodeView {
        NodeView {
            node: NodeId([n; 32]),
            account: AccountId([account; 32]),
            name: name.into(),
            roles: vec![role],
            score: 50,
            tier: Tier::of(50),
            online: true,
            last_seen: Timestamp(1),
            heartbeat: Heartbeat {
                capabilities: Capabilities::default(),
                free: Resources::default(),
                running: 0,
                price: Price::default(),
                addrs: vec!["/ip4/127.0.0.1/tcp/1".into()],
            },
        }
    }

    #[test]
    fn selectors_mean_names_ids_roles_and_all_but_never_oneself() {
        let people = People::default();
        for view in [
            person(1, 1, "me", Role::Client),
            person(2, 1, "w1", Role::Worker),
            person(3, 2, "w2", Role::Worker),
            person(4, 2, "w2", Role::Relay),
        ] {
            people.put(&view);
        }
        let me = NodeId([1; 32]);
        let pick = |s: &[&str]| {
            let s: Vec<String> = s.iter().map(|s| (*s).to_owned()).collect();
            people
                .select(&s, me)
                .map(|n| n.iter().map(|n| n.0[0]).collect::<Vec<u8>>())
        };
        assert_eq!(pick(&["all"]).unwrap(), [2, 3, 4]);
        assert_eq!(pick(&["role=worker"]).unwrap(), [2, 3]);
        assert_eq!(pick(&["w1", "role=relay"]).unwrap(), [2, 4]);
        assert_eq!(pick(&[&NodeId([3; 32]).to_string()]).unwrap(), [3]);
        assert_eq!(pick(&["w2"]).unwrap_err().code, "node.ambiguous");
        assert_eq!(pick(&["nobody"]).unwrap_err().code, "node.not_found");
        assert_eq!(pick(&["me"]).unwrap_err().code, "push.nobody");
        assert_eq!(pick(&[]).unwrap_err().code, "push.nobody");
        for bad in ["role=king", "zone=eu"] {
            assert_eq!(pick(&[bad]).unwrap_err().code, "push.bad_selector");
        }
        assert_eq!(people.of_account(AccountId([1; 32])).len(), 2);
    }
}
