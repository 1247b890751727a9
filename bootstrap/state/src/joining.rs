//! Commands about membership: invite, revoke, join, delegate, remove, set a score.

use crate::{
    event::Event,
    invites::{Ending, Invitation},
    payments::misrouted,
    registry::{MAX_NODES, MAX_NODES_PER_ACCOUNT, Node},
    state::{Effect, State, refused},
    verify::Verified,
};
use hive_ledger::{LedgerError, Reserve, Stamp};
use hive_protocol::{
    authority::ScoreChange,
    command::{Command, CommandBody, Refusal},
    credential::Tier,
    ids::{AccountId, InviteId, NodeId},
    money::MicroCpt,
    resources::Role,
    ticket::Ticket,
};

impl State {
    /// Any member may invite. A score above the inviter's own is for the founder to give, and one above the default
    /// for accounts of tier high; nobody but the founder makes authorities.
    pub(crate) fn invite(
        &mut self,
        c: &Command,
        stamp: Stamp,
        events: &mut Vec<Event>,
    ) -> Result<Effect, Refusal> {
        let CommandBody::Invite {
            invite,
            secret_hash,
            role,
            score,
            grant,
            uses,
            expires,
        } = c.body
        else {
            return Err(misrouted());
        };
        let founder = c.account == self.genesis.founder;
        if role == Role::Authority && !founder {
            return Err(Refusal::new(
                "invite.role",
                "only the founder invites authorities",
            ));
        }
        let own = self.trust.score(&c.account).unwrap_or(0);
        if !founder && score > own {
            return Err(Refusal::new(
                "invite.score",
                format!("the invitation gives score {score}, its maker has {own} itself"),
            ));
        }
        if score > self.genesis.default_score && !founder && Tier::of(own) != Tier::High {
            return Err(Refusal::new(
                "invite.score",
                format!(
                    "a score above {} is given by accounts of tier high (100 and more); this one has {own}",
                    self.genesis.default_score
                ),
            ));
        }
        if self.invites.get(&invite).is_some() {
            return Err(refused(&LedgerError::ReserveExists(invite)));
        }
        let reserve = Reserve {
            owner: c.account,
            each: grant,
            left: uses,
            expires,
        };
        self.ledger
            .reserve(invite, reserve, stamp)
            .map_err(|e| refused(&e))?;
        let invitation = Invitation {
            by: c.account,
            secret_hash,
            role,
            score,
            expires,
            ended: None,
        };
        self.invites.insert(invite, invitation);
        events.push(Event::Invited {
            invite,
            by: c.account,
        });
        Ok(Effect::default())
    }

    pub(crate) fn revoke_invite(
        &mut self,
        by: AccountId,
        invite: InviteId,
        stamp: Stamp,
        events: &mut Vec<Event>,
    ) -> Result<Effect, Refusal> {
        let invitation = self.invites.get(&invite).ok_or_else(|| {
            Refusal::new(
                "invite.unknown",
                format!("no invitation {invite} is known here (it may have ended long ago)"),
            )
        })?;
        if invitation.by != by && by != self.genesis.founder {
            return Err(Refusal::new(
                "invite.not_yours",
                "an invitation is revoked by its maker or the founder",
            ));
        }
        if let Some((Ending::Revoked, _)) = invitation.ended {
            return Ok(Effect::default());
        }
        invitation.check_open()?;
        self.ledger.unreserve(invite, stamp).map_err(|e| refused(&e))?;
        self.invites.end(invite, Ending::Revoked, stamp.time);
        events.push(Event::InviteEnded { invite });
        Ok(Effect::default())
    }

