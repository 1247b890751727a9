//! The state, its founding, and the way of every entry through it.

use crate::{
    answered::{Answer, Answered, keep_until},
    entry::{Entry, Prepared},
    event::{Accepted, Applied, Event},
    invites::{Ending, Invites},
    registry::{Node, Registry},
    verify::Verified,
};
use hive_ledger::{Ended, Ledger, LedgerError, Stamp};
use hive_protocol::{
    authority::HoldState,
    codec::CodecError,
    command::{CommandBody, MAX_COMMAND_LIFE, Refusal},
    genesis::{FOUNDER_SCORE, Genesis, MAX_SCORE},
    ids::{AccountId, CommandId, HoldId, NetworkId, NodeId},
    money::MicroCpt,
    resources::{Capabilities, MAX_NAME, Role},
    time::Timestamp,
};
use hive_trust::{Evidence, Trust};
use serde::{Deserialize, Serialize};

/// Why bytes found no mesh.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// Not a genesis document.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A rule of the document is broken.
    #[error("genesis: {0}")]
    Rule(String),
}

/// Everything the authorities of one mesh agree on.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct State {
    pub(crate) network: NetworkId,
    pub(crate) genesis: Genesis,
    pub(crate) genesis_bytes: Vec<u8>,
    /// Time of the latest record; never goes back.
    pub(crate) now: Timestamp,
    /// The index the next record must at least have.
    pub(crate) next: u64,
    pub(crate) ledger: Ledger,
    pub(crate) trust: Trust,
    pub(crate) registry: Registry,
    pub(crate) invites: Invites,
    pub(crate) answered: Answered,
}

/// What a command has done, before it is remembered.
#[derive(Default)]
pub(crate) struct Effect {
    pub paid: MicroCpt,
    pub hold: Option<HoldId>,
}

impl State {
    /// The state after record 0, which carries these bytes.
    ///
    /// # Errors
    /// Malformed bytes, or a document that breaks a rule.
    pub fn genesis(bytes: &[u8]) -> Result<Self, GenesisError> {
        let genesis = Genesis::decode(bytes)?;
        check_genesis(&genesis)?;
        let stamp = Stamp {
            index: 0,
            time: genesis.created,
        };
        let mut trust = Trust::new();
        trust.admit(genesis.founder, FOUNDER_SCORE, stamp.time, "founder of the mesh");
        let mut registry = Registry::default();
        registry.add_member(genesis.founder);
        for node in &genesis.authorities {
            registry.put(
                *node,
                Node {
                    account: genesis.founder,
                    name: "authority".into(),
                    roles: vec![Role::Authority],
                    capabilities: Capabilities::default(),
                    delegated_until: None,
                    invite: None,
                    joined: stamp.time,
                },
            );
        }
        Ok(Self {
            network: Genesis::network_of(bytes),
            ledger: Ledger::mint(genesis.founder, genesis.minted, stamp),
            genesis,
            genesis_bytes: bytes.to_vec(),
            now: stamp.time,
            next: 1,
            trust,
            registry,
            invites: Invites::default(),
            answered: Answered::default(),
        })
    }

    /// Applies one entry at its place and time in the log. Total and deterministic: the same entries in the same
    /// order give the same state and the same answers everywhere, and nothing panics.
    ///
    /// Time never goes back: what comes earlier than the entry before counts as of the same time; the record must
    /// be written with [`Applied::time`], not with the clock. A refused or repeated command changes nothing but this
    /// time and what ends by it, which the next record's time does as well; so it need not be logged.
    pub fn apply(&mut self, index: u64, time: Timestamp, entry: &Prepared) -> Applied {
        let mut events = Vec::new();
        if index < self.next {
            let detail = format!("record {index} has been applied; the next is {}", self.next);
            return Applied {
                time: self.now,
                outcome: Err(Refusal::new("log.order", detail)),
                events,
            };
        }
        self.now = self.now.max(time);
        let stamp = Stamp {
            index,
            time: self.now,
        };
        self.sweep(stamp, &mut events);
        let outcome = match entry {
            Prepared::Command(command) => self.command(command, stamp, &mut events),
            Prepared::Tick => Ok(Accepted {
                id: CommandId::default(),
                index,
                paid: MicroCpt::ZERO,
                grant: None,
                repeated: false,
            }),
            Prepared::Genesis(_) => Err(Refusal::new(
                "log.genesis",
                "a genesis document can only be record 0",
            )),
        };
        if outcome.as_ref().is_ok_and(|a| !a.repeated) {
            self.next = index.saturating_add(1);
        }
        Applied {
            time: stamp.time,
            outcome,
            events,
        }
    }

