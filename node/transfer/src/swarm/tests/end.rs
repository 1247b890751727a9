//! The end of a content: splits, cancels, completion; and faults.

use super::*;

/// Two seeders measured at these rates (bytes a ms), all but the last segments given.
fn measured(fast: u64, slow: u64, segments: u32) -> Bench {
    let mut bench = Bench::of(u64::from(segments) * SEGMENT);
    bench.seeder(1, &[ME]);
    bench.seeder(2, &[ME]);
    for (n, rate) in [(1, fast), (2, slow)] {
        let peer = bench.core.peers.get_mut(&id(n)).unwrap();
        peer.rate = super::super::pace::Rate::known(rate * 1000);
    }
    bench
}

fn cancels(effects: &[Effect]) -> Vec<(u8, u32)> {
    effects
        .iter()
        .filter_map(|e| match e {
            Effect::Cancel { peer, segment } => Some((peer.0[0], *segment)),
            _ => None,
        })
        .collect()
}

#[test]
fn an_idle_fast_peer_takes_the_far_end_of_what_a_slow_one_owes() {
    let mut bench = measured(100_000, 1000, 3);
    let mut asks = bench.asks();
    let mut second = Vec::new();
    while let Some(at) = asks.iter().position(|a| a.0 == 1) {
        let (_, segment, _) = asks.remove(at);
        bench.give(1, segment, 42);
        for ask in bench.asks() {
            if asks.iter().any(|a| a.1 == ask.1 && a.2 & ask.2 != 0) {
                second.push(ask);
            } else {
                asks.push(ask);
            }
        }
    }
    let slow: Vec<_> = asks.iter().filter(|a| a.0 == 2).collect();
    assert!(
        !second.is_empty() && second.len() <= slow.len(),
        "{second:?} of {slow:?}"
    );
    for (peer, segment, mask) in &second {
        let owed = slow.iter().find(|a| a.1 == *segment).unwrap().2;
        assert_eq!((*peer, mask & !owed), (1, 0));
        assert!(mask.leading_zeros() <= owed.leading_zeros(), "the far end");
    }
    // Each is done: the other's ask for the same is cancelled, and all is complete.
    let mut effects = Vec::new();
    for _ in 0..20 {
        let Some((peer, segment)) = bench
            .core
            .peers
            .iter()
            .rev()
            .find_map(|(p, v)| Some((*p, v.asks.front()?.segment)))
        else {
            break;
        };
        bench.give(peer.0[0], segment, 500);
        effects.extend(bench.drain());
    }
    assert!(effects.contains(&Effect::Complete), "{effects:?}");
    assert!(bench.core.progress().complete);
    assert_eq!(bench.core.poll_timeout(), None);
}

#[test]
fn nothing_is_asked_twice_while_there_is_other_work() {
    let mut bench = measured(100_000, 100, 64);
    for round in 0..30 {
        let asks = bench.asks();
        for (segment, askers) in bench.core.asked.iter().filter(|_| bench.core.anything_open()) {
            assert_eq!(askers.len(), 1, "{segment} in round {round}");
        }
        for (_, segment, _) in asks.iter().filter(|a| a.0 == 1) {
            bench.give(1, *segment, 42);
        }
    }
}

#[test]
fn what_one_has_given_is_cancelled_at_the_other() {
    let mut bench = measured(1000, 1000, 4);
    let asks = bench.asks();
    let (peer, segment, _) = asks[0];
    bench.tell(Input::Local {
        segment,
        mask: u64::MAX,
        hashes: true,
    });
    assert_eq!(cancels(&bench.drain()), [(peer, segment)]);
    // A late answer to it changes nothing.
    bench.tell(Input::Done {
        peer: id(peer),
        segment,
    });
    bench.drain();
}

#[test]
fn wrong_bytes_cost_the_place_for_ever() {
    let mut bench = Bench::of(8 * SEGMENT);
    bench.seeder(1, &[ME]);
    let (_, segment, _) = bench.asks()[0];
    bench.tell(Input::Corrupt { peer: id(1), segment });
    let drop = Effect::DropPeer {
        peer: id(1),
        reason: DropReason::WrongBytes,
    };
    assert!(bench.drain().contains(&drop));
    bench.seeder(1, &[ME]);
    assert_eq!(bench.asks(), [], "asked again");
    assert!(bench.core.peers().is_empty());
    // Its segments go to the next.
    bench.seeder(2, &[ME]);
    assert!(!bench.asks().is_empty());
}

#[test]
fn a_silent_peer_loses_its_asks_and_is_let_alone_longer_each_time() {
    let mut bench = Bench::of(8 * SEGMENT);
    bench.seeder(1, &[ME]);
    bench.drain();
    bench.up(2, false);
    bench.have(2, &[]);
    let mut stalls = Vec::new();
    let start = bench.now;
    for _ in 0..2000 {
        let effects = bench.pass(100);
        if !cancels(&effects).is_empty() {
            stalls.push(bench.now - start);
        }
        if effects.iter().any(|e| matches!(e, Effect::DropPeer { .. })) {
            break;
        }
        // It answers questions all the same.
        for e in effects {
            if let Effect::AskHave { peer, .. } = e {
                if peer == id(1) {
                    bench.seeder(1, &[ME]);
                } else {
                    bench.have(2, &[]);
                }
            }
        }
    }
    assert_eq!(stalls.len(), 4, "{stalls:?}");
    assert!((10_000..10_200).contains(&stalls[0]), "{stalls:?}");
    assert!((11_000..11_300).contains(&(stalls[1] - stalls[0])), "{stalls:?}");
    assert!((14_000..14_300).contains(&(stalls[3] - stalls[2])), "{stalls:?}");
    // Dropped for silence is no evidence, and it may come back.
    bench.now += 60_000;
    bench.seeder(1, &[ME]);
    assert!(!bench.asks().is_empty());
}

