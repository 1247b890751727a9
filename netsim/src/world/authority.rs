//! The authority: the real state machine behind a simulated log. What is not synced is lost in a crash, all of
//! it or a part; nothing is answered before what it rests on is on disk.

use super::{Happen, START, World};
use crate::{fault::Fault, invariants, plant::Plant};
use hive_protocol::{
    command::{Command, Refusal},
    credential::Credential,
    ids::{NetworkId, NodeId},
    keys::{SecretKey, Signed},
    money::MicroCpt,
    receipt::HoldGrant,
    time::Timestamp,
};
use hive_state::{Applied, Entry, Event, Prepared, State};

/// In so many of 10,000 syncs the authority dies before it is through.
const DIES_SYNCING: u32 = 100;

/// What a node asks.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    /// A signed command.
    Command(Signed<Command>),
    /// A new credential.
    Renew(NodeId),
}

/// What it is told.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// The command took effect.
    Done {
        paid: MicroCpt,
        grant: Option<(HoldGrant, Signed<HoldGrant>)>,
    },
    /// It did not.
    Refused(Refusal),
    /// A credential.
    Credential(Signed<Credential>, Credential),
}

#[derive(Debug)]
struct Waiting {
    /// Records that must be on disk first.
    need: usize,
    to: usize,
    life: u64,
    call: u64,
    reply: Reply,
    ack: Option<invariants::Ack>,
}

/// The authority. See the module.
#[derive(Debug)]
pub struct Authority {
    key: SecretKey,
    /// Its node.
    pub id: NodeId,
    /// The mesh.
    pub network: NetworkId,
    genesis: Vec<u8>,
    /// The state in memory.
    pub state: State,
    /// Records from index 1 on.
    log: Vec<(u64, Timestamp, Vec<u8>)>,
    durable: usize,
    syncing: bool,
    waiting: Vec<Waiting>,
    /// Whether the process runs.
    pub alive: bool,
    life: u64,
    offset: i64,
    stopped: Option<Timestamp>,
}

impl Authority {
    /// The first authority of a new mesh.
    pub(super) fn new(key: SecretKey, genesis: Vec<u8>, state: State, offset: i64) -> Self {
        Self {
            id: NodeId(key.public()),
            network: state.network(),
            key,
            genesis,
            state,
            log: Vec::new(),
            durable: 0,
            syncing: false,
            waiting: Vec::new(),
            alive: true,
            life: 1,
            offset,
            stopped: None,
        }
    }

    /// What was minted.
    #[must_use]
    pub const fn minted(&self) -> MicroCpt {
        self.state.founding().minted
    }

    /// Records in the log.
    #[must_use]
    pub const fn log_len(&self) -> usize {
        self.log.len()
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self, ms: u64) -> Timestamp {
        self.stopped.unwrap_or_else(|| self.true_clock(ms))
    }

    /// Its clock, if nobody had stopped it.
    #[must_use]
    pub const fn true_clock(&self, ms: u64) -> Timestamp {
        Timestamp((START + ms).saturating_add_signed(self.offset))
    }

    /// When a tick must be logged.
    pub(super) fn due(&self) -> Option<u64> {
        if !self.alive || self.stopped.is_some() {
            return None;
        }
        let at = self.state.next_due()?;
        Some(at.0.saturating_add_signed(-self.offset).saturating_sub(START))
    }

    /// Stops its clock: a planted fault.
    pub(super) fn stop_clock(&mut self) {
        self.stopped = Some(self.true_clock(0));
    }

    /// Applies an entry and logs it when it took effect; for the founding, all at once on disk.
    pub(super) fn enter(&mut self, ms: u64, entry: &Entry, log: bool) -> Applied {
        let (index, time) = (self.state.next_index(), self.clock(ms));
        let prepared = match entry.prepare(self.network) {
            Ok(prepared) => prepared,
            Err(refusal) => {
                return Applied {
                    time,
                    outcome: Err(refusal),
                    events: Vec::new(),
                };
            }
        };
        let applied = self.state.apply(index, time, &prepared);
        if log
            && applied.outcome.as_ref().is_ok_and(|a| !a.repeated)
            && let Ok(payload) = entry.encode()
        {
            self.log.push((index, applied.time, payload));
        }
        applied
    }

