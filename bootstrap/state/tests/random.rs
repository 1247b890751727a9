//! Random commands from one seed: invariants after every step (the mesh checks them), an oracle that knows the
//! events only, retries, clocks that jump back, replay of the log, and damaged bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod mesh;
use hive_protocol::{
    command::{Command, CommandBody},
    ids::{AccountId, CommandId, HoldId, InviteId},
    keys::Signed,
    money::MicroCpt,
    resources::Role,
    time::Timestamp,
};
use hive_state::{Entry, Event, State};
use mesh::*;
use std::collections::{BTreeMap, BTreeSet};

/// Accounts 0..PEOPLE may join, each with machines of their number and ten above it.
const PEOPLE: u64 = 5;

/// Knows what everybody owns from the events alone.
#[derive(Default)]
struct Oracle {
    owned: BTreeMap<AccountId, i128>,
    open: BTreeMap<HoldId, (AccountId, u64)>,
    resolved: BTreeSet<HoldId>,
    invites: BTreeMap<InviteId, AccountId>,
}

impl Oracle {
    fn pay(&mut self, from: AccountId, to: AccountId, amount: MicroCpt) {
        *self.owned.entry(from).or_default() -= i128::from(amount.0);
        *self.owned.entry(to).or_default() += i128::from(amount.0);
    }
    fn resolve(&mut self, hold: HoldId) -> (AccountId, u64) {
        assert!(self.resolved.insert(hold), "{hold:?} resolved twice");
        self.open.remove(&hold).expect("resolved without being open")
    }
    fn hear(&mut self, event: &Event, inviter: Option<AccountId>) {
        match event {
            Event::Transferred { from, to, amount } => self.pay(*from, *to, *amount),
            Event::Held {
                hold, payer, amount, ..
            } => {
                assert!(self.open.insert(*hold, (*payer, amount.0)).is_none());
                // Long forgotten ids may be used again.
                self.resolved.remove(hold);
            }
            Event::Captured {
                hold,
                payer,
                payee,
                paid,
            } => {
                let (by, amount) = self.resolve(*hold);
                assert!(by == *payer && paid.0 <= amount);
                self.pay(*payer, *payee, *paid);
            }
            Event::Released { hold } | Event::Expired { hold } => {
                self.resolve(*hold);
            }
            Event::Invited { invite, by } => {
                self.invites.insert(*invite, *by);
            }
            Event::Joined { account, grant, .. } => self.pay(inviter.unwrap(), *account, *grant),
            Event::Delegated { .. }
            | Event::NodeRemoved { .. }
            | Event::InviteEnded { .. }
            | Event::Score { .. } => {}
        }
    }
    fn compare(&self, state: &State) {
        for (account, owned) in &self.owned {
            let view = state.account_view(account);
            let have = view.map_or(0, |v| i128::from(v.available.0) + i128::from(v.held.0));
            assert_eq!(have, *owned);
        }
        for (account, _) in state.ledger().accounts() {
            let view = state.account_view(account).unwrap();
            let holds: BTreeSet<HoldId> = view.holds.iter().map(|h| h.hold).collect();
            let open = self.open.iter().filter(|(_, (by, _))| by == account);
            assert_eq!(holds, open.map(|(h, _)| *h).collect());
        }
    }
}

fn amount(rng: &mut Rng) -> u64 {
    match rng.below(10) {
        0 => 0,
        1 => u64::MAX - rng.below(3),
        2 => i64::MAX.unsigned_abs() + rng.below(3),
        _ => rng.below(3000),
    }
}

