//! Rates, bursts, hours and turns, in virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use super::*;
use hive_protocol::{
    ids::NodeId,
    time::{Millis, Timestamp},
};
use std::collections::BTreeMap;

fn peer(n: u8) -> NodeId {
    NodeId([n; 32])
}

fn node(rate: u64) -> LimitsConfig {
    LimitsConfig {
        node: Schedule::always(Some(rate)),
        ..LimitsConfig::default()
    }
}

/// Askers that always want more, each coming back when it was told to; bytes each got in a span of time.
fn greedy(limits: &mut Limits, askers: &[(Class, u8, u64)], from: u64, to: u64) -> Vec<u64> {
    let mut got = vec![0; askers.len()];
    let mut next: Vec<u64> = vec![from; askers.len()];
    let mut stands = 0;
    loop {
        let (i, at) = next.iter().copied().enumerate().min_by_key(|(_, t)| *t).unwrap();
        if at >= to {
            return got;
        }
        let (class, p, want) = askers[i];
        match limits.ask(Timestamp(at), class, peer(p), want) {
            Verdict::Grant(n) => {
                assert!((1..=want).contains(&n));
                got[i] += n;
                stands += 1;
                assert!(stands < 1_000_000, "no limit at all");
            }
            Verdict::Wait(w) => {
                assert!((1..=1000).contains(&w.0), "{w:?}");
                next[i] = at + w.0;
                stands = 0;
            }
        }
        limits.check_invariants();
    }
}

#[test]
fn the_long_run_is_within_one_percent_of_the_limit() {
    for rate in [10_000, 333_333, 1 << 20, 12_500_000, 777_777_777] {
        for want in [100, 65_536, 4 << 20] {
            if want == 100 && rate > 20_000_000 {
                continue;
            }
            let mut limits = Limits::new(node(rate));
            let secs = if want == 100 { 5 } else { 200 };
            let got: u64 = greedy(
                &mut limits,
                &[(Class::Bulk, 1, want), (Class::Bulk, 2, want)],
                0,
                1000,
            )
            .iter()
            .sum();
            let burst = (rate / 4).max(64 << 10);
            assert!(got <= rate + burst, "{got} in the first second of {rate}");
            let askers = [
                (Class::Bulk, 1, want),
                (Class::Bulk, 2, want),
                (Class::Small, 3, want),
            ];
            let got: u64 = greedy(&mut limits, &askers, 1000, 1000 + secs * 1000)
                .iter()
                .sum();
            let due = rate * secs;
            let off = got.abs_diff(due);
            assert!(off * 100 <= due + burst * 100, "{got} of {due}, {want} at a time");
            assert!(secs < 100 || rate < 100_000 || off * 100 <= due, "{got} of {due}");
        }
    }
}

#[test]
fn bursts_are_bounded_after_any_rest() {
    let mut limits = Limits::new(node(1_000_000));
    let got: u64 = greedy(&mut limits, &[(Class::Bulk, 1, 1 << 30)], 3_600_000, 3_600_001)
        .iter()
        .sum();
    assert!((200_000..=251_000).contains(&got), "{got}");
}

#[test]
fn the_least_of_node_class_and_peer_counts() {
    let mut config = node(1_000_000);
    config.classes[3] = Schedule::always(Some(400_000));
    config.peer = Schedule::always(Some(300_000));
    config.peers.insert(peer(9), Schedule::always(Some(50_000)));
    let mut limits = Limits::new(config);
    let now = Timestamp(0);
    assert_eq!(limits.limit(now, Class::Bulk, peer(1)), Some(300_000));
    assert_eq!(limits.limit(now, Class::Bulk, peer(9)), Some(50_000));
    assert_eq!(limits.limit(now, Class::Control, peer(9)), None);
    let askers = [
        (Class::Bulk, 1, 65_536),
        (Class::Bulk, 2, 65_536),
        (Class::Small, 3, 65_536),
        (Class::Bulk, 9, 65_536),
    ];
    let got = greedy(&mut limits, &askers, 0, 100_000);
    assert!(
        got[0] + got[1] + got[3] <= 40_600_000 && got[0] + got[1] + got[3] >= 39_000_000,
        "{got:?}"
    );
    assert!(got[2] <= 30_400_000 && got[2] >= 29_000_000, "{got:?}");
    assert!(got[3] <= 5_100_000 && got[3] >= 4_500_000, "{got:?}");
    assert_eq!(limits.moved(Class::Small), got[2]);
}

