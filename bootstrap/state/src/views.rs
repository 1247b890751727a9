//! What members may ask: accounts, history, holds, nodes, totals; and the documents the shell signs.

use crate::{
    event::Event,
    invites::Invitation,
    joining::{ended_delegation, unknown_node},
    liveness::Liveness,
    registry::Node,
    state::{State, not_member},
};
use hive_ledger::{Hold, Ledger};
use hive_protocol::{
    authority::{AccountView, Heartbeat, HoldView, LedgerLine, MAX_PAGE, NodeView, Totals},
    codec,
    command::Refusal,
    credential::{CREDENTIAL_LIFE, Credential, Tier},
    genesis::Genesis,
    ids::{AccountId, HoldId, InviteId, NetworkId, NodeId},
    money::Price,
    receipt::HoldGrant,
    resources::Resources,
    time::Timestamp,
};
use hive_trust::Trust;

/// Bytes a page of nodes may take, so that it fits a response.
const PAGE_BYTES: usize = 200 << 10;
/// Invitations listed in the totals at most.
pub const MAX_INVITES_LISTED: usize = 1000;

impl State {
    /// The mesh.
    #[must_use]
    pub const fn network(&self) -> NetworkId {
        self.network
    }

    /// The founding document.
    #[must_use]
    pub const fn founding(&self) -> &Genesis {
        &self.genesis
    }

    /// The founding document's bytes, as handed to newcomers.
    #[must_use]
    pub fn genesis_bytes(&self) -> &[u8] {
        &self.genesis_bytes
    }

    /// The time of the latest record.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The index the next record must have.
    #[must_use]
    pub const fn next_index(&self) -> u64 {
        self.next
    }

    /// The money.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The scores.
    #[must_use]
    pub const fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Whether an account is a member.
    #[must_use]
    pub fn is_member(&self, account: &AccountId) -> bool {
        self.registry.is_member(account)
    }

    /// A registered node.
    #[must_use]
    pub fn node(&self, node: &NodeId) -> Option<&Node> {
        self.registry.get(node)
    }

    /// Registered nodes in key order.
    pub fn all_nodes(&self) -> impl Iterator<Item = (&NodeId, &Node)> {
        self.registry.after(None)
    }

    /// An invitation, open or lately ended.
    #[must_use]
    pub fn invitation(&self, invite: &InviteId) -> Option<&Invitation> {
        self.invites.get(invite)
    }

    /// An account's balance, score, reasons and open holds.
    ///
    /// # Errors
    /// `member.unknown`.
    pub fn account_view(&self, account: &AccountId) -> Result<AccountView, Refusal> {
        let (Some(a), Some(standing)) = (self.ledger.account(account), self.trust.standing(account)) else {
            return Err(not_member(*account));
        };
        let hold = |id: &HoldId| self.ledger.get_hold(id).map(|h| h.view(*id));
        Ok(AccountView {
            account: *account,
            available: a.available,
            held: a.held,
            score: standing.score,
            tier: Tier::of(standing.score),
            reasons: standing.reasons.iter().cloned().collect(),
            holds: a.open.iter().filter_map(hold).take(MAX_PAGE).collect(),
        })
    }

    /// An account's lines before a line number, newest first; see [`hive_ledger::Account::page`].
    ///
    /// # Errors
    /// `member.unknown`.
    pub fn history(&self, account: &AccountId, before: u64, limit: u32) -> Result<Vec<LedgerLine>, Refusal> {
        let a = self.ledger.account(account).ok_or_else(|| not_member(*account))?;
        let page = a.page(before, limit as usize);
        Ok(page.into_iter().map(hive_ledger::Line::view).collect())
    }

    /// One hold.
    ///
    /// # Errors
    /// `hold.unknown`.
    pub fn hold_view(&self, hold: &HoldId) -> Result<HoldView, Refusal> {
        self.ledger.get_hold(hold).map_or_else(
            || {
                Err(Refusal::new(
                    "hold.unknown",
                    format!("hold {hold} is not known (or it ended long ago)"),
                ))
            },
            |h| Ok(h.view(*hold)),
        )
    }