fn wish(m: &Mesh, rng: &mut Rng) -> (u8, CommandBody) {
    let (a, b) = (rng.byte(PEOPLE), rng.byte(PEOPLE));
    let machine = |rng: &mut Rng, of: u8| of + 10 * u8::from(rng.below(5) == 0);
    let (hold, invite) = (rng.byte(16), rng.byte(4));
    match rng.below(16) {
        0 | 1 => m.transfer(a, b, amount(rng)),
        2..=4 => m.hold(a, b, hold, amount(rng)),
        5..=7 => {
            let of_hold = m.state.hold_view(&hold_id(hold)).ok();
            let pick =
                |who: Option<AccountId>, or: u8| (0..5).find(|n| Some(account(*n)) == who).unwrap_or(or);
            // Mostly the right pair, so that captures happen.
            let worker = pick(of_hold.as_ref().map(|h| h.payee), a);
            let submitter = pick(of_hold.as_ref().map(|h| h.payer), b);
            let most = of_hold.map_or(0, |h| h.amount.0);
            let pay = match rng.below(8) {
                0 => most.saturating_add(1),
                _ => rng.below(most.saturating_add(1).max(1)),
            };
            let receipt = m.receipt(machine(rng, worker), machine(rng, submitter), hold, pay);
            let w = (0..20).find(|n| node(*n) == receipt.worker).unwrap();
            let s = (0..20).find(|n| node(*n) == receipt.submitter).unwrap();
            let by = if rng.below(2) == 0 { worker } else { submitter };
            m.capture_of(by, &receipt, w, s)
        }
        8 => m.release(a, hold),
        9 | 10 => {
            let role = if rng.below(9) == 0 {
                Role::Authority
            } else {
                Role::Worker
            };
            let score = u32::try_from(rng.below(70)).unwrap();
            let uses = u32::try_from(rng.below(4)).unwrap();
            m.invite_as(a, invite, uses, amount(rng), role, score)
        }
        11 => {
            let invite = invite_id(invite);
            (a, CommandBody::RevokeInvite { invite })
        }
        12 | 13 => {
            let of = if rng.below(5) == 0 { a } else { b };
            m.join(b, machine(rng, of), invite)
        }
        14 => match rng.below(3) {
            0 => m.remove(a, machine(rng, b)),
            1 => {
                let delegation = m.delegation(a, machine(rng, b), m.now + rng.below(HOUR));
                (a, CommandBody::Delegate { delegation })
            }
            _ => m.set_score(a, b, u32::try_from(rng.below(200)).unwrap()),
        },
        _ => (a, m.transfer(a, b, 1).1),
    }
}

fn run(seed: u64, steps: usize) -> (Mesh, BTreeMap<String, u32>) {
    let mut rng = Rng(seed);
    let mut m = Mesh::with_members(3);
    let mut oracle = Oracle::default();
    for (id, a) in m.state.ledger().accounts() {
        oracle.owned.insert(*id, a.available.0.into());
    }
    let mut sent: Vec<(Signed<Command>, hive_state::Accepted)> = Vec::new();
    let mut codes: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..steps {
        match rng.below(40) {
            0 => m.now += rng.below(30 * HOUR),
            1 => m.now = m.now.saturating_sub(rng.below(HOUR)),
            _ => m.now += rng.below(60_000),
        }
        if rng.below(10) == 0 {
            m.tick();
        }
        if !sent.is_empty() && rng.below(5) == 0 {
            // A retry, however late, never takes effect again; while it is remembered it is answered alike.
            let (signed, first) = &sent[usize::try_from(rng.below(sent.len() as u64)).unwrap()];
            let before = m.log.len();
            match m.send(signed).outcome {
                Ok(again) => {
                    assert!(again.repeated);
                    assert_eq!(
                        (again.index, again.paid, &again.id),
                        (first.index, first.paid, &first.id)
                    );
                }
                Err(r) => assert_eq!(r.code, "command.expired"),
            }
            assert_eq!(m.log.len(), before);
        }
        let (by, body) = wish(&m, &mut rng);
        let id = m.fresh();
        let mut command = m.command(by, id, body);
        command.not_after = Timestamp(m.now.max(m.state.now().0) + 60_000);
        let node_signs = command.body.node_may_sign() && rng.below(3) == 0;
        let key = if node_signs { machine(by) } else { owner(by) };
        let inviter = match &command.body {
            CommandBody::Join { invite, .. } => oracle.invites.get(invite).copied(),
            _ => None,
        };
        let signed = Signed::sign(&key, &command).unwrap();
        let outcome = m.send(&signed).outcome;
        let name = command.body.name();
        let code = outcome.as_ref().map_or_else(|r| r.code.as_str(), |_| "ok");
        *codes.entry(format!("{name} {code}")).or_default() += 1;
        if let Ok(accepted) = outcome {
            sent.push((signed, accepted));
        }
        for event in &std::mem::take(&mut m.events) {
            oracle.hear(event, inviter);
        }
        oracle.compare(&m.state);
    }
    m.check_replay();
    (m, codes)
}

