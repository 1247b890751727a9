//! The membership gate's words and judgement, and the credential this node shows.

use crate::clock::Clock;
use hive_protocol::{
    credential::{Credential, CredentialError},
    genesis::Genesis,
    ids::{AccountId, NetworkId, NodeId},
    keys::Signed,
    member::{Hello, Verdict},
    time::{MAX_CLOCK_SKEW, Timestamp},
};
use std::sync::{Arc, PoisonError, RwLock};

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
        let Some(signed) = &hello.credential else {
            return refused(
                "member.no_credential",
                "join first: hivenode up TICKET".to_owned(),
            );
        };
        match self.check(signed, node) {
            Ok(_) => Verdict::Welcome,
            Err(e @ CredentialError::Expired { .. }) => refused("member.expired", e.to_string()),
            Err(e @ CredentialError::Future { .. }) => refused("member.clock_skew", e.to_string()),
            Err(e) => refused("member.forged", e.to_string()),
        }
    }
}