    /// Takes everything logged so far as being on disk.
    pub(super) const fn founded(&mut self) {
        self.durable = self.log.len();
    }

    /// A signed credential for a node, as of now.
    pub(super) fn credential(
        &self,
        ms: u64,
        node: &NodeId,
    ) -> Result<(Signed<Credential>, Credential), Refusal> {
        let credential = self.state.credential_for(node, self.clock(ms))?;
        let signed = Signed::sign(&self.key, &credential)
            .map_err(|e| Refusal::new("credential.encoding", e.to_string()))?;
        Ok((signed, credential))
    }

    /// The state that follows from the log alone, and everything that happened on the way.
    ///
    /// # Errors
    /// What in the log is not as it must be.
    pub fn replay(&self) -> Result<(State, Vec<(Event, Timestamp)>), String> {
        let mut state = State::genesis(&self.genesis).map_err(|e| e.to_string())?;
        let mut events = Vec::new();
        for (index, time, payload) in &self.log {
            let applied = state.replay(*index, *time, payload);
            if let Err(refusal) = applied.outcome {
                return Err(format!("record {index} is refused: {}", refusal.code));
            }
            let time = applied.time;
            events.extend(applied.events.into_iter().map(|e| (e, time)));
        }
        Ok((state, events))
    }

    /// Both states after the same last moment: refused commands move the clock of the living one only.
    ///
    /// # Errors
    /// How they differ.
    pub fn check_replay(&self) -> Result<(), String> {
        let (mut again, _) = self.replay()?;
        let mut here = self.state.clone();
        let now = here.now();
        for state in [&mut again, &mut here] {
            let index = state.next_index();
            let _ = state.apply(index, now, &Prepared::Tick);
        }
        let root = |s: &State| s.root().map_err(|e| e.to_string());
        if root(&again)? != root(&here)? {
            return Err(format!(
                "the log's {} records give another state than the one in memory",
                self.log.len()
            ));
        }
        Ok(())
    }
}

impl World {
    pub(super) fn authority_tick(&mut self) {
        let now = self.now;
        let applied = self.authority.enter(now, &Entry::Tick, true);
        self.after_entry("tick", &applied);
        self.sync();
    }

    pub(super) fn authority_hears(&mut self, from: usize, life: u64, call: u64, request: Request) {
        if !self.authority.alive || !self.reachable(from, self.nodes.len()) {
            return;
        }
        let now = self.now;
        match request {
            Request::Renew(node) => {
                let reply = match self.authority.credential(now, &node) {
                    Ok((signed, credential)) => Reply::Credential(signed, credential),
                    Err(refusal) => Reply::Refused(refusal),
                };
                self.reply(from, life, call, reply);
            }
            Request::Command(signed) => {
                let log = self.plant != Some(Plant::SkipLog) || !self.rng.once_in(20);
                let entry = Entry::Command(signed);
                let applied = self.authority.enter(now, &entry, log);
                let name = match &entry {
                    Entry::Command(c) => c.peek().map_or("?", |c| c.body.name()),
                    _ => "?",
                };
                self.after_entry(name, &applied);
                self.answer_when_durable(from, life, call, &entry, &applied);
                self.sync();
            }
        }
    }

    fn answer_when_durable(&mut self, to: usize, life: u64, call: u64, entry: &Entry, applied: &Applied) {
        let a = &self.authority;
        let (need, reply) = match &applied.outcome {
            Ok(accepted) => {
                let grant = accepted
                    .grant
                    .clone()
                    .and_then(|g| Signed::sign(&a.key, &g).ok().map(|s| (g, s)));
                let need = usize::try_from(accepted.index).unwrap_or(0).min(a.log.len());
                (
                    need,
                    Reply::Done {
                        paid: accepted.paid,
                        grant,
                    },
                )
            }
            // A refusal rests on everything before it.
            Err(refusal) => (a.log.len(), Reply::Refused(refusal.clone())),
        };
        let ack = applied
            .outcome
            .is_ok()
            .then(|| invariants::ack_of(entry, applied))
            .flatten();
        let need = if self.plant == Some(Plant::AckBeforeSync) {
            0
        } else {
            need
        };
        self.authority.waiting.push(Waiting {
            need,
            to,
            life,
            call,
            reply,
            ack,
        });
        self.answer_durable();
    }