#[test]
fn equals_share_equally_whatever_they_ask_at_once() {
    let mut limits = Limits::new(node(2_000_000));
    let askers: Vec<(Class, u8, u64)> = (0..5).map(|i| (Class::Bulk, i, 16_384 << i)).collect();
    let got = greedy(&mut limits, &askers, 0, 300_000);
    let (least, most) = (got.iter().min().unwrap(), got.iter().max().unwrap());
    assert!(most * 100 <= least * 115, "{got:?}");
    // So they do under a limit of their class only.
    let mut config = LimitsConfig::default();
    config.classes[3] = Schedule::always(Some(2_000_000));
    let got = greedy(&mut Limits::new(config), &askers, 0, 300_000);
    let (least, most) = (got.iter().min().unwrap(), got.iter().max().unwrap());
    assert!(most * 100 <= least * 115, "{got:?}");
}

#[test]
fn urgent_classes_go_first_and_none_starves() {
    let mut limits = Limits::new(node(10_000_000));
    let mut askers = vec![(Class::Small, 1, 65_536), (Class::Interactive, 2, 65_536)];
    askers.extend((3..13).map(|p| (Class::Bulk, p, 65_536)));
    let got = greedy(&mut limits, &askers, 0, 300_000);
    let bulk: u64 = got[2..].iter().sum();
    let all: u64 = got.iter().sum();
    assert!(got[0] > got[1] * 4 && got[1] > bulk * 3, "{got:?}");
    assert!(bulk * 200 > all && got[2..].iter().all(|b| *b > 0), "{got:?}");
}

#[test]
fn control_is_never_held_back_but_counted() {
    let mut limits = Limits::new(node(1000));
    for _ in 0..100 {
        assert_eq!(
            limits.ask(Timestamp(0), Class::Control, peer(1), 10_000),
            Verdict::Grant(10_000)
        );
    }
    assert!(matches!(
        limits.ask(Timestamp(0), Class::Small, peer(1), 10),
        Verdict::Wait(_)
    ));
    assert_eq!(
        limits.ask(Timestamp(0), Class::Small, peer(1), 0),
        Verdict::Grant(0)
    );
}

#[test]
fn hours_switch_at_the_minute_in_local_time() {
    let mut config = node(1_000_000);
    config.node.hours = vec![
        ("22:00-07:00".parse().unwrap(), None),
        ("12:00-13:00".parse().unwrap(), Some(0)),
    ];
    config.utc_offset_min = 120;
    let mut limits = Limits::new(config);
    let at = |h: u64, m: u64, ms: u64| Timestamp(((h * 60 + m) * 60 * 1000) + ms);
    assert_eq!(limits.rate(at(9, 59, 59_999)), Some(1_000_000));
    assert_eq!(limits.rate(at(10, 0, 0)), Some(0));
    let wait = limits.ask(at(10, 30, 0), Class::Bulk, peer(1), 1000);
    assert_eq!(
        wait,
        Verdict::Wait(Millis(1000)),
        "nothing moves, but nobody waits for ever"
    );
    assert_eq!(
        limits.ask(at(11, 0, 0), Class::Bulk, peer(1), 1000),
        Verdict::Wait(Millis(2))
    );
    assert_eq!(
        limits.ask(at(11, 0, 2), Class::Bulk, peer(1), 1000),
        Verdict::Grant(1000)
    );
    assert_eq!(limits.rate(at(19, 59, 59_999)), Some(1_000_000));
    assert_eq!(
        limits.ask(at(20, 0, 0), Class::Bulk, peer(1), 1 << 40),
        Verdict::Grant(1 << 40)
    );
    assert_eq!(limits.rate(at(29, 0, 0)), Some(1_000_000));
}