#[test]
fn a_trickle_is_a_stall() {
    let mut bench = Bench::of(8 * SEGMENT);
    bench.seeder(1, &[ME]);
    bench.drain();
    let mut all = Vec::new();
    for _ in 0..70 {
        bench.tell(Input::Bytes {
            peer: id(1),
            bytes: 10,
        });
        all.extend(bench.pass(1000));
        bench.seeder(1, &[ME]);
    }
    assert!(!cancels(&all).is_empty());
}

#[test]
fn busy_is_honoured_to_the_moment() {
    let mut bench = Bench::of(8 * SEGMENT);
    bench.seeder(1, &[ME]);
    let asks = bench.asks();
    for (_, segment, _) in &asks {
        bench.tell(Input::Failed {
            peer: id(1),
            segment: *segment,
            why: Failure::Busy { retry: Millis(3000) },
        });
    }
    let waits = Effect::State(State::Waiting {
        peer: id(1),
        until: Timestamp(bench.now + 3000),
    });
    assert!(bench.drain().contains(&waits));
    let asked = |effects: &[Effect]| effects.iter().filter(|e| matches!(e, Effect::Ask { .. })).count();
    assert_eq!(asked(&bench.pass(2999)), 0);
    assert_eq!(asked(&bench.pass(1)), asks.len());
    // A peer that says "in a year" is asked again after a minute, not before.
    let running: Vec<u32> = bench.core.peers[&id(1)].asks.iter().map(|a| a.segment).collect();
    for segment in running {
        bench.tell(Input::Failed {
            peer: id(1),
            segment,
            why: Failure::Busy {
                retry: Millis(u64::MAX),
            },
        });
    }
    bench.drain();
    assert!(bench.core.peers[&id(1)].asks.is_empty());
    assert_eq!(asked(&bench.pass(59_000)), 0);
    assert!(asked(&bench.pass(2000)) > 0);
}

#[test]
fn a_copy_that_has_changed_is_asked_no_more_and_is_no_evidence() {
    let mut bench = Bench::of(8 * SEGMENT);
    bench.seeder(1, &[ME]);
    bench.seeder(2, &[ME]);
    let asks = bench.asks();
    let (_, segment, _) = *asks.iter().find(|a| a.0 == 1).unwrap();
    bench.tell(Input::Failed {
        peer: id(1),
        segment,
        why: Failure::Changed,
    });
    let effects = bench.drain();
    let reason = DropReason::Changed;
    assert!(
        effects.contains(&Effect::DropPeer { peer: id(1), reason }),
        "{effects:?}"
    );
    assert!(!reason.evidence());
    // All it owed is asked of the other, and nothing more of it.
    let mut left: std::collections::BTreeSet<u32> = (0..8).collect();
    for _ in 0..8 {
        let owed = bench.core.peers[&id(2)].asks.front().unwrap().segment;
        left.remove(&owed);
        bench.give(2, owed, 10);
        assert!(bench.asks().iter().all(|a| a.0 == 2));
    }
    assert!(left.is_empty(), "{left:?}");
    // Once it has been added again it may come back.
    let mut bench = Bench::of(8 * SEGMENT);
    bench.seeder(1, &[ME]);
    let (_, segment, _) = bench.asks()[0];
    let (peer, why) = (id(1), Failure::Changed);
    bench.tell(Input::Failed { peer, segment, why });
    bench.drain();
    bench.seeder(1, &[ME]);
    assert!(!bench.asks().is_empty());
}

#[test]
fn a_claim_that_is_not_kept_is_not_believed_again_and_three_are_enough() {
    let mut bench = Bench::of(8 * SEGMENT);
    bench.seeder(1, &[ME]);
    let mut lacked = Vec::new();
    for _ in 0..3 {
        let asks = bench.asks();
        let running = bench.core.peers[&id(1)].asks.front().unwrap().segment;
        assert!(
            asks.iter().all(|a| !lacked.contains(&a.1)),
            "asked again for {lacked:?}"
        );
        lacked.push(running);
        bench.tell(Input::Failed {
            peer: id(1),
            segment: running,
            why: Failure::NotFound,
        });
        if lacked.len() < 3 {
            bench.seeder(1, &[ME]);
        }
    }
    let drop = Effect::DropPeer {
        peer: id(1),
        reason: DropReason::Lacks,
    };
    assert!(bench.drain().contains(&drop));
}

#[test]
fn lost_groups_are_fetched_again() {
    let mut bench = Bench::of(SEGMENT + GROUP);
    for segment in 0..2 {
        bench.tell(Input::Local {
            segment,
            mask: u64::MAX,
            hashes: true,
        });
    }
    assert_eq!(bench.drain().last(), Some(&Effect::Complete));
    bench.seeder(1, &[ME]);
    assert_eq!(bench.asks(), []);
    bench.tell(Input::Lost {
        segment: 0,
        mask: 0b100,
    });
    assert_eq!(bench.asks(), [(1, 0, 0b100)]);
    bench.tell(Input::Done {
        peer: id(1),
        segment: 0,
    });
    assert!(bench.drain().contains(&Effect::Complete));
}
