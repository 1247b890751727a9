//! Single rules of the ledger: bounds, paging, forgetting.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use hive_ledger::{
    Ledger, LedgerError, LineKind, NewHold, Reserve, Stamp,
    account::HISTORY_LINES,
    hold::{KEEP_RESOLVED, MAX_OPEN_HOLDS},
    ledger::MAX_ACCOUNTS,
    reserve::MAX_OPEN_RESERVES,
};
use hive_protocol::{
    authority::HoldState,
    ids::{AccountId, HoldId, InviteId, LeaseId},
    money::MicroCpt,
    time::Timestamp,
};

const ALICE: AccountId = AccountId([1; 32]);
const BOB: AccountId = AccountId([2; 32]);

fn at(index: u64, time: u64) -> Stamp {
    Stamp {
        index,
        time: Timestamp(time),
    }
}

fn ledger() -> Ledger {
    let mut l = Ledger::mint(ALICE, MicroCpt(1_000_000), at(0, 0));
    l.open(BOB).unwrap();
    l
}

fn hold(n: u64, amount: u64, expires: u64) -> NewHold {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_le_bytes());
    NewHold {
        hold: HoldId(id),
        lease: LeaseId([3; 16]),
        payer: ALICE,
        payee: BOB,
        amount: MicroCpt(amount),
        expires: Timestamp(expires),
    }
}

#[test]
fn a_part_is_paid_the_rest_comes_back_and_never_twice() {
    let mut l = ledger();
    let h = hold(1, 100, 50);
    assert_eq!(l.hold(&h, at(1, 1)), Ok(1));
    assert_eq!(l.hold(&h, at(2, 2)), Ok(1), "asked again: the first answer");
    assert_eq!(l.account(&ALICE).unwrap().held, MicroCpt(100));
    let too_much = l.capture(h.hold, MicroCpt(101), at(3, 3));
    assert_eq!(too_much.unwrap_err().code(), "hold.exceeded");
    let paid = l.capture(h.hold, MicroCpt(30), at(3, 3)).unwrap();
    assert_eq!(paid.state, HoldState::Captured(MicroCpt(30)));
    let (a, b) = (l.account(&ALICE).unwrap(), l.account(&BOB).unwrap());
    assert_eq!((a.available.0, a.held.0, a.spent.0), (999_970, 0, 30));
    assert_eq!((b.available.0, b.earned.0), (30, 30));
    for again in [
        l.capture(h.hold, MicroCpt(30), at(4, 4)).unwrap_err(),
        l.release(h.hold, at(4, 4)).unwrap_err(),
    ] {
        assert_eq!(again.code(), "hold.captured");
    }
    assert!(l.advance(at(5, 60)).is_empty());
    l.check_invariants(Timestamp(60)).unwrap();
}

#[test]
fn insufficient_money_says_what_is_missing() {
    let mut l = ledger();
    l.hold(&hold(1, 600_000, 50), at(1, 1)).unwrap();
    let e = l.hold(&hold(2, 1_600_000, 50), at(2, 2)).unwrap_err();
    assert_eq!(
        e.to_string(),
        "the hold needs 1.6 CPT, free are 0.4 CPT (0.6 CPT more are held); earn or receive 1.2 CPT, or wait until holds end"
    );
}

#[test]
fn resolved_holds_are_told_apart_then_forgotten() {
    let mut l = ledger();
    for n in 0..3 {
        l.hold(&hold(n, 10, 100), at(n + 1, 1)).unwrap();
    }
    l.capture(hold(0, 0, 0).hold, MicroCpt(0), at(4, 2)).unwrap();
    l.release(hold(1, 0, 0).hold, at(5, 2)).unwrap();
    assert_eq!(l.advance(at(6, 100)).len(), 1);
    let code = |l: &mut Ledger, n| {
        let e = l.capture(hold(n, 0, 0).hold, MicroCpt(0), at(7, 101));
        e.unwrap_err().code()
    };
    assert_eq!(code(&mut l, 0), "hold.captured");
    assert_eq!(code(&mut l, 1), "hold.released");
    assert_eq!(code(&mut l, 2), "hold.expired");
    assert_eq!(code(&mut l, 9), "hold.unknown");
    l.advance(at(8, 2 + KEEP_RESOLVED.0));
    assert_eq!(code(&mut l, 0), "hold.unknown");
    assert_eq!(code(&mut l, 2), "hold.expired", "resolved later, kept longer");
    l.check_invariants(Timestamp(2 + KEEP_RESOLVED.0)).unwrap();
}

