//! The membership gate's words and judgement, and the credential this node shows.

use crate::clock::Clock;
use hive_authority::clocks;
use hive_protocol::{
    credential::{Credential, CredentialError},
    genesis::Genesis,
    ids::{AccountId, NetworkId, NodeId},
    keys::Signed,
    member::{Hello, Verdict},
    time::{MAX_CLOCK_SKEW, Timestamp},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

/// What every part of a joined daemon knows of its mesh. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Standing(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    network: NetworkId,
    node: NodeId,
    account: AccountId,
    clock: Clock,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    name: String,
    authorities: Vec<NodeId>,
    credential: Option<(Signed<Credential>, Credential)>,
    /// This node's clock minus that of each authority that has said its time, in milliseconds: one at most for each.
    clocks: BTreeMap<NodeId, i64>,
}

impl Standing {
    /// Of a node that is not (yet) a member of this network.
    #[must_use]
    pub fn new(network: NetworkId, node: NodeId, account: AccountId, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            network,
            node,
            account,
            clock,
            state: RwLock::default(),
        }))
    }

    fn read<T>(&self, f: impl FnOnce(&State) -> T) -> T {
        f(&self.0.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over what the genesis says.
    pub fn set_genesis(&self, genesis: &Genesis) {
        let mut state = self.0.state.write().unwrap_or_else(PoisonError::into_inner);
        state.name.clone_from(&genesis.name);
        state.authorities.clone_from(&genesis.authorities);
    }

    /// Before the genesis is known: the authorities a ticket names.
    pub fn set_authorities(&self, authorities: Vec<NodeId>) {
        self.0
            .state
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .authorities = authorities;
    }

    /// Takes a credential of this node, checked.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn set_credential(&self, signed: Signed<Credential>) -> Result<Credential, CredentialError> {
        let credential = self.check(&signed, self.0.node)?;
        let mut state = self.0.state.write().unwrap_or_else(PoisonError::into_inner);
        state.credential = Some((signed, credential.clone()));
        Ok(credential)
    }

    /// Checks a credential shown by a node of this mesh.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn check(&self, signed: &Signed<Credential>, node: NodeId) -> Result<Credential, CredentialError> {
        let authorities = self.authorities();
        Credential::check(signed, &authorities, self.0.network, node, self.now())
    }

    /// Whether this key is an authority's.
    #[must_use]
    pub fn is_authority(&self, key: &[u8; 32]) -> bool {
        self.read(|s| s.authorities.iter().any(|a| a.0 == *key))
    }

    /// Node keys of the authorities.
    #[must_use]
    pub fn authorities(&self) -> Vec<NodeId> {
        self.read(|s| s.authorities.clone())
    }
    /// The mesh's name.
    #[must_use]
    pub fn mesh_name(&self) -> String {
        self.read(|s| s.name.clone())
    }
    /// An authority's time, as the authority itself has just said it.
    fn compare_clocks(&self, authority: NodeId, theirs: Timestamp) {
        let signed = |t: Timestamp| i64::try_from(t.0).unwrap_or(i64::MAX);
        let skew = signed(self.now()).saturating_sub(signed(theirs));
        let mut state = self.0.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.authorities.contains(&authority) {
            state.clocks.insert(authority, skew);
        }
    }
    /// What is wrong with this node's clock, with both times, when it is too far from that of every authority that has
    /// said its time: one authority that is wrong itself does not make it so.
    #[must_use]
    pub fn clock_apart(&self) -> Option<String> {
        let skew = self.read(|s| s.clocks.values().copied().min_by_key(|skew| skew.unsigned_abs()))?;
        let now = self.now();
        let theirs = Timestamp(now.0.saturating_add_signed(skew.saturating_neg()));
        clocks::apart(("this machine's", now), ("the authority's", theirs))
    }
    /// This node's credential with its decoded form, while it is in force.
    #[must_use]
    pub fn credential(&self) -> Option<(Signed<Credential>, Credential)> {
        let now = self.now();
        self.read(|s| s.credential.clone())
            .filter(|(_, c)| now < c.expires + MAX_CLOCK_SKEW)
    }
    /// This node's last credential, in force or not.
    #[must_use]
    pub fn last_credential(&self) -> Option<Credential> {
        self.read(|s| s.credential.as_ref().map(|(_, c)| c.clone()))
    }
    /// The mesh.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        self.0.network
    }
    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.0.node
    }
    /// This node's account.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.0.account
    }
    /// The daemon's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }
}