    /// Redeems an invitation. A node that has already joined with it comes back without using it up again (its
    /// credential may have been lost); a registered node with another ticket has its record replaced. The score
    /// of an account that is a member already stays; a new one starts with the invitation's, but not above what
    /// the inviter has by now, unless the founder invited.
    ///
    /// That the peer is the node it names is the shell's to check: the connection proves the node's key.
    pub(crate) fn join(
        &mut self,
        v: &Verified,
        stamp: Stamp,
        events: &mut Vec<Event>,
    ) -> Result<Effect, Refusal> {
        let CommandBody::Join {
            invite,
            secret,
            name,
            capabilities,
            ..
        } = &v.command.body
        else {
            return Err(misrouted());
        };
        let delegation = v.delegation.as_ref().ok_or_else(misrouted)?;
        let (account, id, invite) = (v.command.account, delegation.node, *invite);
        if stamp.time >= delegation.expires {
            return Err(ended_delegation());
        }
        let invitation = self
            .invites
            .get(&invite)
            .filter(|i| i.secret_hash == Ticket::secret_hash(secret))
            .ok_or_else(|| unknown(invite))?;
        let (role, by) = (invitation.role, invitation.by);
        let old = self.registry.get(&id);
        if let Some(old) = old
            && old.account != account
        {
            return Err(Refusal::new(
                "node.taken",
                format!(
                    "node {} belongs to account {}; its owner must remove it first, or start with a new node key",
                    id.short(),
                    old.account.short()
                ),
            ));
        }
        let back = old.is_some_and(|n| n.invite == Some(invite))
            && !matches!(invitation.ended, Some((Ending::Revoked, _)));
        if !back {
            invitation.check_open()?;
        }
        let own = self.registry.nodes_of(&account);
        if old.is_none() && (self.registry.len() >= MAX_NODES || own >= MAX_NODES_PER_ACCOUNT) {
            return Err(Refusal::new(
                "member.full",
                format!(
                    "the mesh has {} nodes of {MAX_NODES}, the account {own} of {MAX_NODES_PER_ACCOUNT}; remove some",
                    self.registry.len()
                ),
            ));
        }
        let mut roles = old.map_or_else(Vec::new, |n| n.roles.clone());
        if !roles.contains(&role) {
            roles.push(role);
        }
        let joined = old.map_or(stamp.time, |n| n.joined);
        let score = if by == self.genesis.founder {
            invitation.score
        } else {
            invitation.score.min(self.trust.score(&by).unwrap_or_default())
        };
        let grant = if back {
            MicroCpt::ZERO
        } else {
            // Nothing has changed before this line; opening an account is undone by nothing because the grant
            // of an open invitation cannot fail.
            self.ledger.open(account).map_err(|e| refused(&e))?;
            let grant = self.ledger.grant(invite, account, stamp);
            let grant = grant.map_err(|e| refused(&e))?;
            if self.ledger.get_reserve(&invite).is_none() {
                self.invites.end(invite, Ending::Used, stamp.time);
                events.push(Event::InviteEnded { invite });
            }
            grant
        };
        self.trust
            .admit(account, score, stamp.time, &format!("invited by {}", by.short()));
        let node = Node {
            account,
            name: name.clone(),
            roles,
            capabilities: capabilities.clone(),
            delegated_until: Some(delegation.expires),
            invite: Some(invite),
            joined,
        };
        let name = self.registry.put(id, node).to_owned();
        events.push(Event::Joined {
            account,
            node: id,
            role,
            name,
            grant,
        });
        Ok(Effect::default())
    }

    pub(crate) fn delegate(
        &mut self,
        v: &Verified,
        stamp: Stamp,
        events: &mut Vec<Event>,
    ) -> Result<Effect, Refusal> {
        let delegation = v.delegation.as_ref().ok_or_else(misrouted)?;
        let node = delegation.node;
        if stamp.time >= delegation.expires {
            return Err(ended_delegation());
        }
        self.own_node(v.command.account, node)?;
        self.registry.delegate(&node, delegation.expires);
        events.push(Event::Delegated { node });
        Ok(Effect::default())
    }

    pub(crate) fn remove_node(
        &mut self,
        by: AccountId,
        node: NodeId,
        stamp: Stamp,
        events: &mut Vec<Event>,
    ) -> Result<Effect, Refusal> {
        if by != self.genesis.founder {
            self.own_node(by, node)?;
        } else if self.registry.get(&node).is_none() {
            return Err(unknown_node(node));
        }
        if self.genesis.authorities.contains(&node) {
            return Err(Refusal::new(
                "node.authority",
                "a founding authority is part of the genesis document and cannot be removed",
            ));
        }
        self.registry.remove(node, stamp.time);
        events.push(Event::NodeRemoved { node });
        Ok(Effect::default())
    }

    pub(crate) fn set_score(
        &mut self,
        by: AccountId,
        account: AccountId,
        score: u32,
        reason: &str,
        stamp: Stamp,
        events: &mut Vec<Event>,
    ) -> Result<Effect, Refusal> {
        if by != self.genesis.founder {
            return Err(Refusal::new(
                "command.founder_only",
                "only the founder sets scores by hand",
            ));
        }
        if !self.trust.set(account, score, stamp.time, reason) {
            return Err(refused(&LedgerError::UnknownAccount(account)));
        }
        let reasons = self.trust.standing(&account).map(|s| &s.reasons);
        if let Some(change) = reasons.and_then(|r| r.front()) {
            let change: ScoreChange = change.clone();
            events.push(Event::Score { account, change });
        }
        Ok(Effect::default())
    }

    fn own_node(&self, account: AccountId, node: NodeId) -> Result<(), Refusal> {
        let n = self.registry.get(&node).ok_or_else(|| unknown_node(node))?;
        if n.account != account {
            return Err(Refusal::new(
                "node.not_yours",
                format!("node {} belongs to another account", node.short()),
            ));
        }
        Ok(())
    }
}

/// A wrong secret is answered like an unknown invitation: nobody learns which ids exist.
fn unknown(invite: InviteId) -> Refusal {
    Refusal::new(
        "ticket.unknown",
        format!(
            "no invitation {} with this secret is known here (it may have ended long ago); ask for a new ticket",
            invite.short()
        ),
    )
}

pub(crate) fn unknown_node(node: NodeId) -> Refusal {
    Refusal::new(
        "node.unknown",
        format!("node {} is not registered in this mesh", node.short()),
    )
}

pub(crate) fn ended_delegation() -> Refusal {
    Refusal::new(
        "delegation.expired",
        "the account's word for its node has ended; sign a new one with the account's key",
    )
}
