//! Becoming a member: founding a mesh, redeeming a ticket, taking a membership up again after a restart.

use super::{Daemon, listen::port_of};
use crate::{
    StartError, home,
    home::Membership,
    inbox::{Entered, Inbox, JoinReply},
    membership::Standing,
    port::{JoinView, Kind, MeshRequest, MeshView, Refused, Reply},
};
use hive_authority::{Authority, AuthorityHandle};
use hive_protocol::{
    command::{Command, CommandBody},
    credential::{Credential, Delegation, Tier},
    genesis::Genesis,
    ids::{AccountId, CommandId, NetworkId, NodeId},
    join::JoinRequest,
    keys::{SecretKey, Signed},
    resources::{Capabilities, Role},
    ticket::Ticket,
    time::Millis,
};
use std::sync::Arc;

/// How long an account's word for its node lasts.
pub const DELEGATION_LIFE: Millis = Millis::hours(24 * 365 * 10);
/// A join command not carried out by then is void.
const JOIN_COMMAND_LIFE: Millis = Millis::mins(5);

/// The keys of this machine.
#[derive(Clone)]
pub struct Identity {
    /// The node's key.
    pub node: SecretKey,
    /// The account's key.
    pub account: SecretKey,
}

impl Identity {
    /// The node.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        NodeId(self.node.public())
    }
    /// The account.
    #[must_use]
    pub fn account_id(&self) -> AccountId {
        AccountId(self.account.public())
    }
}

impl Daemon {
    fn standing_for(&self, network: NetworkId) -> Standing {
        Standing::new(
            network,
            self.identity.node_id(),
            self.identity.account_id(),
            self.clock,
        )
    }

    fn delegation(&self, network: NetworkId) -> Result<Signed<Delegation>, Refused> {
        let delegation = Delegation {
            network,
            account: self.identity.account_id(),
            node: self.identity.node_id(),
            expires: self.clock.now() + DELEGATION_LIFE,
        };
        Signed::sign(&self.identity.account, &delegation).map_err(|e| internal(&e))
    }

    /// Takes a membership on disk up again.
    pub(super) async fn take_up(&mut self) -> Result<(), StartError> {
        let Some(membership) = home::load(self.dir.root())? else {
            return Ok(());
        };
        let genesis =
            Genesis::decode(&membership.genesis).map_err(|e| StartError::Membership(e.to_string()))?;
        let standing = self.standing_for(Genesis::network_of(&membership.genesis));
        standing.set_genesis(&genesis);
        if let Some(signed) = membership.credential.clone() {
            // An expired one is renewed as soon as an authority answers.
            if let Err(e) = standing.set_credential(signed) {
                tracing::warn!(target: "hive_runtime", "the stored credential is of no use: {e}");
            }
        }
        let local = if membership.authority {
            Some(self.open_authority(standing.network())?)
        } else {
            None
        };
        let (net, events) = self.start_net(
            &standing,
            membership.port,
            membership.authority,
            membership.authority || membership.role == Role::Relay,
        )?;
        self.pump_net(events);
        let peers = membership.peers.clone();
        // Before anybody is looked for: who has no address known is given up at once.
        for (node, addrs) in &peers {
            net.learn(*node, addrs.clone()).await;
        }
        let handle = local.as_ref().map(Authority::handle);
        self.enter(membership, standing.clone(), net.clone(), local)?;
        if let Some(authority) = handle {
            self.renew_locally(&authority).await;
        }
        tokio::spawn(async move {
            for (node, addrs) in peers {
                if net.dial(node, addrs).await.is_err() {
                    tracing::debug!(target: "hive_runtime", ?node, "a remembered peer does not answer");
                }
            }
        });
        Ok(())
    }

    /// An authority needs no stream to renew its own credential.
    async fn renew_locally(&mut self, authority: &AuthorityHandle) {
        match authority.own_credential().await {
            Ok(signed) => self.take_credential(signed),
            Err(refusal) => {
                tracing::error!(target: "hive_runtime", code = refusal.code, "{}", refusal.detail)
            }
        }
    }

    fn open_authority(&self, network: NetworkId) -> Result<Authority, StartError> {
        let clock = self.clock;
        let opened = tokio::task::block_in_place(|| {
            Authority::open(
                &self.dir.ledger(),
                network,
                self.identity.node.clone(),
                Arc::new(move || clock.now()),
            )
        });
        let authority = opened.map_err(|e| StartError::Authority {
            code: e.code().to_owned(),
            detail: e.to_string(),
        })?;
        tracing::info!(target: "hive_runtime", report = ?authority.report(), "ledger open");
        Ok(authority)
    }

    /// Founds a mesh with this node as its first authority.
    pub(super) async fn create_mesh(&mut self, request: MeshRequest, reply: Reply<MeshView>) {
        let made = self.found(&request).await;
        self.joined(made, JoinReply::Create(reply));
    }

