//! Wallet, invitations and trust: questions to the authorities on behalf of this node's owner.

use super::{Daemon, joining::internal, nodes::unjoined};
use crate::port::{InviteRequest, InviteView, Kind, Refused, Reply, WalletLine, WalletView};
use hive_protocol::{
    authority::{Answer, Ask, LedgerLine},
    command::{CommandBody, MAX_INVITE_LIFE, MAX_MEMO, Refusal},
    genesis::Genesis,
    ids::{AccountId, CommandId, InviteId},
    money::MicroCpt,
    ticket::{MAX_TICKET_ADDRS, Ticket},
    time::Millis,
};

/// An authority's refusal as the API passes it on.
pub(super) fn refused(refusal: Refusal) -> Refused {
    let code = refusal.code.as_str();
    let kind = match code {
        "authority.unreachable" | "authority.busy" => Kind::Unreachable,
        "wallet.insufficient" => Kind::NoCredit,
        c if c.ends_with(".unknown") || c.ends_with(".unknown_account") => Kind::NotFound,
        c if c.starts_with("ticket.") || c.starts_with("member.") || c.ends_with(".denied") => Kind::Denied,
        _ => Kind::Conflict,
    };
    let made = Refused::new(kind, code, refusal.detail.clone());
    match code {
        "wallet.insufficient" => made.hint("hivenode wallet balance"),
        "authority.unreachable" => made.hint("hivenode status").retryable(),
        "authority.busy" => made.retryable(),
        _ => made,
    }
}

fn unexpected() -> Refused {
    Refused::new(
        Kind::Internal,
        "authority.answer",
        "the authority answered something else",
    )
}

fn line(line: LedgerLine) -> WalletLine {
    WalletLine {
        index: line.index,
        time: line.time.0,
        kind: line.kind,
        other: line.other.map(|a| a.to_string()),
        delta: line.delta,
        available: line.available.0,
        note: line.note,
    }
}

impl Daemon {
    /// Shows a wallet.
    pub(super) fn wallet(&self, who: Option<&str>, reply: Reply<WalletView>) {
        let account = who.map_or_else(|| Ok(self.identity.account_id()), |text| self.account_of(text));
        let asked = account.and_then(|a| Ok((a, self.mesh.as_ref().ok_or_else(unjoined)?.authority.clone())));
        let (account, authority) = match asked {
            Ok(asked) => asked,
            Err(e) => {
                let _ = reply.send(Err(e));
                return;
            }
        };
        tokio::spawn(async move {
            let both = async {
                let view = match authority.ask(Ask::Account(account)).await.map_err(refused)? {
                    Answer::Account(view) => view,
                    _ => return Err(unexpected()),
                };
                let totals = match authority.ask(Ask::Totals).await.map_err(refused)? {
                    Answer::Totals(totals) => totals,
                    _ => return Err(unexpected()),
                };
                Ok(WalletView {
                    account: view.account.to_string(),
                    available: view.available.0,
                    held: view.held.0,
                    score: view.score,
                    tier: view.tier.name().to_owned(),
                    reasons: view
                        .reasons
                        .into_iter()
                        .map(|r| (r.time.0, r.score, r.reason))
                        .collect(),
                    holds: view
                        .holds
                        .into_iter()
                        .map(|h| {
                            (
                                h.hold.to_string(),
                                h.lease.to_string(),
                                h.payee.to_string(),
                                h.amount.0,
                                h.expires.0,
                            )
                        })
                        .collect(),
                    ledger: (totals.minted.0, totals.available.0, totals.held.0),
                })
            };
            let _ = reply.send(both.await);
        });
    }

    /// Shows the account's history.
    pub(super) fn history(&self, before: Option<u64>, limit: u32, reply: Reply<Vec<WalletLine>>) {
        let account = self.identity.account_id();
        let Some(mesh) = self.mesh.as_ref() else {
            let _ = reply.send(Err(unjoined()));
            return;
        };
        let authority = mesh.authority.clone();
        tokio::spawn(async move {
            let ask = Ask::History {
                account,
                before: before.unwrap_or(u64::MAX),
                limit,
            };
            let answer = match authority.ask(ask).await {
                Ok(Answer::History(lines)) => Ok(lines.into_iter().map(line).collect()),
                Ok(_) => Err(unexpected()),
                Err(e) => Err(refused(e)),
            };
            let _ = reply.send(answer);
        });
    }

    /// Sends money.
    pub(super) fn send_money(&mut self, to: &str, amount: MicroCpt, memo: String, reply: Reply<WalletLine>) {
        let prepared = self.account_of(to).and_then(|to| {
            if memo.len() > MAX_MEMO {
                return Err(Refused::new(
                    Kind::Invalid,
                    "wallet.memo",
                    format!("a note has at most {MAX_MEMO} bytes"),
                ));
            }
            if amount == MicroCpt::ZERO {
                return Err(Refused::new(Kind::Invalid, "wallet.amount", "nothing to send"));
            }
            let id = CommandId(crate::random().map_err(|e| internal(&e))?);
            let signed = self
                .command(id, CommandBody::Transfer { to, amount, memo })
                .map_err(refused)?;
            Ok((signed, self.mesh.as_ref().ok_or_else(unjoined)?.authority.clone()))
        });
        let (signed, authority) = match prepared {
            Ok(prepared) => prepared,
            Err(e) => {
                let _ = reply.send(Err(e));
                return;
            }
        };
        self.events.say("wallet.sent", to, format!("{amount} to {to}"));
        let account = self.identity.account_id();
        tokio::spawn(async move {
            let sent = async {
                let index = match authority.ask(Ask::Submit(signed)).await.map_err(refused)? {
                    Answer::Done(done) => done.index,
                    _ => return Err(unexpected()),
                };
                let ask = Ask::History {
                    account,
                    before: index.saturating_add(1),
                    limit: 1,
                };
                match authority.ask(ask).await.map_err(refused)? {
                    Answer::History(lines) => lines.into_iter().next().map(line).ok_or_else(unexpected),
                    _ => Err(unexpected()),
                }
            };
            let _ = reply.send(sent.await);
        });
    }