#[test]
fn limits_change_at_run_time_without_a_gift() {
    let mut limits = Limits::new(LimitsConfig::default());
    assert_eq!(
        limits.ask(Timestamp(5000), Class::Bulk, peer(1), 1 << 40),
        Verdict::Grant(1 << 40)
    );
    limits.set(Timestamp(6000), node(100_000));
    let got: u64 = greedy(&mut limits, &[(Class::Bulk, 1, 65_536)], 6000, 26_000)
        .iter()
        .sum();
    assert!((1_900_000..=2_000_000).contains(&got), "{got}");
    limits.set(Timestamp(26_000), node(1_000_000));
    let got: u64 = greedy(&mut limits, &[(Class::Bulk, 1, 65_536)], 26_000, 46_000)
        .iter()
        .sum();
    assert!((19_800_000..=20_100_000).contains(&got), "{got}");
    limits.set(Timestamp(46_000), LimitsConfig::default());
    assert_eq!(
        limits.ask(Timestamp(46_000), Class::Bulk, peer(1), 1 << 40),
        Verdict::Grant(1 << 40)
    );
}

#[test]
fn a_clock_that_jumps_is_no_gift_and_no_stop() {
    const HOUR: u64 = 3_600_000;
    let start = 1000 * HOUR;
    // Where the clock is after each span of ten seconds.
    for jumps in [[HOUR, 0], [0, HOUR], [0, start], [start, 0], [1, 0], [0, 1]] {
        let mut limits = Limits::new(node(1_000_000));
        let askers = [(Class::Bulk, 1, 65_536), (Class::Small, 2, 65_536)];
        let (mut at, mut all) = (start, 0);
        for round in 0..20 {
            let got: u64 = greedy(&mut limits, &askers, at, at + 10_000).iter().sum();
            // A jump ahead fills the buckets, once.
            assert!(
                (9_600_000..=10_300_000).contains(&got),
                "{got} in round {round}, {jumps:?}"
            );
            all += got;
            let [ahead, back] = jumps;
            at = if round % 2 == 0 {
                at + 10_000 + ahead - back.min(at)
            } else {
                at + 10_000 + back - ahead
            };
        }
        assert!(all <= 20 * 10_000_000 + 20 * 250_000, "{all}, {jumps:?}");
    }
}

#[test]
fn a_clock_that_is_set_changes_the_hour_at_once_and_forgets_nobody() {
    let mut config = node(1_000_000);
    config.node.hours = vec![("22:00-07:00".parse().unwrap(), Some(0))];
    let at = |h: u64| Timestamp((24 + h) * 3_600_000);
    let mut limits = Limits::new(config);
    assert_eq!(limits.rate(at(12)), Some(1_000_000));
    let soon = Timestamp(at(12).0 + 100);
    assert_eq!(limits.ask(soon, Class::Bulk, peer(1), 1000), Verdict::Grant(1000));
    // Set back into the night, and ahead again.
    let night = limits.ask(at(6), Class::Bulk, peer(1), 1000);
    assert_eq!(night, Verdict::Wait(Millis(1000)));
    assert_eq!(limits.rate(at(6)), Some(0));
    assert_eq!(limits.rate(at(12)), Some(1_000_000));
    // Two who wait when it jumps share as before.
    let mut limits = Limits::new(node(1_000_000));
    let askers = [(Class::Bulk, 1, 65_536), (Class::Bulk, 2, 65_536)];
    let _ = greedy(&mut limits, &askers, 7_200_000, 7_205_000);
    let got = greedy(&mut limits, &askers, 3_600_000, 3_610_000);
    assert!(got[0].abs_diff(got[1]) * 10 < got[0] + got[1], "{got:?}");
}

#[test]
fn one_who_does_not_come_back_holds_nobody_up() {
    let mut limits = Limits::new(node(1_000_000));
    let _ = greedy(&mut limits, &[(Class::Bulk, 1, 65_536)], 0, 2000);
    for p in 2..200 {
        let _ = limits.ask(Timestamp(2000), Class::Small, peer(p), 65_536);
    }
    let got: u64 = greedy(&mut limits, &[(Class::Bulk, 1, 65_536)], 2000, 12_000)
        .iter()
        .sum();
    assert!(got > 9_500_000, "{got}");
}

#[test]
fn many_strangers_cost_bounded_memory() {
    let mut config = node(1_000_000);
    config.peer = Schedule::always(Some(10_000));
    let mut limits = Limits::new(config);
    for i in 0..20_000u64 {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&i.to_le_bytes());
        let _ = limits.ask(Timestamp(i / 10), Class::Bulk, NodeId(key), 1000);
        if i % 500 == 0 {
            limits.check_invariants();
        }
    }
    limits.check_invariants();
}