    async fn found(&mut self, request: &MeshRequest) -> Result<Entered, Refused> {
        self.refuse_member()?;
        if request.name.is_empty() || request.name.len() > hive_protocol::resources::MAX_NAME {
            return Err(Refused::new(
                Kind::Invalid,
                "mesh.bad_name",
                "a mesh's name has 1 to 64 bytes",
            ));
        }
        let genesis = Genesis {
            name: request.name.clone(),
            nonce: crate::random().map_err(|e| start(&e))?,
            created: self.clock.now(),
            authorities: vec![self.identity.node_id()],
            founder: self.identity.account_id(),
            minted: request.mint,
            default_score: request.default_score,
        };
        let bytes = genesis.encode().map_err(|e| internal(&e))?;
        let standing = self.standing_for(Genesis::network_of(&bytes));
        standing.set_genesis(&genesis);
        let delegation = self.delegation(standing.network())?;
        let clock = self.clock;
        let role = if request.worker {
            Role::Worker
        } else {
            Role::Client
        };
        // The network first: a port that is taken must not leave a ledger without a mesh behind.
        let (net, events) = self
            .start_net(&standing, 0, false, true)
            .map_err(|e| net_refused(&e))?;
        let authority = tokio::task::block_in_place(|| {
            Authority::create(
                &self.dir.ledger(),
                &bytes,
                self.identity.node.clone(),
                Arc::new(move || clock.now()),
            )
        })
        .map_err(|e| Refused::new(Kind::Internal, e.code(), e.to_string()))?;
        let mut membership = Membership::new(bytes, delegation, role, true);
        let signed = authority
            .handle()
            .own_credential()
            .await
            .map_err(super::money::refused)?;
        standing
            .set_credential(signed.clone())
            .map_err(|e| internal(&e))?;
        membership.credential = Some(signed);
        self.pump_net(events);
        self.pending_authority = Some(authority);
        Ok(Entered {
            membership,
            net: Some((net, standing)),
        })
    }

    fn refuse_member(&self) -> Result<(), Refused> {
        if self.joining {
            return Err(
                Refused::new(Kind::Conflict, "join.under_way", "a join is under way already").retryable(),
            );
        }
        let Some(mesh) = &self.mesh else { return Ok(()) };
        let name = mesh.standing.mesh_name();
        let e = Refused::new(
            Kind::Conflict,
            "member.already",
            format!("this node belongs to mesh \"{name}\" already"),
        );
        Err(e.hint("use another data folder for another mesh: hivenode --data DIR …"))
    }

    /// The name asked for.
    pub(super) fn node_name(&self) -> String {
        let name = if self.config.name.is_empty() {
            crate::measure::host_name()
        } else {
            self.config.name.clone()
        };
        name.chars().filter(|c| !c.is_control()).take(16).collect()
    }

    /// Redeems a ticket.
    pub(super) fn join(&mut self, text: &str, reply: Reply<JoinView>) {
        let ticket: Ticket = match text.parse() {
            Ok(ticket) => ticket,
            Err(e) => {
                let code = match e {
                    hive_protocol::ticket::TicketError::NotATicket => "ticket.not_a_ticket",
                    hive_protocol::ticket::TicketError::Damaged(_) => "ticket.damaged",
                    hive_protocol::ticket::TicketError::Version(_) => "ticket.version",
                };
                let _ = reply.send(Err(Refused::new(Kind::Invalid, code, e.to_string())));
                return;
            }
        };
        if let Some(mesh) = &self.mesh {
            let answer = if mesh.standing.network() == ticket.network {
                Ok(self.join_view(true))
            } else {
                let message = format!(
                    "the ticket is for mesh \"{}\", this node belongs to \"{}\"",
                    ticket.mesh,
                    mesh.standing.mesh_name()
                );
                Err(Refused::new(Kind::Conflict, "ticket.wrong_mesh", message)
                    .hint("use another data folder for another mesh: hivenode --data DIR up TICKET"))
            };
            let _ = reply.send(answer);
            return;
        }
        let prepared = self.refuse_member().and_then(|()| self.prepare_join(&ticket));
        let (standing, request) = match prepared {
            Ok(prepared) => prepared,
            Err(e) => {
                let _ = reply.send(Err(e));
                return;
            }
        };
        let (net, events) = match self.start_net(&standing, 0, false, ticket.role == Role::Relay) {
            Ok(net) => net,
            Err(e) => {
                let _ = reply.send(Err(net_refused(&e)));
                return;
            }
        };
        self.joining = true;
        self.pump_net(events);
        let (post, delegation) = (self.post.clone(), request.1);
        let request = request.0;
        tokio::spawn(async move {
            let joined = super::redeem::redeem(&net, &standing, &ticket, request, delegation).await;
            let joined = match joined {
                Ok(membership) => Ok(Entered {
                    membership,
                    net: Some((net, standing)),
                }),
                Err(e) => {
                    net.shutdown().await;
                    Err(e)
                }
            };
            let _ = post
                .send(Inbox::Joined(Box::new(joined), JoinReply::Join(reply)))
                .await;
        });
    }

