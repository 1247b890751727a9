//! Random operations against a reference that is too simple to be wrong: it keeps what each account owns and the
//! lists of open holds and reserves, and derives every balance from them anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use hive_ledger::{Ended, Ledger, NewHold, Reserve, Stamp};
use hive_protocol::{
    command::{MAX_HOLD_LIFE, MAX_INVITE_LIFE},
    ids::{AccountId, HoldId, InviteId, LeaseId},
    money::MicroCpt,
    time::Timestamp,
};
use std::collections::BTreeMap;

/// SplitMix64: the test's own, so that a seed means the same for ever.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    fn amount(&mut self) -> MicroCpt {
        MicroCpt(match self.below(12) {
            0 => 0,
            1 => u64::MAX,
            2 => u64::MAX / 2,
            3 => i64::MAX.unsigned_abs(),
            _ => self.below(400),
        })
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    Open,
    Captured(u64),
    Released,
    Expired,
}

struct Model {
    owned: BTreeMap<AccountId, u128>,
    holds: Vec<(NewHold, Fate)>,
    reserves: Vec<(InviteId, Reserve)>,
    now: u64,
}

impl Model {
    fn held(&self, a: AccountId) -> u128 {
        let holds = self.holds.iter();
        let holds: u128 = holds
            .filter(|(h, f)| h.payer == a && *f == Fate::Open)
            .map(|(h, _)| u128::from(h.amount.0))
            .sum();
        let reserves = self.reserves.iter().filter(|(_, r)| r.owner == a);
        holds + reserves.map(|(_, r)| cost(r)).sum::<u128>()
    }
    fn free(&self, a: AccountId) -> Option<u128> {
        Some(self.owned.get(&a)? - self.held(a))
    }
    fn afford(&self, a: AccountId, amount: u128) -> Result<(), &'static str> {
        match self.free(a) {
            None => Err("wallet.unknown_account"),
            Some(free) if free < amount => Err("wallet.insufficient"),
            Some(_) => Ok(()),
        }
    }
    fn pay(&mut self, from: AccountId, to: AccountId, amount: u128) {
        *self.owned.get_mut(&from).unwrap() -= amount;
        *self.owned.get_mut(&to).unwrap() += amount;
    }
    fn transfer(&mut self, from: AccountId, to: AccountId, m: MicroCpt) -> Result<(), &'static str> {
        if m.0 == 0 {
            return Err("wallet.zero");
        }
        if from == to {
            return Err("wallet.self");
        }
        if !self.owned.contains_key(&to) {
            return Err("wallet.unknown_account");
        }
        self.afford(from, m.0.into())?;
        self.pay(from, to, m.0.into());
        Ok(())
    }
    fn hold(&mut self, new: NewHold) -> Result<(), &'static str> {
        if let Some((old, _)) = self.holds.iter().find(|(h, _)| h.hold == new.hold) {
            return if *old == new { Ok(()) } else { Err("hold.exists") };
        }
        if new.expires.0 <= self.now || new.expires.0 > self.now + MAX_HOLD_LIFE.0 {
            return Err("hold.expiry");
        }
        if !self.owned.contains_key(&new.payee) {
            return Err("wallet.unknown_account");
        }
        self.afford(new.payer, new.amount.0.into())?;
        self.holds.push((new, Fate::Open));
        Ok(())
    }
    fn open(&mut self, id: HoldId) -> Result<&mut (NewHold, Fate), &'static str> {
        let found = self.holds.iter_mut().find(|(h, _)| h.hold == id);
        let found = found.ok_or("hold.unknown")?;
        match found.1 {
            Fate::Open => Ok(found),
            Fate::Captured(_) => Err("hold.captured"),
            Fate::Released => Err("hold.released"),
            Fate::Expired => Err("hold.expired"),
        }
    }
    fn capture(&mut self, id: HoldId, amount: MicroCpt) -> Result<(), &'static str> {
        let (hold, fate) = self.open(id)?;
        if amount > hold.amount {
            return Err("hold.exceeded");
        }
        *fate = Fate::Captured(amount.0);
        let (payer, payee) = (hold.payer, hold.payee);
        self.pay(payer, payee, amount.0.into());
        Ok(())
    }
    fn release(&mut self, id: HoldId) -> Result<(), &'static str> {
        match self.open(id) {
            Ok((_, fate)) => *fate = Fate::Released,
            Err("hold.released") => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }
    fn reserve(&mut self, id: InviteId, r: Reserve) -> Result<(), &'static str> {
        if self.reserves.iter().any(|(i, _)| *i == id) {
            return Err("invite.exists");
        }
        if r.left == 0 {
            return Err("wallet.zero");
        }
        if r.expires.0 <= self.now || r.expires.0 > self.now + MAX_INVITE_LIFE.0 {
            return Err("invite.expiry");
        }
        self.afford(r.owner, cost(&r))?;
        self.reserves.push((id, r));
        Ok(())
    }
    fn grant(&mut self, id: InviteId, to: AccountId) -> Result<(), &'static str> {
        let at = self.reserves.iter().position(|(i, _)| *i == id);
        let at = at.ok_or("ticket.unknown")?;
        if !self.owned.contains_key(&to) {
            return Err("wallet.unknown_account");
        }
        let (_, r) = &mut self.reserves[at];
        r.left -= 1;
        let r = *r;
        if r.left == 0 {
            self.reserves.remove(at);
        }
        self.pay(r.owner, to, r.each.0.into());
        Ok(())
    }
    fn unreserve(&mut self, id: InviteId) -> Result<(), &'static str> {
        let at = self.reserves.iter().position(|(i, _)| *i == id);
        self.reserves.remove(at.ok_or("ticket.unknown")?);
        Ok(())
    }
    fn advance(&mut self, to: u64) -> usize {
        self.now = to;
        let mut ended = self.reserves.len();
        self.reserves.retain(|(_, r)| r.expires.0 > to);
        ended -= self.reserves.len();
        for (h, f) in &mut self.holds {
            if *f == Fate::Open && h.expires.0 <= to {
                *f = Fate::Expired;
                ended += 1;
            }
        }
        ended
    }
}