    fn answer_durable(&mut self) {
        let durable = self.authority.durable;
        let (ready, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.authority.waiting)
            .into_iter()
            .partition(|w| w.need <= durable);
        self.authority.waiting = rest;
        for w in ready {
            if let Some(ack) = w.ack {
                self.oracle.acknowledged(ack);
            }
            self.reply(w.to, w.life, w.call, w.reply);
        }
    }

    fn reply(&mut self, to: usize, life: u64, call: u64, reply: Reply) {
        for _ in 0..self.copies() {
            let after = self.latency() + self.held_up(self.plan.weather.delay);
            self.later(
                after,
                Happen::FromAuthority {
                    to,
                    life,
                    call,
                    reply: Box::new(reply.clone()),
                },
            );
        }
    }

    fn sync(&mut self) {
        let a = &mut self.authority;
        if a.syncing || a.durable >= a.log.len() {
            return;
        }
        a.syncing = true;
        let (life, upto) = (a.life, a.log.len());
        let most = if self.calm { 5 } else { self.plan.weather.sync_ms };
        let mut after = self.rng.range(1, most.max(2));
        if self.faulty(300) {
            after += self.rng.below(2000); // The disk is busy.
        }
        if self.faulty(DIES_SYNCING) {
            let when = self.rng.below(after);
            self.later(when, Happen::AuthorityDies);
        }
        self.later(after, Happen::Synced { life, upto });
    }

    pub(super) fn synced(&mut self, life: u64, upto: usize) {
        if !self.authority.alive || self.authority.life != life {
            return;
        }
        self.authority.syncing = false;
        self.authority.durable = upto;
        self.answer_durable();
        self.sync();
    }

    /// Looks at what an entry has brought about.
    fn after_entry(&mut self, name: &str, applied: &Applied) {
        let (index, code) = match &applied.outcome {
            Ok(a) => (a.index, if a.repeated { "again" } else { "ok" }),
            Err(r) => (0, r.code.as_str()),
        };
        self.note_authority(format_args!("{name} {index} {code}"));
        for event in &applied.events {
            for _ in 0..self.hearings(event) {
                let state = &self.authority.state;
                let checked = self.oracle.money_moved(event, applied.time, state);
                self.violated(checked);
            }
            self.tamper(event);
        }
        let checked = invariants::of_the_authority(self);
        self.violated(checked);
    }

    pub(super) fn crash_authority(&mut self) {
        if self.calm {
            return;
        }
        let next = self.rng.range(1, self.plan.weather.authority_every * 2);
        self.later(next, Happen::CrashAuthority);
        self.authority_dies();
    }

    /// Kills the authority's process, which starts again after a while.
    pub(super) fn authority_dies(&mut self) {
        if self.calm || !self.authority.alive {
            return;
        }
        self.faults.count(Fault::AuthorityCrashed);
        let unsynced = self.authority.log.len() - self.authority.durable;
        // Of what was not synced some of the first may be there all the same.
        let kept = self.rng.index(unsynced + 1);
        let a = &mut self.authority;
        a.alive = false;
        a.life += 1;
        a.syncing = false;
        a.waiting.clear();
        a.log.truncate(a.durable + kept);
        self.note_authority(format_args!(
            "crash, {} of {unsynced} unsynced lost",
            unsynced - kept
        ));
        let after = self.rng.range(200, self.plan.weather.down_ms.max(300));
        self.later(after, Happen::RestartAuthority);
    }

    pub(super) fn restart_authority(&mut self) {
        if self.authority.alive {
            return;
        }
        if !self.calm {
            self.faults.count(Fault::AuthorityRestarted);
        }
        let replayed = self.authority.replay();
        match replayed {
            Ok((state, events)) => {
                let a = &mut self.authority;
                a.state = state;
                a.durable = a.log.len();
                a.alive = true;
                let booked = self.oracle.restarted(&events, &self.authority.state);
                self.violated(booked);
                let n = self.authority.log.len();
                self.note_authority(format_args!("up with {n} records"));
                let checked = invariants::after_a_restart(self);
                self.violated(checked);
            }
            Err(detail) => self.violated(Err(invariants::log_replay::refused(detail))),
        }
    }
}
