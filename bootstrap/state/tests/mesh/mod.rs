//! A small mesh to command: keys for accounts and nodes, a state, and a log of what was accepted.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use hive_protocol::{
    command::{Command, CommandBody},
    credential::Delegation,
    genesis::{DEFAULT_SCORE, Genesis},
    ids::{AccountId, CommandId, HoldId, InviteId, LeaseId, NetworkId, NodeId},
    keys::{SecretKey, Signed},
    money::MicroCpt,
    receipt::{Countersigned, Receipt},
    resources::{Capabilities, Role},
    ticket::Ticket,
    time::Timestamp,
};
use hive_state::{Accepted, Applied, Entry, Event, State};

pub const HOUR: u64 = 3_600_000;
/// When the mesh is founded.
pub const START: u64 = 1_000_000_000;

pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    pub fn byte(&mut self, n: u64) -> u8 {
        u8::try_from(self.below(n)).unwrap()
    }
}

/// The key of account `n`; account 0 is the founder.
pub fn owner(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n.wrapping_add(1); 32])
}
/// The key of node `n`; node 0 is the authority.
pub fn machine(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n.wrapping_add(101); 32])
}
pub fn account(n: u8) -> AccountId {
    AccountId(owner(n).public())
}
pub fn node(n: u8) -> NodeId {
    NodeId(machine(n).public())
}
pub fn hold_id(n: u8) -> HoldId {
    HoldId([n; 16])
}
pub fn lease_id(n: u8) -> LeaseId {
    LeaseId([n; 16])
}
pub fn invite_id(n: u8) -> InviteId {
    InviteId([n; 16])
}

pub fn genesis() -> Genesis {
    Genesis {
        name: "lab".into(),
        nonce: [7; 16],
        created: Timestamp(START),
        authorities: vec![node(0)],
        founder: account(0),
        minted: MicroCpt(1_000_000),
        default_score: DEFAULT_SCORE,
    }
}

pub struct Mesh {
    pub state: State,
    pub network: NetworkId,
    pub now: u64,
    pub log: Vec<(u64, Timestamp, Vec<u8>)>,
    pub events: Vec<Event>,
    next_id: u128,
}

impl Mesh {
    pub fn new() -> Self {
        let state = State::genesis(&genesis().encode().unwrap()).unwrap();
        Self {
            network: state.network(),
            state,
            now: START,
            log: Vec::new(),
            events: Vec::new(),
            next_id: 1,
        }
    }

    /// Founder 0 and members 1..=n, each with a node of the same number and a grant of 10,000 µCPT.
    pub fn with_members(n: u8) -> Self {
        let mut m = Self::new();
        m.ok(m.invite(0, 200, u32::from(n), 10_000));
        for i in 1..=n {
            m.ok(m.join(i, i, 200));
        }
        m.events.clear();
        m
    }

    pub fn fresh(&mut self) -> CommandId {
        self.next_id += 1;
        CommandId(self.next_id.to_le_bytes())
    }

    pub fn command(&self, by: u8, id: CommandId, body: CommandBody) -> Command {
        Command {
            network: self.network,
            account: account(by),
            id,
            not_after: Timestamp(self.now + 60_000),
            body,
        }
    }

    /// Signs by the account, verifies and applies.
    pub fn give(&mut self, (by, body): (u8, CommandBody)) -> Applied {
        let id = self.fresh();
        let command = self.command(by, id, body);
        self.send(&Signed::sign(&owner(by), &command).unwrap())
    }

    pub fn send(&mut self, signed: &Signed<Command>) -> Applied {
        self.enter(&Entry::Command(signed.clone()))
    }

    pub fn tick(&mut self) -> Applied {
        self.enter(&Entry::Tick)
    }

    fn enter(&mut self, entry: &Entry) -> Applied {
        let (index, time) = (self.state.next_index(), Timestamp(self.now));
        let prepared = match entry.prepare(self.network) {
            Ok(p) => p,
            Err(refusal) => {
                return Applied {
                    time,
                    outcome: Err(refusal),
                    events: Vec::new(),
                };
            }
        };
        let before = self.state.clone();
        let applied = self.state.apply(index, time, &prepared);
        self.state.check_invariants().unwrap();
        match &applied.outcome {
            Ok(a) if !a.repeated => self.log.push((index, applied.time, entry.encode().unwrap())),
            _ => {
                // Refused and repeated commands are nothing but time passing, and time passing twice is once.
                let mut ticked = before;
                let _ = ticked.apply(index, time, &hive_state::Prepared::Genesis(Vec::new()));
                assert_eq!(ticked, self.state, "a refusal changed something");
            }
        }
        self.events.extend(applied.events.iter().cloned());
        applied
    }

    pub fn ok(&mut self, what: (u8, CommandBody)) -> Accepted {
        let shown = format!("{:?}", what.1);
        self.give(what)
            .outcome
            .unwrap_or_else(|r| panic!("{shown}: {r:?}"))
    }

