//! How scores move: each rule of `score`, and the attacks they are there for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use hive_protocol::{genesis::MAX_SCORE, ids::AccountId, time::Timestamp};
use hive_trust::{
    Evidence, Trust,
    score::{MAX_GAIN_PER_DAY, MAX_REASON, MAX_REASONS, MIN_TASKS},
};

const DAY: u64 = 86_400_000;

fn id(n: u8) -> AccountId {
    AccountId([n; 32])
}

fn trust(scores: &[u32]) -> Trust {
    let mut t = Trust::new();
    for (i, s) in scores.iter().enumerate() {
        t.admit(id(u8::try_from(i).unwrap()), *s, Timestamp(0), "test");
    }
    t
}

fn lease(t: &mut Trust, worker: u8, submitter: u8, at: u64) -> usize {
    let moved = t.record(
        &Evidence::Captured {
            worker: id(worker),
            submitter: id(submitter),
            tasks: MIN_TASKS,
            paid: 1,
        },
        Timestamp(at),
    );
    t.check_invariants().unwrap();
    moved.len()
}

#[test]
fn a_pair_gains_once_a_day_and_only_up_to_the_other_side() {
    let mut t = trust(&[100, 50]);
    assert_eq!(
        lease(&mut t, 1, 0, 0),
        1,
        "the worker only: the founder is above it"
    );
    assert_eq!(lease(&mut t, 1, 0, DAY - 1), 0);
    assert_eq!(lease(&mut t, 1, 0, DAY), 1);
    assert_eq!(t.score(&id(1)), Some(52));
    assert_eq!(t.score(&id(0)), Some(100));
    for day in 2..200 {
        lease(&mut t, 1, 0, day * DAY);
    }
    assert_eq!(t.score(&id(1)), Some(100));
}

#[test]
fn the_daily_cap_holds_over_many_partners() {
    let mut t = trust(&[50; 40].map(|_| 100));
    t.set(id(0), 50, Timestamp(0), "start");
    for other in 1..40 {
        lease(&mut t, 0, other, 5);
    }
    assert_eq!(t.score(&id(0)), Some(50 + MAX_GAIN_PER_DAY));
}

#[test]
fn a_ring_does_not_rise_above_its_best_member() {
    let mut t = trust(&[50; 12]);
    for day in 0..400 {
        for a in 0..12 {
            for b in 0..12 {
                lease(&mut t, a, b, day * DAY);
            }
        }
    }
    assert!(t.accounts().all(|(_, s)| s.score == 50));
}

#[test]
fn self_dealing_small_and_unpaid_leases_give_nothing() {
    let mut t = trust(&[100, 50]);
    t.set(id(1), 50, Timestamp(0), "start");
    assert_eq!(lease(&mut t, 1, 1, 0), 0);
    assert_eq!(t.standing(&id(1)).unwrap().captured, 0);
    for (tasks, paid) in [(MIN_TASKS - 1, 5), (MIN_TASKS, 0), (0, 0)] {
        let e = Evidence::Captured {
            worker: id(1),
            submitter: id(0),
            tasks,
            paid,
        };
        assert!(t.record(&e, Timestamp(0)).is_empty());
    }
    assert_eq!(t.score(&id(1)), Some(50));
    assert_eq!(lease(&mut t, 1, 77, 0), 0, "unknown accounts are ignored");
}

#[test]
fn a_wrong_result_costs_a_third_and_stories_cost_nothing() {
    let mut t = trust(&[100, 100]);
    for left in [66, 44, 29, 19] {
        let e = Evidence::ProvenWrong {
            worker: id(1),
            what: "hash differs".into(),
        };
        let moved = t.record(&e, Timestamp(1));
        assert_eq!(moved.first().unwrap().1.score, left);
    }
    for _ in 0..100 {
        for e in [
            Evidence::Disputed {
                worker: id(0),
                submitter: id(1),
            },
            Evidence::Abandoned {
                worker: id(0),
                submitter: id(1),
            },
        ] {
            assert!(t.record(&e, Timestamp(2)).is_empty());
        }
    }
    assert_eq!(t.score(&id(0)), Some(100));
    assert_eq!(t.standing(&id(0)).unwrap().unsettled, 200);
    let zero = Evidence::ProvenWrong {
        worker: id(1),
        what: String::new(),
    };
    for _ in 0..50 {
        t.record(&zero, Timestamp(3));
        t.check_invariants().unwrap();
    }
    assert_eq!(t.score(&id(1)), Some(0));
}

#[test]
fn reasons_are_few_short_and_newest_first() {
    let mut t = trust(&[50]);
    for i in 0..100 {
        assert!(t.set(id(0), i, Timestamp(i.into()), &"ä".repeat(500)));
    }
    let s = t.standing(&id(0)).unwrap();
    assert_eq!(s.reasons.len(), MAX_REASONS);
    assert_eq!(s.reasons.front().unwrap().score, 99);
    assert!(s.reasons.iter().all(|r| r.reason.len() <= MAX_REASON));
    assert!(t.set(id(0), u32::MAX, Timestamp(0), ""));
    assert_eq!(t.score(&id(0)), Some(MAX_SCORE));
    assert!(!t.set(id(9), 1, Timestamp(0), ""));
}

#[test]
fn an_admitted_account_keeps_its_score() {
    let mut t = trust(&[50]);
    t.set(id(0), 10, Timestamp(0), "bad");
    t.admit(id(0), 50, Timestamp(1), "again");
    assert_eq!(t.score(&id(0)), Some(10));
}
