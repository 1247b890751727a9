//! Which segment of whom, and when.

use super::*;

#[test]
fn each_fetcher_begins_in_its_own_stretch() {
    let mut begun = Vec::new();
    for me in 0..4 {
        let mut bench = Bench::of(64 * SEGMENT);
        bench.core.config.me = id([10, 20, 30, 40][me]);
        bench.seeder(1, &[10, 20, 30, 40]);
        for _ in 0..8 {
            for (peer, segment, mask) in bench.asks() {
                assert_eq!((peer, mask), (1, u64::MAX));
                assert!(
                    (me as u32 * 16..me as u32 * 16 + 16).contains(&segment),
                    "{me}: {segment}"
                );
                begun.push(segment);
                bench.give(1, segment, 10);
            }
        }
    }
    begun.sort_unstable();
    let asked = begun.len();
    begun.dedup();
    assert_eq!(
        (begun.len(), asked > 32),
        (asked, true),
        "the seeder was asked twice"
    );
}

#[test]
fn what_a_fetcher_has_is_asked_of_it_and_not_of_the_seeder() {
    let mut bench = Bench::of(12 * SEGMENT);
    bench.seeder(1, &[50, ME]);
    bench.up(50, false);
    bench.have(50, &[7, 8]);
    for (peer, segment, _) in bench.asks() {
        assert_eq!(
            peer == 50,
            [7, 8].contains(&segment),
            "{peer} was asked for {segment}"
        );
        assert!(peer == 50 || segment >= 6, "{segment} is in the other's stretch");
    }
}

#[test]
fn another_that_comes_on_is_waited_for_and_one_that_does_not_is_not() {
    let mut bench = Bench::of(8 * SEGMENT);
    bench.seeder(1, &[50, ME]);
    bench.up(50, false);
    bench.have(50, &[]);
    for segment in [4, 5, 6, 7] {
        bench.tell(Input::Local {
            segment,
            mask: u64::MAX,
            hashes: true,
        });
    }
    // It has two of four left, which are on their way to it.
    bench.now += 500;
    bench.have(50, &[0, 1]);
    let asks = bench.asks();
    assert!(asks.iter().all(|a| a.0 == 50), "{asks:?}");
    // Nothing more comes: the seeder is asked after all.
    for (_, segment, _) in asks {
        bench.give(50, segment, 100);
    }
    let later = bench.pass(5000);
    let seeded = |e: &&Effect| matches!(e, Effect::Ask { peer, .. } if *peer == id(1));
    assert!(later.iter().any(|e| seeded(&e)), "{later:?}");
    // A slow one is helped, from the far end.
    let mut bench = Bench::of(40 * SEGMENT);
    bench.seeder(1, &[50, ME]);
    bench.up(50, false);
    bench.have(50, &[]);
    for segment in 20..40 {
        bench.tell(Input::Local {
            segment,
            mask: u64::MAX,
            hashes: true,
        });
    }
    bench.now += 2000;
    bench.have(50, &[0]);
    let asks = bench.asks();
    let of_seeder: Vec<u32> = asks.iter().filter(|a| a.0 == 1).map(|a| a.1).collect();
    assert!(
        !of_seeder.is_empty() && of_seeder.iter().all(|s| (8..20).contains(s)),
        "{asks:?}"
    );
}

#[test]
fn the_rarest_is_asked_of_partial_peers_first() {
    let mut bench = Bench::of(30 * SEGMENT);
    for n in 1..5 {
        bench.up(n, false);
    }
    let both: Vec<u32> = (0..20).collect();
    bench.have(2, &both);
    bench.have(3, &both);
    bench.have(4, &both);
    let mut all = both;
    all.extend([25, 27]);
    bench.have(1, &all);
    let mut first: Vec<u32> = bench.asks().iter().filter(|a| a.0 == 1).map(|a| a.1).collect();
    first.sort_unstable();
    assert_eq!(first, [25, 27]);
}

#[test]
fn a_readers_window_comes_first_and_in_order() {
    let mut bench = Bench::of(64 * SEGMENT);
    bench.tell(Input::Want { from: 40, window: 3 });
    bench.seeder(1, &[ME]);
    bench.up(2, false);
    bench.have(2, &[41, 42, 3]);
    let asks = bench.asks();
    let mut first: Vec<u32> = asks.iter().map(|a| a.1).take(3).collect();
    first.sort_unstable();
    assert_eq!(first, [40, 41, 42], "{asks:?}");
    bench.tell(Input::Want {
        from: u32::MAX,
        window: u32::MAX,
    });
    bench.drain();
}

#[test]
fn in_flight_follows_bandwidth_times_delay() {
    let flight = |delay: u64, per_segment: u64| {
        let mut bench = Bench::of(400 * SEGMENT);
        bench.seeder(1, &[ME]);
        bench.fetchers(1, &[ME]);
        let mut running: Vec<u32> = bench.asks().iter().map(|a| a.1).collect();
        bench.now += delay;
        for _ in 0..40 {
            let segment = running.remove(0);
            for _ in 0..8 {
                bench.now += per_segment / 8;
                bench.tell(Input::Bytes {
                    peer: id(1),
                    bytes: SEGMENT / 8,
                });
            }
            bench.tell(Input::Done { peer: id(1), segment });
            running.extend(bench.asks().iter().map(|a| a.1));
        }
        running.len()
    };
    assert_eq!(flight(1, 80), 2);
    assert!((4..=5).contains(&flight(200, 80)), "{}", flight(200, 80));
    assert!(flight(5000, 8) <= 10, "the line is believed only so long");
}

#[test]
fn only_what_is_missing_is_asked_and_hashes_only_once() {
    let mut bench = Bench::of(2 * SEGMENT);
    bench.tell(Input::Local {
        segment: 0,
        mask: !0b1010,
        hashes: true,
    });
    bench.seeder(1, &[ME]);
    let asks: Vec<Effect> = bench.drain();
    let wanted = |segment, mask, hashes| Effect::Ask {
        peer: id(1),
        segment,
        mask,
        hashes,
    };
    assert!(asks.contains(&wanted(0, 0b1010, false)), "{asks:?}");
    assert!(asks.contains(&wanted(1, u64::MAX, true)), "{asks:?}");
    // Half of it comes, then the stream breaks: the other half is asked of the next, without the hashes.
    bench.tell(Input::Groups {
        peer: id(1),
        segment: 1,
        mask: u64::MAX >> 32,
    });
    bench.tell(Input::Failed {
        peer: id(1),
        segment: 1,
        why: Failure::Broken,
    });
    bench.seeder(2, &[ME]);
    let asks = bench.drain();
    let rest = Effect::Ask {
        peer: id(2),
        segment: 1,
        mask: u64::MAX << 32,
        hashes: false,
    };
    assert!(asks.contains(&rest), "{asks:?}");
}

#[test]
fn a_liar_has_no_stretch_though_the_seeder_still_names_it() {
    let mut bench = Bench::of(12 * SEGMENT);
    bench.seeder(1, &[50, ME]);
    bench.up(50, false);
    bench.have(50, &[0, 7]);
    assert_eq!(bench.core.crew, [id(50), id(ME)]);
    let (_, segment, _) = *bench.asks().iter().find(|a| a.0 == 50).unwrap();
    bench.tell(Input::Corrupt {
        peer: id(50),
        segment,
    });
    bench.drain();
    bench.seeder(1, &[50, ME]);
    bench.drain();
    assert_eq!(bench.core.crew, [id(ME)], "nobody waits for what it would fetch");
}