fn cost(r: &Reserve) -> u128 {
    u128::from(r.each.0) * u128::from(r.left)
}

fn account(n: u64) -> AccountId {
    AccountId([u8::try_from(n).unwrap(); 32])
}

/// One sequence; returns the encoded ledger, so that a second run can be compared.
fn run(seed: u64, steps: usize) -> Ledger {
    let mut rng = Rng(seed);
    let minted = match seed % 8 {
        0 => u64::MAX,
        1 => 0,
        _ => 1000,
    };
    let stamp = Stamp {
        index: 0,
        time: Timestamp(1),
    };
    let mut ledger = Ledger::mint(account(0), MicroCpt(minted), stamp);
    let minted = ledger.minted().0;
    let mut model = Model {
        owned: BTreeMap::from([(account(0), minted.into())]),
        holds: Vec::new(),
        reserves: Vec::new(),
        now: 1,
    };
    for index in 1..=steps {
        let stamp = Stamp {
            index: index as u64,
            time: Timestamp(model.now),
        };
        let (a, b) = (account(rng.below(5)), account(rng.below(5)));
        let hold = HoldId([u8::try_from(rng.below(24)).unwrap(); 16]);
        let invite = InviteId([u8::try_from(rng.below(6)).unwrap(); 16]);
        let soon = Timestamp(match rng.below(20) {
            0 => model.now,
            1 => model.now + MAX_HOLD_LIFE.0 + 1,
            2 => u64::MAX,
            _ => model.now + 1 + rng.below(50),
        });
        let before = ledger.clone();
        let code = |e: hive_ledger::LedgerError| e.code();
        let (got, want) = match rng.below(9) {
            0 => {
                model.owned.entry(a).or_insert(0);
                (ledger.open(a).map_err(code), Ok(()))
            }
            1 => {
                let m = rng.amount();
                (
                    ledger.transfer(a, b, m, "x", stamp).map_err(code),
                    model.transfer(a, b, m),
                )
            }
            2 | 3 => {
                let new = NewHold {
                    hold,
                    lease: LeaseId([1; 16]),
                    payer: a,
                    payee: b,
                    amount: rng.amount(),
                    expires: soon,
                };
                (
                    ledger.hold(&new, stamp).map(|_| ()).map_err(code),
                    model.hold(new),
                )
            }
            4 => {
                let m = rng.amount();
                (
                    ledger.capture(hold, m, stamp).map(|_| ()).map_err(code),
                    model.capture(hold, m),
                )
            }
            5 => (
                ledger.release(hold, stamp).map(|_| ()).map_err(code),
                model.release(hold),
            ),
            6 => {
                let new = Reserve {
                    owner: a,
                    each: rng.amount(),
                    left: u32::try_from(rng.below(4)).unwrap(),
                    expires: soon,
                };
                (
                    ledger.reserve(invite, new, stamp).map_err(code),
                    model.reserve(invite, new),
                )
            }
            7 if rng.below(2) == 0 => (
                ledger.grant(invite, b, stamp).map(|_| ()).map_err(code),
                model.grant(invite, b),
            ),
            7 => (
                ledger.unreserve(invite, stamp).map_err(code),
                model.unreserve(invite),
            ),
            _ => {
                let to = model.now + rng.below(40);
                let ended = ledger.advance(Stamp {
                    index: index as u64,
                    time: Timestamp(to),
                });
                assert_eq!(ended.len(), model.advance(to), "seed {seed} step {index}");
                (Ok(()), Ok(()))
            }
        };
        assert_eq!(got, want, "seed {seed} step {index}");
        if got.is_err() {
            assert_eq!(
                ledger, before,
                "a refusal changed something: seed {seed} step {index}"
            );
        }
        if let Err(e) = ledger.check_invariants(Timestamp(model.now)) {
            panic!("seed {seed} step {index}: {e}");
        }
        for (id, owned) in &model.owned {
            let a = ledger.account(id).unwrap();
            let free = model.free(*id).unwrap();
            assert_eq!(u128::from(a.available.0), free, "seed {seed} step {index}");
            assert_eq!(u128::from(a.held.0), owned - free, "seed {seed} step {index}");
            if let Some(line) = a.lines().next_back() {
                assert_eq!(line.available, a.available, "the last line tells the balance");
            }
            let sum: i128 = a.lines().map(|l| i128::from(l.delta)).sum();
            assert_eq!(sum, i128::from(a.available.0), "the lines add up");
        }
    }
    ledger
}

#[test]
fn thousands_of_random_sequences_equal_the_reference() {
    for seed in 0..3000 {
        run(seed, 60);
    }
    for seed in 0..10 {
        assert_eq!(run(seed, 250), run(seed, 250), "the same seed, the same ledger");
    }
}

#[test]
fn time_in_steps_is_time_at_once() {
    for seed in 0..500 {
        let mut steps = run(seed, 40);
        let mut once = steps.clone();
        let mut rng = Rng(seed);
        let mut at = 2000;
        let mut ended: Vec<Ended> = Vec::new();
        for _ in 0..5 {
            at += rng.below(30_000_000);
            ended.extend(steps.advance(Stamp {
                index: 99,
                time: Timestamp(at),
            }));
        }
        let all = once.advance(Stamp {
            index: 99,
            time: Timestamp(at),
        });
        assert_eq!(ended, all);
        assert_eq!(steps, once);
        assert!(once.next_due().is_none_or(|due| due.0 > at));
    }
}