#[test]
fn random_commands_keep_every_invariant() {
    let mut codes: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..120 {
        for (code, n) in run(seed, 100).1 {
            *codes.entry(code).or_default() += n;
        }
    }
    // The generator is worth something only if the paths are taken.
    for path in [
        "transfer ok",
        "transfer wallet.insufficient",
        "hold ok",
        "hold hold.exists",
        "hold command.signer",
        "capture ok",
        "capture hold.captured",
        "capture hold.exceeded",
        "release ok",
        "invite ok",
        "invite invite.score",
        "revoke-invite ok",
        "join ok",
        "join ticket.used",
        "join ticket.expired",
        "join ticket.revoked",
        "join node.taken",
        "remove-node ok",
        "delegate ok",
        "set-score ok",
    ] {
        assert!(codes.get(path).is_some_and(|n| *n >= 10), "{path}: {codes:#?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_root() {
    for seed in 1000..1005 {
        let root = |s| run(s, 100).0.state.root().unwrap();
        assert_eq!(root(seed), root(seed));
        assert_ne!(root(seed), root(seed + 100));
    }
}

#[test]
fn snapshots_go_on_where_the_log_stood() {
    for seed in 2000..2020 {
        let (m, _) = run(seed, 80);
        let bytes = m.state.export().unwrap();
        let back = State::import(&bytes).unwrap();
        assert_eq!(back, m.state);
        assert_eq!(back.root().unwrap(), m.state.root().unwrap());
        assert_eq!(hive_state::snapshot::root_of(&bytes), back.root().unwrap());

        let mut rng = Rng(seed);
        for _ in 0..200 {
            let mut bad = bytes.clone();
            let at = usize::try_from(rng.below(bad.len() as u64)).unwrap();
            bad[at] ^= 1 << rng.below(8);
            // Must not panic; what still decodes must at least be consistent.
            if let Ok(state) = State::import(&bad) {
                state.check_invariants().unwrap();
            }
        }
        assert!(State::import(&bytes[..bytes.len() - 1]).is_err());
        assert!(State::import(&[]).is_err());
        let mut newer = bytes;
        newer[0] = 9;
        assert!(
            State::import(&newer)
                .unwrap_err()
                .to_string()
                .contains("version 9")
        );
    }
}

/// Damaged payloads through the path that trusts signatures: the rules alone must keep the state whole.
#[test]
fn damaged_entries_never_break_the_state() {
    let mut rng = Rng(77);
    let (mut tried, mut accepted) = (0, 0);
    for seed in 3000..3020 {
        let (m, _) = run(seed, 60);
        let mut state = State::genesis(&genesis().encode().unwrap()).unwrap();
        for (_, time, payload) in &m.log {
            for _ in 0..40 {
                let mut bad = payload.clone();
                for _ in 0..=rng.below(3) {
                    let at = usize::try_from(rng.below(bad.len() as u64)).unwrap();
                    bad[at] = match rng.below(3) {
                        0 => rng.byte(256),
                        1 => bad[at] ^ (1 << rng.below(8)),
                        _ => 255,
                    };
                }
                if rng.below(10) == 0 {
                    bad.truncate(usize::try_from(rng.below(bad.len() as u64)).unwrap());
                }
                tried += 1;
                let applied = state.replay(state.next_index(), *time, &bad);
                accepted += u32::from(applied.outcome.is_ok());
                if let Err(e) = state.check_invariants() {
                    panic!("seed {seed}: {e}: {:?}", Entry::decode(&bad));
                }
            }
            let _ = state.replay(state.next_index(), *time, payload);
        }
    }
    assert!(
        accepted > 50,
        "{accepted} of {tried}: the damage hits only the envelope"
    );
}

#[test]
fn two_joins_with_one_id_are_one_join() {
    let mut m = Mesh::new();
    m.ok(m.invite(0, 1, 1, 500));
    let command = m.command(1, CommandId([5; 16]), m.join(1, 1, 1).1);
    let signed = Signed::sign(&owner(1), &command).unwrap();
    let first = m.send(&signed).outcome.unwrap();
    m.now += 1000;
    let second = m.send(&signed).outcome.unwrap();
    assert_eq!((first.index, second.index), (2, 2));
    assert!(second.repeated && !first.repeated);
    assert_eq!(m.free(1), 500);
    // Signed anew with a later end it is still the same wish under the same id.
    let mut anew = command;
    anew.not_after = Timestamp(m.now + HOUR);
    let third = m.send(&Signed::sign(&owner(1), &anew).unwrap());
    assert!(third.outcome.unwrap().repeated);
    m.check_replay();
}

#[test]
fn a_transfer_signed_anew_after_its_end_is_not_paid_twice() {
    let mut m = Mesh::with_members(2);
    let mut command = m.command(1, CommandId([5; 16]), m.transfer(1, 2, 100).1);
    m.send(&Signed::sign(&owner(1), &command).unwrap())
        .outcome
        .unwrap();
    m.now += 23 * HOUR;
    command.not_after = Timestamp(m.now + 1000);
    let again = m.send(&Signed::sign(&owner(1), &command).unwrap());
    assert!(again.outcome.unwrap().repeated);
    assert_eq!(m.free(1), 9_900);
}