    pub fn refused(&mut self, what: (u8, CommandBody)) -> String {
        let shown = format!("{:?}", what.1);
        match self.give(what).outcome {
            Ok(_) => panic!("{shown} was accepted"),
            Err(r) => r.code,
        }
    }

    /// The log applied anew gives the same state.
    pub fn check_replay(&self) {
        let mut again = State::genesis(&genesis().encode().unwrap()).unwrap();
        for (index, time, payload) in &self.log {
            let applied = again.replay(*index, *time, payload);
            assert!(applied.outcome.is_ok(), "{applied:?}");
        }
        // Refusals after the last record have moved the clock of the original only.
        let mut original = self.state.clone();
        for state in [&mut original, &mut again] {
            let tick = Entry::Tick.encode().unwrap();
            let _ = state.replay(self.state.next_index(), self.state.now(), &tick);
        }
        assert_eq!(again.root().unwrap(), original.root().unwrap());
        assert_eq!(again, original);
    }

    pub fn transfer(&self, from: u8, to: u8, amount: u64) -> (u8, CommandBody) {
        let body = CommandBody::Transfer {
            to: account(to),
            amount: MicroCpt(amount),
            memo: "thanks".into(),
        };
        (from, body)
    }

    pub fn hold(&self, payer: u8, payee: u8, hold: u8, amount: u64) -> (u8, CommandBody) {
        let body = CommandBody::Hold {
            hold: hold_id(hold),
            lease: lease_id(hold),
            payee: account(payee),
            amount: MicroCpt(amount),
            expires: Timestamp(self.now + HOUR),
        };
        (payer, body)
    }

    pub fn receipt(&self, worker: u8, submitter: u8, hold: u8, amount: u64) -> Receipt {
        Receipt {
            network: self.network,
            lease: lease_id(hold),
            hold: hold_id(hold),
            worker: node(worker),
            submitter: node(submitter),
            sequence: 3,
            tasks: 50,
            fuel: 1_000,
            amount: MicroCpt(amount),
            time: Timestamp(self.now),
        }
    }

    pub fn capture_of(&self, by: u8, receipt: &Receipt, worker: u8, submitter: u8) -> (u8, CommandBody) {
        let signed = Signed::sign(&machine(worker), receipt).unwrap();
        let receipt = Countersigned::sign(&machine(submitter), signed);
        (by, CommandBody::Capture { receipt })
    }

    /// Node numbers are account numbers here.
    pub fn capture(&self, worker: u8, submitter: u8, hold: u8, amount: u64) -> (u8, CommandBody) {
        let receipt = self.receipt(worker, submitter, hold, amount);
        self.capture_of(worker, &receipt, worker, submitter)
    }

    pub fn release(&self, by: u8, hold: u8) -> (u8, CommandBody) {
        (by, CommandBody::Release { hold: hold_id(hold) })
    }

    pub fn invite(&self, by: u8, invite: u8, uses: u32, grant: u64) -> (u8, CommandBody) {
        self.invite_as(by, invite, uses, grant, Role::Worker, 50)
    }

    pub fn invite_as(
        &self,
        by: u8,
        invite: u8,
        uses: u32,
        grant: u64,
        role: Role,
        score: u32,
    ) -> (u8, CommandBody) {
        let body = CommandBody::Invite {
            invite: invite_id(invite),
            secret_hash: Ticket::secret_hash(&[invite; 16]),
            role,
            score,
            grant: MicroCpt(grant),
            uses,
            expires: Timestamp(self.now + 24 * HOUR),
        };
        (by, body)
    }

    pub fn delegation(&self, by: u8, of: u8, expires: u64) -> Signed<Delegation> {
        let delegation = Delegation {
            network: self.network,
            account: account(by),
            node: node(of),
            expires: Timestamp(expires),
        };
        Signed::sign(&owner(by), &delegation).unwrap()
    }

    pub fn join(&self, by: u8, of: u8, invite: u8) -> (u8, CommandBody) {
        let body = CommandBody::Join {
            invite: invite_id(invite),
            secret: [invite; 16],
            delegation: self.delegation(by, of, self.now + 1000 * HOUR),
            name: format!("box{of}"),
            capabilities: Capabilities::default(),
        };
        (by, body)
    }

    pub fn remove(&self, by: u8, of: u8) -> (u8, CommandBody) {
        (by, CommandBody::RemoveNode { node: node(of) })
    }

    pub fn set_score(&self, by: u8, of: u8, score: u32) -> (u8, CommandBody) {
        let body = CommandBody::SetScore {
            account: account(of),
            score,
            reason: "by hand".into(),
        };
        (by, body)
    }

    pub fn free(&self, of: u8) -> u64 {
        self.state.account_view(&account(of)).unwrap().available.0
    }

    pub fn score(&self, of: u8) -> u32 {
        self.state.account_view(&account(of)).unwrap().score
    }
}