    /// Applies the payload of a record of this authority's own log, whose signatures were checked before it was
    /// written. A record that does not decode is refused as `log.entry`, which on a log that was verified byte for
    /// byte means a newer program wrote it: stop rather than go on.
    pub fn replay(&mut self, index: u64, time: Timestamp, payload: &[u8]) -> Applied {
        let prepared = Entry::decode(payload)
            .map_err(|e| Refusal::new("log.entry", e.to_string()))
            .and_then(|entry| entry.prepare_trusted(self.network));
        match prepared {
            Ok(prepared) => self.apply(index, time, &prepared),
            Err(refusal) => Applied {
                time: self.now,
                outcome: Err(refusal),
                events: Vec::new(),
            },
        }
    }

    /// When something ends by itself next; log a [`Entry::Tick`] then, so that it is seen to end.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.ledger.next_due()
    }

    fn sweep(&mut self, stamp: Stamp, events: &mut Vec<Event>) {
        for ended in self.ledger.advance(stamp) {
            match ended {
                Ended::Hold(hold, h) => {
                    let evidence = Evidence::Abandoned {
                        worker: h.payee,
                        submitter: h.payer,
                    };
                    self.learn(&evidence, h.resolved, events);
                    events.push(Event::Expired { hold });
                }
                Ended::Invite(invite) => {
                    if let Some(i) = self.invites.get(&invite) {
                        self.invites.end(invite, Ending::Expired, i.expires);
                    }
                    events.push(Event::InviteEnded { invite });
                }
            }
        }
        self.answered.forget(stamp.time);
        self.invites.forget(stamp.time);
        self.registry.forget(stamp.time);
    }

    pub(crate) fn learn(&mut self, evidence: &Evidence, at: Timestamp, events: &mut Vec<Event>) {
        for (account, change) in self.trust.record(evidence, at) {
            events.push(Event::Score { account, change });
        }
    }

    fn command(&mut self, v: &Verified, stamp: Stamp, events: &mut Vec<Event>) -> Result<Accepted, Refusal> {
        let c = &v.command;
        if let Some(&old) = self.answered.get(c.account, c.id) {
            return self.again(v, &old);
        }
        self.check_frame(v, stamp.time)?;
        let effect = match &c.body {
            CommandBody::Transfer { to, amount, memo } => {
                self.transfer(c.account, *to, *amount, memo, stamp, events)
            }
            CommandBody::Hold { .. } => self.hold(c, stamp, events),
            CommandBody::Capture { .. } => self.capture(v, stamp, events),
            CommandBody::Release { hold } => self.release(c.account, *hold, stamp, events),
            CommandBody::Invite { .. } => self.invite(c, stamp, events),
            CommandBody::RevokeInvite { invite } => self.revoke_invite(c.account, *invite, stamp, events),
            CommandBody::Join { .. } => self.join(v, stamp, events),
            CommandBody::Delegate { .. } => self.delegate(v, stamp, events),
            CommandBody::RemoveNode { node } => self.remove_node(c.account, *node, stamp, events),
            CommandBody::SetScore {
                account,
                score,
                reason,
            } => self.set_score(c.account, *account, *score, reason, stamp, events),
        }?;
        let answer = Answer {
            fingerprint: v.fingerprint,
            index: stamp.index,
            paid: effect.paid,
            hold: effect.hold,
            forget: keep_until(c, stamp.time),
        };
        self.answered.remember(c.account, c.id, answer);
        Ok(self.accepted(c.id, &answer, false))
    }

    /// The same command again gets the same answer; another one under its id is refused.
    fn again(&self, v: &Verified, old: &Answer) -> Result<Accepted, Refusal> {
        if old.fingerprint != v.fingerprint {
            return Err(Refusal::new(
                "command.id_reused",
                format!(
                    "command id {} has been used for another command; make a new id",
                    v.command.id
                ),
            ));
        }
        Ok(self.accepted(v.command.id, old, true))
    }

    fn accepted(&self, id: CommandId, answer: &Answer, repeated: bool) -> Accepted {
        Accepted {
            id,
            index: answer.index,
            paid: answer.paid,
            grant: answer.hold.and_then(|h| self.grant_for(&h)),
            repeated,
        }
    }

    /// What every command must fulfil: its time, its signer's right, membership, room in the memory.
    fn check_frame(&self, v: &Verified, now: Timestamp) -> Result<(), Refusal> {
        let c = &v.command;
        if c.network != self.network {
            return Err(Refusal::new(
                "command.wrong_mesh",
                "the command is for another mesh",
            ));
        }
        if now >= c.not_after {
            let by = now.since(c.not_after).0;
            return Err(Refusal::new(
                "command.expired",
                format!(
                    "the command was good until {by} ms ago by the authority's clock; if this machine's clock is wrong, set it"
                ),
            ));
        }
        if c.not_after > now + MAX_COMMAND_LIFE {
            return Err(Refusal::new(
                "command.life",
                format!(
                    "a command may be valid for {} ms at most, this one ends {} ms from the authority's now; if this machine's clock is wrong, set it",
                    MAX_COMMAND_LIFE.0,
                    c.not_after.since(now).0
                ),
            ));
        }
        if !matches!(c.body, CommandBody::Join { .. }) && !self.registry.is_member(&c.account) {
            return Err(not_member(c.account));
        }
        if !v.by_account() && !self.registry.acts_for(&NodeId(v.signer), &c.account, now) {
            return Err(Refusal::new(
                "command.signer",
                format!(
                    "node {} does not act for account {} (not registered for it, or its delegation has ended; renew it with the account's key)",
                    NodeId(v.signer).short(),
                    c.account.short()
                ),
            ));
        }
        self.answered.check_room(c.account)
    }

    /// Checks everything that must hold after every entry. Walks over the whole state.
    ///
    /// # Errors
    /// The rule that is broken, in words.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.ledger.check_invariants(self.now)?;
        self.trust.check_invariants()?;
        self.registry.check_invariants(self.now)?;
        self.answered.check_invariants(self.now)?;
        self.invites
            .check_invariants(|id| self.ledger.get_reserve(id).is_some())?;
        for (account, _) in self.ledger.accounts() {
            if !self.registry.is_member(account) || self.trust.score(account).is_none() {
                return Err(format!("{account:?} has money but is no member"));
            }
        }
        if self.trust.accounts().count() != self.ledger.accounts().len() {
            return Err("an account has a score but no wallet".into());
        }
        let open = self.invites.open().count();
        if self.ledger.totals().1.0 == 0 && open == 0 {
            return Ok(());
        }
        let paid_for = |id: &HoldId| {
            self.ledger
                .get_hold(id)
                .is_some_and(|h| h.state == HoldState::Pending)
        };
        for (account, a) in self.ledger.accounts() {
            if !a.open.iter().all(paid_for) {
                return Err(format!("{account:?} lists a hold that is not open"));
            }
        }
        Ok(())
    }
}