    fn prepare_join(
        &self,
        ticket: &Ticket,
    ) -> Result<(Standing, (JoinRequest, Signed<Delegation>)), Refused> {
        let now = self.clock.now();
        if now >= ticket.expires {
            let message = format!(
                "the ticket for mesh \"{}\" expired {} s ago by this machine's clock",
                ticket.mesh,
                now.since(ticket.expires).0 / 1000
            );
            return Err(Refused::new(Kind::Denied, "ticket.expired", message)
                .hint("ask for a new one: hivenode invite"));
        }
        let standing = self.standing_for(ticket.network);
        standing.set_authorities(ticket.bootstrap.iter().map(|(node, _)| *node).collect());
        let delegation = self.delegation(ticket.network)?;
        let capabilities = if ticket.role == Role::Worker {
            self.capabilities.clone()
        } else {
            Capabilities::default()
        };
        let command = Command {
            network: ticket.network,
            account: self.identity.account_id(),
            id: CommandId(crate::random().map_err(|e| start(&e))?),
            not_after: now + JOIN_COMMAND_LIFE,
            body: CommandBody::Join {
                invite: ticket.invite,
                secret: ticket.secret,
                delegation: delegation.clone(),
                name: self.node_name(),
                capabilities,
            },
        };
        let command = Signed::sign(&self.identity.account, &command).map_err(|e| internal(&e))?;
        Ok((standing, (JoinRequest { command, now }, delegation)))
    }

    /// Takes up what a join came to, and answers who waits for it.
    pub(super) fn joined(&mut self, joined: Result<Entered, Refused>, reply: JoinReply) {
        self.joining = false;
        if joined.is_err() {
            self.early.clear();
        }
        let local = self.pending_authority.take();
        let entered = joined.and_then(|mut entered| {
            if let Some((net, _)) = &entered.net {
                entered.membership.port = port_of(net);
            }
            home::save(self.dir.root(), &entered.membership)
                .map_err(|e| Refused::new(Kind::Internal, e.code(), e.to_string()))?;
            let (net, standing) = entered.net.ok_or_else(Refused::stopping)?;
            self.enter(entered.membership, standing, net, local)
                .map_err(|e| start(&e))
        });
        match (entered, reply) {
            (Ok(()), reply) => self.welcome(reply),
            (Err(e), JoinReply::Join(reply)) => {
                let _ = reply.send(Err(e));
            }
            (Err(e), JoinReply::Create(reply)) => {
                let _ = reply.send(Err(e));
            }
        }
    }

    pub(super) fn join_view(&self, already: bool) -> JoinView {
        let credential = self.mesh.as_ref().and_then(|m| m.standing.last_credential());
        let (name, score) = credential.map_or_else(Default::default, |c| (c.name, c.score));
        let mesh = self.mesh_view().unwrap_or_else(|| MeshView {
            id: String::new(),
            name: String::new(),
            authorities: Vec::new(),
            authority_reachable: false,
        });
        JoinView {
            mesh,
            name,
            score,
            tier: Tier::of(score).name().to_owned(),
            already,
        }
    }

    /// A renewed credential.
    pub(super) fn take_credential(&mut self, signed: Signed<Credential>) {
        let Some(mesh) = self.mesh.as_mut() else { return };
        match mesh.standing.set_credential(signed.clone()) {
            Ok(_) => {
                mesh.membership.credential = Some(signed);
                if let Err(e) = home::save(self.dir.root(), &mesh.membership) {
                    tracing::warn!(target: "hive_runtime", code = e.code(), "cannot store the credential: {e}");
                }
                self.problems.retain(|p| !p.code.starts_with("member."));
                self.own_credential();
            }
            Err(e) => tracing::warn!(target: "hive_runtime", "a renewed credential is of no use: {e}"),
        }
    }

    /// The authorities do not renew.
    pub(super) fn credential_refused(&mut self, refused: &Refused) {
        self.problems.retain(|p| p.code != refused.code);
        self.problems.push(crate::port::Problem {
            code: refused.code.clone(),
            message: refused.message.clone(),
            hint: refused.hint.clone(),
        });
        self.events.say("member.refused", "", refused.message.clone());
    }
}

pub(super) fn internal(e: &dyn std::fmt::Display) -> Refused {
    Refused::new(Kind::Internal, "daemon.fault", e.to_string())
}

fn start(e: &StartError) -> Refused {
    Refused::new(Kind::Internal, e.code(), e.to_string())
}

pub(super) fn net_refused(e: &hive_net::NetError) -> Refused {
    let kind = if e.code() == "net.port_taken" {
        Kind::Conflict
    } else {
        Kind::Unreachable
    };
    Refused::new(kind, e.code(), e.to_string())
}