#[test]
fn open_holds_and_invitations_are_bounded() {
    let mut l = ledger();
    for n in 0..MAX_OPEN_HOLDS as u64 {
        l.hold(&hold(n, 1, 100), at(n + 1, 1)).unwrap();
    }
    let e = l.hold(&hold(u64::MAX, 1, 100), at(5000, 1)).unwrap_err();
    assert_eq!(e, LedgerError::HoldTooMany(MAX_OPEN_HOLDS));
    let reserve = Reserve {
        owner: ALICE,
        each: MicroCpt(1),
        left: 1,
        expires: Timestamp(100),
    };
    for n in 0..=MAX_OPEN_RESERVES {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(n as u64).to_le_bytes());
        let got = l.reserve(InviteId(id), reserve, at(6000, 1));
        assert_eq!(got.is_ok(), n < MAX_OPEN_RESERVES);
    }
    assert_eq!(l.advance(at(7000, 100)).len(), MAX_OPEN_HOLDS + MAX_OPEN_RESERVES);
    assert_eq!(l.account(&ALICE).unwrap().available, MicroCpt(1_000_000));
    assert_eq!(l.account(&ALICE).unwrap().lines().count(), HISTORY_LINES);
    l.check_invariants(Timestamp(100)).unwrap();
}

#[test]
fn accounts_are_bounded_and_known_ones_stay_open() {
    let mut l = ledger();
    for n in 2..MAX_ACCOUNTS {
        let mut id = [9; 32];
        id[..8].copy_from_slice(&(n as u64).to_le_bytes());
        l.open(AccountId(id)).unwrap();
    }
    let e = l.open(AccountId([200; 32])).unwrap_err();
    assert_eq!(e.code(), "wallet.full");
    l.open(ALICE).unwrap();
}

#[test]
fn pages_lose_no_line_even_when_one_entry_makes_many() {
    let mut l = ledger();
    for n in 0..20 {
        l.hold(&hold(n, 1, 50), at(n + 1, 1)).unwrap();
    }
    l.advance(at(30, 50)); // twenty lines of one entry
    for n in 0..5 {
        l.transfer(ALICE, BOB, MicroCpt(1), "x", at(31 + n, 51)).unwrap();
    }
    let a = l.account(&ALICE).unwrap();
    let all: Vec<_> = a.lines().rev().collect();
    assert_eq!(all.len(), 1 + 20 + 20 + 5);
    for limit in [1, 2, 3, 7, 19, 20, 21, 200, usize::MAX] {
        let (mut seen, mut before) = (Vec::new(), u64::MAX);
        loop {
            let page = a.page(before, limit);
            let Some(last) = page.last() else { break };
            before = last.index;
            let one = page.iter().all(|l| l.index == before);
            assert!(page.len() <= limit || one, "limit {limit}: {}", page.len());
            seen.extend(page);
        }
        assert_eq!(seen, all, "limit {limit}");
    }
    assert_eq!(all[0].kind, LineKind::Transfer);
    assert_eq!(all[0].view().delta, -1);
}

#[test]
fn no_more_than_a_signed_line_can_tell_is_minted() {
    let l = Ledger::mint(ALICE, MicroCpt(u64::MAX), at(0, 0));
    assert_eq!(l.minted().0, i64::MAX.unsigned_abs());
    l.check_invariants(Timestamp(0)).unwrap();
}