    /// Sums over the whole ledger.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let (available, held) = self.ledger.totals();
        Totals {
            network: self.network,
            minted: self.ledger.minted(),
            available,
            held,
            accounts: self.ledger.accounts().len() as u64,
            entries: self.next,
            invites: self
                .invites
                .open()
                .take(MAX_INVITES_LISTED)
                .map(|(id, _)| *id)
                .collect(),
        }
    }

    /// One node, with what its heartbeats say.
    ///
    /// # Errors
    /// `node.unknown`.
    pub fn node_view(&self, node: &NodeId, liveness: &Liveness, now: Timestamp) -> Result<NodeView, Refusal> {
        let n = self.registry.get(node).ok_or_else(|| unknown_node(*node))?;
        Ok(self.view_of(*node, n, liveness, now))
    }

    /// Nodes after `after` in key order: at most `limit`, at most [`MAX_PAGE`], and as many as fit a response.
    #[must_use]
    pub fn nodes(
        &self,
        after: Option<NodeId>,
        limit: usize,
        liveness: &Liveness,
        now: Timestamp,
    ) -> Vec<NodeView> {
        let mut bytes = 0;
        self.registry
            .after(after)
            .take(limit.min(MAX_PAGE))
            .map(|(id, n)| self.view_of(*id, n, liveness, now))
            .take_while(|view| {
                bytes += codec::encode("node view", view, PAGE_BYTES).map_or(PAGE_BYTES, |b| b.len());
                bytes <= PAGE_BYTES
            })
            .collect()
    }

    fn view_of(&self, id: NodeId, n: &Node, liveness: &Liveness, now: Timestamp) -> NodeView {
        let seen = liveness.get(&id);
        let score = self.trust.score(&n.account).unwrap_or_default();
        NodeView {
            node: id,
            account: n.account,
            name: n.name.clone(),
            roles: n.roles.clone(),
            score,
            tier: Tier::of(score),
            online: liveness.is_online(&id, now),
            last_seen: seen.map_or(Timestamp(0), |s| s.at),
            heartbeat: seen.map_or_else(
                || Heartbeat {
                    capabilities: n.capabilities.clone(),
                    free: Resources::default(),
                    running: 0,
                    price: Price::default(),
                    addrs: Vec::new(),
                },
                |s| s.heartbeat.clone(),
            ),
        }
    }

    /// The credential a node may have at `now`, for the shell to sign. It never outlives the account's word.
    ///
    /// # Errors
    /// `node.unknown`; `delegation.expired`.
    pub fn credential_for(&self, node: &NodeId, now: Timestamp) -> Result<Credential, Refusal> {
        let n = self.registry.get(node).ok_or_else(|| unknown_node(*node))?;
        let mut expires = now + CREDENTIAL_LIFE;
        match n.delegated_until {
            Some(until) if now >= until => return Err(ended_delegation()),
            Some(until) => expires = expires.min(until),
            // The genesis document itself is the word for a founding authority.
            None => {}
        }
        Ok(Credential {
            network: self.network,
            node: *node,
            account: n.account,
            name: n.name.clone(),
            score: self.trust.score(&n.account).unwrap_or_default(),
            containers: n.capabilities.containers,
            roles: n.roles.clone(),
            issued: now,
            expires,
        })
    }

    /// The grant of a hold, for the shell to sign.
    #[must_use]
    pub fn grant_for(&self, hold: &HoldId) -> Option<HoldGrant> {
        let h: &Hold = self.ledger.get_hold(hold)?;
        Some(HoldGrant {
            network: self.network,
            hold: *hold,
            lease: h.lease,
            payer: h.payer,
            payee: h.payee,
            amount: h.amount,
            expires: h.expires,
        })
    }
}

impl Liveness {
    /// Keeps in step with the members: forgets nodes that were removed.
    pub fn follow(&mut self, events: &[Event]) {
        for event in events {
            if let Event::NodeRemoved { node } = event {
                self.forget(node);
            }
        }
    }
}