fn refused(code: &str, detail: String) -> Verdict {
    let mut detail = detail;
    while detail.len() > 256 {
        detail.pop();
    }
    Verdict::Refused {
        code: code.to_owned(),
        detail,
    }
}

impl hive_net::Gate for Standing {
    fn hello(&self, listen: Vec<String>) -> Hello {
        Hello {
            network: self.0.network,
            credential: self.credential().map(|(signed, _)| signed),
            listen,
            version: crate::VERSION.to_owned(),
            now: self.now(),
        }
    }

    fn judge(&self, node: NodeId, hello: &Hello) -> Verdict {
        if hello.network != self.0.network {
            return refused(
                "member.wrong_mesh",
                format!(
                    "this node is of mesh {}, yours is {}",
                    self.0.network.short(),
                    hello.network.short()
                ),
            );
        }
        self.compare_clocks(node, hello.now);
        // What makes a credential look old, or as if of the future, or be missing.
        let skew = || clocks::apart(("your node's", hello.now), ("this node's", self.now()));
        let unless_skewed = |code: &str, detail: String| match skew() {
            Some(text) => refused("member.clock_skew", text),
            None => refused(code, detail),
        };
        let Some(signed) = &hello.credential else {
            return unless_skewed(
                "member.no_credential",
                "join first: hivenode up TICKET".to_owned(),
            );
        };
        match self.check(signed, node) {
            Ok(_) => Verdict::Welcome,
            Err(e @ CredentialError::Expired { .. }) => unless_skewed("member.expired", e.to_string()),
            Err(e @ CredentialError::Future { .. }) => {
                refused("member.clock_skew", skew().unwrap_or_else(|| e.to_string()))
            }
            Err(e) => refused("member.forged", e.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use hive_net::Gate;

    const HOUR: i64 = 3_600_000;

    fn standing(authorities: &[NodeId]) -> Standing {
        let standing = Standing::new(
            NetworkId([1; 32]),
            NodeId([2; 32]),
            AccountId([3; 32]),
            Clock::new(0),
        );
        standing.set_authorities(authorities.to_vec());
        standing
    }

    /// What a peer without a credential hears whose clock is so far off, in milliseconds.
    fn judged(standing: &Standing, node: NodeId, off: i64) -> (String, String) {
        let hello = Hello {
            now: Timestamp(standing.now().0.saturating_add_signed(off)),
            credential: None,
            ..standing.hello(Vec::new())
        };
        match standing.judge(node, &hello) {
            Verdict::Refused { code, detail } => (code, detail),
            Verdict::Welcome => panic!("welcome without a credential"),
        }
    }

    #[test]
    fn a_clock_is_off_when_it_is_far_from_every_authority() {
        let (a, b, other) = (NodeId([7; 32]), NodeId([8; 32]), NodeId([9; 32]));
        let standing = standing(&[a, b]);
        judged(&standing, other, HOUR);
        assert_eq!(standing.clock_apart(), None, "only an authority's clock counts");
        judged(&standing, a, HOUR);
        let text = standing.clock_apart().unwrap();
        assert!(text.contains(" s behind it"), "{text}");
        judged(&standing, b, 0);
        assert_eq!(
            standing.clock_apart(),
            None,
            "it is the first authority's that is off"
        );
        judged(&standing, b, -HOUR - 1);
        judged(&standing, a, -HOUR);
        let text = standing.clock_apart().unwrap();
        assert!(text.contains(" s ahead of it"), "{text}");
        judged(&standing, a, 0);
        judged(&standing, b, 0);
        assert_eq!(standing.clock_apart(), None, "set right");
    }

    #[test]
    fn a_peer_whose_clock_is_off_is_told_so_and_not_to_join() {
        let standing = standing(&[]);
        let peer = NodeId([9; 32]);
        for (off, way) in [(HOUR, "ahead of"), (-HOUR, "behind")] {
            let (code, detail) = judged(&standing, peer, off);
            assert_eq!(code, "member.clock_skew");
            assert!(detail.contains(way) && detail.contains("your node's"), "{detail}");
        }
        assert_eq!(judged(&standing, peer, 0).0, "member.no_credential");
    }
}