    /// Makes an invitation and its ticket.
    pub(super) fn invite(&mut self, request: &InviteRequest, reply: Reply<InviteView>) {
        let prepared = self.prepare_invite(request);
        let (signed, ticket, authority) = match prepared {
            Ok(prepared) => prepared,
            Err(e) => {
                let _ = reply.send(Err(e));
                return;
            }
        };
        let view = InviteView {
            invite: ticket.invite.to_string(),
            ticket: ticket.to_string(),
            role: ticket.role.name().to_owned(),
            uses: request.uses,
            expires: ticket.expires.0,
        };
        tokio::spawn(async move {
            let answer = authority
                .ask(Ask::Submit(signed))
                .await
                .map_err(refused)
                .map(|_| view);
            let _ = reply.send(answer);
        });
    }

    fn prepare_invite(
        &self,
        request: &InviteRequest,
    ) -> Result<
        (
            hive_protocol::keys::Signed<hive_protocol::command::Command>,
            Ticket,
            crate::authority_link::AuthorityLink,
        ),
        Refused,
    > {
        let mesh = self.mesh.as_ref().ok_or_else(unjoined)?;
        if request.uses == 0 || request.ttl_ms == 0 || Millis(request.ttl_ms) > MAX_INVITE_LIFE {
            let message = "an invitation has at least one use and lasts at most 90 days";
            return Err(Refused::new(Kind::Invalid, "invite.shape", message));
        }
        let genesis = Genesis::decode(&mesh.membership.genesis).map_err(|e| internal(&e))?;
        let secret: [u8; 16] = crate::random().map_err(|e| internal(&e))?;
        let invite = InviteId(crate::random().map_err(|e| internal(&e))?);
        let expires = self.clock.now() + Millis(request.ttl_ms);
        let body = CommandBody::Invite {
            invite,
            secret_hash: Ticket::secret_hash(&secret),
            role: request.role,
            score: request.score.unwrap_or(genesis.default_score),
            grant: request.grant,
            uses: request.uses,
            expires,
        };
        let id = CommandId(crate::random().map_err(|e| internal(&e))?);
        let signed = self.command(id, body).map_err(refused)?;
        let bootstrap = self.bootstrap_addrs();
        if bootstrap.is_empty() {
            let message = "no address of an authority is known to put into the ticket";
            return Err(Refused::new(Kind::Unreachable, "invite.no_address", message).hint("hivenode status"));
        }
        let ticket = Ticket::new(
            mesh.standing.network(),
            genesis.name,
            bootstrap,
            invite,
            secret,
            request.role,
            expires,
        );
        Ok((signed, ticket, mesh.authority.clone()))
    }

    /// Where authorities listen, most useful first.
    fn bootstrap_addrs(&self) -> Vec<(hive_protocol::ids::NodeId, String)> {
        let Some(mesh) = self.mesh.as_ref() else {
            return Vec::new();
        };
        let me = mesh.standing.node();
        let mut found = Vec::new();
        for authority in mesh.standing.authorities() {
            let mut addrs = if authority == me {
                mesh.net.told_addrs()
            } else {
                mesh.directory.addrs(&authority)
            };
            if authority != me && addrs.is_empty() {
                let kept = mesh.membership.peers.iter().find(|(node, _)| *node == authority);
                addrs = kept.map(|(_, addrs)| addrs.clone()).unwrap_or_default();
            }
            // Loopback helps only this machine: it comes last, and only when there is room.
            addrs.sort_by_key(|a| a.contains("/127.") || a.contains("/::1/"));
            // A newcomer has no relay yet, and may stand where UDP does not pass: a TCP address comes second.
            addrs.retain(|a| !a.contains("/p2p-circuit"));
            if let Some(at) = addrs
                .iter()
                .position(|a| a.contains("/tcp/"))
                .filter(|at| *at > 1)
            {
                let tcp = addrs.remove(at);
                addrs.insert(1, tcp);
            }
            found.extend(addrs.into_iter().map(|a| (authority, a)));
        }
        found.truncate(MAX_TICKET_ADDRS);
        found
    }

    /// Ends an invitation.
    pub(super) fn revoke(&mut self, invite: &str, reply: Reply<()>) {
        let prepared = invite
            .parse::<InviteId>()
            .map_err(|e| Refused::new(Kind::Invalid, "invite.bad_id", e.to_string()))
            .and_then(|invite| {
                let id = CommandId(crate::random().map_err(|e| internal(&e))?);
                let signed = self
                    .command(id, CommandBody::RevokeInvite { invite })
                    .map_err(refused)?;
                Ok((signed, self.mesh.as_ref().ok_or_else(unjoined)?.authority.clone()))
            });
        match prepared {
            Err(e) => {
                let _ = reply.send(Err(e));
            }
            Ok((signed, authority)) => {
                tokio::spawn(async move {
                    let answer = authority
                        .ask(Ask::Submit(signed))
                        .await
                        .map(|_| ())
                        .map_err(refused);
                    let _ = reply.send(answer);
                });
            }
        }
    }

    /// This node's account as text.
    pub(super) fn account_text(&self) -> String {
        AccountId(self.identity.account.public()).to_string()
    }
}