fn job(id: u64, class: Class, p: u8, bytes: u64) -> Job {
    Job {
        id,
        class,
        peer: peer(p),
        bytes,
    }
}

#[test]
fn the_queue_serves_peers_of_a_class_equally_and_in_their_order() {
    let mut queue = SendQueue::new();
    let mut given: BTreeMap<NodeId, u64> = BTreeMap::new();
    let mut last: BTreeMap<NodeId, u64> = BTreeMap::new();
    let mut id = 0;
    for _ in 0..4000 {
        // One asks for much in many requests, others for less in few.
        for (p, depth, bytes) in [(1, 30, 4 << 20), (2, 2, 4 << 20), (3, 2, 1 << 20)] {
            while queue.waiting_of(Class::Bulk, peer(p)) < depth {
                id += 1;
                queue.push(job(id, Class::Bulk, p, bytes)).unwrap();
            }
        }
        let next = queue.next().unwrap();
        *given.entry(next.peer).or_default() += next.bytes;
        let before = last.insert(next.peer, next.id).unwrap_or(0);
        assert!(before < next.id, "out of order");
        queue.check_invariants();
    }
    let (least, most) = (given.values().min().unwrap(), given.values().max().unwrap());
    assert!(most * 100 <= least * 105, "{given:?}");
}

#[test]
fn the_queue_serves_urgent_classes_first_and_starves_none() {
    let mut queue = SendQueue::new();
    for i in 0..20 {
        queue.push(job(i, Class::Bulk, 1, 4 << 20)).unwrap();
        queue.push(job(100 + i, Class::Interactive, 2, 4 << 20)).unwrap();
    }
    assert_eq!(queue.next().unwrap().class, Class::Interactive);
    queue.push(job(1000, Class::Control, 3, 0)).unwrap();
    queue.push(job(1001, Class::Small, 3, 65_536)).unwrap();
    assert_eq!(queue.next().unwrap().id, 1000);
    assert_eq!(queue.next().unwrap().id, 1001);
    let order: Vec<Class> = std::iter::from_fn(|| queue.next()).map(|j| j.class).collect();
    let bulk = order.iter().take(13).filter(|c| **c == Class::Bulk).count();
    assert!((1..=2).contains(&bulk), "{order:?}");
    assert!(queue.is_empty() && order.len() == 39);
    queue.check_invariants();
}

#[test]
fn a_flood_of_urgent_requests_does_not_stop_bulk() {
    let mut queue = SendQueue::new();
    queue.push(job(1, Class::Bulk, 1, 4 << 20)).unwrap();
    let mut id = 10;
    for round in 0..100_000 {
        while queue.waiting_of(Class::Small, peer(2)) < 30 {
            id += 1;
            queue.push(job(id, Class::Small, 2, 65_536)).unwrap();
        }
        if queue.next().unwrap().class == Class::Bulk {
            assert!(round < 10_000);
            return;
        }
    }
    panic!("starved");
}

#[test]
fn a_full_queue_says_busy_and_what_is_cancelled_or_gone_is_not_served() {
    let mut queue = SendQueue::new();
    for i in 0..MAX_QUEUE_PEER as u64 {
        queue.push(job(i, Class::Bulk, 1, 100)).unwrap();
    }
    let full = queue.push(job(99, Class::Bulk, 1, 100)).unwrap_err();
    assert!((1..=5000).contains(&full.retry.0));
    queue.push(job(50, Class::Bulk, 2, 100)).unwrap();
    assert!(queue.cancel(peer(1), 3) && !queue.cancel(peer(1), 3) && !queue.cancel(peer(7), 3));
    queue.check_invariants();
    assert_eq!(queue.len(), MAX_QUEUE_PEER);
    queue.gone(peer(1));
    queue.check_invariants();
    assert_eq!(queue.next().map(|j| j.id), Some(50));
    assert_eq!(queue.next(), None);
    let mut queue = SendQueue::new();
    let mut refused = 0;
    for p in 0..=255u8 {
        for i in 0..20 {
            refused += u64::from(
                queue
                    .push(job(u64::from(p) * 100 + i, Class::Bulk, p, 1))
                    .is_err(),
            );
        }
    }
    assert_eq!((queue.len(), refused), (MAX_QUEUE, 256 * 20 - MAX_QUEUE as u64));
}