fn check_genesis(g: &Genesis) -> Result<(), GenesisError> {
    let rule = |text: String| Err(GenesisError::Rule(text));
    if g.name.is_empty() || g.name.len() > MAX_NAME {
        return rule(format!("the name must have 1 to {MAX_NAME} bytes"));
    }
    if !matches!(g.authorities.len(), 1 | 3 | 5) {
        let n = g.authorities.len();
        return rule(format!("1, 3 or 5 authorities found a mesh, not {n}"));
    }
    let distinct: std::collections::BTreeSet<_> = g.authorities.iter().collect();
    if distinct.len() != g.authorities.len() {
        return rule("an authority is named twice".into());
    }
    if g.minted.0 > i64::MAX.unsigned_abs() {
        return rule(format!("at most {} µCPT can be minted", i64::MAX));
    }
    if g.default_score > MAX_SCORE {
        return rule(format!("the default score is above {MAX_SCORE}"));
    }
    Ok(())
}

pub(crate) fn not_member(account: AccountId) -> Refusal {
    Refusal::new(
        "member.unknown",
        format!(
            "account {} is no member of this mesh; join with a ticket first",
            account.short()
        ),
    )
}

pub(crate) fn refused(e: &LedgerError) -> Refusal {
    Refusal::new(e.code(), e.to_string())
}
